"""Permutation importance: how much worse the model gets when one input column is shuffled. Part of ``evaluation``.

Breiman 2001, "Random Forests", section 10, as in scikit-learn's ``permutation_importance``, except that all shuffles of
many columns go through the pipeline in one call: a call costs more than its rows do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orris.schema import Schema

N_REPEATS = 5
MAX_ROWS = 1000
MIN_ROWS = 30
ROW_BUDGET = 50_000
"""Rows that may go through the pipeline in all, so that a slow model on a wide table stays quick."""

MAX_COLUMNS = 500
CELLS_PER_CALL = 2_000_000

Score = Callable[[Any, npt.NDArray[Any]], float]
"""(what the pipeline predicted, the truth on the same rows) -> a number, more is better."""


@dataclass(frozen=True)
class Importance:
    """Mean and standard deviation, over the shuffles of ``column``, of the loss of score."""

    column: str
    mean: float
    std: float


def permutation_importance(
    predict: Callable[[Any], npt.NDArray[Any]],
    score: Score,
    X: Any,
    truth: npt.NDArray[Any],
    *,
    schema: Schema,
    seed: int,
) -> tuple[Importance, ...]:
    """Importances in schema order, on at most ``MAX_ROWS`` rows drawn with ``seed``.

    Empty above ``MAX_COLUMNS`` columns.

    Args:
        predict: Rows, as the pipeline takes them, to predictions ``(n_rows,)``.
        score: What is compared before and after a shuffle.
        X: DataFrame or array ``(n_rows, n_columns)``.
        truth: What ``score`` compares with, ``(n_rows,)``.
        schema: Its columns are shuffled.
        seed: Same rows and seed, same importances.
    """
    n_columns = schema.n_columns
    if n_columns > MAX_COLUMNS:
        return ()
    generator = np.random.default_rng(seed)
    affordable = max(MIN_ROWS, min(MAX_ROWS, ROW_BUDGET // (N_REPEATS * n_columns)))
    if len(truth) > affordable:
        chosen = np.sort(generator.choice(len(truth), affordable, replace=False))
        X, truth = take(X, chosen), truth[chosen]
    n_rows = len(truth)
    base = score(predict(X), truth)
    shuffles = [(column, generator.permutation(n_rows)) for column in range(n_columns) for _ in range(N_REPEATS)]
    per_call = max(1, CELLS_PER_CALL // (n_rows * n_columns))
    losses: list[float] = []
    for start in range(0, len(shuffles), per_call):
        group = shuffles[start : start + per_call]
        predicted = predict(_shuffled(X, schema, group, n_rows))
        losses += [base - score(predicted[i * n_rows : (i + 1) * n_rows], truth) for i in range(len(group))]
    table = np.array(losses).reshape(n_columns, N_REPEATS)
    return tuple(
        Importance(name, float(row.mean()), float(row.std())) for name, row in zip(schema.names, table, strict=True)
    )


def take(X: Any, positions: npt.NDArray[np.int64]) -> Any:
    """The rows of a DataFrame or array at ``positions``, int64 ``(k,)``."""
    return X.iloc[positions] if hasattr(X, "iloc") else X[positions]


def _shuffled(X: Any, schema: Schema, group: list[tuple[int, npt.NDArray[np.int64]]], n_rows: int) -> Any:
    """One copy of ``X`` per (column, permutation), below each other, each with that column's values permuted."""
    stacked = take(X, np.tile(np.arange(n_rows), len(group)))
    sources: dict[int, npt.NDArray[np.int64]] = {}
    for copy, (column, permutation) in enumerate(group):
        source = sources.setdefault(column, np.tile(np.arange(n_rows), len(group)))
        source[copy * n_rows : (copy + 1) * n_rows] = permutation
    if not hasattr(X, "iloc"):
        for column, source in sources.items():
            at = schema.table.index(schema.names[column]) if schema.table else column
            stacked[:, at] = X[source, at]
        return stacked
    stacked = stacked.reset_index(drop=True)
    for column, source in sources.items():
        name = schema.names[column] if schema.names[column] in X.columns else X.columns[column]
        stacked[name] = X[name].iloc[source].reset_index(drop=True)
    return stacked

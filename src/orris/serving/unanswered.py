"""Rows that fit the contract, and that the model has no answer to all the same.

Which they are, and which column that is due to.

A rate of 10^400 under a log link, a logarithm of a negative number: no number of JSON holds such an answer, so the row
is refused.
"""

from __future__ import annotations

import numpy as np

from orris.errors import Problem, RowError
from orris.runtime import Runtime
from orris.schema import UNSEEN, Column, Kind, Schema
from orris.schema.arrays import FloatArray, IntArray

MAX_NAMED = 20
"""Rows that an error names; the rest are counted."""

MAX_TRIED = 10_000
"""Values that are exchanged to find the column to blame; in wider or longer requests it is not named."""


def not_finite(runtime: Runtime, schema: Schema, rows: FloatArray, answers: FloatArray) -> RowError:
    """The refusal of rows with answers that are not finite.

    Args:
        runtime: The model.
        schema: Its contract.
        rows: Encoded rows, float64 ``(n_rows, n_columns)``.
        answers: Its values ``(n_rows,)`` or probabilities ``(n_rows, n_classes)``.
    """
    broken = np.flatnonzero(~np.isfinite(answers.reshape(len(rows), -1)).all(axis=1))
    typical = np.array([_typical(column) for column in schema.columns])
    problems = []
    for count, i in enumerate(broken[:MAX_NAMED].tolist()):
        column = None
        if (count + 1) * schema.n_columns <= MAX_TRIED:
            column = _to_blame(runtime, schema, rows[i], typical)
        due = "; that is due to this value" if column is not None else ""
        problems.append(Problem(i, column, f"the model has no finite answer to this row{due}"))
    if len(broken) > MAX_NAMED:
        problems.append(Problem(None, None, f"and {len(broken) - MAX_NAMED} more rows"))
    return RowError(problems)


def refused(runtime: Runtime, rows: FloatArray) -> RowError:
    """The refusal of rows that the fitted pipeline itself refuses.

    Its words may hold a caller's values, so they are not repeated.
    """
    if len(rows) > 1:
        for i in range(min(len(rows), MAX_NAMED)):
            try:
                runtime.run(rows[i : i + 1])
            except ValueError:
                return RowError([Problem(i, None, _REFUSED)])
    return RowError([Problem(0 if len(rows) == 1 else None, None, _REFUSED)])


def unlabelled(labels: IntArray) -> RowError:
    """The refusal of rows that a compiled model has no label for, because the fitted pipeline refuses them."""
    return RowError([Problem(i, None, _REFUSED) for i in np.flatnonzero(labels < 0)[:MAX_NAMED].tolist()])


_REFUSED = "the fitted model refuses this row"


def _to_blame(runtime: Runtime, schema: Schema, row: FloatArray, typical: FloatArray) -> str | None:
    """The column with whose value exchanged for a usual one the answer is finite, if there is exactly one."""
    changed = np.repeat(row[None, :], schema.n_columns, axis=0)
    np.fill_diagonal(changed, typical)
    try:
        answers = runtime.run(changed)
    except Exception:  # noqa: BLE001 (the row is refused anyway, without naming a column)
        return None
    numbers = answers.probabilities if answers.values is None else answers.values
    if numbers is None:
        return None
    finite = np.isfinite(numbers.reshape(len(changed), -1)).all(axis=1)
    return schema.columns[int(np.argmax(finite))].name if finite.sum() == 1 else None


def _typical(column: Column) -> float:
    if column.kind is Kind.CATEGORY:
        return float(column.levels.index(column.example)) if column.example in column.levels else UNSEEN
    if isinstance(column.example, int | float):
        return float(column.example)
    return column.low or 0.0

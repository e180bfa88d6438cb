"""Rows where trees change their mind, and the comparison over them; used by the tests of every tree family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from orris.compile.dispatch import predict
from orris.compile.graph import INPUT, Feature, Frame, Graph, Prediction
from orris.schema import Level
from orris.schema.arrays import FloatArray
from tests.compile import agreement

TABLES = {"iris": load_iris, "wine": load_wine, "cancer": load_breast_cancer, "digits": load_digits}
LABELS = {
    "iris": np.array(["setosa", "versicolor", "virginica"]),
    "wine": np.array([-7, 0, 12]),
    "cancer": np.array([False, True]),
}


def table(name: str) -> tuple[Any, Any]:
    """A data set as it comes, decimals and all, with labels of some type; digits cut to 400 rows."""
    x, y = TABLES[name](return_X_y=True)
    return (x[:400], y[:400]) if name == "digits" else (x, LABELS[name][y])


def compiled(
    estimator: Any, n_columns: int, levels: dict[int, Sequence[Level]] | None = None
) -> tuple[Graph, Prediction]:
    """The estimator in a graph of its own; ``levels`` says which columns hold codes of categories."""
    coded = {column: tuple(values) for column, values in (levels or {}).items()}
    graph = Graph()
    features = tuple(Feature(name=f"c{column}", levels=coded.get(column), source=column) for column in range(n_columns))
    return graph, predict(graph, estimator, Frame(INPUT, features))


def on_thresholds(graph: Graph, x: FloatArray, limit: int = 3000) -> FloatArray:
    """Rows of ``x`` with one column, and rows with every column, on thresholds or an ulp off.

    Float64 and float32 ulps.
    """
    draw = np.random.default_rng(0)
    points = {column: np.unique(np.concatenate(parts)) for column, parts in graph.thresholds.items()}
    if not points:
        return x
    rows = x[draw.integers(len(x), size=limit)]
    for i, column in enumerate(draw.choice(list(points), size=limit)):
        rows[i, column] = draw.choice(points[column])
    every = x[draw.integers(len(x), size=limit)]
    for column, values in points.items():
        every[:, column] = draw.choice(values, size=limit)
    return np.concatenate([x, rows, every])


def with_holes(x: FloatArray, share: float = 0.2, seed: int = 0) -> FloatArray:
    """A copy with a share of the cells missing, and a first row of nothing else."""
    draw = np.random.default_rng(seed)
    holed = np.where(draw.random(x.shape) < share, np.nan, x)
    holed[0] = np.nan
    return holed


def assert_same(
    run_graph: agreement.RunGraph,
    estimator: Any,
    x: FloatArray,
    *,
    holes: bool = False,
    absolute: float = 0.0,
    relative: float = 0.0,
) -> None:
    """Assert agreement on rows of ``x``, on threshold rows, on single rows, and on missing values if requested."""
    graph, prediction = compiled(estimator, x.shape[1])
    rows = on_thresholds(graph, x)
    if holes:
        rows = np.concatenate([rows, with_holes(rows[: 2 * len(x)])])
    answers = run_graph(graph, prediction, x.shape[1], rows)
    assert_answers(estimator, answers, rows, absolute=absolute, relative=relative)
    chosen = np.linspace(0, len(rows) - 1, 4).astype(int)
    for i in chosen:
        graph, prediction = compiled(estimator, x.shape[1])
        alone = run_graph(graph, prediction, x.shape[1], rows[i : i + 1])
        for name, values in alone.items():
            np.testing.assert_allclose(values[0], answers[name][i], atol=absolute, rtol=relative)


def assert_answers(
    estimator: Any, answers: dict[str, Any], data: Any, *, absolute: float = 0.0, relative: float = 0.0
) -> None:
    """Labels, probabilities and values are what the estimator answers to ``data``."""
    if "value" in answers:
        np.testing.assert_allclose(answers["value"], estimator.predict(data), atol=absolute, rtol=relative)
        return
    np.testing.assert_array_equal(np.asarray(estimator.classes_)[answers["label"]], estimator.predict(data))
    np.testing.assert_allclose(answers["probabilities"], estimator.predict_proba(data), atol=absolute, rtol=0)


@st.composite
def tables(draw: st.DrawFn, *, holes: bool = False) -> tuple[FloatArray, Any, int]:
    """Small tables of few different numbers, so full of ties: rows, class numbers (two classes or more), and a seed."""
    seed = draw(st.integers(0, 2**31 - 1))
    random = np.random.default_rng(seed)
    n_rows, n_columns, n_classes = draw(st.integers(8, 60)), draw(st.integers(1, 4)), draw(st.integers(2, 4))
    step = draw(st.sampled_from([1.0, 0.1, 1 / 3, 1e-3, 1e6, 16777217.0]))
    x = np.asarray(random.integers(-3, 6, size=(n_rows, n_columns)) * step, dtype=np.float64)
    if holes:
        x[random.random(x.shape) < 0.15] = np.nan
    y = np.concatenate([np.arange(n_classes), random.integers(n_classes, size=n_rows - n_classes)])
    return x, y, seed

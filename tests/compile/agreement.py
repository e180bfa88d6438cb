"""Run a graph, and compare a converted predictor with the fitted estimator; used by the tests of every family."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.preprocessing import StandardScaler

from orris.compile.dispatch import predict
from orris.compile.graph import INPUT, LABEL, PROBABILITIES, VALUE, Feature, Frame, Graph, Prediction
from orris.runtime import open_session
from orris.schema.arrays import FloatArray

Table = tuple[FloatArray, npt.NDArray[Any]]
RunGraph = Callable[[Graph, Prediction | Frame, int, FloatArray], dict[str, npt.NDArray[Any]]]
_ELEMENTS = {
    LABEL: TensorProto.INT64,
    PROBABILITIES: TensorProto.DOUBLE,
    VALUE: TensorProto.DOUBLE,
    "frame": TensorProto.DOUBLE,
}


def run(graph: Graph, result: Prediction | Frame, n_columns: int, rows: FloatArray) -> dict[str, npt.NDArray[Any]]:
    """Finish the graph and run it on one thread over rows ``(n_rows, n_columns)``."""
    if isinstance(result, Frame):
        tensors: dict[str, str | None] = {"frame": result.tensor}
    else:
        tensors = {LABEL: result.label, PROBABILITIES: result.probabilities, VALUE: result.value}
    outputs = [
        (tensor, public, _ELEMENTS[public], ("n_rows",) if public in (LABEL, VALUE) else ("n_rows", f"{public}_width"))
        for public, tensor in tensors.items()
        if tensor is not None
    ]
    session = open_session(graph.model(n_columns, outputs).SerializeToString())
    names = [public for _, public, _, _ in outputs]
    return dict(zip(names, session.run(names, {INPUT: rows}), strict=True))


def _scaled(x: FloatArray, y: npt.NDArray[Any]) -> Table:
    return np.ascontiguousarray(StandardScaler().fit_transform(x)), y


def iris() -> Table:
    """Three classes with text labels, 150 rows of 4 numbers."""
    x, y = load_iris(return_X_y=True)
    return _scaled(x, np.array(["setosa", "versicolor", "virginica"])[y])


def wine() -> Table:
    """Three classes with integer labels, not from zero, 178 rows of 13 numbers."""
    x, y = load_wine(return_X_y=True)
    return _scaled(x, y * 10 + 5)


def cancer() -> Table:
    """Two classes with boolean labels, 569 rows of 30 numbers."""
    x, y = load_breast_cancer(return_X_y=True)
    return _scaled(x, y.astype(bool))


def digits() -> Table:
    """Ten classes, 400 rows of 64 numbers."""
    x, y = load_digits(return_X_y=True)
    return _scaled(x[:400], y[:400])


def diabetes() -> Table:
    """A regression, 442 rows of 10 numbers."""
    x, y = load_diabetes(return_X_y=True)
    return _scaled(x, y)


CLASSIFICATION = {"iris": iris, "wine": wine, "cancer": cancer, "digits": digits}


def hard_rows(x: FloatArray, seed: int = 0) -> FloatArray:
    """Training rows, random rows, and rows with one column far out or zero: float64 ``(n_rows, n_columns)``."""
    draw = np.random.default_rng(seed)
    parts = [x, draw.normal(size=(500, x.shape[1])) * draw.choice([0.1, 1.0, 5.0], size=(500, 1))]
    for value in (1e30, -1e30, 1e6, -1e6, 0.0, -0.0):
        rows = np.repeat(x[:1], x.shape[1], axis=0)
        np.fill_diagonal(rows, value)
        parts.append(rows)
    return np.concatenate(parts)


def converted(estimator: Any, n_columns: int) -> tuple[Graph, Prediction]:
    """The estimator in a graph of its own that takes ``n_columns`` numbers."""
    graph = Graph()
    return graph, predict(graph, estimator, Frame(INPUT, (Feature(),) * n_columns))


def assert_agrees(
    run_graph: RunGraph, estimator: Any, rows: FloatArray, *, absolute: float = 0.0, relative: float = 0.0
) -> None:
    """Assert equal labels, and numbers within ``absolute + relative * |expected|`` on every row, none of them NaN."""
    graph, prediction = converted(estimator, rows.shape[1])
    answers = run_graph(graph, prediction, rows.shape[1], rows)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        expected = estimator.predict(rows)
        if prediction.value is not None:
            np.testing.assert_allclose(answers["value"], np.ravel(expected), rtol=relative, atol=absolute)
            return
        differing = np.flatnonzero(np.asarray(estimator.classes_)[answers["label"]] != expected)
        assert not len(differing), f"{len(differing)} labels differ, first in row {differing[0]}: {rows[differing[0]]}"
        assert (prediction.probabilities is not None) == hasattr(estimator, "predict_proba")
        if prediction.probabilities is not None:
            wanted = estimator.predict_proba(rows)
    if prediction.probabilities is not None:
        assert np.isfinite(answers["probabilities"]).all()
        np.testing.assert_allclose(answers["probabilities"], wanted, rtol=relative, atol=absolute)

"""Compare a converted transformer with the fitted one on the same encoded rows.

Used by the tests of preprocessing steps.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse

from orris.compile.build import input_frame
from orris.compile.converters.levels import values
from orris.compile.dispatch import transform
from orris.compile.graph import Feature, Frame, Graph
from orris.schema import UNSEEN, Column, Kind, Schema
from orris.schema.arrays import FloatArray
from orris.schema.frames import decode, is_missing

COLUMNS = {
    "size": Column("size", Kind.NUMBER, missing=True),
    "weight": Column("weight", Kind.NUMBER),
    "count": Column("count", Kind.INTEGER, "int64"),
    "holes": Column("holes", Kind.INTEGER, "float64", missing=True),
    "flag": Column("flag", Kind.BOOLEAN, "bool"),
    "maybe": Column("maybe", Kind.BOOLEAN, "object", missing_as="none", missing=True),
    "word": Column("word", Kind.CATEGORY, "str", ("pear", "apple", "fig"), missing=True),
    "thing": Column("thing", Kind.CATEGORY, "object", ("b", "a", "c", "d"), missing_as="none", missing=True),
    "text": Column("text", Kind.CATEGORY, "object", ("y", "x"), missing=True),
    "kind": Column("kind", Kind.CATEGORY, "category", ("r", "p", "q"), missing=True),
    "zone": Column("zone", Kind.CATEGORY, "int64", (7, 3, 5, 40), missing=True),
    "grade": Column("grade", Kind.CATEGORY, "category", (2, 1, 9), missing=True),
}
"""One column of every sort that a table can hold."""

WHOLE = ("weight", "count", "flag")
NUMBERS = ("size", "weight", "count", "holes", "flag")
TEXT = ("word", "thing", "text", "kind")
CODED = ("zone", "grade")


def schema_of(*names: str, container: Any = "frame") -> Schema:
    """A contract of these columns of ``COLUMNS``."""
    return Schema(tuple(COLUMNS[name] for name in names), "target", "regression", container=container)


def draw(schema: Schema, n_rows: int, seed: int = 0, *, missing: float = 0.15, unseen: float = 0.0) -> FloatArray:
    """Random encoded rows with ties, missing values where the column may have them, and unseen levels."""
    rng = np.random.default_rng(seed)
    rows = np.empty((n_rows, schema.n_columns))
    for j, column in enumerate(schema.columns):
        if column.kind is Kind.NUMBER:
            rows[:, j] = np.where(
                rng.random(n_rows) < 0.7, rng.integers(-3, 9, n_rows) / 10, rng.normal(size=n_rows) * 1e3
            )
        elif column.kind is Kind.INTEGER:
            rows[:, j] = rng.integers(-4, 5, n_rows)
        elif column.kind is Kind.BOOLEAN:
            rows[:, j] = rng.integers(0, 2, n_rows)
        else:
            rows[:, j] = rng.choice(len(column.levels), n_rows, p=_skewed(len(column.levels)))
            rows[rng.random(n_rows) < unseen, j] = UNSEEN
        if column.missing:
            rows[rng.random(n_rows) < missing, j] = np.nan
    return rows


def _skewed(n_levels: int) -> FloatArray:
    shares = 0.35 ** np.arange(n_levels, dtype=np.float64)
    return np.asarray(shares / shares.sum())


def fitted(step: Any, schema: Schema, rows: FloatArray, y: Any = None) -> Any:
    """The step fitted on the decoded rows, with scikit-learn's warnings about the data left aside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return step.fit(decode(schema, rows), y)


def converted(step: Any, schema: Schema) -> tuple[Graph, Frame]:
    """The step in a graph of its own over the encoded rows.

    Integer-coded columns that it leaves as they are become numbers.
    """
    graph = Graph()
    return graph, values(graph, transform(graph, step, input_frame(schema)))


def expected(step: Any, schema: Schema, rows: FloatArray, frame: Frame) -> FloatArray:
    """What scikit-learn's transform returns, text as the codes that ``frame`` has for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = step.transform(decode(schema, rows))
    dense = out.toarray() if scipy.sparse.issparse(out) else np.asarray(out)
    assert frame.width == dense.shape[1]
    return np.column_stack([_coded(feature, dense[:, j]) for j, feature in enumerate(frame.features)])


def _coded(feature: Feature, column: Any) -> FloatArray:
    if feature.levels is None:
        return np.asarray(column, dtype=np.float64)
    codes = {level: float(code) for code, level in enumerate(feature.levels)}
    return np.array([np.nan if is_missing(value) else codes.get(value, UNSEEN) for value in column.tolist()])


def assert_transforms(run_graph: Any, step: Any, schema: Schema, rows: FloatArray, *, tolerance: float = 0.0) -> Frame:
    """The graph's columns equal scikit-learn's on every row, NaN for NaN; returns the converted frame."""
    graph, frame = converted(step, schema)
    wanted = expected(step, schema, rows, frame)
    found = run_graph(graph, frame, schema.n_columns, rows)["frame"]
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)
    return frame

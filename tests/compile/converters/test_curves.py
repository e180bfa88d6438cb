"""Quantiles and splines agree with scikit-learn, at their edges and beyond them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.preprocessing import QuantileTransformer, SplineTransformer

from orris.compile.dispatch import transform
from orris.compile.graph import INPUT, Feature, Frame, Graph
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray

TABLES = {"wine": load_wine, "cancer": load_breast_cancer}


def _rows(table: str) -> tuple[FloatArray, FloatArray]:
    """Training rows of five columns, and those with rows on their ends, far outside and missing."""
    x = TABLES[table](return_X_y=True)[0][:, :5]
    ends = np.stack([x.min(axis=0), x.max(axis=0), x.min(axis=0) - 1.0, x.max(axis=0) * 10.0, np.zeros(5)])
    return x, np.concatenate([x, ends, x[:50] * 1.01])


def _assert_agrees(run_graph: Any, step: Any, rows: FloatArray, tolerance: float) -> None:
    graph = Graph()
    frame = transform(graph, step, Frame(INPUT, (Feature(),) * 5))
    wanted = step.transform(rows)
    wanted = wanted.toarray() if hasattr(wanted, "toarray") else wanted
    found = run_graph(graph, frame, 5, rows)["frame"]
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("n_quantiles", [5, 100])
def test_quantiles_agree(run_graph: Any, table: str, n_quantiles: int) -> None:
    """Equal quantiles, values on them, values beyond them and missing values are mapped as scikit-learn maps them."""
    x, rows = _rows(table)
    x = x.copy()
    x[::3, 1] = x[0, 1]  # repeated values make repeated quantiles
    step = QuantileTransformer(n_quantiles=n_quantiles).fit(x)
    rows = np.concatenate([rows, step.quantiles_, np.where(np.arange(5) == 2, np.nan, rows[:3])])
    _assert_agrees(run_graph, step, rows, 1e-14)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("n_quantiles", [7, 150])
def test_the_normal_distributions_quantiles_agree(run_graph: Any, table: str, n_quantiles: int) -> None:
    """Quantiles of the normal distribution agree, also at its ends, where they are cut off, and beside them."""
    x, rows = _rows(table)
    x = x.copy()
    x[::3, 1] = x[0, 1]
    step = QuantileTransformer(n_quantiles=n_quantiles, output_distribution="normal").fit(x)
    ends = step.quantiles_[[0, -1]]
    beside = [ends + shift for shift in (-1e-6, -9e-8, 9e-8, 1e-6)]
    rows = np.concatenate([rows, step.quantiles_, *beside, np.where(np.arange(5) == 2, np.nan, rows[:3])])
    _assert_agrees(run_graph, step, rows, 1e-13)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("extrapolation", ["constant", "linear", "continue"])
@pytest.mark.parametrize(
    "setting", [{}, {"degree": 2, "include_bias": False}, {"knots": "quantile", "n_knots": 7}], ids=str
)
def test_splines_agree(run_graph: Any, table: str, extrapolation: Any, setting: dict[str, Any]) -> None:
    """Splines of every degree and extrapolation agree on, between and beyond the knots."""
    x, rows = _rows(table)
    rows = rows if extrapolation != "continue" else rows[: len(x) + 2]
    step = SplineTransformer(extrapolation=extrapolation, **setting).fit(x)
    knots = np.stack([spline.t[step.degree : len(spline.t) - step.degree] for spline in step.bsplines_], axis=1)
    _assert_agrees(run_graph, step, np.concatenate([rows, knots]), 1e-11)


def test_sparse_splines_and_others_are_refused_or_agree(run_graph: Any) -> None:
    """A sparse result holds the same numbers; periodic splines are refused."""
    x, rows = _rows("wine")
    _assert_agrees(run_graph, SplineTransformer(sparse_output=True).fit(x), rows, 1e-11)
    _assert_agrees(run_graph, SplineTransformer(degree=1).fit(x), rows, 1e-11)
    tangents = SplineTransformer(degree=1, extrapolation="linear").fit(x)
    with pytest.raises(NotConvertibleError, match="degree=1"):
        transform(Graph(), tangents, Frame(INPUT, (Feature(),) * 5))
    with pytest.raises(NotConvertibleError, match="periodic"):
        transform(Graph(), SplineTransformer(extrapolation="periodic").fit(x), Frame(INPUT, (Feature(),) * 5))

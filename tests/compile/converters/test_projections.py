"""Projections agree with scikit-learn within rounding, and say that their last bits are not scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.cluster import FeatureAgglomeration, KMeans
from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical, PLSRegression
from sklearn.decomposition import (
    PCA,
    FactorAnalysis,
    FastICA,
    IncrementalPCA,
    MiniBatchSparsePCA,
    SparsePCA,
    TruncatedSVD,
)
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from orris.compile.dispatch import transform
from orris.compile.graph import INPUT, Feature, Frame, Graph
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray
from tests.compile import agreement

TABLES = {"iris": agreement.iris, "wine": agreement.wine}
STEPS = [
    PCA(3),
    PCA(2, whiten=True),
    IncrementalPCA(3),
    IncrementalPCA(2, whiten=True),
    TruncatedSVD(2, random_state=0),
    FastICA(2, random_state=0, whiten="unit-variance"),
    FactorAnalysis(2, random_state=0),
    SparsePCA(2, random_state=0, max_iter=50),
    MiniBatchSparsePCA(2, random_state=0, max_iter=20),
    FeatureAgglomeration(3),
    GaussianRandomProjection(2, random_state=0),
    SparseRandomProjection(2, random_state=0),
    NeighborhoodComponentsAnalysis(2, random_state=0, max_iter=5),
    LinearDiscriminantAnalysis(),
    LinearDiscriminantAnalysis(solver="eigen"),
    BernoulliRBM(3, n_iter=2, random_state=0),
    KMeans(3, n_init=1, random_state=0),
]
LEAST_SQUARES = [PLSRegression(1), PLSCanonical(1), CCA(1), PLSSVD(1)]


def _converted(step: Any, width: int) -> tuple[Graph, Frame]:
    graph = Graph()
    return graph, transform(graph, step, Frame(INPUT, (Feature(),) * width))


def _assert_projects(run_graph: Any, step: Any, rows: FloatArray) -> None:
    graph, frame = _converted(step, rows.shape[1])
    found = run_graph(graph, frame, rows.shape[1], rows)["frame"]
    wanted = step.transform(rows)
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11 * np.abs(wanted).max())
    assert all(feature.rounded for feature in frame.features)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_projection_agrees(run_graph: Any, step: Any, table: str) -> None:
    """A projection gives scikit-learn's columns, up to the order of its sums, on two tables."""
    x, y = TABLES[table]()
    rows = np.concatenate([x, np.random.default_rng(0).normal(size=(200, x.shape[1])) * 3.0])
    _assert_projects(run_graph, step.fit(x, y), rows)


@pytest.mark.parametrize("step", LEAST_SQUARES, ids=str)
def test_partial_least_squares_agree(run_graph: Any, step: Any) -> None:
    """Partial least squares gives scikit-learn's scores, and those that predict its values."""
    x, y = agreement.diabetes()
    step.fit(x, y)
    _assert_projects(run_graph, step, x)
    if hasattr(step, "predict"):
        agreement.assert_agrees(run_graph, step, agreement.hard_rows(x)[:942], relative=1e-10, absolute=1e-9)


def test_no_tree_compares_a_projection() -> None:
    """Trees behind a projection compare bits that are not scikit-learn's, so they are not converted with it."""
    x, y = agreement.iris()
    with pytest.raises(NotConvertibleError, match="thresholds"):
        agreement.converted(make_pipeline(PCA(2), RandomForestClassifier(3, random_state=0)).fit(x, y), 4)


def test_several_targets_and_other_pooling_are_refused() -> None:
    """A regression of two targets and a pooling function of the user's own are refused, and named."""
    x, y = agreement.diabetes()
    with pytest.raises(NotConvertibleError, match="targets"):
        agreement.converted(PLSRegression(2).fit(x, np.stack([y, y**2], axis=1)), 10)
    with pytest.raises(NotConvertibleError, match="pooling"):
        _converted(FeatureAgglomeration(3, pooling_func=np.median).fit(x), 10)

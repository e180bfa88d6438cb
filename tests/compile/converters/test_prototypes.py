"""Classifiers by distance or density agree with scikit-learn, ties and empty neighbourhoods included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid, RadiusNeighborsClassifier, RadiusNeighborsRegressor

from orris.errors import NotConvertibleError
from tests.compile import agreement

TABLES = {"iris": agreement.iris, "wine": agreement.wine, "cancer": agreement.cancer}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("regularization", [0.1, 0.3])
def test_quadratic_discriminants_agree(run_graph: Any, table: str, regularization: float) -> None:
    """Each class's own covariance gives scikit-learn's labels and probabilities."""
    x, y = TABLES[table]()
    model = QuadraticDiscriminantAnalysis(reg_param=regularization).fit(x, y)
    agreement.assert_agrees(run_graph, model, agreement.hard_rows(x)[: len(x) + 500], absolute=1e-9)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "setting", [{}, {"priors": "empirical"}, {"metric": "manhattan"}, {"shrink_threshold": 0.5}], ids=str
)
def test_nearest_centroid_agrees(run_graph: Any, table: str, setting: dict[str, Any]) -> None:
    """Equal priors take the nearest centroid, others the largest discriminant."""
    x, y = TABLES[table]()
    model = NearestCentroid(**setting).fit(x, y)
    agreement.assert_agrees(run_graph, model, agreement.hard_rows(x)[: len(x) + 500], absolute=1e-9)


@pytest.mark.parametrize("p", [1, 2])
def test_neighbours_on_the_radius_count(run_graph: Any, p: int) -> None:
    """On a grid of whole numbers, rows at exactly the radius are within it."""
    draw = np.random.default_rng(0)
    x = draw.integers(0, 6, size=(150, 3)).astype(float)
    y = draw.integers(0, 3, size=150)
    classifier = RadiusNeighborsClassifier(radius=2.0, p=p, algorithm="kd_tree", outlier_label=1).fit(x, y)
    rows = np.concatenate([x, x + 0.5, x + 100.0])
    agreement.assert_agrees(run_graph, classifier, rows)
    regressor = RadiusNeighborsRegressor(radius=2.0, p=p, algorithm="kd_tree").fit(x, y * 1.5)
    agreement.assert_agrees(run_graph, regressor, np.concatenate([x, x + 0.5]), relative=1e-12)


def test_rows_without_a_neighbour_are_marked() -> None:
    """Without an outlier's label scikit-learn refuses a row that has no neighbour, so it gets no answer."""
    x, y = agreement.iris()
    graph, _ = agreement.converted(RadiusNeighborsClassifier(algorithm="kd_tree").fit(x, y), 4)
    assert graph.refused


@pytest.mark.parametrize(
    ("setting", "reason"),
    [({"algorithm": "brute"}, "kd_tree"), ({"weights": "distance"}, "weights"), ({"p": 3}, "metric")],
)
def test_settings_without_exact_answers_are_refused(setting: dict[str, Any], reason: str) -> None:
    """A brute-force search, distance weights and other metrics are not converted, and the message says so."""
    x, y = agreement.iris()
    with pytest.raises(NotConvertibleError, match=reason):
        agreement.converted(RadiusNeighborsClassifier(**setting).fit(x, y), 4)

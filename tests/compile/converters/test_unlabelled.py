"""Detectors of outliers and clusterers agree with scikit-learn, in the label and in the score."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import AffinityPropagation, Birch, BisectingKMeans, KMeans, MeanShift, MiniBatchKMeans
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.ensemble._iforest import _average_path_length
from sklearn.linear_model import SGDOneClassSVM
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from orris.compile.graph import LABEL, PROBABILITIES, SCORE
from orris.errors import NotConvertibleError
from orris.runtime import open_session
from orris.runtime.scikit import scoring
from orris.schema.arrays import FloatArray
from orris.training.unlabelled import labels_of, task_of
from tests.compile import agreement

TABLES = {"iris": agreement.iris, "wine": agreement.wine}
DETECTORS = [
    IsolationForest(n_estimators=20, random_state=0),
    IsolationForest(n_estimators=20, random_state=0, max_features=3, contamination=0.1),
    OneClassSVM(),
    OneClassSVM(kernel="poly", degree=2, nu=0.1),
    EllipticEnvelope(random_state=0),
    SGDOneClassSVM(random_state=0),
    LocalOutlierFactor(novelty=True),
    LocalOutlierFactor(n_neighbors=5, novelty=True, metric="manhattan", contamination=0.1),
    make_pipeline(StandardScaler(), IsolationForest(n_estimators=10, random_state=0)),
]
CLUSTERERS = [
    KMeans(3, n_init=1, random_state=0),
    MiniBatchKMeans(4, n_init=1, random_state=0),
    BisectingKMeans(5, random_state=0),
    BisectingKMeans(2, random_state=0, bisecting_strategy="largest_cluster"),
    Birch(n_clusters=3),
    MeanShift(),
    AffinityPropagation(random_state=0),
    make_pipeline(StandardScaler(), KMeans(2, n_init=1, random_state=0)),
    *(GaussianMixture(2, covariance_type=kind, random_state=0) for kind in ("full", "tied", "diag", "spherical")),
    BayesianGaussianMixture(n_components=2, random_state=0),
    BayesianGaussianMixture(
        n_components=2, weight_concentration_prior_type="dirichlet_distribution", covariance_type="diag", random_state=0
    ),
]


def _answers(model: Any, rows: FloatArray) -> dict[str, Any]:
    """The outputs of the converted model, by name."""
    graph, prediction = agreement.converted(model, rows.shape[1])
    given = {LABEL: prediction.label, PROBABILITIES: prediction.probabilities, SCORE: prediction.score}
    kinds = {LABEL: 7, PROBABILITIES: 11, SCORE: 11}
    outputs: list[tuple[str, str, int, list[int | str]]] = [
        (tensor, name, kinds[name], ["n_rows"] if name != PROBABILITIES else ["n_rows", "n_labels"])
        for name, tensor in given.items()
        if tensor is not None
    ]
    session = open_session(graph.model(rows.shape[1], outputs).SerializeToString())
    names = [name for _, name, _, _ in outputs]
    return dict(zip(names, session.run(names, {"rows": rows}), strict=True))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("model", [*DETECTORS, *CLUSTERERS], ids=str)
def test_label_and_score_are_scikit_learns(model: Any, table: str) -> None:
    """On training rows and rows around them every label is equal, and scores agree within rounding."""
    x, _ = TABLES[table]()
    model.fit(x)
    task = task_of(model)
    assert task == ("outlier detection" if model in DETECTORS else "clustering")
    rows = np.concatenate([x, np.random.default_rng(0).normal(size=(300, x.shape[1])) * 2.0])
    answers = _answers(model, rows)
    labels = np.array(labels_of(model, task, x))
    assert (labels[answers[LABEL]] == model.predict(rows)).all()
    score = scoring(model)
    assert (score is not None) == (SCORE in answers)
    if score is not None:
        np.testing.assert_allclose(answers[SCORE], score(rows), rtol=1e-9, atol=1e-6)
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(answers[PROBABILITIES], model.predict_proba(rows), rtol=1e-8, atol=1e-9)


def test_the_depths_of_an_isolation_forest_are_added_in_its_order() -> None:
    """Depths in an isolation forest are equal to the last bit, on rows between and on its thresholds.

    The power that makes a score of a depth is left out: NumPy's last bit depends on the processor (AVX-512).
    """
    x, _ = agreement.wine()
    model = IsolationForest(n_estimators=50, random_state=1).fit(x)
    trees = [member.tree_ for member in model.estimators_]
    rows = np.concatenate([x, np.repeat(x[:1], 400, axis=0)])
    points = np.concatenate([tree.threshold[tree.feature == 0] for tree in trees])[:400]
    rows[len(x) : len(x) + len(points), 0] = points
    scores = _answers(model, rows)[SCORE]
    # As scikit-learn's _compute_score_samples adds them, and then C's pow, which ONNX Runtime calls.
    depths = np.zeros(len(rows))
    for tree, path, average in zip(
        trees, model._decision_path_lengths, model._average_path_length_per_tree, strict=True
    ):
        leaves = tree.apply(rows.astype(np.float32))
        depths += path[leaves] + average[leaves] - 1.0
    exponents = -depths / (len(trees) * _average_path_length([model._max_samples])[0])
    expected = [-math.pow(2.0, exponent) - model.offset_ for exponent in exponents]
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_allclose(scores, model.decision_function(rows), rtol=0, atol=4 * np.finfo(np.float64).eps)


@pytest.mark.parametrize("n_neighbors", [1, 5, 8, 20, 67])
def test_a_local_outlier_factor_takes_the_same_neighbours_at_equal_distances(n_neighbors: int) -> None:
    """On whole numbers, where many points are as far away, scores differ by the order of equal distances alone."""
    draw = np.random.default_rng(3)
    x = draw.integers(0, 4, size=(150, 3)).astype(np.float64)
    model = LocalOutlierFactor(n_neighbors=n_neighbors, novelty=True).fit(x)
    rows = np.concatenate([x, draw.integers(-1, 6, size=(300, 3)) / 2.0])
    np.testing.assert_allclose(_answers(model, rows)[SCORE], model.decision_function(rows), rtol=1e-14, atol=0)


def test_a_local_outlier_factor_that_sums_too_many_neighbours_is_refused() -> None:
    """NumPy adds up more than 128 numbers in another order."""
    x = np.random.default_rng(0).normal(size=(400, 2))
    with pytest.raises(NotConvertibleError, match="130 neighbours"):
        agreement.converted(LocalOutlierFactor(n_neighbors=130, novelty=True).fit(x), 2)

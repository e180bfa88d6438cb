"""Linear classifiers and regressors answer from ONNX as they do from scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import linear_model as lm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.svm import LinearSVC, LinearSVR

from orris.errors import NotConvertibleError
from tests.compile import agreement

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning")

CLASSIFIERS = {
    "logistic": lambda: lm.LogisticRegression(max_iter=200),
    "logistic-no-intercept": lambda: lm.LogisticRegression(max_iter=200, fit_intercept=False, C=100.0),
    "sgd-hinge": lambda: lm.SGDClassifier(random_state=0),
    "sgd-log-loss": lambda: lm.SGDClassifier(loss="log_loss", random_state=0),
    "sgd-modified-huber": lambda: lm.SGDClassifier(loss="modified_huber", random_state=0),
    "ridge": lm.RidgeClassifier,
    "ridge-cv": lm.RidgeClassifierCV,
    "perceptron": lm.Perceptron,
    "linear-svc": lambda: LinearSVC(random_state=0),
    "discriminant": LinearDiscriminantAnalysis,
    "discriminant-lsqr": lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    "dummy-prior": DummyClassifier,
    "dummy-most-frequent": lambda: DummyClassifier(strategy="most_frequent"),
}
REGRESSORS = {
    "linear": lm.LinearRegression,
    "ridge": lm.Ridge,
    "ridge-cv": lm.RidgeCV,
    "lasso": lm.Lasso,
    "elastic-net": lm.ElasticNet,
    "bayesian": lm.BayesianRidge,
    "huber": lm.HuberRegressor,
    "lars": lm.Lars,
    "sgd": lambda: lm.SGDRegressor(random_state=0),
    "quantile": lambda: lm.QuantileRegressor(alpha=0.01),
    "theil-sen": lambda: lm.TheilSenRegressor(random_state=0, max_subpopulation=200),
    "linear-svr": lambda: LinearSVR(random_state=0),
    "dummy-mean": DummyRegressor,
    "dummy-median": lambda: DummyRegressor(strategy="median"),
}


@pytest.mark.parametrize("table", agreement.CLASSIFICATION)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier_answers_as_scikit_learn(run_graph: agreement.RunGraph, name: str, table: str) -> None:
    """Every linear classifier gives the same labels and probabilities, far outside the training rows too."""
    x, y = agreement.CLASSIFICATION[table]()
    agreement.assert_agrees(run_graph, CLASSIFIERS[name]().fit(x, y), agreement.hard_rows(x), absolute=1e-12)


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressor_answers_as_scikit_learn(run_graph: agreement.RunGraph, name: str) -> None:
    """Every linear regressor gives the same values."""
    x, y = agreement.diabetes()
    agreement.assert_agrees(
        run_graph, REGRESSORS[name]().fit(x, y), agreement.hard_rows(x), relative=1e-12, absolute=1e-10
    )


@pytest.mark.parametrize(
    "estimator",
    [lm.PoissonRegressor(), lm.GammaRegressor(), lm.TweedieRegressor(power=0), lm.TweedieRegressor(power=1.5)],
    ids=["poisson", "gamma", "tweedie-identity", "tweedie-log"],
)
def test_generalized_linear_model_applies_its_link(run_graph: agreement.RunGraph, estimator: Any) -> None:
    """Generalized linear models give the same values through the identity and the log link."""
    x, y = agreement.diabetes()
    rows = agreement.hard_rows(x)
    agreement.assert_agrees(
        run_graph, estimator.fit(x, y), rows[np.abs(rows).max(axis=1) < 1e3], relative=1e-12, absolute=1e-12
    )


def test_logistic_cross_validated(run_graph: agreement.RunGraph) -> None:
    """LogisticRegressionCV is converted as the regression it settles on."""
    x, y = agreement.iris()
    estimator = lm.LogisticRegressionCV(Cs=3, cv=3, max_iter=200).fit(x, y)
    agreement.assert_agrees(run_graph, estimator, agreement.hard_rows(x), absolute=1e-12)


def test_logistic_liblinear_binary(run_graph: agreement.RunGraph) -> None:
    """A binary liblinear model gives the logistic function of its decision."""
    x, y = agreement.cancer()
    agreement.assert_agrees(
        run_graph, lm.LogisticRegression(solver="liblinear").fit(x, y), agreement.hard_rows(x), absolute=1e-12
    )


def test_one_versus_rest_far_on_the_negative_side_of_every_class(run_graph: agreement.RunGraph) -> None:
    """Where every class is improbable, the normalised probabilities are still scikit-learn's, not uniform."""
    x, y = agreement.iris()
    estimator = lm.SGDClassifier(loss="log_loss", random_state=0).fit(x, y)
    estimator.coef_ = np.full_like(estimator.coef_, -1.0) * np.array([[1.0], [1.01], [1.02]])
    scale = np.linspace(0.0, 400.0, 200)[:, None]
    agreement.assert_agrees(run_graph, estimator, np.ones((200, 4)) * scale, absolute=1e-12)


def test_sparse_coefficients_are_read(run_graph: agreement.RunGraph) -> None:
    """A model whose coefficients were made sparse answers as before."""
    x, y = agreement.iris()
    estimator = lm.SGDClassifier(loss="log_loss", penalty="l1", random_state=0).fit(x, y).sparsify()
    agreement.assert_agrees(run_graph, estimator, agreement.hard_rows(x), absolute=1e-12)


def test_constant_class(run_graph: agreement.RunGraph) -> None:
    """DummyClassifier(strategy='constant') gives its constant with probability one."""
    x, y = agreement.iris()
    estimator = DummyClassifier(strategy="constant", constant="virginica").fit(x, y)
    agreement.assert_agrees(run_graph, estimator, x)


def test_target_of_one_column_gives_a_flat_value(run_graph: agreement.RunGraph) -> None:
    """A regressor fitted on a target of shape (n, 1) gives values of shape (n,)."""
    x, y = agreement.diabetes()
    estimator = lm.LinearRegression().fit(x, y[:, None])
    graph, prediction = agreement.converted(estimator, 10)
    assert run_graph(graph, prediction, 10, x)["value"].shape == (442,)
    agreement.assert_agrees(run_graph, estimator, x, relative=1e-12)


def test_several_targets_are_refused() -> None:
    """A regressor of several targets is not convertible, and the message says so."""
    x, y = agreement.diabetes()
    with pytest.raises(NotConvertibleError, match="2 targets"):
        agreement.converted(lm.LinearRegression().fit(x, np.stack([y, y], axis=1)), 10)


def test_several_labels_a_row_are_refused() -> None:
    """A multilabel ridge classifier is not convertible."""
    x, _ = agreement.diabetes()
    with pytest.raises(NotConvertibleError, match="several labels"):
        agreement.converted(lm.RidgeClassifier().fit(x, (x[:, :3] > 0).astype(int)), 10)


@pytest.mark.parametrize("strategy", ["stratified", "uniform"])
def test_random_answers_are_refused(strategy: str) -> None:
    """A DummyClassifier that draws its answers is not convertible."""
    x, y = agreement.iris()
    with pytest.raises(NotConvertibleError, match="at random"):
        agreement.converted(DummyClassifier(strategy=strategy).fit(x, y), 4)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_random_table_disagrees(data: st.DataObject) -> None:
    """Random small tables and settings find no disagreement between ONNX and scikit-learn."""
    draw = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    n_columns, n_classes = data.draw(st.integers(1, 6)), data.draw(st.integers(2, 5))
    x = draw.normal(size=(40, n_columns)) * 10.0 ** draw.integers(-3, 4, size=n_columns)
    y = np.concatenate([np.arange(n_classes), draw.integers(0, n_classes, size=40 - n_classes)])
    name = data.draw(st.sampled_from(sorted(set(CLASSIFIERS) - {"discriminant-lsqr", "linear-svc"})))
    estimator = CLASSIFIERS[name]().fit(x, y)
    agreement.assert_agrees(agreement.run, estimator, agreement.hard_rows(x), absolute=1e-12)

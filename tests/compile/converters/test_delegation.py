"""Estimators that hand rows to one model inside, or take a vote or a median of several, agree with scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import AdaBoostRegressor, RandomTreesEmbedding
from sklearn.linear_model import (
    LogisticRegression,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    Perceptron,
    RANSACRegressor,
    Ridge,
)
from sklearn.multiclass import OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.naive_bayes import CategoricalNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from orris.errors import NotConvertibleError, TrainingError
from orris.training.fitted import single_target
from tests.compile import agreement

TABLES = {"iris": agreement.iris, "wine": agreement.wine}


@pytest.mark.parametrize("inner", [Ridge(), None], ids=["ridge", "trees"])
def test_the_weighted_median_is_scikit_learns(run_graph: Any, inner: Any) -> None:
    """AdaBoost's regressor takes the weighted median, over trees and over linear models."""
    x, y = agreement.diabetes()
    model = AdaBoostRegressor(inner, n_estimators=7, random_state=0).fit(x, y)
    agreement.assert_agrees(run_graph, model, agreement.hard_rows(x)[:942], relative=1e-12, absolute=1e-9)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("inner", [LogisticRegression(), Perceptron(), DecisionTreeClassifier(max_depth=3)], ids=str)
def test_output_codes_agree(run_graph: Any, table: str, inner: Any) -> None:
    """The nearest code decides, also where a code is the same for every class."""
    x, y = TABLES[table]()
    model = OutputCodeClassifier(inner, code_size=2, random_state=0).fit(x, y)
    agreement.assert_agrees(run_graph, model, agreement.hard_rows(x)[: len(x) + 500])


@pytest.mark.parametrize("table", TABLES)
def test_self_training_is_the_classifier_inside(run_graph: Any, table: str) -> None:
    """A classifier that was fitted on its own labels answers as the one inside."""
    x, y = TABLES[table]()
    y = np.unique(y, return_inverse=True)[1]
    model = SelfTrainingClassifier(LogisticRegression()).fit(x, np.where(np.arange(len(y)) % 3, y, -1))
    agreement.assert_agrees(run_graph, model, x, absolute=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "model",
    [
        RANSACRegressor(random_state=0),
        MultiTaskLasso(),
        MultiTaskElasticNetCV(cv=2),
        MultiOutputRegressor(Ridge()),
        RegressorChain(Ridge()),
    ],
    ids=str,
)
def test_regressors_of_a_column_of_targets_agree(run_graph: Any, model: Any) -> None:
    """Regressors over one column of targets give one value a row."""
    x, y = agreement.diabetes()
    agreement.assert_agrees(run_graph, model.fit(x, y[:, None]), x, relative=1e-11, absolute=1e-9)


def test_several_targets_are_refused() -> None:
    """A regressor of two targets is not converted."""
    x, y = agreement.diabetes()
    for model in (MultiOutputRegressor(Ridge()), RegressorChain(Ridge()), MultiTaskLasso()):
        with pytest.raises(NotConvertibleError, match="targets"):
            agreement.converted(model.fit(x, np.stack([y, -y], axis=1)), 10)


def test_a_model_of_several_targets_is_refused_in_words() -> None:
    """A classifier of one column of targets is the model inside; of several, the error says what to do."""
    x, y = agreement.cancer()
    one, two = y[:, None], np.stack([y, ~y], axis=1)
    for kind in (MultiOutputClassifier, ClassifierChain):
        inside = single_target(kind(LogisticRegression()).fit(x, one))
        assert (inside.predict(x) == y).mean() > 0.9
        with pytest.raises(TrainingError, match="one model for each target"):
            single_target(kind(LogisticRegression()).fit(x, two))
    with pytest.raises(TrainingError, match="DecisionTreeClassifier answers 2 targets"):
        single_target(DecisionTreeClassifier().fit(x, two))
    with pytest.raises(TrainingError, match="DecisionTreeRegressor answers 2 targets"):
        single_target(DecisionTreeRegressor().fit(x, two))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_neural_classifier_of_three_classes_has_one_target() -> None:
    """Its outputs are its classes, not targets."""
    x, y = agreement.iris()
    model = MLPClassifier(max_iter=5, random_state=0).fit(x, y)
    assert single_target(model) is model


@pytest.mark.parametrize("n_levels", [2, 5])
def test_categorical_likelihoods_are_looked_up(run_graph: Any, n_levels: int) -> None:
    """Whole numbers are positions of categories; what is beyond them, which scikit-learn refuses, is marked."""
    draw = np.random.default_rng(n_levels)
    x = draw.integers(0, n_levels, size=(200, 4)).astype(float)
    model = CategoricalNB().fit(x, draw.choice(["no", "yes", "maybe"], 200))
    agreement.assert_agrees(run_graph, model, np.concatenate([x, x + 0.5 * (x < n_levels - 1)]), absolute=1e-14)
    assert len(agreement.converted(model, 4)[0].refused) == 4


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("sparse", [True, False])
def test_leaves_of_random_trees_are_columns(run_graph: Any, table: str, sparse: bool) -> None:
    """A linear model over the leaves of random trees gives scikit-learn's probabilities."""
    x, y = TABLES[table]()
    leaves = RandomTreesEmbedding(10, max_depth=4, random_state=0, sparse_output=sparse)
    model = make_pipeline(leaves, LogisticRegression()).fit(x, y)
    agreement.assert_agrees(run_graph, model, agreement.hard_rows(x)[: len(x) + 500], absolute=1e-12)

"""Multi-layer perceptrons answer from ONNX as they do from scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neural_network import MLPClassifier, MLPRegressor

from orris.errors import NotConvertibleError
from tests.compile import agreement

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("table", agreement.CLASSIFICATION)
def test_classifier_answers_as_scikit_learn(run_graph: agreement.RunGraph, table: str, activation: str) -> None:
    """A binary and a multi-class perceptron give the same labels and probabilities with every activation."""
    x, y = agreement.CLASSIFICATION[table]()
    estimator = MLPClassifier((12, 5), activation=activation, max_iter=15, random_state=0).fit(x, y)
    agreement.assert_agrees(run_graph, estimator, agreement.hard_rows(x), relative=1e-9, absolute=1e-15)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_regressor_answers_as_scikit_learn(run_graph: agreement.RunGraph, activation: str) -> None:
    """A perceptron regressor gives the same values with every activation."""
    x, y = agreement.diabetes()
    estimator = MLPRegressor(hidden_layer_sizes=(12,), activation=activation, max_iter=30, random_state=0).fit(x, y)
    agreement.assert_agrees(run_graph, estimator, agreement.hard_rows(x), relative=1e-9, absolute=1e-9)


def test_log_link_of_a_poisson_loss(run_graph: agreement.RunGraph) -> None:
    """A perceptron fitted with the Poisson loss gives the exponential of its output."""
    x, y = agreement.diabetes()
    estimator = MLPRegressor(loss="poisson", hidden_layer_sizes=(5,), max_iter=5, random_state=0).fit(x, y)
    agreement.assert_agrees(run_graph, estimator, x, relative=1e-9)


def test_several_targets_are_refused() -> None:
    """A perceptron of several targets is not convertible."""
    x, y = agreement.diabetes()
    estimator = MLPRegressor(hidden_layer_sizes=(3,), max_iter=2, random_state=0).fit(x, np.stack([y, -y], axis=1))
    with pytest.raises(NotConvertibleError, match="2 targets"):
        agreement.converted(estimator, 10)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_several_labels_a_row_are_refused(n_labels: int) -> None:
    """A multilabel perceptron is not convertible."""
    x, _ = agreement.diabetes()
    estimator = MLPClassifier((3,), max_iter=2, random_state=0).fit(x, (x[:, :n_labels] > 0).astype(int))
    with pytest.raises(NotConvertibleError, match="several labels"):
        agreement.converted(estimator, 10)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_columns=st.integers(1, 5),
    n_classes=st.integers(2, 5),
    hidden=st.lists(st.integers(1, 8), max_size=3),
    activation=st.sampled_from(ACTIVATIONS),
)
def test_no_random_table_disagrees(
    seed: int, n_columns: int, n_classes: int, hidden: list[int], activation: str
) -> None:
    """Random small tables, layers and activations find no disagreement."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(30, n_columns))
    y = np.concatenate([np.arange(n_classes), draw.integers(0, n_classes, size=30 - n_classes)])
    estimator = MLPClassifier(tuple(hidden), activation=activation, max_iter=5, random_state=0).fit(x, y)
    agreement.assert_agrees(agreement.run, estimator, agreement.hard_rows(x), relative=1e-9, absolute=1e-15)

"""Support-vector machines answer from ONNX as they do from scikit-learn's libsvm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC, SVR, NuSVC, NuSVR

from orris.compile.dispatch import predict
from orris.compile.graph import INPUT, Feature, Frame, Graph
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray
from tests.compile import agreement

pytestmark = pytest.mark.filterwarnings("ignore:The `probability` parameter was deprecated:FutureWarning")
KERNELS = ["linear", "rbf", "poly", "sigmoid"]


def _rows(x: FloatArray, kernel: str) -> FloatArray:
    """Hard rows.

    Rows far out are left out for unbounded kernels, where equal columns leave libsvm a sum of rounding errors.
    """
    rows: FloatArray = agreement.hard_rows(x)
    return rows if kernel in ("rbf", "sigmoid") else rows[np.abs(rows).max(axis=1) < 1e3]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("table", agreement.CLASSIFICATION)
def test_classifier_votes_as_libsvm(run_graph: agreement.RunGraph, table: str, kernel: str) -> None:
    """Every kernel gives the same labels for two, three and ten classes."""
    x, y = agreement.CLASSIFICATION[table]()
    agreement.assert_agrees(run_graph, SVC(kernel=kernel).fit(x, y), _rows(x, kernel))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("table", agreement.CLASSIFICATION)
def test_probabilities_stop_at_the_iteration_libsvm_stops_at(
    run_graph: agreement.RunGraph, table: str, kernel: str
) -> None:
    """Platt's sigmoid and the coupling of pairs give the same probabilities for every kernel and number of classes."""
    x, y = agreement.CLASSIFICATION[table]()
    estimator = SVC(kernel=kernel, probability=True, random_state=0).fit(x, y)
    agreement.assert_agrees(run_graph, estimator, _rows(x, kernel), relative=1e-9)


@pytest.mark.parametrize("shape", ["ovo", "ovr"])
def test_nu_classifier(run_graph: agreement.RunGraph, shape: str) -> None:
    """NuSVC gives the same labels and probabilities, whatever the shape of its decision function."""
    x, y = agreement.wine()
    estimator = NuSVC(nu=0.2, probability=True, random_state=0, decision_function_shape=shape).fit(x, y)
    agreement.assert_agrees(run_graph, estimator, agreement.hard_rows(x), relative=1e-9)


def test_ties_broken_by_confidence(run_graph: agreement.RunGraph) -> None:
    """With break_ties, the label is the one with the most confidence among those with most votes."""
    x, y = agreement.digits()
    agreement.assert_agrees(run_graph, SVC(break_ties=True).fit(x, y), agreement.hard_rows(x))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("estimator", [SVR(C=10.0), NuSVR(C=10.0)], ids=["svr", "nu-svr"])
def test_regressor_answers_as_scikit_learn(run_graph: agreement.RunGraph, estimator: Any, kernel: str) -> None:
    """Every kernel gives the same values."""
    x, y = agreement.diabetes()
    estimator.set_params(kernel=kernel).fit(x, y)
    agreement.assert_agrees(run_graph, estimator, agreement.hard_rows(x), relative=1e-9, absolute=1e-9)


def test_columns_far_from_zero_keep_their_distances(run_graph: agreement.RunGraph) -> None:
    """A column whose values are large beside their spread loses nothing in the distances."""
    x, y = agreement.iris()
    x = x + 1e6
    agreement.assert_agrees(run_graph, SVC(gamma=0.2, probability=True, random_state=0).fit(x, y), x, relative=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_column_scaled_before(run_graph: agreement.RunGraph, kernel: str) -> None:
    """A multiplication by one number in front of the model is not rounded to float32 by ONNX Runtime's fusions."""
    x, y = agreement.iris()
    x = x[:, 2:3]
    estimator = SVC(kernel=kernel, probability=True, random_state=0).fit(x * 0.7, y)
    graph = Graph()
    frame = Frame(graph.add("Mul", INPUT, graph.constant([0.7])), (Feature(),))
    answers = run_graph(graph, predict(graph, estimator, frame), 1, x)
    np.testing.assert_allclose(answers["probabilities"], estimator.predict_proba(x * 0.7), rtol=1e-11)


@pytest.mark.parametrize("kernel", ["precomputed", np.dot])
def test_own_kernels_are_refused(kernel: Any) -> None:
    """A kernel that is a function or a matrix is not convertible."""
    x, y = agreement.iris()
    gram = x @ x.T
    estimator = SVC(kernel=kernel if kernel == "precomputed" else lambda a, b: a @ b.T).fit(
        gram if kernel == "precomputed" else x, y
    )
    with pytest.raises(NotConvertibleError, match="kernel"):
        agreement.converted(estimator, x.shape[1])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_columns=st.integers(1, 4),
    n_classes=st.integers(2, 5),
    kernel=st.sampled_from(KERNELS),
    degree=st.integers(1, 5),
)
def test_no_random_table_disagrees(seed: int, n_columns: int, n_classes: int, kernel: str, degree: int) -> None:
    """Random small tables, kernels and settings find no disagreement."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(60, n_columns))
    y = np.arange(60) % n_classes
    estimator = SVC(
        kernel=kernel, C=draw.choice([0.1, 1.0, 10.0]), degree=degree, coef0=0.5, probability=True, random_state=0
    ).fit(x, y)
    agreement.assert_agrees(agreement.run, estimator, _rows(x, kernel), relative=1e-9)

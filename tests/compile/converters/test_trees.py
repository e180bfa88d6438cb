"""Decision trees and forests answer from ONNX to the last bit as they do from scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from orris.compile.converters.tree_ensemble import last_rounding_below
from orris.compile.converters.trees import read_tree
from orris.compile.dispatch import predict
from orris.compile.graph import INPUT, Feature, Frame, Graph
from orris.errors import NotConvertibleError
from tests.compile import agreement, branches

SINGLE: list[type] = [DecisionTreeClassifier, ExtraTreeClassifier]
FORESTS: list[type] = [RandomForestClassifier, ExtraTreesClassifier]
REGRESSORS: list[type] = [DecisionTreeRegressor, ExtraTreeRegressor, RandomForestRegressor, ExtraTreesRegressor]


def fitted(model: type, x: Any, y: Any, **options: Any) -> Any:
    """The fitted model; forests have 20 trees unless set otherwise."""
    if model in (RandomForestClassifier, ExtraTreesClassifier, RandomForestRegressor, ExtraTreesRegressor):
        options = {"n_estimators": 20, **options}
    return model(random_state=0, **options).fit(x, y)


@pytest.mark.parametrize("leaf", [1, 7])
@pytest.mark.parametrize("name", branches.TABLES)
@pytest.mark.parametrize("model", SINGLE + FORESTS)
def test_classifier_answers_to_the_last_bit(run_graph: agreement.RunGraph, model: type, name: str, leaf: int) -> None:
    """Pure leaves and leaves of fractions give the same labels and probabilities, on thresholds too."""
    x, y = branches.table(name)
    branches.assert_same(run_graph, fitted(model, x, y, min_samples_leaf=leaf), x)


@pytest.mark.parametrize("leaf", [1, 5])
@pytest.mark.parametrize("model", REGRESSORS)
def test_regressor_answers_to_the_last_bit(run_graph: agreement.RunGraph, model: type, leaf: int) -> None:
    """Trees and forests give the same value, on thresholds too."""
    x, y = load_diabetes(return_X_y=True)
    branches.assert_same(run_graph, fitted(model, x, y, min_samples_leaf=leaf), x)


@pytest.mark.parametrize("model", SINGLE + FORESTS + REGRESSORS)
def test_missing_values_take_the_branch_learned_for_them(run_graph: agreement.RunGraph, model: type) -> None:
    """Rows with missing values are answered as by the fitted model, whether training saw such rows or not."""
    x, y = load_iris(return_X_y=True)
    for data in (branches.with_holes(x), x):
        branches.assert_same(run_graph, fitted(model, data, y, min_samples_leaf=3), data, holes=True)


@pytest.mark.parametrize("n_trees", [1, 2, 3, 8, 127, 128, 300])
@pytest.mark.parametrize("leaf", [1, 5])
def test_votes_add_up_in_the_order_of_the_trees(run_graph: agreement.RunGraph, n_trees: int, leaf: int) -> None:
    """Any number of trees gives the same sum, for one row and for thousands."""
    x, y = load_iris(return_X_y=True)
    branches.assert_same(
        run_graph, fitted(RandomForestClassifier, x, y, n_estimators=n_trees, min_samples_leaf=leaf), x
    )
    branches.assert_same(run_graph, fitted(RandomForestRegressor, x, y, n_estimators=n_trees, min_samples_leaf=leaf), x)


@pytest.mark.parametrize("weights", ["balanced", "balanced_subsample", {0: 0.3, 1: 7.1, 2: 1.9}])
def test_class_weights_make_fractions_that_stay_exact(run_graph: agreement.RunGraph, weights: Any) -> None:
    """Leaves of weighted shares are reproduced to the last bit."""
    x, y = load_wine(return_X_y=True)
    branches.assert_same(run_graph, fitted(RandomForestClassifier, x, y, class_weight=weights, min_samples_leaf=5), x)


@pytest.mark.parametrize("model", SINGLE + FORESTS + REGRESSORS)
def test_trees_that_are_a_single_leaf(run_graph: agreement.RunGraph, model: type) -> None:
    """A model that never splits gives its only answer, to rows with missing values too."""
    x, y = load_iris(return_X_y=True)
    branches.assert_same(run_graph, fitted(model, x, y, min_samples_leaf=100), x, holes=True)


def test_forest_of_stumps_and_leaves_together(run_graph: agreement.RunGraph) -> None:
    """A single leaf among trees that split is not mistaken for another tree's."""
    x = np.repeat([[0.0], [1.0]], [30, 2], axis=0)
    model = fitted(RandomForestClassifier, x, x[:, 0].astype(int), max_samples=8)
    assert {tree.tree_.node_count for tree in model.estimators_} == {1, 3}
    branches.assert_same(run_graph, model, x)


@pytest.mark.parametrize("model", SINGLE + FORESTS)
def test_classifier_of_a_single_class(run_graph: agreement.RunGraph, model: type) -> None:
    """One class has probability 1."""
    x = load_iris().data
    branches.assert_same(run_graph, fitted(model, x, np.zeros(len(x))), x)


@pytest.mark.parametrize(
    "options", [{}, {"max_features": 0.5}, {"max_samples": 5}, {"bootstrap_features": True}], ids=str
)
@pytest.mark.parametrize("leaf", [1, 4])
def test_bagged_trees_answer_to_the_last_bit(run_graph: agreement.RunGraph, options: dict[str, Any], leaf: int) -> None:
    """Trees that saw some of the columns, or not every class, vote as in the fitted model."""
    x, y = branches.table("wine")
    trees = DecisionTreeClassifier(min_samples_leaf=leaf), DecisionTreeRegressor(min_samples_leaf=leaf)
    branches.assert_same(run_graph, BaggingClassifier(trees[0], random_state=0, **options).fit(x, y), x, holes=True)
    branches.assert_same(
        run_graph, BaggingRegressor(trees[1], random_state=0, **options).fit(x, x[:, 0]), x, holes=True
    )


def test_bags_of_other_models_are_their_means(run_graph: agreement.RunGraph) -> None:
    """Members of any family are averaged, each over its columns, also where one did not see every class."""
    x, y = load_iris(return_X_y=True)
    for options in ({"max_features": 0.5}, {"max_samples": 6}):
        bag = BaggingClassifier(KNeighborsClassifier(3, algorithm="kd_tree"), 6, random_state=0, **options).fit(x, y)
        agreement.assert_agrees(run_graph, bag, x, absolute=1e-12)
    assert any(len(member.classes_) < 3 for member in bag.estimators_)
    x, y = load_diabetes(return_X_y=True)
    bag = BaggingRegressor(LinearRegression(), 4, max_features=0.5, random_state=0).fit(x, y)
    agreement.assert_agrees(run_graph, bag, x, absolute=1e-9)


def test_bags_of_models_without_probabilities_are_refused() -> None:
    """Members that vote are left to the next strategy."""
    x, y = load_iris(return_X_y=True)
    with pytest.raises(NotConvertibleError):
        branches.compiled(BaggingClassifier(RidgeClassifier(), n_estimators=2).fit(x, y), 4)


def test_forest_is_exact_with_more_threads() -> None:
    """A forest classifier's answers do not depend on the number of threads."""
    import onnxruntime

    x, y = load_iris(return_X_y=True)
    model = fitted(RandomForestClassifier, x, y, n_estimators=300, min_samples_leaf=5)
    graph, prediction = branches.compiled(model, 4)
    rows = branches.on_thresholds(graph, x)
    assert prediction.probabilities is not None
    content = graph.model(4, [(prediction.probabilities, "probabilities", 11, ("n_rows", 3))]).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 3
    session = onnxruntime.InferenceSession(content, options)
    np.testing.assert_array_equal(session.run(None, {INPUT: rows})[0], model.predict_proba(rows))


@settings(max_examples=40, deadline=None)
@given(
    data=branches.tables(holes=True),
    model=st.sampled_from(SINGLE + FORESTS),
    leaf=st.integers(1, 6),
    depth=st.none() | st.integers(1, 4),
    n_trees=st.integers(1, 12),
)
def test_any_classifier_on_tables_full_of_ties(
    data: Any, model: type, leaf: int, depth: int | None, n_trees: int
) -> None:
    """Random tables and settings give no difference, and equal labels where classes tie."""
    x, y, seed = data
    extra = {"n_estimators": n_trees} if model in FORESTS else {}
    estimator = model(random_state=seed, min_samples_leaf=leaf, max_depth=depth, **extra).fit(x, y)
    branches.assert_same(agreement.run, estimator, x, holes=True)


@settings(max_examples=25, deadline=None)
@given(data=branches.tables(holes=True), model=st.sampled_from(REGRESSORS), leaf=st.integers(1, 6))
def test_any_regressor_on_tables_full_of_ties(data: Any, model: type, leaf: int) -> None:
    """Random tables and settings give no difference."""
    x, y, seed = data
    estimator = fitted(model, x, y + np.random.default_rng(seed).normal(size=len(y)), min_samples_leaf=leaf)
    branches.assert_same(agreement.run, estimator, x, holes=True)


@settings(max_examples=300, deadline=None)
@given(st.floats(-(2.0**127), 2.0**127) | st.floats(-1e-37, 1e-37) | st.floats(-(2.0**127), 2.0**127, width=32))
def test_threshold_moves_to_the_last_double_that_rounds_below(threshold: float) -> None:
    """The moved threshold still rounds to at most the threshold, and the next double does not."""
    moved = last_rounding_below(np.array([threshold]))
    assert moved.astype(np.float32).astype(np.float64) <= threshold
    assert np.nextafter(moved, np.inf).astype(np.float32).astype(np.float64) > threshold


def test_same_model_gives_the_same_bytes() -> None:
    """Converting twice gives identical graphs."""
    x, y = load_wine(return_X_y=True)
    model = fitted(RandomForestClassifier, x, y, min_samples_leaf=3)
    first, second = (branches.compiled(model, 13)[0] for _ in range(2))
    assert [node.SerializeToString() for node in first.nodes] == [node.SerializeToString() for node in second.nodes]
    assert first.initializers.keys() == second.initializers.keys()


def test_the_parity_gate_gets_every_split() -> None:
    """The thresholds of every column that some tree splits are in the graph."""
    x, y = load_iris(return_X_y=True)
    model = fitted(RandomForestClassifier, x, y)
    graph, _ = branches.compiled(model, 4)
    for tree in map(read_tree, model.estimators_):
        for node in np.flatnonzero(~tree.is_leaf):
            assert tree.threshold[node] in np.concatenate(graph.thresholds[int(tree.feature[node])])


def test_more_than_one_output_is_refused() -> None:
    """A forest of two outputs is left to the next strategy."""
    x, y = load_iris(return_X_y=True)
    with pytest.raises(NotConvertibleError, match="2 outputs"):
        branches.compiled(fitted(RandomForestClassifier, x, np.column_stack([y, y])), 4)


def test_category_codes_are_refused() -> None:
    """A tree cannot take codes where it was fitted on values."""
    x, y = load_iris(return_X_y=True)
    frame = Frame(INPUT, (Feature(name="kind", levels=("red", "blue")), *(Feature(),) * 3))
    with pytest.raises(NotConvertibleError, match="kind"):
        predict(Graph(), fitted(DecisionTreeClassifier, x, y), frame)

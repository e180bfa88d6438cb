"""Converters of scikit-learn's decision trees and forests; the answers are the same to the last bit.

A forest's answer is the sum of its trees' answers, tree by tree, divided by their number. (With ``n_jobs`` other than
1, scikit-learn itself adds in whatever order its threads finish, so its own answers vary in the last bits; the compiled
model is that of ``n_jobs=1``.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from orris.compile.converters.levels import numbers
from orris.compile.converters.tree_ensemble import (
    Tree,
    add_largest,
    add_totals,
    add_votes,
    after_rounding,
    note_thresholds,
)
from orris.compile.dispatch import predict
from orris.compile.graph import Feature, Frame, Graph, Hot, Prediction, unnamed
from orris.compile.registry import is_exactly, predictor, require_values, transformer
from orris.errors import NotConvertibleError

TREE_CLASSIFIERS = ("sklearn.tree.DecisionTreeClassifier", "sklearn.tree.ExtraTreeClassifier")
FOREST_CLASSIFIERS = (
    "sklearn.ensemble.RandomForestClassifier",
    "sklearn.ensemble.ExtraTreesClassifier",
    "imblearn.ensemble.BalancedRandomForestClassifier",  # fits in its own way, and answers as its base class
)
BAGGING_CLASSIFIERS = (
    "sklearn.ensemble.BaggingClassifier",
    # They resample for each member, in pipelines whose samplers do nothing at prediction.
    "imblearn.ensemble.BalancedBaggingClassifier",
    "imblearn.ensemble.EasyEnsembleClassifier",
)
TREE_REGRESSORS = ("sklearn.tree.DecisionTreeRegressor", "sklearn.tree.ExtraTreeRegressor")


def read_tree(estimator: Any) -> Tree:
    """A fitted scikit-learn tree as it is; thresholds are for rows rounded to float32.

    Returns:
        A tree whose ``values`` are float64 ``(n_nodes, n_classes)``, or ``(n_nodes, 1)`` for a regressor.

    Raises:
        NotConvertibleError: It predicts more than one output.
    """
    refuse_outputs(estimator)
    inner = estimator.tree_
    return Tree(
        feature=inner.feature.astype(np.int64),
        threshold=inner.threshold.astype(np.float64),
        left=inner.children_left.astype(np.int64),
        right=inner.children_right.astype(np.int64),
        missing_left=inner.missing_go_to_left.astype(np.bool_),
        values=inner.value[:, 0, :].astype(np.float64),
    )


def refuse_outputs(estimator: Any) -> None:
    """Raise ``NotConvertibleError`` if the estimator predicts more than one output."""
    if estimator.n_outputs_ != 1:
        raise NotConvertibleError(
            f"{type(estimator).__name__} predicts {estimator.n_outputs_} outputs: fit one model per output"
        )


@predictor(*TREE_CLASSIFIERS, takes_single=True)
def tree_classifier(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Probabilities are the leaf's class shares; the label is the largest, the first among equals."""
    return _vote(graph, estimator, frame, [estimator])


@predictor(*FOREST_CLASSIFIERS, takes_single=True)
def forest_classifier(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Probabilities are the mean over trees of the leaf's class shares.

    The label is the class with the largest, the first among equals.
    """
    return _vote(graph, estimator, frame, estimator.estimators_)


@predictor(*TREE_REGRESSORS, takes_single=True)
def tree_regressor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The leaf's value."""
    return _mean(graph, estimator, frame, [estimator])


@predictor("sklearn.ensemble.RandomForestRegressor", "sklearn.ensemble.ExtraTreesRegressor", takes_single=True)
def forest_regressor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The mean over trees of the leaf's value."""
    return _mean(graph, estimator, frame, estimator.estimators_)


@predictor(*BAGGING_CLASSIFIERS, takes_single=True)
def bagging_classifier(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The mean over members of their probabilities; a class that a member did not see has none."""
    if all(is_exactly(member, *TREE_CLASSIFIERS) for member in estimator.estimators_):
        return _vote(graph, estimator, frame, estimator.estimators_)
    shares = []
    for member, prediction in zip(estimator.estimators_, _bagged(graph, estimator, frame), strict=True):
        if prediction.probabilities is None:
            return leave_to_foreign(graph, estimator, frame)  # members without probabilities vote
        shares.append(_among_all(graph, prediction.probabilities, member, estimator.n_classes_))
    probabilities = _mean_of(graph, shares)
    return Prediction(label=add_largest(graph, probabilities), probabilities=probabilities)


@predictor("sklearn.ensemble.BaggingRegressor", takes_single=True)
def bagging_regressor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The mean over members of their values."""
    if all(is_exactly(member, *TREE_REGRESSORS) for member in estimator.estimators_):
        return _mean(graph, estimator, frame, estimator.estimators_)
    values = [prediction.value for prediction in _bagged(graph, estimator, frame)]
    found = [value for value in values if value is not None]
    if len(found) < len(values):
        raise NotConvertibleError("a member of the bag gives no value")
    return Prediction(value=_mean_of(graph, found))


def _bagged(graph: Graph, estimator: Any, frame: Frame) -> list[Prediction]:
    """What each member answers, given its columns; they have no names."""
    require_values(frame, estimator)
    plain = unnamed(frame)
    return [
        predict(graph, member, graph.take(plain, np.asarray(chosen).tolist()))
        for member, chosen in zip(estimator.estimators_, estimator.estimators_features_, strict=True)
    ]


def _among_all(graph: Graph, probabilities: str, member: Any, n_classes: int) -> str:
    """A member's probabilities, each in the column of its class among all, and 0 for a class that it did not see."""
    if len(member.classes_) == n_classes:
        return probabilities
    spread = np.zeros((len(member.classes_), n_classes))
    spread[np.arange(len(spread)), np.asarray(member.classes_, dtype=np.int64)] = 1.0
    return str(graph.add("MatMul", probabilities, graph.constant(spread)))


def _mean_of(graph: Graph, members: list[str]) -> str:
    """The sum, member after member, divided by their number."""
    total = members[0]
    for member in members[1:]:
        total = graph.add("Add", total, member)
    return total if len(members) == 1 else str(graph.add("Div", total, graph.constant(float(len(members)))))


def leave_to_foreign(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Convert an estimator that has no converter.

    Uses skl2onnx where the strategy allows it, and raises ``NotConvertibleError`` otherwise.
    """
    from orris.compile.converters import foreign  # noqa: PLC0415 (skl2onnx is slow to import and rarely needed)

    return foreign.predict(graph, estimator, frame)


def _read(graph: Graph, estimator: Any, frame: Frame, members: list[Any]) -> list[Tree]:
    require_values(frame, estimator)
    trees = [read_tree(member) for member in members]
    if is_exactly(estimator, "sklearn.ensemble.BaggingClassifier", "sklearn.ensemble.BaggingRegressor"):
        trees = [
            replace(tree, feature=chosen[tree.feature])
            for tree, chosen in zip(trees, estimator.estimators_features_, strict=True)
        ]
    if is_exactly(estimator, *BAGGING_CLASSIFIERS):
        trees = [_spread(tree, member, estimator.n_classes_) for tree, member in zip(trees, members, strict=True)]
    note_thresholds(graph, frame, trees)
    trees = [after_rounding(tree) for tree in trees]
    note_thresholds(graph, frame, trees)
    return trees


def _spread(tree: Tree, member: Any, n_classes: int) -> Tree:
    """The tree's class shares, each in the column of its class among all.

    A bagged tree's ``classes_`` are their positions.
    """
    if len(member.classes_) == n_classes:
        return tree
    values = np.zeros((len(tree.values), n_classes))
    values[:, member.classes_.astype(np.int64)] = tree.values
    return replace(tree, values=values)


def _vote(graph: Graph, estimator: Any, frame: Frame, members: list[Any]) -> Prediction:
    total = add_votes(graph, frame.tensor, _read(graph, estimator, frame, members))
    probabilities = total if len(members) == 1 else graph.add("Div", total, graph.constant(float(len(members))))
    return Prediction(label=add_largest(graph, probabilities), probabilities=probabilities)


def _mean(graph: Graph, estimator: Any, frame: Frame, members: list[Any]) -> Prediction:
    trees = [replace(tree, values=tree.values[:, 0]) for tree in _read(graph, estimator, frame, members)]
    total = graph.add(
        "Squeeze", add_totals(graph, frame.tensor, trees, [0] * len(trees), 1), graph.constant([1], np.int64)
    )
    return Prediction(
        value=total if len(members) == 1 else graph.add("Div", total, graph.constant(float(len(members))))
    )


@transformer("sklearn.ensemble.RandomTreesEmbedding")
def embedding(graph: Graph, estimator: Any, frame: Frame) -> Frame:
    """A column for each leaf of each tree, 1.0 where the row ends in it."""
    frame = numbers(graph, frame, estimator)
    trees = [
        replace(tree, values=np.cumsum(tree.is_leaf).astype(np.float64) - 1.0)
        for tree in _read(graph, estimator, frame, estimator.estimators_)
    ]
    positions = add_totals(graph, frame.tensor, trees, list(range(len(trees))), len(trees))
    found = estimator.one_hot_encoder_.categories_  # a leaf that no training row ended in has no column
    leaves = [trees[k].values[np.asarray(nodes, dtype=np.int64)] for k, nodes in enumerate(found)]
    owners = np.repeat(np.arange(len(trees)), [len(each) for each in leaves])
    sought = np.concatenate(leaves)
    spread = graph.add("Gather", positions, graph.constant(owners, np.int64), axis=1)
    tensor = graph.cast(graph.add("Equal", spread, graph.constant(sought)), TensorProto.DOUBLE)
    graph.hot[tensor] = tuple(
        Hot(positions, *pair) for pair in zip(owners.tolist(), sought.astype(int).tolist(), strict=True)
    )
    return Frame(tensor, (Feature(),) * len(sought), sparse=bool(estimator.sparse_output))

"""Converters of scikit-learn's boosting: gradient boosting, plain and histogram-based, and AdaBoost over trees.

Raw scores start from the baseline, to which the trees are added one after the other, so labels, which compare raw
scores, are the same to the last bit; probabilities and values that pass through an exponential differ by the last bits
of the two libraries' ``exp``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from orris.compile.converters import arithmetic
from orris.compile.converters.categories import Categories, read_categories
from orris.compile.converters.tree_ensemble import (
    LEAF,
    Tree,
    add_binary,
    add_largest,
    add_totals,
    add_votes,
    after_rounding,
    constant_tree,
    note_thresholds,
)
from orris.compile.converters.trees import TREE_CLASSIFIERS, leave_to_foreign, read_tree
from orris.compile.dispatch import predict
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import is_exactly, predictor, require_values
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray

_INVERSE_LINKS: dict[str, Callable[[Graph, str], str]] = {
    "IdentityLink": lambda _, raw: raw,
    "LogLink": lambda graph, raw: str(graph.add("Exp", raw)),
    "LogitLink": lambda graph, raw: add_binary(graph, graph.add("Sigmoid", raw)),
    "HalfLogitLink": lambda graph, raw: add_binary(graph, graph.add("Sigmoid", graph.add("Add", raw, raw))),
    "MultinomialLogit": lambda graph, raw: str(graph.add("Softmax", raw, axis=1)),
}
"""Raw scores ``(n_rows, n_targets)`` -> what scikit-learn's link of that class name makes of them."""


@predictor("sklearn.ensemble.GradientBoostingClassifier", takes_single=True)
def gradient_boosting_classifier(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Log loss and exponential loss, two classes or more; two classes with a raw score of 0 are the second class."""
    raw = _gradient_boosting(graph, estimator, frame)
    return _classify(graph, estimator, raw, "GreaterOrEqual")


@predictor("sklearn.ensemble.GradientBoostingRegressor", takes_single=True)
def gradient_boosting_regressor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """All losses; the value is the raw score."""
    return Prediction(value=_column(graph, _gradient_boosting(graph, estimator, frame)))


@predictor("sklearn.ensemble.HistGradientBoostingClassifier", takes_codes=True, takes_single=True)
def hist_classifier(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Two classes or more; two classes with a raw score of 0 are the first class."""
    if len(estimator.classes_) < 2:
        raise NotConvertibleError("HistGradientBoostingClassifier was fitted on a single class")
    return _classify(graph, estimator, _hist(graph, estimator, frame), "Greater")


@predictor("sklearn.ensemble.HistGradientBoostingRegressor", takes_codes=True, takes_single=True)
def hist_regressor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """All losses; Poisson and gamma pass through the exponential."""
    return Prediction(value=_column(graph, _inverse_link(graph, estimator, _hist(graph, estimator, frame))))


@predictor("sklearn.ensemble.AdaBoostClassifier", "imblearn.ensemble.RUSBoostClassifier", takes_single=True)
def adaboost_classifier(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """AdaBoost over decision trees (SAMME).

    Each tree adds its weight to the class that it predicts and subtracts a share from the others.
    """
    classes = estimator.classes_
    if len(classes) < 2 or not all(is_exactly(member, *TREE_CLASSIFIERS) for member in estimator.estimators_):
        return leave_to_foreign(graph, estimator, frame)
    require_values(frame, estimator)
    trees = []
    for member, weight in zip(estimator.estimators_, estimator.estimator_weights_, strict=False):
        tree = read_tree(member)
        named = member.classes_[tree.values.argmax(axis=1)]
        trees.append(
            replace(tree, values=np.where(named[:, np.newaxis] == classes, weight, -1 / (len(classes) - 1) * weight))
        )
    note_thresholds(graph, frame, trees)
    trees = [after_rounding(tree) for tree in trees]
    note_thresholds(graph, frame, trees)
    total = graph.constant(estimator.estimator_weights_.sum(), np.float64)
    decision = graph.add("Div", add_votes(graph, frame.tensor, trees), total)
    if len(classes) > 2:
        share = graph.add("Div", decision, graph.constant(float(len(classes) - 1)))
        return Prediction(
            label=add_largest(graph, decision), probabilities=graph.add("Softmax", share, axis=1), decision=decision
        )
    first, second = graph.add("Split", decision, outputs=2, axis=1, num_outputs=2)
    score = graph.add("Sub", second, first)
    margin = _column(graph, score)
    label = graph.cast(graph.add("Greater", margin, graph.constant(0.0, np.float64)), TensorProto.INT64)
    halves = graph.add("Mul", score, graph.constant([[-0.5, 0.5]], np.float64))
    return Prediction(label=label, probabilities=graph.add("Softmax", halves, axis=1), decision=margin)


def _classify(graph: Graph, estimator: Any, raw: str, positive: str) -> Prediction:
    probabilities = _inverse_link(graph, estimator, raw)
    if len(estimator.classes_) > 2:
        return Prediction(label=add_largest(graph, raw), probabilities=probabilities, decision=raw)
    decision = _column(graph, raw)
    label = graph.cast(graph.add(positive, decision, graph.constant(0.0, np.float64)), TensorProto.INT64)
    return Prediction(label=label, probabilities=probabilities, decision=decision)


def _inverse_link(graph: Graph, estimator: Any, raw: str) -> str:
    link = type(estimator._loss.link).__name__
    if link not in _INVERSE_LINKS:
        raise NotConvertibleError(f"{type(estimator).__name__} has the unknown link {link}")
    return _INVERSE_LINKS[link](graph, raw)


def _column(graph: Graph, tensor: str) -> str:
    """``(n_rows, 1)`` -> ``(n_rows,)``."""
    return str(graph.add("Squeeze", tensor, graph.constant([1], np.int64)))


def _add_stages(graph: Graph, tensor: str, baseline: FloatArray, stages: Sequence[Sequence[Tree]]) -> str:
    """Raw scores: the baseline ``(n_targets,)`` first, then stage by stage.

    The baseline is a tree of its own, so that it is added first.
    """
    n_targets = len(baseline)
    trees = [*map(constant_tree, baseline), *(tree for stage in stages for tree in stage)]
    return add_totals(graph, tensor, trees, list(range(n_targets)) * (len(stages) + 1), n_targets)


def _gradient_boosting(graph: Graph, estimator: Any, frame: Frame) -> str:
    require_values(frame, estimator)
    constant = (
        estimator.init_ == "zero"
        if isinstance(estimator.init_, str)
        else is_exactly(estimator.init_, "sklearn.dummy.DummyClassifier", "sklearn.dummy.DummyRegressor")
    )
    if not constant or getattr(estimator.init_, "strategy", None) == "stratified":
        raise NotConvertibleError(
            f"{type(estimator).__name__} starts from init={estimator.init!r}, whose answer depends on the row"
        )
    baseline = estimator._raw_predict_init(np.zeros((1, frame.width), dtype=np.float32))[0]
    stages = [[read_tree(member) for member in stage] for stage in estimator.estimators_]
    stages = [[replace(tree, values=estimator.learning_rate * tree.values[:, 0]) for tree in stage] for stage in stages]
    # It refuses missing values, and its own prediction ignores where the trees would send them.
    stages = [[replace(tree, missing_left=np.zeros_like(tree.missing_left)) for tree in stage] for stage in stages]
    rounded = [[after_rounding(tree) for tree in stage] for stage in stages]
    for trees in (*stages, *rounded):
        note_thresholds(graph, frame, trees)
    return _add_stages(graph, frame.tensor, baseline, rounded)


def _hist(graph: Graph, estimator: Any, frame: Frame) -> str:
    categories = read_categories(estimator, frame)
    stages = [[_read_hist_tree(member, categories) for member in stage] for stage in estimator._predictors]
    for trees in stages:
        note_thresholds(graph, frame, trees)
    return _add_stages(graph, categories.add_guard(graph, frame), estimator._baseline_prediction.reshape(-1), stages)


def _read_hist_tree(member: Any, categories: Categories) -> Tree:
    """One ``TreePredictor``; features are numbered as in the frame, not as after the estimator's own reordering."""
    nodes = member.nodes
    leaf = nodes["is_leaf"].astype(np.bool_)
    left, right = (np.where(leaf, LEAF, nodes[side].astype(np.int64)) for side in ("left", "right"))
    missing_left = nodes["missing_go_to_left"].astype(np.bool_)
    thresholds = nodes["num_threshold"].astype(np.float64)
    members: dict[int, FloatArray] = {}
    for node in np.flatnonzero(~leaf & nodes["is_categorical"].astype(np.bool_)).tolist():
        chosen = _ordinals(member.raw_left_cat_bitsets[nodes["bitset_idx"][node]])
        values = categories.values[int(nodes["feature_idx"][node])]
        stays = np.array([(ordinal in chosen) != missing_left[node] for ordinal in values.ordinals], dtype=np.bool_)
        if stays.any():
            members[node] = values.codes[stays]
        else:
            thresholds[node] = -np.inf  # every row goes right
        if missing_left[node]:
            # What is missing or unknown is no member, so it goes right: members must be the side that the missing do
            # not take.
            left[node], right[node] = right[node], left[node]
            missing_left[node] = False
    return Tree(
        feature=categories.order[np.where(leaf, 0, nodes["feature_idx"])],
        threshold=thresholds,
        left=left,
        right=right,
        missing_left=missing_left,
        values=nodes["value"].astype(np.float64),
        members=members,
    )


def _ordinals(bitset: npt.NDArray[np.uint32]) -> set[int]:
    """Positions of the set bits of eight 32-bit words, the lowest first."""
    return set(np.flatnonzero(np.unpackbits(bitset.astype("<u4").view(np.uint8), bitorder="little")).tolist())


@predictor("sklearn.ensemble.AdaBoostRegressor", takes_single=True)
def adaboost_regressor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The weighted median of the estimators' values: the first, in order, at which half of the weights are reached."""
    members = [predict(graph, member, frame) for member in estimator.estimators_]
    if any(member.value is None for member in members):
        raise NotConvertibleError("AdaBoostRegressor over an estimator that gives no value")
    axis = graph.constant([1], np.int64)
    columns = [graph.add("Unsqueeze", str(member.value), axis) for member in members]
    values = graph.add("Concat", *columns, axis=1) if len(columns) > 1 else columns[0]
    n_members = graph.constant([len(members)], np.int64)
    ordered, order = graph.add("TopK", values, n_members, axis=1, largest=0, sorted=1, outputs=2)
    weights = np.asarray(estimator.estimator_weights_[: len(members)], dtype=np.float64)
    reached = graph.add("CumSum", graph.add("Gather", graph.constant(weights), order), graph.constant(1, np.int64))
    last = graph.add("Gather", reached, graph.constant([len(members) - 1], np.int64), axis=1)
    half = graph.add("Mul", last, graph.constant(0.5))
    above = graph.cast(graph.add("GreaterOrEqual", reached, half), TensorProto.INT32)
    first = graph.add("ArgMax", above, axis=1, keepdims=1)
    return Prediction(value=arithmetic.flat(graph, graph.add("GatherElements", ordered, first, axis=1)))

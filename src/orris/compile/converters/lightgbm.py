"""Exact converters of LightGBM, after its ``dump_model``: raw scores are the same to the last bit.

LightGBM computes in float64: a split goes left where ``value <= threshold``, values within 1e-35 of zero count as zero,
and the leaves are added tree by tree. Only the exponentials of the links may differ, by the last bits of two libraries'
``exp``. Sources: ``tree.h`` (decisions), ``gbdt_prediction.cpp`` (sums), ``*_objective.hpp`` (``ConvertOutput``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orris.compile.converters import arithmetic
from orris.compile.converters.boosted import Boosted, add_scores, note
from orris.compile.converters.boosted_categories import Categories, as_codes, match, with_numbers
from orris.compile.converters.tree_ensemble import LEAF, Tree
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import library_file, predictor
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray

ZERO = float(np.float32(1e-35))
"""Values of no larger magnitude count as zero (``kZeroThreshold``)."""

_INFINITE = 1e300
"""How ``dump_model`` writes an infinite threshold."""

Link = Callable[[Graph, str, float], str]

_IDENTITY = (
    "fair",
    "huber",
    "lambdarank",
    "mape",
    "none",
    "quantile",
    "rank_xendcg",
    "regression",
    "regression_l1",
    "regression_l2",
)


def _exponential(graph: Graph, raw: str, _sigmoid: float) -> str:
    return str(graph.add("Exp", raw))


def _logistic(graph: Graph, raw: str, sigmoid: float) -> str:
    return arithmetic.expit_of_negated(graph, str(graph.add("Mul", raw, graph.constant(-sigmoid))))


def _softmax(graph: Graph, raw: str, _sigmoid: float) -> str:
    axis = graph.constant([1], np.int64)
    exponentials = graph.add("Exp", graph.add("Sub", raw, graph.add("ReduceMax", raw, axis, keepdims=1)))
    return str(graph.add("Div", exponentials, graph.add("ReduceSum", exponentials, axis, keepdims=1)))


def _log1p_exp(graph: Graph, raw: str, _sigmoid: float) -> str:
    return str(graph.add("Log", graph.add("Add", graph.add("Exp", raw), graph.constant(1.0))))


def _signed_square(graph: Graph, raw: str, _sigmoid: float) -> str:
    return str(graph.add("Mul", graph.add("Sign", raw), graph.add("Mul", raw, raw)))


_LINKS: dict[str, Link] = {
    **dict.fromkeys(_IDENTITY, lambda _graph, raw, _sigmoid: raw),
    **dict.fromkeys(("gamma", "poisson", "tweedie"), _exponential),
    **dict.fromkeys(("binary", "cross_entropy", "multiclassova"), _logistic),
    "cross_entropy_lambda": _log1p_exp,
    "multiclass": _softmax,
    "regression sqrt": _signed_square,
}
"""Raw scores ``(n_rows, n_targets)`` -> what the objective of that name makes of them."""


@dataclass(frozen=True)
class Ensemble:
    """A trained LightGBM model as data.

    Attributes:
        document: What ``Booster.dump_model`` gives of it, up to the best iteration.
        categories: For each column of a ``category`` dtype that it was trained on, in their order: the categories.
    """

    document: dict[str, Any]
    categories: list[list[Any]]

    @property
    def objective(self) -> str:
        """The objective's name, with ``sqrt`` where the target was its square root."""
        words = str(self.document.get("objective") or "none").split()
        return f"{words[0]} sqrt" if "sqrt" in words else words[0]

    @property
    def sigmoid(self) -> float:
        """Factor of the raw score in the logistic function."""
        words = str(self.document.get("objective")).split()
        return next((float(word.partition(":")[2]) for word in words if word.startswith("sigmoid:")), 1.0)

    @property
    def n_features(self) -> int:
        """Columns of a row."""
        return int(self.document["max_feature_idx"]) + 1

    @property
    def n_targets(self) -> int:
        """Raw scores of a row."""
        return int(self.document["num_tree_per_iteration"])


def read_booster(booster: Any) -> Ensemble:
    """A ``lightgbm.Booster`` as data; as in its own ``predict``, rounds after the best do not count."""
    return Ensemble(booster.dump_model(), [list(known) for known in booster.pandas_categorical or []])


@predictor("lightgbm.LGBMClassifier", "orris.boosters.LGBMClassifier", takes_codes=True)
def classifier(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The label is the largest probability, the first among equals."""
    if callable(estimator.objective):
        raise NotConvertibleError("LGBMClassifier with an objective of your own gives no probabilities")
    ensemble = read_booster(estimator.booster_)
    return classify(graph, ensemble, frame, len(estimator.classes_))


@predictor("lightgbm.LGBMRegressor", "lightgbm.LGBMRanker", "orris.boosters.LGBMRegressor", takes_codes=True)
def regressor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Every objective with one value a row; with one of your own, the value is the raw score."""
    return value(graph, read_booster(estimator.booster_), frame)


@library_file(
    "lightgbm.LGBMClassifier",
    "lightgbm.LGBMRegressor",
    "lightgbm.LGBMRanker",
    "orris.boosters.LGBMClassifier",
    "orris.boosters.LGBMRegressor",
)
def write(estimator: Any) -> tuple[str, bytes]:
    """LightGBM's text, up to the best iteration."""
    return "model.txt", estimator.booster_.model_to_string().encode()


def classify(graph: Graph, ensemble: Ensemble, frame: Frame, n_classes: int) -> Prediction:
    """Labels and probabilities of two classes or more."""
    raw = _raw(graph, ensemble, frame)
    found = _link(graph, ensemble, raw)
    if ensemble.n_targets == 1:
        if n_classes != 2 or ensemble.objective not in {"binary", "cross_entropy"}:
            raise NotConvertibleError(
                f"LightGBM's objective {ensemble.objective!r} for {n_classes} classes has no exact converter"
            )
        found = arithmetic.complement_and(graph, found)
    decision = arithmetic.flat(graph, raw) if ensemble.n_targets == 1 else raw
    return Prediction(label=arithmetic.largest(graph, found), probabilities=found, decision=decision)


def value(graph: Graph, ensemble: Ensemble, frame: Frame) -> Prediction:
    """One value a row."""
    if ensemble.n_targets > 1:
        raise NotConvertibleError(f"LightGBM's objective {ensemble.objective!r} gives several values a row")
    found = _link(graph, ensemble, _raw(graph, ensemble, frame))
    return Prediction(value=arithmetic.flat(graph, found))


def _link(graph: Graph, ensemble: Ensemble, raw: str) -> str:
    if ensemble.objective not in _LINKS:
        raise NotConvertibleError(f"LightGBM's objective {ensemble.objective!r} has no exact converter")
    return _LINKS[ensemble.objective](graph, raw, ensemble.sigmoid)


def _raw(graph: Graph, ensemble: Ensemble, frame: Frame) -> str:
    """The raw score of each row, float64 ``(n_rows, n_targets)``."""
    if ensemble.n_features != frame.width:
        raise NotConvertibleError(f"the LightGBM model has {ensemble.n_features} columns, and is given {frame.width}")
    trees = [_flattened(info["tree_structure"]) for info in ensemble.document["tree_info"]]
    known = _known(ensemble, frame)
    categories, ordered = read_categories(trees, known, frame)
    frame = with_numbers(graph, as_codes(graph, frame, ordered), categories)
    boosted = read_trees(ensemble, trees, categories)
    note(graph, frame, boosted)
    tensor = categories.guarded(graph, _zeros_missing(graph, trees, frame), frame.width, dtype=np.float64)
    scores = add_scores(graph, tensor, boosted)
    if ensemble.document.get("average_output"):
        n_rounds = len(trees) // ensemble.n_targets
        scores = str(graph.add("Div", scores, graph.constant(float(n_rounds))))
    return scores


def _known(ensemble: Ensemble, frame: Frame) -> dict[int, list[Any]]:
    """The library's categories of each column of ``frame`` that it was trained on as a ``category`` dtype.

    It keeps them in the order of these columns, without their names. Boolean ones stand for themselves.
    """
    left = [categories for categories in ensemble.categories if not all(isinstance(one, bool) for one in categories)]
    known: dict[int, list[Any]] = {}
    for column, feature in enumerate(frame.features):
        if feature.levels is not None and left and set(feature.levels) <= set(left[0]):
            known[column] = left.pop(0)
    return known


Node = dict[str, Any]


def _flattened(root: Node) -> list[Node]:
    """All nodes of a tree, the root first; a split's children follow it by ``left`` and ``right``, positions."""
    nodes: list[Node] = []
    left_to_visit: list[tuple[Node, Node | None, str]] = [(root, None, "")]
    while left_to_visit:
        node, parent, side = left_to_visit.pop()
        if parent is not None:
            parent[side] = len(nodes)
        flat = {key: node[key] for key in node if key not in {"left_child", "right_child"}}
        nodes.append(flat)
        if "split_feature" in node:
            left_to_visit += [(node["right_child"], flat, "right"), (node["left_child"], flat, "left")]
        elif "leaf_coeff" in node or "leaf_features" in node:
            raise NotConvertibleError("LightGBM's linear trees (linear_tree=True) have no exact converter")
    return nodes


def read_categories(
    trees: list[list[Node]], known: dict[int, list[Any]], frame: Frame
) -> tuple[Categories, dict[int, list[Any]]]:
    """The columns that the trees split by sets; and, with their categories, those that they split by order of codes."""
    n_codes: dict[int, int] = {}
    for node in (node for tree in trees for node in tree if node.get("decision_type") == "=="):
        column = int(node["split_feature"])
        n_codes[column] = max(n_codes.get(column, 1), *(code + 1 for code in _codes(node)))
    ordered = {column: categories for column, categories in known.items() if column not in n_codes}
    hidden = [replace(feature, levels=None) if i in ordered else feature for i, feature in enumerate(frame.features)]
    shown = replace(frame, features=tuple(hidden))
    return match(shown, {column: known.get(column) for column in n_codes}, n_codes, "LightGBM"), ordered


def _codes(node: Node) -> list[int]:
    return [int(code) for code in str(node["threshold"]).split("||")]


def _zeros_missing(graph: Graph, trees: list[list[Node]], frame: Frame) -> str:
    """The rows with zeros missing in the columns that LightGBM was told so (``zero_as_missing``)."""
    splits = [node for tree in trees for node in tree if node.get("decision_type") == "<="]
    columns = {int(node["split_feature"]) for node in splits if node["missing_type"] == "Zero"}
    if not columns:
        return frame.tensor
    if any(int(node["split_feature"]) in columns and node["missing_type"] != "Zero" for node in splits):
        raise NotConvertibleError("this LightGBM model takes zeros for missing in some trees, and not in others")
    chosen = graph.constant(np.array([[column in columns for column in range(frame.width)]]))
    zero = graph.add("LessOrEqual", graph.add("Abs", frame.tensor), graph.constant(ZERO))
    return str(graph.add("Where", graph.add("And", zero, chosen), graph.constant(np.nan), frame.tensor))


def read_trees(ensemble: Ensemble, trees: list[list[Node]], categories: Categories) -> Boosted:
    """The trees as a table; each round has one for every target."""
    n_targets = ensemble.n_targets
    read = [_read_tree(nodes, categories) for nodes in trees]
    targets = [i % n_targets for i in range(len(read))]
    return Boosted(read, targets, np.zeros(n_targets), np.float64, ensemble.objective)


def _read_tree(nodes: list[Node], categories: Categories) -> Tree:
    n_nodes = len(nodes)
    feature, left, right = np.zeros(n_nodes, np.int64), np.full(n_nodes, LEAF), np.full(n_nodes, LEAF)
    thresholds, values, missing_left = np.zeros(n_nodes), np.zeros(n_nodes), np.zeros(n_nodes, np.bool_)
    members: dict[int, FloatArray] = {}
    for i, node in enumerate(nodes):
        if "left" not in node:
            values[i] = node["leaf_value"]
            continue
        feature[i], left[i], right[i] = node["split_feature"], node["left"], node["right"]
        if node["decision_type"] == "==":  # members go left; whatever else, missing values too, goes right
            members[i] = categories.in_rows(int(feature[i]), _codes(node))
            if not len(members[i]):
                del members[i]
                thresholds[i] = -np.inf
        else:
            thresholds[i] = _threshold(float(node["threshold"]))
            missing_left[i] = thresholds[i] >= 0.0 if node["missing_type"] == "None" else bool(node["default_left"])
    return Tree(feature, thresholds, left, right, missing_left, values, members)


def _threshold(threshold: float) -> float:
    """Beside zero, the threshold that parts values as LightGBM does after it has made zeros of them."""
    if abs(threshold) >= _INFINITE:
        return float(np.copysign(np.inf, threshold))
    if -ZERO <= threshold < 0:
        return float(np.nextafter(-ZERO, -np.inf))
    return max(threshold, ZERO) if threshold >= 0 else threshold

"""Exact converters of XGBoost, after its ``save_raw("json")``: the answers are the same to the last bit.

XGBoost computes in float32: a row is rounded to it, a split goes left where ``value < threshold``, the leaves are added
to the base margin tree by tree, and the objective's link is float32 arithmetic too (``single.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from orris.boosters import xgboost_levels
from orris.compile.converters import arithmetic, single
from orris.compile.converters.boosted import Boosted, add_scores, below, note
from orris.compile.converters.boosted_categories import Categories, match, with_numbers
from orris.compile.converters.tree_ensemble import LEAF, Tree
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import library_file, predictor
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray

SingleArray = npt.NDArray[np.float32]

_IDENTITY = (
    "binary:logitraw",
    "rank:map",
    "rank:ndcg",
    "rank:pairwise",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:quantileerror",
    "reg:squarederror",
    "reg:squaredlogerror",
)
_LINKS: dict[str, Callable[[Graph, str, int], str]] = {
    **dict.fromkeys(_IDENTITY, lambda _graph, margin, _n: margin),
    **dict.fromkeys(
        ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox"),
        lambda graph, margin, _n: single.expf(graph, margin),
    ),
    "survival:aft": lambda graph, margin, _n: single.rounded_exp(graph, margin),
    **dict.fromkeys(("binary:logistic", "reg:logistic"), lambda graph, margin, _n: single.sigmoid(graph, margin)),
    "binary:hinge": lambda graph, margin, _n: graph.cast(
        graph.add("Greater", margin, single.constant(graph, 0.0)), TensorProto.FLOAT
    ),
    "multi:softprob": single.softmax,
    "multi:softmax": single.softmax,
}
"""Margins ``(n_rows, n_targets)``, float32 -> what the objective of that name makes of them (``PredTransform``)."""


@dataclass(frozen=True)
class Learner:
    """A trained XGBoost model as data.

    Attributes:
        document: The ``learner`` of its JSON file.
        n_rounds: Rounds that count: all, or those up to the best iteration.
        margins: Makes the margins ``(n_targets,)``, float32, that a learner of that document gives to an empty row.
    """

    document: dict[str, Any]
    n_rounds: int | None
    margins: Callable[[dict[str, Any]], SingleArray]

    @property
    def objective(self) -> str:
        """The objective's name."""
        return str(self.document["objective"]["name"])

    @property
    def n_features(self) -> int:
        """Columns of a row."""
        return int(self.document["learner_model_param"]["num_feature"])

    @property
    def n_targets(self) -> int:
        """Margins of a row."""
        return max(1, int(self.document["learner_model_param"]["num_class"]))

    @property
    def linear(self) -> bool:
        """Whether it is ``gblinear``."""
        return bool(self.document["gradient_booster"]["name"] == "gblinear")

    @property
    def model(self) -> dict[str, Any]:
        """The model of ``gbtree``, also inside ``dart``, or of ``gblinear``."""
        booster: dict[str, Any] = self.document["gradient_booster"]
        return dict(booster.get("gbtree", booster)["model"])

    def emptied(self) -> dict[str, Any]:
        """The document of a learner with the same base score that adds nothing to it."""
        model: dict[str, Any] = {
            "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
            "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": "0"},
            "iteration_indptr": [0],
            "tree_info": [],
            "trees": [],
        }
        # Otherwise XGBoost would still look for a base score of its own, and not put this one through its link.
        parameters = self.document["learner_model_param"] | {"boost_from_average": "0"}
        booster = {"name": "gbtree", "model": model}
        if self.linear:  # of which some versions add the first class's base score to every class
            booster = {"name": "gblinear", "model": self.model | {"weights": [0.0] * len(self.model["weights"])}}
        changed = {"gradient_booster": booster, "learner_model_param": parameters}
        return self.document | changed | {"feature_types": []}


def read_booster(booster: Any, n_rounds: int | None = None) -> Learner:
    """An ``xgboost.Booster`` as data.

    Raises:
        NotConvertibleError: It predicts several targets, or vector leaves.
    """
    file = json.loads(bytes(booster.save_raw("json")))
    version = file["version"]

    def margins(document: dict[str, Any]) -> SingleArray:
        import xgboost  # noqa: PLC0415

        emptied = xgboost.Booster()
        emptied.load_model(bytearray(json.dumps({"learner": document, "version": version}).encode()))
        row = np.full((1, int(document["learner_model_param"]["num_feature"])), np.nan, np.float32)
        data = xgboost.DMatrix(row, feature_names=emptied.feature_names)
        return np.asarray(emptied.predict(data, output_margin=True), np.float32).reshape(-1)

    learner = Learner(file["learner"], n_rounds, margins)
    if int(learner.document["learner_model_param"].get("num_target", 1)) > 1:
        raise NotConvertibleError("this XGBoost model predicts several targets: fit one model for each")
    return learner


@predictor("xgboost.XGBClassifier", "xgboost.XGBRFClassifier", takes_codes=True, takes_single=True)
def classifier(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``XGBClassifier`` and ``XGBRFClassifier``: the label is where the probability, rounded to float32, is largest."""
    learner = _learner(estimator)
    margin = _margin(graph, learner, frame, missing=estimator.missing)
    return _classify(graph, learner, margin, int(estimator.n_classes_))


@predictor("xgboost.XGBRegressor", "xgboost.XGBRFRegressor", "xgboost.XGBRanker", takes_codes=True, takes_single=True)
def regressor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``XGBRegressor``, ``XGBRFRegressor`` and ``XGBRanker``, of every objective with one value a row."""
    learner = _learner(estimator)
    margin = _margin(graph, learner, frame, missing=estimator.missing)
    return _value(graph, learner, margin)


@library_file("xgboost.XGBClassifier", "xgboost.XGBRFClassifier", "xgboost.XGBRegressor", "xgboost.XGBRFRegressor")
def write(estimator: Any) -> tuple[str, bytes]:
    """XGBoost's UBJSON; the best iteration is among its attributes."""
    return "model.ubj", bytes(estimator.get_booster().save_raw("ubj"))


def _learner(estimator: Any) -> Learner:
    booster = estimator.get_booster()
    best = getattr(estimator, "best_iteration", None) if estimator.booster != "gblinear" else None
    return read_booster(booster, None if best is None else int(best) + 1)


def _classify(graph: Graph, learner: Learner, margin: str, n_classes: int) -> Prediction:
    found = _link(graph, learner, margin)
    double = graph.cast(found, TensorProto.DOUBLE)
    if learner.n_targets > 1:
        compared = margin if learner.objective == "multi:softmax" else found
        return Prediction(label=arithmetic.largest(graph, compared), probabilities=double)
    if n_classes != 2:
        raise NotConvertibleError(f"XGBoost's objective {learner.objective} with {n_classes} classes")
    if learner.objective not in {"binary:logistic", "binary:hinge", "binary:logitraw", "reg:logistic"}:
        raise NotConvertibleError(f"XGBoost's objective {learner.objective} for classes has no exact converter")
    label = arithmetic.second_if(graph, str(graph.add("Greater", found, single.constant(graph, 0.5))))
    # The first class's probability is 1 - p in float32, as the wrapper computes it.
    other = graph.add("Sub", single.constant(graph, 1.0), found)
    both = graph.cast(str(graph.add("Concat", other, found, axis=1)), TensorProto.DOUBLE)
    return Prediction(label=label, probabilities=both)


def _value(graph: Graph, learner: Learner, margin: str) -> Prediction:
    if learner.n_targets > 1:
        raise NotConvertibleError(f"XGBoost's objective {learner.objective} gives {learner.n_targets} values a row")
    found = _link(graph, learner, margin)
    return Prediction(value=arithmetic.flat(graph, graph.cast(found, TensorProto.DOUBLE)))


def _link(graph: Graph, learner: Learner, margin: str) -> str:
    if learner.objective not in _LINKS:
        raise NotConvertibleError(f"XGBoost's objective {learner.objective} has no exact converter")
    return _LINKS[learner.objective](graph, margin, learner.n_targets)


def _margin(graph: Graph, learner: Learner, frame: Frame, missing: float) -> str:
    """The margins of each row, float32 ``(n_rows, n_targets)``."""
    if learner.n_features != frame.width:
        raise NotConvertibleError(f"the XGBoost model has {learner.n_features} columns, and is given {frame.width}")
    categories = read_categories(learner, frame)
    frame = with_numbers(graph, frame, categories)
    tensor = graph.cast(frame.tensor, TensorProto.FLOAT)
    if not np.isnan(missing):
        tensor = _made_missing(graph, tensor, missing)
    if frame.sparse and missing != 0:
        tensor = _made_missing(graph, tensor, 0.0)  # what a sparse matrix does not hold is missing to XGBoost
    if learner.linear:
        return _linear(graph, learner, tensor)
    boosted = read_trees(learner, categories)
    note(graph, frame, boosted)
    return add_scores(graph, categories.guarded(graph, tensor, frame.width, dtype=np.float32), boosted)


def _made_missing(graph: Graph, tensor: str, value: float) -> str:
    found = graph.add("Equal", tensor, single.constant(graph, value))
    return str(graph.add("Where", found, single.constant(graph, np.nan), tensor))


def _linear(graph: Graph, learner: Learner, tensor: str) -> str:
    """``gblinear``: bias and base score, then column after column; a missing value adds nothing."""
    n_targets = learner.n_targets
    weights = np.array(learner.document["gradient_booster"]["model"]["weights"], np.float32).reshape(-1, n_targets)
    start = weights[-1] + learner.margins(learner.emptied())
    present = graph.add("Where", graph.add("IsNaN", tensor), single.constant(graph, 0.0), tensor)
    sums = []
    for target in range(n_targets):
        products = graph.add("Mul", present, single.constant(graph, weights[np.newaxis, :-1, target]))
        padded = graph.add(
            "Pad", products, graph.constant([0, 1, 0, 0], np.int64), single.constant(graph, start[target])
        )
        sums.append(single.add_up(graph, str(padded), learner.n_features + 1))
    return sums[0] if n_targets == 1 else str(graph.add("Concat", *sums, axis=1))


def read_categories(learner: Learner, frame: Frame) -> Categories:
    """The model's category columns, matched with those of ``frame``."""
    kinds = learner.document.get("feature_types") or []
    columns = [column for column, kind in enumerate(kinds) if kind == "c"]
    if learner.linear or not columns:
        return match(frame, {}, {}, "XGBoost")
    stored = (learner.model.get("cats") or {}).get("enc") or []
    known = {
        column: xgboost_levels(stored[column], frame.features[column].levels or ()) if stored else None
        for column in columns
    }
    n_codes = dict.fromkeys(columns, 1)
    for tree in learner.model["trees"]:
        for node, begin, size in _sets(tree):
            column = tree["split_indices"][node]
            n_codes[column] = max([n_codes[column], *(code + 1 for code in tree["categories"][begin : begin + size])])
    return match(frame, known, n_codes, "XGBoost")


def read_trees(learner: Learner, categories: Categories) -> Boosted:
    """The trees of ``gbtree`` or ``dart``, up to the best iteration.

    Raises:
        NotConvertibleError: A leaf holds several values.
    """
    model = learner.model
    n_trees = len(model["trees"])
    if learner.n_rounds is not None and learner.n_rounds < len(model["iteration_indptr"]):
        n_trees = model["iteration_indptr"][learner.n_rounds]
    base = learner.margins(learner.emptied())
    trees, targets = [], [int(target) for target in model["tree_info"][:n_trees]]
    weights = learner.document["gradient_booster"].get("weight_drop")
    for i, document in enumerate(model["trees"][:n_trees]):
        if int(document["tree_param"].get("size_leaf_vector", 1)) > 1:
            raise NotConvertibleError("this XGBoost model has vector leaves (multi_strategy='multi_output_tree')")
        tree = _read_tree(document, categories)
        if weights is not None:
            leaves, start = tree.values.astype(np.float32), base[targets[i]]
            tree = replace(tree, values=(((leaves + start) - start) * np.float32(weights[i])).astype(np.float64))
        trees.append(tree)
    return Boosted(trees, targets, base.astype(np.float64), np.float32, learner.objective)


def _read_tree(document: dict[str, Any], categories: Categories) -> Tree:
    left, right = (np.array(document[side], np.int64) for side in ("left_children", "right_children"))
    leaf = left == LEAF
    conditions = np.array(document["split_conditions"], np.float32)
    missing_left = np.array(document["default_left"]).astype(np.bool_)
    thresholds = np.where(leaf, 0.0, below(conditions))
    feature = np.array(document["split_indices"], np.int64)
    members: dict[int, FloatArray] = {}
    for node, begin, size in _sets(document):
        codes = document["categories"][begin : begin + size]  # these go right; whatever else goes left
        column = int(feature[node])
        if missing_left[node]:
            # What is no member, NaN too, goes right: members must be the side that the missing do not take.
            members[node] = categories.in_rows(column, codes)
            left[node], right[node] = right[node], left[node]
        else:
            members[node] = categories.others(column, codes)
        missing_left[node] = False
        if not len(members[node]):
            del members[node]
            thresholds[node] = -np.inf  # every row goes right
    return Tree(
        feature, thresholds, left, right, missing_left, np.where(leaf, conditions, 0.0).astype(np.float64), members
    )


def _sets(document: dict[str, Any]) -> Iterable[tuple[int, int, int]]:
    """Each node that splits on a set of categories, and where in ``categories`` its set begins and how long it is."""
    return zip(document["categories_nodes"], document["categories_segments"], document["categories_sizes"], strict=True)

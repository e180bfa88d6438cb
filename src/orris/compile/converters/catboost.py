"""Exact converters of CatBoost, after its JSON model: raw scores are the same to the last bit.

CatBoost rounds numbers to float32 and compares them with float32 borders; the leaves are float64 and added tree by
tree. A category is known by a hash of its text. Splits ask for one category (one-hot), or compare a statistic of the
category, or of a combination of categories and other splits, with a border: the statistic is looked up by a hash of
the combination in a table that the model holds. The arithmetic of the hashes and the tables stand in the graph.

Sources: ``static_ctr_provider.cpp``, ``online_ctr.h`` (``TModelCtr::Calc``), ``model_export/json_model_helpers.cpp``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from orris.compile.converters import arithmetic
from orris.compile.converters.boosted import Boosted, add_scores, note
from orris.compile.converters.levels import lookup, slots, values
from orris.compile.converters.tree_ensemble import LEAF, Tree, last_rounding_below
from orris.compile.graph import ML_DOMAIN, Feature, Frame, Graph, Prediction
from orris.compile.registry import library_file, predictor
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray
from orris.schema.frames import stand_in

_MULTIPLIER = 0x4906BA494954CB65
_WORD = 2**64
_EXPONENTIAL = {"Poisson", "Tweedie"}
_ONE_VALUE = {
    "RMSE",
    "MAE",
    "Quantile",
    "MAPE",
    "LogLinQuantile",
    "Lq",
    "Huber",
    "Expectile",
    "LogCosh",
    "Cox",
    *_EXPONENTIAL,
}


@dataclass(frozen=True)
class Description:
    """A trained CatBoost model as data.

    Attributes:
        document: Its JSON model.
        hashes: The hash, an unsigned 32-bit number, of the text of each category that a row can hold.
    """

    document: Mapping[str, Any]
    hashes: Mapping[str, int]

    @property
    def loss(self) -> str:
        """Name of the loss function that it was trained with."""
        return str(self.document["model_info"]["params"]["loss_function"]["type"])

    @property
    def features(self) -> Mapping[str, Any]:
        """The JSON model's description of its columns."""
        return dict(self.document["features_info"])

    @property
    def columns(self) -> dict[int, int]:
        """Position in the row of each categorical feature."""
        known = self.features.get("categorical_features") or []
        return {feature["feature_index"]: feature["flat_feature_index"] for feature in known}

    def signed_hash(self, value: Any) -> int:
        """The hash of a category as a signed 32-bit number, as it enters combinations; 0 for a missing one."""
        number = self.hashes.get(str(value), 0)
        return number - 2**32 if number >= 2**31 else number


def describe(model: Any, frame: Frame) -> Description:
    """A ``catboost.CatBoost`` (or one of its estimators) as data, with the hashes of the categories of ``frame``.

    Raises:
        NotConvertibleError: It has text or embedding features, which the JSON model cannot hold.
    """
    for kind, positions in (
        ("text", model._get_text_feature_indices()),
        ("embedding", model._get_embedding_feature_indices()),
    ):
        if len(positions):
            raise NotConvertibleError(f"CatBoost's {kind} features (column {positions[0]}) have no exact converter")
    names = list(model.feature_names_)
    if len(names) != frame.width:
        raise NotConvertibleError(f"the CatBoost model has {len(names)} columns, and is given {frame.width}")
    categorical = [int(position) for position in model._get_cat_feature_indices()]
    for position in categorical:
        if frame.features[position].levels is None:
            raise NotConvertibleError(
                f"column '{names[position]}' is a category to CatBoost and a number in the schema: declare it"
                f" (categorical=['{names[position]}'])"
            )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.json"
        model.save_model(str(file), format="json", pool=_pool(names, categorical, frame))
        document = json.loads(file.read_bytes())
    hashes = document["features_info"].get("cat_features_hash") or []
    return Description(document, {entry["value"]: entry["hash"] for entry in hashes})


def _pool(names: Sequence[str], categorical: Sequence[int], frame: Frame) -> Any:
    """A table of CatBoost's that holds every category that a row can hold: only then does it write their hashes."""
    if not categorical:
        return None
    import catboost  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    held = [[stand_in(levels), *levels] for i in categorical for levels in [frame.features[i].levels or ()]]
    n_rows = max(map(len, held))
    columns: dict[str, Any] = {name: np.zeros(n_rows) for name in names}
    for position, levels in zip(categorical, held, strict=True):
        columns[names[position]] = pd.Series([levels[i % len(levels)] for i in range(n_rows)], dtype=object)
    return catboost.Pool(pd.DataFrame(columns), cat_features=list(categorical))


@predictor("catboost.CatBoostClassifier", takes_codes=True, takes_single=True)
def classifier(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Two classes or more; the label compares raw scores."""
    description = describe(estimator, frame)
    threshold = float(estimator.get_probability_threshold()) if len(estimator.classes_) == 2 else 0.5
    return classify(graph, description, frame, len(estimator.classes_), threshold)


@predictor("catboost.CatBoostRegressor", "catboost.CatBoostRanker", takes_codes=True, takes_single=True)
def regressor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Every loss with one value a row; a ranker's score is its value."""
    description = describe(estimator, frame)
    ranks = type(estimator).__name__ == "CatBoostRanker"
    if not ranks and description.loss not in _ONE_VALUE:
        raise NotConvertibleError(f"CatBoost's loss {description.loss} has no exact converter")
    raw = _raw(graph, description, frame, 1)
    raw = str(graph.add("Exp", raw)) if description.loss in _EXPONENTIAL else raw
    return Prediction(value=arithmetic.flat(graph, raw))


@library_file("catboost.CatBoostClassifier", "catboost.CatBoostRegressor", "catboost.CatBoostRanker")
def write(estimator: Any) -> tuple[str, bytes]:
    """CatBoost's binary model."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.cbm"
        estimator.save_model(str(file), format="cbm")
        return file.name, file.read_bytes()


def classify(
    graph: Graph, description: Description, frame: Frame, n_classes: int, threshold: float = 0.5
) -> Prediction:
    """Labels and probabilities of two classes or more."""
    one_score = description.loss in {"Logloss", "CrossEntropy"}
    if not one_score and description.loss not in {"MultiClass", "MultiClassOneVsAll"}:
        raise NotConvertibleError(f"CatBoost's loss {description.loss} has no exact converter")
    raw = _raw(graph, description, frame, 1 if one_score else n_classes)
    if one_score:
        probability = arithmetic.expit(graph, raw)
        border = graph.constant(float(np.log(threshold / (1 - threshold))))
        return Prediction(
            label=arithmetic.second_if(graph, str(graph.add("Greater", raw, border))),
            probabilities=arithmetic.complement_and(graph, probability),
        )
    if description.loss == "MultiClassOneVsAll":
        return Prediction(label=arithmetic.largest(graph, raw), probabilities=arithmetic.expit(graph, raw))
    axis = graph.constant([1], np.int64)
    exponentials = graph.add("Exp", graph.add("Sub", raw, graph.add("ReduceMax", raw, axis, keepdims=1)))
    shares = graph.add("Div", exponentials, graph.add("ReduceSum", exponentials, axis, keepdims=1))
    return Prediction(label=arithmetic.largest(graph, raw), probabilities=str(shares))


def _raw(graph: Graph, description: Description, frame: Frame, n_targets: int) -> str:
    """The raw score of each row, float64 ``(n_rows, n_targets)``."""
    frame = _numbers(graph, description, frame)
    splits = _splits(description)
    statistics = _Statistics(graph, description, frame)
    columns = _statistic_columns(statistics, splits)
    boosted = read_trees(description, splits, columns, frame, n_targets)
    features = (*frame.features, *(Feature() for _ in columns))
    tensor = frame.tensor
    if columns:
        tensor = str(graph.add("Concat", tensor, *columns.values(), axis=1))
    note(graph, replace(frame, tensor=tensor, features=features), boosted)
    raw = add_scores(graph, tensor, boosted)
    scale, bias = description.document["scale_and_bias"]
    if scale != 1:
        raw = str(graph.add("Mul", raw, graph.constant(float(scale))))
    if np.any(bias):
        raw = str(graph.add("Add", raw, graph.constant(np.resize(np.asarray(bias, np.float64), (1, n_targets)))))
    return raw


def _numbers(graph: Graph, description: Description, frame: Frame) -> Frame:
    """The frame with integer-coded columns that are no categories to the model as their integers."""
    categorical = set(description.columns.values())
    hidden = [replace(one, levels=None) if i in categorical else one for i, one in enumerate(frame.features)]
    decoded = values(graph, replace(frame, features=tuple(hidden)))
    shown = [frame.features[i] if i in categorical else one for i, one in enumerate(decoded.features)]
    if any(one.levels is not None and i not in categorical for i, one in enumerate(shown)):
        raise NotConvertibleError("CatBoost is given a column of text that is not one of its cat_features")
    return replace(decoded, features=tuple(shown))


@dataclass(frozen=True)
class Split:
    """The meaning of one number of the model's list of splits.

    Attributes:
        kind: A number above a border, a category that is this one, or a statistic above a border.
        column: Position in the row; for a statistic, its position among the model's statistics.
        border: The border, or the hash of the category.
        missing_left: Whether a missing number is not above the border.
    """

    kind: str
    column: int
    border: float
    missing_left: bool = True


def _splits(description: Description) -> list[Split]:
    """All splits in the order of CatBoost's numbering: numbers, categories, statistics, each with all its borders."""
    info = description.features
    splits = [
        Split("number", one["flat_feature_index"], border, one["nan_value_treatment"] != "AsTrue")
        for one in info.get("float_features") or []
        for border in one["borders"]
    ]
    splits += [
        Split("category", one["flat_feature_index"], value)
        for one in info.get("categorical_features") or []
        for value in one.get("values", [])
    ]
    statistics = enumerate(info.get("ctrs") or [])
    return splits + [Split("statistic", i, border) for i, one in statistics for border in one["borders"]]


def _statistic_columns(statistics: _Statistics, splits: Sequence[Split]) -> dict[int, str]:
    """A tensor ``(n_rows, 1)`` for each statistic that some tree asks for, by position among the model's statistics."""
    document = statistics.description.document
    used = {splits[node["split_index"]] for node in _used(document)}
    return {i: statistics.column(i) for i in sorted({split.column for split in used if split.kind == "statistic"})}


def _used(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for tree in document.get("oblivious_trees") or []:
        yield from tree["splits"] or []
    pending = list(document.get("trees") or [])
    while pending:
        node = pending.pop()
        if "split" in node:
            yield node["split"]
            pending += [node["left"], node["right"]]


@dataclass
class _Statistics:
    """CatBoost's statistics of categories and combinations ("CTR"), as columns of the graph."""

    graph: Graph
    description: Description
    frame: Frame
    hashes: dict[str, str] = field(default_factory=dict)

    def column(self, position: int) -> str:
        """Name of a float64 tensor ``(n_rows, 1)``: the statistic that each row's combination has."""
        statistic = self.description.features["ctrs"][position]
        table = self.description.document["ctr_data"][statistic["identifier"]]
        found, unknown = _tabulated(statistic, table)
        elements = statistic["elements"]
        if len(elements) == 1:
            column = self.description.columns[elements[0]["cat_feature_index"]]
            part = self.graph.take(self.frame, [column])
            signed = [self.description.signed_hash(value) for value in slots(part.features[0])]
            return lookup(self.graph, part, [[float(found.get(_combined(0, one), unknown)) for one in signed]])
        key = json.dumps(elements)
        if key not in self.hashes:
            self.hashes[key] = self._hash(elements)
        single = self.graph.add(
            "LabelEncoder",
            self.hashes[key],
            domain=ML_DOMAIN,
            keys_int64s=[_signed(one) for one in found],
            values_floats=[float(one) for one in found.values()],
            default_float=float(unknown),
        )
        return self.graph.cast(single, TensorProto.DOUBLE)

    def _hash(self, elements: Sequence[Mapping[str, Any]]) -> str:
        """Name of an int64 tensor ``(n_rows, 1)``: the combined hash of each row; 64-bit products wrap around."""
        kinds = ("cat_feature_value", "float_feature", "cat_feature_exact_value")
        ordered = sorted(elements, key=lambda element: kinds.index(element["combination_element"]))
        multiplier = self.graph.constant(_signed(_MULTIPLIER), np.int64)
        total = ""
        for element in ordered:
            product = self.graph.add("Mul", self._element(element), multiplier)
            total = self.graph.add("Mul", self.graph.add("Add", total, product) if total else product, multiplier)
        return total

    def _element(self, element: Mapping[str, Any]) -> str:
        """One part of a combination, int64 ``(n_rows, 1)``: a category's hash, or whether a split is passed."""
        graph, kind = self.graph, element["combination_element"]
        if kind == "float_feature":
            info = next(
                one
                for one in self.description.features["float_features"]
                if one["feature_index"] == element["float_feature_index"]
            )
            column, border = info["flat_feature_index"], np.array([element["border"]])
            values_of = graph.take(self.frame, [column]).tensor
            at = last_rounding_below(border.astype(np.float32).astype(np.float64))
            graph.on_threshold(self.frame.features[column], np.append(border, at))
            above = graph.add("Greater", values_of, graph.constant(at))
            if info["nan_value_treatment"] == "AsTrue":
                above = graph.add("Or", above, graph.add("IsNaN", values_of))
            return graph.cast(above, TensorProto.INT64)
        part = graph.take(self.frame, [self.description.columns[element["cat_feature_index"]]])
        signed = [self.description.signed_hash(value) for value in slots(part.features[0])]
        if kind == "cat_feature_exact_value":
            signed = [int(one == element["value"]) for one in signed]
        return graph.cast(lookup(graph, part, [signed]), TensorProto.INT64)


def _combined(total: int, number: int) -> int:
    """``CalcHash`` of two 64-bit numbers, unsigned."""
    return _MULTIPLIER * (total + _MULTIPLIER * (number % _WORD)) % _WORD


def _signed(number: int) -> int:
    return number - _WORD if number >= _WORD // 2 else number


def _tabulated(statistic: Mapping[str, Any], table: Mapping[str, Any]) -> tuple[dict[int, np.float32], np.float32]:
    """The statistic of known combinations by hash, and that of an unknown one, float32 (``TModelCtr::Calc``)."""
    stride, flat = int(table["hash_stride"]), table["hash_map"]
    prior, prior_total = np.float32(statistic["prior_numerator"]), np.float32(statistic["prior_denomerator"])
    shift, scale = np.float32(statistic["shift"]), np.float32(statistic["scale"])

    def calculated(good: float, total: float) -> np.float32:
        share = (np.float32(good) + prior) / (np.float32(total) + prior_total)
        return np.float32((share + shift) * scale)

    counts = _COUNTS.get(statistic["ctr_type"])
    if counts is None:
        raise NotConvertibleError(f"CatBoost's statistic {statistic['ctr_type']} has no exact converter")
    first, denominator = int(statistic["target_border_idx"]), float(table["counter_denominator"])
    found = {
        int(flat[i]): calculated(*counts(flat[i + 1 : i + stride], first, denominator))
        for i in range(0, len(flat), stride)
        if int(flat[i]) != _WORD - 1  # an empty place of its hash table
    }
    counter = statistic["ctr_type"] in {"Counter", "FeatureFreq"}
    return found, calculated(0, denominator if counter else 0)


Counts = Callable[[Sequence[float], int, float], tuple[float, float]]

_COUNTS: dict[str, Counts] = {
    "BinarizedTargetMeanValue": lambda row, _first, _denominator: (row[0], row[1]),
    "FloatTargetMeanValue": lambda row, _first, _denominator: (row[0], row[1]),
    "Counter": lambda row, _first, denominator: (row[0], denominator),
    "FeatureFreq": lambda row, _first, denominator: (row[0], denominator),
    "Buckets": lambda row, first, _denominator: (row[first], sum(row)),
    "Borders": lambda row, first, _denominator: (sum(row[first + 1 :]) if len(row) > 2 else row[1], sum(row)),
}
"""The entry of the table for a combination -> rows that count, and all rows."""


def read_trees(
    description: Description, splits: Sequence[Split], columns: Mapping[int, str], frame: Frame, n_targets: int
) -> Boosted:
    """The trees as a table, one for each target; statistics stand behind the columns of ``frame``."""
    behind = {statistic: frame.width + i for i, statistic in enumerate(columns)}
    standing = [
        replace(one, column=behind[one.column]) if one.kind == "statistic" and one.column in behind else one
        for one in splits
    ]
    grown = [_oblivious(tree, n_targets) for tree in description.document.get("oblivious_trees") or []]
    grown += [_branching(tree, n_targets) for tree in description.document.get("trees") or []]
    trees = [_read_tree(nodes, standing, description, frame, target) for nodes in grown for target in range(n_targets)]
    return Boosted(trees, list(range(n_targets)) * len(grown), np.zeros(n_targets), np.float64, description.loss)


@dataclass(frozen=True)
class _Node:
    """A leaf with its values ``(n_targets,)``, or the number of a split and the positions of its children."""

    values: Sequence[float] = ()
    split: int = -1
    below: int = LEAF
    above: int = LEAF


def _oblivious(tree: Mapping[str, Any], n_targets: int) -> list[_Node]:
    """All nodes of a tree whose levels ask one split each; the last split decides the leaf's highest bit."""
    order = [split["split_index"] for split in tree["splits"] or []][::-1]
    leaves = np.array(tree["leaf_values"], np.float64).reshape(-1, n_targets)
    inner = [
        _Node(split=order[depth], below=2 * i + 1, above=2 * i + 2)
        for depth in range(len(order))
        for i in range(2**depth - 1, 2 ** (depth + 1) - 1)
    ]
    return [*inner, *(_Node(values=row.tolist()) for row in leaves)]


def _branching(root: Mapping[str, Any], n_targets: int) -> list[_Node]:
    """All nodes of a tree of its own shape (``grow_policy`` Depthwise or Lossguide)."""
    nodes: list[_Node] = []
    pending: list[tuple[Mapping[str, Any], int, str]] = [(root, LEAF, "")]
    while pending:
        node, parent, side = pending.pop()
        if parent != LEAF:
            here = len(nodes)
            above = side == "above"
            nodes[parent] = replace(nodes[parent], above=here) if above else replace(nodes[parent], below=here)
        if "split" in node:
            pending += [(node["left"], len(nodes), "below"), (node["right"], len(nodes), "above")]
            nodes.append(_Node(split=node["split"]["split_index"]))
        else:
            nodes.append(_Node(values=np.atleast_1d(np.array(node["value"], np.float64)).tolist()[:n_targets]))
    return nodes


def _read_tree(
    nodes: Sequence[_Node], splits: Sequence[Split], description: Description, frame: Frame, target: int
) -> Tree:
    n_nodes = len(nodes)
    feature, left, right = np.zeros(n_nodes, np.int64), np.full(n_nodes, LEAF), np.full(n_nodes, LEAF)
    thresholds, leaves, missing_left = np.zeros(n_nodes), np.zeros(n_nodes), np.zeros(n_nodes, np.bool_)
    members: dict[int, FloatArray] = {}
    for i, node in enumerate(nodes):
        if node.split < 0:
            leaves[i] = node.values[target]
            continue
        split = splits[node.split]
        feature[i], left[i], right[i] = split.column, node.below, node.above
        if split.kind != "category":
            thresholds[i], missing_left[i] = split.border, split.missing_left
            continue
        levels = frame.features[split.column].levels or ()
        chosen = [code for code, level in enumerate(levels) if description.signed_hash(level) == split.border]
        left[i], right[i] = node.above, node.below  # a member goes left, to where the split is passed
        if chosen:
            members[i] = np.array(chosen, np.float64)
        else:
            thresholds[i] = -np.inf
    numeric = np.array([node.split >= 0 and splits[node.split].kind == "number" for node in nodes])
    borders = thresholds.astype(np.float32).astype(np.float64)
    thresholds[numeric] = last_rounding_below(borders[numeric])
    thresholds[~numeric] = borders[~numeric]
    return Tree(feature, thresholds, left, right, missing_left, leaves, members)

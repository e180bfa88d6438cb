"""The computation of CatBoost, from its JSON model: trees of every shape over numbers and single categories.

A number is rounded to float32 and goes right where it is above the border; a category goes right where the hash of its
text is the split's. Leaves are added tree by tree in float64, then scaled and shifted. Statistics of categories (CTR)
have no statement. Sources: ``model_export/json_model_helpers.cpp``, ``cpu/evaluator_impl.cpp``.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from orris.compile.proof.forest import Forest, cuts, totals
from orris.compile.proof.statement import Answer, Coded, Columns, numbers, states_model
from orris.compile.proof.statements.ensembles import pair, require_classes, second_if
from orris.compile.proof.terms import Algebra, Term
from orris.errors import NotProvedError

_EXPONENTIAL = {"Poisson", "Tweedie"}
_IDENTITY = {"Cox", "Expectile", "Huber", "LogCosh", "LogLinQuantile", "Lq", "MAE", "MAPE", "Quantile", "RMSE"}


@dataclass
class _Nodes:
    """The nodes of all trees, side by side; a leaf's row of ``values`` has its number."""

    feature: list[int] = field(default_factory=list)
    border: list[float] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    missing_left: list[bool] = field(default_factory=list)
    leaf: list[int] = field(default_factory=list)
    members: dict[int, Any] = field(default_factory=dict)
    values: list[float] = field(default_factory=list)

    def add_leaf(self, value: float) -> int:
        """Append a leaf; its position."""
        self.values.append(value)
        return self._add(0, 0.0, missing_left=False, leaf=len(self.values) - 1)

    def add_split(self, column: int, border: float, *, missing_left: bool) -> int:
        """Append a split whose children are not known yet; its position."""
        return self._add(column, border, missing_left=missing_left, leaf=-1)

    def _add(self, column: int, border: float, *, missing_left: bool, leaf: int) -> int:
        for part, value in ((self.feature, column), (self.left, 0), (self.right, 0), (self.leaf, leaf)):
            part.append(value)
        self.border.append(border)
        self.missing_left.append(missing_left)
        return len(self.leaf) - 1


@dataclass(frozen=True)
class _Table:
    """The columns as splits name them.

    Attributes:
        numbers: Of each number: its position in the row, and whether a missing one goes left.
        categories: Of each category: its position in the row, and the hash of each code that the row can hold.
    """

    numbers: Mapping[int, tuple[int, bool]]
    categories: Mapping[int, tuple[int, Mapping[float, int]]]

    def split(self, nodes: _Nodes, condition: Mapping[str, Any]) -> int:
        """Append what a split asks; its position."""
        kind = condition["split_type"]
        if kind == "FloatFeature":
            column, missing_left = self.numbers[condition["float_feature_index"]]
            return nodes.add_split(column, float(np.float32(condition["border"])), missing_left=missing_left)
        if kind != "OneHotFeature":
            raise NotProvedError("CatBoost's statistics of categories (CTR) have no statement")
        column, hashes = self.categories[condition["cat_feature_index"]]
        node = nodes.add_split(column, 0.0, missing_left=True)
        wanted = condition["value"] % 2**32
        nodes.members[node] = np.array([code for code, found in hashes.items() if found != wanted])
        return node


def _read(model: Any, columns: Columns, algebra: Algebra) -> tuple[Mapping[str, Any], _Table]:
    """The JSON model, and its columns; the library itself hashes the categories of the table that it is given."""
    import catboost  # noqa: PLC0415 (installed where its model is)
    import pandas as pd  # noqa: PLC0415

    names = list(model.feature_names_)
    contents = [column.content for column in columns.columns]
    categorical = [int(position) for position in model._get_cat_feature_indices()]
    others = [*model._get_text_feature_indices(), *model._get_embedding_feature_indices()]
    if len(names) != len(contents) or others:
        raise NotProvedError("CatBoost is given other columns than it was fitted on, or columns of text")
    texts: dict[int, list[str]] = {}
    bases: dict[int, Term] = {}
    for j in categorical:
        content = contents[j]
        if not isinstance(content, Coded) or any(isinstance(value, float) or value is None for value in content.seen):
            raise NotProvedError(f"CatBoost is given '{names[j]}' as a category, whose levels are no texts")
        bases[j], texts[j] = content.base, [str(value) for value in content.seen]
    pool = None
    if texts:
        n_rows = max(len(levels) for levels in texts.values())
        cells = {j: [levels[i % len(levels)] for i in range(n_rows)] for j, levels in texts.items()}
        table = pd.DataFrame({name: cells.get(j, [0.0] * n_rows) for j, name in enumerate(names)})
        pool = catboost.Pool(table, cat_features=categorical)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "described.json"
        model.save_model(str(path), format="json", pool=pool)
        document = json.loads(path.read_text("utf-8"))
    info = document["features_info"]
    hashes = {entry["value"]: int(entry["hash"]) for entry in info.get("cat_features_hash") or []}
    found = {
        one["feature_index"]: (one["flat_feature_index"], one["nan_value_treatment"] != "AsTrue")
        for one in info.get("float_features") or []
    }
    coded = {}
    for one in info.get("categorical_features") or []:
        j = one["flat_feature_index"]
        codes = algebra.codes[bases[j].payload].tolist()
        coded[one["feature_index"]] = j, dict(zip(codes, (hashes[text] for text in texts[j]), strict=True))
    return document, _Table(found, coded)


def _oblivious(nodes: _Nodes, table: _Table, splits: Sequence[Mapping[str, Any]], leaves: Sequence[float]) -> int:
    """A tree of which every level asks one split; the first split decides the lowest bit of a leaf's number."""
    if not splits:
        return nodes.add_leaf(leaves[0])
    *rest, last = splits
    node, half = table.split(nodes, last), len(leaves) // 2
    nodes.left[node] = _oblivious(nodes, table, rest, leaves[:half])
    nodes.right[node] = _oblivious(nodes, table, rest, leaves[half:])
    return node


def _branching(nodes: _Nodes, table: _Table, root: Mapping[str, Any], target: int) -> int:
    """A tree of its own shape (``grow_policy`` Depthwise or Lossguide); those of Lossguide may be deep."""
    waiting: list[tuple[Mapping[str, Any], Any, int]] = [(root, None, 0)]
    first = len(nodes.leaf)
    while waiting:
        tree, children, parent = waiting.pop()
        if "split" in tree:
            here = table.split(nodes, tree["split"])
            waiting += [(tree["left"], nodes.left, here), (tree["right"], nodes.right, here)]
        else:
            value = tree["value"]
            here = nodes.add_leaf(float(value[target] if isinstance(value, list) else value))
        if children is not None:
            children[parent] = here
    return first


def _scores(algebra: Algebra, model: Any, columns: Columns, n_targets: int) -> tuple[str, list[Term]]:
    """The loss, and the sums of the leaves for each target, scaled and shifted."""
    document, table = _read(model, columns, algebra)
    nodes, roots = _Nodes(), []
    for tree in document.get("oblivious_trees") or []:
        leaves, splits = tree["leaf_values"], tree["splits"] or []
        roots += [_oblivious(nodes, table, splits, leaves[target::n_targets]) for target in range(n_targets)]
    for tree in document.get("trees") or []:
        roots += [_branching(nodes, table, tree, target) for target in range(n_targets)]
    categories = {j for j, _ in table.categories.values()}
    contents = [column.content for column in columns.columns]
    plain = Columns.of([algebra.constant(np.nan) if j in categories else content for j, content in enumerate(contents)])
    terms = [
        content.base if isinstance(content, Coded) and j in categories else term
        for j, (content, term) in enumerate(zip(contents, numbers(algebra, plain, model), strict=True))
    ]
    leaf = np.array(nodes.leaf)
    forest = Forest(
        columns=terms,
        feature=np.array(nodes.feature),
        cut=np.where(leaf < 0, cuts(np.array(nodes.border), single=True), 0.0),
        left=np.array(nodes.left),
        right=np.array(nodes.right),
        missing_left=np.array(nodes.missing_left),
        leaf=leaf,
        members=nodes.members,
    )
    targets = np.arange(len(roots)) % n_targets
    sums = totals(algebra, forest, np.array(roots), np.array(nodes.values), targets, n_targets)
    scale, bias = document["scale_and_bias"]
    shifts = np.resize(np.asarray(bias, dtype=np.float64), n_targets)
    scaled = [algebra.apply("Mul", total, algebra.constant(float(scale))) for total in sums]
    if np.any(shifts):
        scaled = [algebra.apply("Add", one, algebra.constant(shift)) for one, shift in zip(scaled, shifts, strict=True)]
    return str(document["model_info"]["params"]["loss_function"]["type"]), scaled


@states_model("catboost.CatBoostRegressor", "catboost.CatBoostRanker")
def regressor(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The score, or its exponential; a ranker's value is the score."""
    loss, (score,) = _scores(algebra, model, columns, 1)
    if type(model).__name__ == "CatBoostRanker" or loss in _IDENTITY:
        return Answer(value=score)
    if loss in _EXPONENTIAL:
        return Answer(value=algebra.apply("Exp", score))
    raise NotProvedError(f"CatBoost's loss {loss} has no statement")


@states_model("catboost.CatBoostClassifier")
def classifier(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """Two classes: the second where the score is above the border of the probability threshold; more: the largest."""
    n_classes = require_classes(model)
    loss = str(model.get_all_params()["loss_function"])
    if loss in {"Logloss", "CrossEntropy"} and n_classes == 2:
        _, (score,) = _scores(algebra, model, columns, 1)
        threshold = float(model.get_probability_threshold())
        label = second_if(algebra, "Greater", score, math.log(threshold / (1 - threshold)))
        return Answer(label, pair(algebra, algebra.apply("Expit", score)))
    if loss not in {"MultiClass", "MultiClassOneVsAll"}:
        raise NotProvedError(f"CatBoost's loss {loss} has no statement")
    _, scores = _scores(algebra, model, columns, n_classes)
    label = algebra.several("ArgMax", scores)
    if loss == "MultiClass":
        return Answer(label, tuple(algebra.several("Softmax", scores, k) for k in range(n_classes)))
    return Answer(label, tuple(algebra.apply("Expit", score) for score in scores))

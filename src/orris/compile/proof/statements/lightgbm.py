"""The computation of LightGBM, from its model file's text (``model_to_string``): trees of numbers and of categories.

The converter reads another description of the model (``dump_model``). Sources: ``tree.h`` (``NumericalDecision``,
``CategoricalDecision``), ``basic.py`` (``_data_from_pandas``), ``predictor.hpp`` (values within 1e-35 of zero are left
out of a row, and so are zero), ``gbdt_prediction.cpp``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orris.compile.proof.forest import Forest, cuts, totals
from orris.compile.proof.statement import Answer, Coded, Columns, numbers, states_model, table_of
from orris.compile.proof.statements.ensembles import pair, require_classes
from orris.compile.proof.terms import Algebra, Term
from orris.errors import NotProvedError

_ZERO = float(np.float32(1e-35))
_INFINITE = 1e300
"""LightGBM writes an infinite threshold so; no row that the contract admits lies beyond."""

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_NONE, _MISSING_ZERO = 0, 1
_IDENTITY = {
    "",  # an objective of the user's own
    "fair",
    "huber",
    "lambdarank",
    "mape",
    "quantile",
    "rank_xendcg",
    "regression",
    "regression_l1",
    "regression_l2",
}
_EXPONENTIAL = {"poisson", "gamma", "tweedie"}


@dataclass(frozen=True)
class _Text:
    """The model file: its head, one block of ``key=value`` lines for each tree, and the levels of category columns."""

    head: Mapping[str, str]
    trees: Sequence[Mapping[str, str]]
    categories: Sequence[Sequence[Any]]

    @property
    def objective(self) -> str:
        """The objective's words, its name first."""
        return self.head.get("objective", "")


def _read(booster: Any) -> _Text:
    trees, _, rest = booster.model_to_string().partition("end of trees")
    head, *blocks = trees.split("\nTree=")
    categories = json.loads(rest.rpartition("\npandas_categorical:")[2])
    return _Text(_lines(head), [_lines(block) for block in blocks], categories or [])


def _lines(block: str) -> dict[str, str]:
    parts = [line.partition("=") for line in block.splitlines()]
    return {key: value for key, _, value in parts}


def _scores(algebra: Algebra, model: Any, columns: Columns) -> tuple[_Text, list[Term]]:
    """The model file, and the sums of the leaves, tree by tree; one for each class, or one."""
    text = _read(model.booster_)
    n_targets = int(text.head["num_tree_per_iteration"])
    forest, roots, values = _forest(text, *_tested(algebra, text, model, columns))
    targets = np.arange(len(roots)) % n_targets
    sums = totals(algebra, forest, roots, values, targets, n_targets)
    if "average_output" in text.head:
        rounds = algebra.constant(float(len(roots) // n_targets))
        sums = [algebra.apply("Div", total, rounds) for total in sums]
    return text, sums


_Codes = dict[int, dict[float, int | None]]
"""For each category column: LightGBM's code of each code that the row can hold; ``None``: it counts as missing."""


def _tested(algebra: Algebra, text: _Text, model: Any, columns: Columns) -> tuple[list[Term], _Codes]:
    """The columns as the trees test them, and LightGBM's codes of those that they test for membership."""
    contents = [column.content for column in columns.columns]
    categorical = [j for j, one in enumerate(contents) if isinstance(one, Coded) and one.is_category]
    if len(categorical) != len(text.categories) or any(not columns.columns[j].name for j in categorical):
        raise NotProvedError("LightGBM was trained on other category columns than it is given")
    known: _Codes = {}
    for j, content in enumerate(contents):
        if not isinstance(content, Coded):
            continue
        levels = text.categories[categorical.index(j)] if j in categorical else content.seen
        if j in categorical or not any(isinstance(level, str) for level in levels):
            position = {level: i if j in categorical else int(level) for i, level in enumerate(levels)}
            codes = algebra.codes[content.base.payload].tolist()
            known[j] = {code: position.get(value) for code, value in zip(codes, content.seen, strict=True)}
    sets, zeros = _columns_of(text)
    if not sets <= known.keys():
        raise NotProvedError("LightGBM is given codes of categories as numbers, which has no statement")
    terms = []
    for j, content in enumerate(contents):
        if isinstance(content, Coded) and j in sets:
            terms.append(content.base)
        elif isinstance(content, Coded) and j in categorical:
            terms.append(table_of(algebra, content, [_number(code) for code in known[j].values()], np.nan))
        else:
            terms += numbers(algebra, Columns.of([content]), model)
        if j in zeros:
            terms[j] = _without_zeros(algebra, terms[j])
    return terms, {j: known[j] for j in sets}


def _number(code: int | None) -> float:
    return np.nan if code is None else float(code)


def _without_zeros(algebra: Algebra, term: Term) -> Term:
    """Zeros are missing (``zero_as_missing``)."""
    zero = algebra.apply("LessOrEqual", algebra.apply("Abs", term), algebra.constant(_ZERO))
    return algebra.apply("Where", zero, algebra.constant(np.nan), term)


def _columns_of(text: _Text) -> tuple[set[int], set[int]]:
    """The columns that splits test for membership, and those whose zeros are missing."""
    sets: set[int] = set()
    missing: dict[int, set[int]] = {}
    for tree in text.trees:
        kinds = _numbers(tree.get("decision_type", "")).astype(np.int64).tolist()
        for column, kind in zip(_numbers(tree.get("split_feature", "")).astype(np.int64).tolist(), kinds, strict=True):
            if kind & _CATEGORICAL:
                sets.add(column)
            else:
                missing.setdefault(column, set()).add((kind >> 2) & 3)
    if sets & missing.keys() or any(_MISSING_ZERO in found and len(found) > 1 for found in missing.values()):
        raise NotProvedError("LightGBM's splits treat one column in two ways, which has no statement")
    return sets, {column for column, found in missing.items() if _MISSING_ZERO in found}


def _forest(text: _Text, terms: Sequence[Term], known: _Codes) -> tuple[Forest, Any, Any]:
    """All trees side by side, the positions of their roots, and the values of their leaves."""
    parts: dict[str, list[Any]] = {name: [] for name in ("feature", "cut", "left", "right", "missing_left", "leaf")}
    roots, values, start, n_leaves = [], [], 0, 0
    members: dict[int, Any] = {}
    for tree in text.trees:
        if tree.get("is_linear", "0") != "0":
            raise NotProvedError("LightGBM's linear trees have no statement")
        leaf_values = _numbers(tree["leaf_value"])
        kinds = _numbers(tree.get("decision_type", "")).astype(np.int64)
        threshold = _numbers(tree.get("threshold", ""))
        feature = _numbers(tree.get("split_feature", "")).astype(np.int64)
        n_splits = len(leaf_values) - 1
        empty = np.zeros(len(leaf_values), dtype=np.int64)
        for node in np.flatnonzero(kinds & _CATEGORICAL).tolist():
            codes = _set(tree, int(threshold[node]))
            members[start + node] = np.array([row for row, code in known[int(feature[node])].items() if code in codes])
        for side in ("left", "right"):
            child = _numbers(tree.get(f"{side}_child", "")).astype(np.int64)
            parts[side] += [start + np.where(child < 0, n_splits + ~child, child), empty]
        parts["feature"] += [feature, empty]
        parts["cut"] += [_cuts(threshold), empty.astype(np.float64)]
        parts["missing_left"] += [_missing_left(kinds, threshold), empty.astype(np.bool_)]
        parts["leaf"] += [np.full(n_splits, -1), n_leaves + np.arange(len(leaf_values))]
        roots.append(start)
        values.append(leaf_values)
        start += n_splits + len(leaf_values)
        n_leaves += len(leaf_values)
    joined: dict[str, Any] = {name: np.concatenate(part) for name, part in parts.items()}
    return Forest(columns=terms, members=members, **joined), np.array(roots), np.concatenate(values)


def _set(tree: Mapping[str, str], number: int) -> set[int]:
    """The codes of a tree's set, from the bits of its 32-bit words."""
    bounds = [int(word) for word in tree["cat_boundaries"].split()]
    words = [int(word) for word in tree["cat_threshold"].split()][bounds[number] : bounds[number + 1]]
    return {32 * i + bit for i, word in enumerate(words) for bit in range(32) if word >> bit & 1}


def _numbers(text: str) -> Any:
    return np.array([float(word) for word in text.split()], dtype=np.float64)


def _cuts(threshold: Any) -> Any:
    found = cuts(np.where(threshold >= _INFINITE, np.inf, threshold), zero=_ZERO)
    return np.where(threshold <= -_INFINITE, -np.inf, found)


def _missing_left(kinds: Any, threshold: Any) -> Any:
    """A missing value goes where the split says, or, where training saw none, as 0 does; it is no member of a set."""
    missing = (kinds >> 2) & 3
    left = np.where(missing == _MISSING_NONE, threshold >= 0, (kinds & _DEFAULT_LEFT) > 0)
    return left & ((kinds & _CATEGORICAL) == 0)


@states_model("lightgbm.LGBMRegressor", "lightgbm.LGBMRanker", "orris.LGBMRegressor")
def regressor(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The sum, or its exponential."""
    text, scores = _scores(algebra, model, columns)
    name, *settings = text.objective.split() or [""]
    if len(scores) == 1 and name in _IDENTITY and "sqrt" not in settings:
        return Answer(value=scores[0])
    if len(scores) == 1 and name in _EXPONENTIAL:
        return Answer(value=algebra.apply("Exp", scores[0]))
    raise NotProvedError(f"LightGBM's objective '{text.objective}' has no statement")


@states_model("lightgbm.LGBMClassifier", "orris.LGBMClassifier")
def classifier(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The label is the first largest probability."""
    n_classes = require_classes(model)
    text, scores = _scores(algebra, model, columns)
    name, *settings = text.objective.split() or [""]
    sigmoid = next((float(word[8:]) for word in settings if word.startswith("sigmoid:")), 1.0)

    def logistic(score: Term) -> Term:
        return algebra.apply("Expit", algebra.apply("Mul", score, algebra.constant(sigmoid)))

    if name in {"binary", "cross_entropy"} and n_classes == 2 and len(scores) == 1:
        probabilities: tuple[Term, ...] = pair(algebra, logistic(scores[0]))
    elif name == "multiclassova" and len(scores) == n_classes:
        probabilities = tuple(logistic(score) for score in scores)
    elif name == "multiclass" and len(scores) == n_classes:
        probabilities = tuple(algebra.several("Softmax", scores, k) for k in range(n_classes))
    else:
        raise NotProvedError(f"LightGBM's objective '{text.objective}' has no statement")
    return Answer(algebra.several("ArgMax", probabilities), probabilities)

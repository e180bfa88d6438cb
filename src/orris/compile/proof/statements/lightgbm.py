"""What LightGBM computes, from the text of its model file (``model_to_string``): numeric splits, common objectives.

The converter reads another description of the model (``dump_model``). Sources: ``tree.h`` (``NumericalDecision``),
``predictor.hpp`` (values within 1e-35 of zero are left out of a row, and so are zero), ``gbdt_prediction.cpp``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orris.compile.proof.forest import Forest, cuts, totals
from orris.compile.proof.statement import Answer, Columns, numbers, states_model
from orris.compile.proof.statements.ensembles import pair, require_classes
from orris.compile.proof.terms import Algebra, Term
from orris.errors import NotProvedError

_ZERO = float(np.float32(1e-35))
_INFINITE = 1e300
"""LightGBM writes an infinite threshold so; no row that the contract admits lies beyond."""

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_NONE, _MISSING_NAN = 0, 2
_IDENTITY = {"regression", "regression_l1", "regression_l2", "huber", "fair", "quantile", "mape"}
_EXPONENTIAL = {"poisson", "gamma", "tweedie"}


@dataclass(frozen=True)
class _Text:
    """The model file: its head, and one block of ``key=value`` lines for each tree."""

    head: Mapping[str, str]
    trees: Sequence[Mapping[str, str]]

    @property
    def objective(self) -> str:
        """The objective's words, its name first."""
        return self.head.get("objective", "")


def _read(booster: Any) -> _Text:
    head, *blocks = booster.model_to_string().split("end of trees")[0].split("\nTree=")
    return _Text(_lines(head), [_lines(block) for block in blocks])


def _lines(block: str) -> dict[str, str]:
    parts = [line.partition("=") for line in block.splitlines()]
    return {key: value for key, _, value in parts}


def _scores(algebra: Algebra, model: Any, columns: Columns) -> tuple[_Text, list[Term]]:
    """The model file, and the sums of the leaves, tree by tree; one for each class, or one."""
    text = _read(model.booster_)
    n_targets = int(text.head["num_tree_per_iteration"])
    forest, roots, values = _forest(text, numbers(algebra, columns, model))
    targets = np.arange(len(roots)) % n_targets
    sums = totals(algebra, forest, roots, values, targets, n_targets)
    if "average_output" in text.head:
        rounds = algebra.constant(float(len(roots) // n_targets))
        sums = [algebra.apply("Div", total, rounds) for total in sums]
    return text, sums


def _forest(text: _Text, terms: Sequence[Term]) -> tuple[Forest, Any, Any]:
    """All trees side by side, the positions of their roots, and the values of their leaves."""
    parts: dict[str, list[Any]] = {name: [] for name in ("feature", "cut", "left", "right", "missing_left", "leaf")}
    roots, values, start, n_leaves = [], [], 0, 0
    for tree in text.trees:
        if tree.get("is_linear", "0") != "0":
            raise NotProvedError("LightGBM's linear trees have no statement")
        leaf_values = _numbers(tree["leaf_value"])
        kinds = _numbers(tree.get("decision_type", "")).astype(np.int64)
        threshold = _numbers(tree.get("threshold", ""))
        n_splits = len(leaf_values) - 1
        empty = np.zeros(len(leaf_values), dtype=np.int64)
        for side in ("left", "right"):
            child = _numbers(tree.get(f"{side}_child", "")).astype(np.int64)
            parts[side] += [start + np.where(child < 0, n_splits + ~child, child), empty]
        parts["feature"] += [_numbers(tree.get("split_feature", "")).astype(np.int64), empty]
        parts["cut"] += [_cuts(threshold), empty.astype(np.float64)]
        parts["missing_left"] += [_missing_left(kinds, threshold), empty.astype(np.bool_)]
        parts["leaf"] += [np.full(n_splits, -1), n_leaves + np.arange(len(leaf_values))]
        roots.append(start)
        values.append(leaf_values)
        start += n_splits + len(leaf_values)
        n_leaves += len(leaf_values)
    joined: dict[str, Any] = {name: np.concatenate(part) for name, part in parts.items()}
    return Forest(columns=terms, **joined), np.array(roots), np.concatenate(values)


def _numbers(text: str) -> Any:
    return np.array([float(word) for word in text.split()], dtype=np.float64)


def _cuts(threshold: Any) -> Any:
    found = cuts(np.where(threshold >= _INFINITE, np.inf, threshold), zero=_ZERO)
    return np.where(threshold <= -_INFINITE, -np.inf, found)


def _missing_left(kinds: Any, threshold: Any) -> Any:
    """A missing value goes where the split says, or, where training saw none, as 0 does."""
    missing = (kinds >> 2) & 3
    if (kinds & _CATEGORICAL).any() or not np.isin(missing, (_MISSING_NONE, _MISSING_NAN)).all():
        raise NotProvedError("LightGBM's splits on categories, and zeros that are missing, have no statement")
    return np.where(missing == _MISSING_NONE, threshold >= 0, (kinds & _DEFAULT_LEFT) > 0)


@states_model("lightgbm.LGBMRegressor")
def regressor(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The sum, or its exponential."""
    text, scores = _scores(algebra, model, columns)
    if len(scores) == 1 and text.objective in _IDENTITY:
        return Answer(value=scores[0])
    if len(scores) == 1 and text.objective.split()[:1] and text.objective.split()[0] in _EXPONENTIAL:
        return Answer(value=algebra.apply("Exp", scores[0]))
    raise NotProvedError(f"LightGBM's objective '{text.objective}' has no statement")


@states_model("lightgbm.LGBMClassifier")
def classifier(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The label is the first largest probability."""
    n_classes = require_classes(model)
    text, scores = _scores(algebra, model, columns)
    name, *settings = text.objective.split() or [""]
    if name == "binary" and n_classes == 2 and len(scores) == 1:
        sigmoid = next((float(word[8:]) for word in settings if word.startswith("sigmoid:")), 1.0)
        scaled = algebra.apply("Mul", scores[0], algebra.constant(sigmoid))
        probabilities: tuple[Term, ...] = pair(algebra, algebra.apply("Expit", scaled))
    elif name == "multiclass" and len(scores) == n_classes:
        probabilities = tuple(algebra.several("Softmax", scores, k) for k in range(n_classes))
    else:
        raise NotProvedError(f"LightGBM's objective '{text.objective}' has no statement")
    return Answer(algebra.several("ArgMax", probabilities), probabilities)

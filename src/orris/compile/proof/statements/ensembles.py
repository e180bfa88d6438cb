"""The computation of scikit-learn's trees and their ensembles: their own tables of trees, and the steps after the sum.

scikit-learn's decision trees round a row to float32 and compare it with float64 thresholds; histogram gradient boosting
compares float64. Sums start from zero (or the baseline) and take the trees one after the other, as with ``n_jobs=1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orris.compile.proof.forest import Canonical, Forest, canonical, cuts
from orris.compile.proof.statement import Answer, Coded, Columns, is_nan, numbers, states_model
from orris.compile.proof.terms import Algebra, Term
from orris.errors import NotProvedError
from orris.schema.arrays import FloatArray


@dataclass(frozen=True)
class _Grown:
    """Trees in canonical form, and a table ``(n_leaves, width)`` of what stands at their leaves."""

    trees: list[Canonical]
    leaves: FloatArray

    def terms(self, algebra: Algebra, column: int) -> list[Term]:
        """Each tree's answer from that column of the table."""
        return [algebra.leaves(tree.digest, self.leaves[tree.leaves, column]) for tree in self.trees]


def _grow(
    algebra: Algebra,
    terms: Sequence[Term],
    members: Sequence[Any],
    chosen: Sequence[Any] | None = None,
    *,
    missing: bool = True,
) -> _Grown:
    """The trees of fitted ``DecisionTree*`` members.

    Args:
        algebra: Makes the terms.
        terms: The columns that reach the ensemble.
        members: The fitted trees, in the order in which they are added.
        chosen: For each, the columns that it was given; ``None``: all.
        missing: Whether NaN goes where the tree says; otherwise to the right, as in a comparison with NaN.
    """
    parts: list[dict[str, npt.NDArray[Any]]] = []
    roots, n_nodes = [], 0
    for i, member in enumerate(members):
        if member.n_outputs_ != 1:
            raise NotProvedError(f"{type(member).__name__} predicts several outputs")
        tree = member.tree_
        leaf = np.asarray(tree.children_left) == -1
        feature = np.where(leaf, 0, tree.feature)
        parts.append(
            {
                "feature": feature if chosen is None else np.asarray(chosen[i])[feature],
                "threshold": np.where(leaf, 0.0, tree.threshold),
                "left": np.where(leaf, 0, tree.children_left + n_nodes),
                "right": np.where(leaf, 0, tree.children_right + n_nodes),
                "missing_left": np.asarray(tree.missing_go_to_left, dtype=np.bool_) & missing,
                "leaf": leaf,
                "values": np.asarray(tree.value[:, 0, :], dtype=np.float64),
            }
        )
        roots.append(n_nodes)
        n_nodes += len(leaf)
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0] if key != "values"}
    leaf = joined["leaf"]
    forest = Forest(
        columns=terms,
        feature=joined["feature"].astype(np.int64),
        cut=np.where(leaf, 0.0, cuts(joined["threshold"], single=True)),
        left=joined["left"].astype(np.int64),
        right=joined["right"].astype(np.int64),
        missing_left=joined["missing_left"] & ~leaf,
        leaf=np.where(leaf, np.cumsum(leaf) - 1, -1),
    )
    values = [part["values"] for part in parts]
    width = max(part.shape[1] for part in values)
    table = np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in values])
    return _Grown(canonical(algebra, forest, np.array(roots)), table[leaf])


def _mean(algebra: Algebra, terms: Sequence[Term], n_trees: int) -> Term:
    """The sum in order, divided by the number of trees."""
    return algebra.apply("Div", algebra.fold(terms), algebra.constant(float(n_trees)))


def _largest(algebra: Algebra, probabilities: Sequence[Term]) -> Answer:
    """The label is the position of the first largest probability."""
    return Answer(label=algebra.several("ArgMax", probabilities), probabilities=tuple(probabilities))


def require_classes(model: Any) -> int:
    """Number of classes of a classifier of one output."""
    classes = model.classes_
    if isinstance(classes, list) or np.ndim(classes) != 1:
        raise NotProvedError(f"{type(model).__name__} predicts several outputs")
    return len(classes)


@states_model("sklearn.DecisionTreeClassifier", "sklearn.ExtraTreeClassifier")
def tree_classifier(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The leaf's shares of the classes."""
    grown = _grow(algebra, numbers(algebra, columns, model), [model])
    return _largest(algebra, [grown.terms(algebra, k)[0] for k in range(require_classes(model))])


@states_model("sklearn.DecisionTreeRegressor", "sklearn.ExtraTreeRegressor")
def tree_regressor(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The leaf's value."""
    return Answer(value=_grow(algebra, numbers(algebra, columns, model), [model]).terms(algebra, 0)[0])


@states_model(
    "sklearn.RandomForestClassifier", "sklearn.ExtraTreesClassifier", "imblearn.BalancedRandomForestClassifier"
)
def forest_classifier(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The mean over trees of the leaf's shares of the classes."""
    grown = _grow(algebra, numbers(algebra, columns, model), model.estimators_)
    n_classes, n_trees = require_classes(model), len(model.estimators_)
    return _largest(algebra, [_mean(algebra, grown.terms(algebra, k), n_trees) for k in range(n_classes)])


@states_model("sklearn.RandomForestRegressor", "sklearn.ExtraTreesRegressor")
def forest_regressor(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The mean over trees of the leaf's value."""
    grown = _grow(algebra, numbers(algebra, columns, model), model.estimators_)
    return Answer(value=_mean(algebra, grown.terms(algebra, 0), len(model.estimators_)))


def _bagged(algebra: Algebra, model: Any, columns: Columns) -> _Grown:
    if any(
        type(member).__name__ not in {"DecisionTreeClassifier", "DecisionTreeRegressor"} for member in model.estimators_
    ):
        raise NotProvedError(f"{type(model).__name__} over anything but decision trees has no statement")
    return _grow(algebra, numbers(algebra, columns, model), model.estimators_, model.estimators_features_)


@states_model("sklearn.BaggingClassifier")
def bagging_classifier(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The mean over trees of the shares of the classes that each tree saw."""
    grown = _bagged(algebra, model, columns)
    parts: list[list[Term]] = [[] for _ in range(require_classes(model))]
    for tree, member in zip(grown.trees, model.estimators_, strict=True):
        for column, k in enumerate(np.asarray(member.classes_, dtype=np.int64).tolist()):
            parts[k].append(algebra.leaves(tree.digest, grown.leaves[tree.leaves, column]))
    return _largest(algebra, [_mean(algebra, part, len(model.estimators_)) for part in parts])


@states_model("sklearn.BaggingRegressor")
def bagging_regressor(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The mean over trees of the leaf's value."""
    grown = _bagged(algebra, model, columns)
    return Answer(value=_mean(algebra, grown.terms(algebra, 0), len(model.estimators_)))


@states_model("sklearn.AdaBoostClassifier", "imblearn.RUSBoostClassifier")
def adaboost_classifier(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """SAMME over decision trees: each gives its weight to the class it names and takes a share from the others."""
    n_classes = require_classes(model)
    if any(type(member).__name__ != "DecisionTreeClassifier" for member in model.estimators_) or n_classes < 2:
        raise NotProvedError("AdaBoostClassifier over anything but decision trees has no statement")
    grown = _grow(algebra, numbers(algebra, columns, model), model.estimators_)
    parts: list[list[Term]] = [[] for _ in range(n_classes)]
    for tree, member, weight in zip(grown.trees, model.estimators_, model.estimator_weights_, strict=False):
        shares = grown.leaves[tree.leaves, : len(member.classes_)]
        named = member.classes_.take(np.argmax(shares, axis=1), axis=0)
        for k in range(n_classes):
            votes = np.where(named == model.classes_[k], weight, -1 / (n_classes - 1) * weight)
            parts[k].append(algebra.leaves(tree.digest, votes))
    total = algebra.constant(float(model.estimator_weights_.sum()))
    scores = [algebra.apply("Div", algebra.fold(part), total) for part in parts]
    if n_classes > 2:
        shared = [algebra.apply("Div", score, algebra.constant(float(n_classes - 1))) for score in scores]
        return Answer(algebra.several("ArgMax", scores), _softmax(algebra, shared))
    decision = algebra.apply("Sub", scores[1], scores[0])
    halves = [algebra.apply("Mul", decision, algebra.constant(half)) for half in (-0.5, 0.5)]
    return Answer(second_if(algebra, "Greater", decision, 0.0), _softmax(algebra, halves))


def _softmax(algebra: Algebra, terms: Sequence[Term]) -> tuple[Term, ...]:
    return tuple(algebra.several("Softmax", terms, k) for k in range(len(terms)))


def second_if(algebra: Algebra, op: str, score: Term, limit: float) -> Term:
    """Position 1 where the comparison of the score with the limit holds, else 0."""
    return algebra.apply("Cast", algebra.apply(op, score, algebra.constant(limit)), to="i8")


def pair(algebra: Algebra, positive: Term) -> tuple[Term, Term]:
    """``1 - p`` and ``p``."""
    return algebra.apply("Sub", algebra.constant(1.0), positive), positive


def _linked(algebra: Algebra, model: Any, raw: Sequence[Term]) -> tuple[Term, ...]:
    """Through the inverse of the loss's link."""
    link = type(model._loss.link).__name__
    if link == "IdentityLink":
        return tuple(raw)
    if link == "LogLink":
        return (algebra.apply("Exp", raw[0]),)
    if link == "LogitLink":
        return pair(algebra, algebra.apply("Expit", raw[0]))
    if link == "HalfLogitLink":
        return pair(algebra, algebra.apply("Expit", algebra.apply("Mul", raw[0], algebra.constant(2.0))))
    if link == "MultinomialLogit":
        return _softmax(algebra, raw)
    raise NotProvedError(f"the link {link} has no statement")


def _classified(algebra: Algebra, model: Any, raw: Sequence[Term], positive: str) -> Answer:
    """The label is read from the raw scores."""
    label = second_if(algebra, positive, raw[0], 0.0) if len(raw) == 1 else algebra.several("ArgMax", raw)
    return Answer(label, _linked(algebra, model, raw), decision=tuple(raw))


def _gradient_boosting(algebra: Algebra, model: Any, columns: Columns) -> list[Term]:
    """Raw scores: the start, to which ``learning_rate * leaf`` is added stage by stage. NaN goes to the right."""
    start = model.init_
    constant = (isinstance(start, str) and start == "zero") or (
        type(start).__name__ in {"DummyClassifier", "DummyRegressor"}
        and getattr(start, "strategy", "") in {"prior", "mean", "quantile", "median", "constant"}
    )
    if not constant:
        raise NotProvedError(f"{type(model).__name__} starts from another model's answer")
    baseline = model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32))[0]
    members = model.estimators_.reshape(-1).tolist()
    grown = _grow(algebra, numbers(algebra, columns, model), members, missing=False)
    n_targets = model.estimators_.shape[1]
    scores = []
    for k in range(n_targets):
        trees = [
            algebra.leaves(tree.digest, model.learning_rate * grown.leaves[tree.leaves, 0])
            for tree in grown.trees[k::n_targets]
        ]
        scores.append(algebra.fold([algebra.constant(float(baseline[k])), *trees]))
    return scores


@states_model("sklearn.GradientBoostingClassifier")
def gradient_boosting_classifier(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """Two classes: the second where the raw score is at least 0."""
    require_classes(model)
    return _classified(algebra, model, _gradient_boosting(algebra, model, columns), "GreaterOrEqual")


@states_model("sklearn.GradientBoostingRegressor")
def gradient_boosting_regressor(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The raw score."""
    return Answer(value=_gradient_boosting(algebra, model, columns)[0])


@states_model("sklearn.HistGradientBoostingClassifier")
def hist_classifier(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """Two classes: the second where the raw score is above 0."""
    require_classes(model)
    return _classified(algebra, model, _hist(algebra, model, columns), "Greater")


@states_model("sklearn.HistGradientBoostingRegressor")
def hist_regressor(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The raw score through the inverse of the link."""
    return Answer(value=_linked(algebra, model, _hist(algebra, model, columns))[0])


def _hist(algebra: Algebra, model: Any, columns: Columns) -> list[Term]:
    """Raw scores: the baseline, to which the leaves are added iteration by iteration."""
    tested = _hist_columns(algebra, model, columns)
    n_targets = model.n_trees_per_iteration_
    baseline = np.asarray(model._baseline_prediction).reshape(-1)
    if baseline.dtype != np.float64 or len(baseline) != n_targets:
        raise NotProvedError("the baseline is not of float64")
    trees = [tree for iteration in model._predictors for tree in iteration]
    grown = _grow_hist(algebra, tested, trees)
    return [
        algebra.fold(
            [
                algebra.constant(float(baseline[k])),
                *(algebra.leaves(tree.digest, grown.leaves[tree.leaves, 0]) for tree in grown.trees[k::n_targets]),
            ]
        )
        for k in range(n_targets)
    ]


@dataclass(frozen=True)
class _Tested:
    """A column of a histogram tree: the term, and for a category the number in the row of each of its ordinals."""

    term: Term
    ordinals: dict[float, int] | None = None


def _hist_columns(algebra: Algebra, model: Any, columns: Columns) -> list[_Tested]:
    """The columns as the trees number them: categories first, ordinally encoded by the model itself."""
    categorical = model.is_categorical_
    flags = [False] * len(columns.columns) if categorical is None else np.asarray(categorical).tolist()
    encoders = iter(model._preprocessor.named_transformers_["encoder"].categories_ if any(flags) else ())
    first: list[_Tested] = []
    rest: list[_Tested] = []
    for column, is_categorical in zip(columns.columns, flags, strict=True):
        content = column.content
        if not is_categorical:
            if isinstance(content, Coded):
                raise NotProvedError(f"{type(model).__name__} is given the category column '{column.name}' as a number")
            rest.append(_Tested(content))
            continue
        known = {value: i for i, value in enumerate(next(encoders).tolist()) if not is_nan(value)}
        if None in known:
            raise NotProvedError("a histogram tree takes None for a category")
        if isinstance(content, Coded):
            domain = algebra.domain(content.base)
            assert domain is not None  # noqa: S101
            codes = zip(domain.tolist(), content.seen, strict=True)
            found = {code: known.get(value) for code, value in codes}
            if not (is_nan(content.missing) or known.get(content.missing) is None):
                raise NotProvedError("the missing value is a category")
            first.append(_Tested(content.base, {code: i for code, i in found.items() if i is not None}))
            continue
        if any(not isinstance(value, int | float) or value != np.floor(value) for value in known):
            raise NotProvedError("a histogram tree has categories that are no whole numbers")
        first.append(_Tested(algebra.whole(content), {float(value): i for value, i in known.items()}))
    return first + rest


def _grow_hist(algebra: Algebra, tested: Sequence[_Tested], trees: Sequence[Any]) -> _Grown:
    """Histogram trees compare float64; a category goes left if its bit is set, an unknown one as the missing value."""
    nodes = np.concatenate([tree.nodes for tree in trees])
    starts = np.cumsum([0, *(len(tree.nodes) for tree in trees)])
    shift = np.repeat(starts[:-1], np.diff(starts))
    leaf = nodes["is_leaf"].astype(np.bool_)
    categorical = nodes["is_categorical"].astype(np.bool_) & ~leaf
    missing_left = nodes["missing_go_to_left"].astype(np.bool_) & ~leaf
    members = {}
    owner = np.repeat(np.arange(len(trees)), np.diff(starts))
    for node in np.flatnonzero(categorical).tolist():
        record = nodes[node]
        ordinals = tested[int(record["feature_idx"])].ordinals
        if ordinals is None:
            raise NotProvedError("a histogram tree tests a number for membership")
        words = trees[owner[node]].raw_left_cat_bitsets[record["bitset_idx"]]
        members[node] = _parted(tested[int(record["feature_idx"])], words, missing=bool(missing_left[node]))
    numeric = ~leaf & ~categorical
    if any(tested[int(i)].ordinals is not None for i in np.unique(nodes["feature_idx"][numeric])):
        raise NotProvedError("a histogram tree compares a category with a threshold")
    # A set with unknown numbers on its side is written as its complement, with the children exchanged.
    turned = np.zeros(len(nodes), np.bool_)
    turned[[node for node, (_, flipped) in members.items() if flipped]] = True
    left, right = (np.where(leaf, 0, nodes[side].astype(np.int64) + shift) for side in ("left", "right"))
    forest = Forest(
        columns=[column.term for column in tested],
        feature=np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64),
        cut=np.where(numeric, cuts(np.where(numeric, nodes["num_threshold"], 0.0)), 0.0),
        left=np.where(turned, right, left),
        right=np.where(turned, left, right),
        missing_left=missing_left & ~turned,
        leaf=np.where(leaf, np.cumsum(leaf) - 1, -1),
        members={node: numbers_left for node, (numbers_left, _) in members.items()},
    )
    values = nodes["value"][leaf].astype(np.float64)[:, np.newaxis]
    return _Grown(canonical(algebra, forest, starts[:-1]), values)


def _parted(column: _Tested, words: npt.NDArray[np.uint32], *, missing: bool) -> tuple[FloatArray, bool]:
    """The numbers that part from the missing value, and whether they go right (the children are then exchanged)."""
    ordinals = column.ordinals or {}
    stays = [
        number
        for number, ordinal in ordinals.items()
        if bool((int(words[ordinal // 32]) >> (ordinal % 32)) & 1) is not missing
    ]
    return np.array(sorted(stays), dtype=np.float64), missing

"""The computation of XGBoost, from its JSON model file: trees of numbers and of categories, and the objectives' links.

A row is rounded to float32. A split goes left where ``value < condition``, or where a category is not in the split's
set. Leaves are added to the base margin in float32, tree by tree, and the link is float32 arithmetic too. Sources:
``common/categorical.h`` (``Decision``), ``common/math.h`` (``Sigmoid``, ``Softmax``), ``regression_loss.h``, and for
``expf`` the C library glibc (``sysdeps/ieee754/flt-32/e_expf.c``).
"""

from __future__ import annotations

import decimal
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orris.compile.proof.forest import Forest, canonical, cuts
from orris.compile.proof.statement import Answer, Coded, Columns, numbers, states_model
from orris.compile.proof.statements.ensembles import require_classes
from orris.compile.proof.terms import Algebra, Term
from orris.errors import NotProvedError

_IDENTITY = {
    "rank:map",
    "rank:ndcg",
    "rank:pairwise",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:quantileerror",
    "reg:squarederror",
    "reg:squaredlogerror",
}
_EXPONENTIAL = {"count:poisson", "reg:gamma", "reg:tweedie", "survival:aft", "survival:cox"}
_LOGISTIC = {"binary:logistic", "reg:logistic"}

_TABLE_SIZE = 32
_PER_LOG2 = float.fromhex("0x1.71547652b82fep+0") * _TABLE_SIZE
_CUBIC = tuple(
    float.fromhex(number) / _TABLE_SIZE**power
    for number, power in (("0x1.c6af84b912394p-5", 3), ("0x1.ebfce50fac4f3p-3", 2), ("0x1.62e42ff0c52d6p-1", 1))
)


@dataclass(frozen=True)
class _Stored:
    """The model file of a fitted estimator.

    Attributes:
        learner: The ``learner`` of its JSON.
        trees: The trees that count: all, or those up to the best iteration.
        targets: For each of them, the target that it adds to.
        bases: The margins that the library gives where every leaf is zero, float32 ``(n_targets,)``.
    """

    learner: Mapping[str, Any]
    trees: Sequence[Any]
    targets: Sequence[int]
    bases: npt.NDArray[np.float32]

    @property
    def objective(self) -> str:
        """The objective's name."""
        return str(self.learner["objective"]["name"])


def _read(model: Any) -> _Stored:
    document = json.loads(bytes(model.get_booster().save_raw("json")))
    learner = document["learner"]
    booster, parameters = learner["gradient_booster"], learner["learner_model_param"]
    if booster["name"] != "gbtree" or int(parameters.get("num_target", 1)) > 1:
        raise NotProvedError(f"XGBoost's booster '{booster['name']}', or several targets, have no statement")
    stored = booster["model"]
    best, ends = getattr(model, "best_iteration", None), stored["iteration_indptr"]
    count = len(stored["trees"]) if best is None or best + 1 >= len(ends) else ends[best + 1]
    if any(int(tree["tree_param"].get("size_leaf_vector", 1)) > 1 for tree in stored["trees"]):
        raise NotProvedError("XGBoost's vector leaves have no statement")
    return _Stored(learner, stored["trees"][:count], stored["tree_info"][:count], _bases(document))


def _bases(document: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """The library's answer from trees whose leaves are all zero."""
    import xgboost  # noqa: PLC0415 (installed where its model is)

    learner = document["learner"]
    model = learner["gradient_booster"]["model"]
    trees = [
        tree
        | {
            "split_conditions": [
                0.0 if child < 0 else condition
                for child, condition in zip(tree["left_children"], tree["split_conditions"], strict=True)
            ]
        }
        for tree in model["trees"]
    ]
    emptied = {"gradient_booster": learner["gradient_booster"] | {"model": model | {"trees": trees}}}
    booster = xgboost.Booster()
    booster.load_model(bytearray(json.dumps(dict(document) | {"learner": learner | emptied}).encode()))
    row = np.full((1, int(learner["learner_model_param"]["num_feature"])), np.nan, dtype=np.float32)
    data = xgboost.DMatrix(row, feature_names=booster.feature_names, feature_types=booster.feature_types)
    return np.asarray(booster.predict(data, output_margin=True), dtype=np.float32).reshape(-1)


def _margins(algebra: Algebra, model: Any, columns: Columns) -> tuple[_Stored, list[Term]]:
    """The model file, and the base margins and leaves, added in float32: one sum for each target."""
    stored = _read(model)
    sums = [[algebra.constant(base, "f4")] for base in stored.bases]
    if stored.trees:
        forest, roots, leaves = _forest(stored.trees, *_tested(algebra, model, stored.learner, columns))
        for target, tree in zip(stored.targets, canonical(algebra, forest, roots), strict=True):
            sums[target].append(algebra.leaves(tree.digest, leaves[tree.leaves], "f4"))
    return stored, [algebra.fold(parts, "f4") for parts in sums]


_Categories = dict[int, dict[float, int]]
"""For each category column: the library's code of each code that the row can hold."""


def _tested(
    algebra: Algebra, model: Any, learner: Mapping[str, Any], columns: Columns
) -> tuple[list[Term], _Categories]:
    """The columns as the trees compare them, and the library's codes of the category columns."""
    kinds = learner.get("feature_types") or []
    named = {j for j, kind in enumerate(kinds) if kind == "c"}
    contents = [column.content for column in columns.columns]
    plain = [algebra.constant(np.nan) if j in named else content for j, content in enumerate(contents)]
    terms = [
        _with_missing(algebra, algebra.apply("Cast", term, to="f4"), model, columns)
        for term in numbers(algebra, Columns.of(plain), model)
    ]
    encoded = learner["gradient_booster"]["model"].get("cats", {}).get("enc") or []
    known: _Categories = {}
    for j in named:
        content = contents[j]
        if not isinstance(content, Coded) or not encoded:
            raise NotProvedError("XGBoost is given codes of categories, which have no statement")
        positions = {level: code for code, level in enumerate(_levels(encoded[j]))}
        if any(value not in positions for value in content.seen):
            raise NotProvedError(f"XGBoost does not know a level of the column '{columns.columns[j].name}'")
        codes = algebra.codes[content.base.payload].tolist()
        known[j] = {code: positions[value] for code, value in zip(codes, content.seen, strict=True)}
        terms[j] = content.base
    return terms, known


def _with_missing(algebra: Algebra, term: Term, model: Any, columns: Columns) -> Term:
    """The missing values: the number that the estimator names, and the absent entries of a sparse matrix."""
    values = [] if np.isnan(model.missing) else [float(model.missing)]
    for value in [*values, *([0.0] if columns.sparse and 0.0 not in values else [])]:
        equal = algebra.apply("Equal", term, algebra.constant(value, "f4"))
        term = algebra.apply("Where", equal, algebra.constant(np.nan, "f4"), term)
    return term


def _levels(stored: Mapping[str, Any]) -> list[Any]:
    """A column's categories by code: numbers, or texts that lie behind one another as bytes."""
    if "offsets" not in stored:
        return list(stored["values"])
    text = bytes(byte % 256 for byte in stored["values"])
    return [text[start:end].decode() for start, end in itertools.pairwise(stored["offsets"])]


def _forest(trees: Sequence[Any], terms: Sequence[Term], known: _Categories) -> tuple[Forest, Any, Any]:
    """All trees side by side, the positions of their roots, and the values of their leaves, float32."""
    sizes = [len(tree["left_children"]) for tree in trees]
    starts = np.cumsum([0, *sizes])[:-1]
    shift = np.repeat(starts, sizes)
    left, right, feature, default = (
        np.concatenate([np.array(tree[name], dtype=np.int64) for tree in trees])
        for name in ("left_children", "right_children", "split_indices", "default_left")
    )
    conditions = np.concatenate([np.array(tree["split_conditions"], dtype=np.float32) for tree in trees])
    leaf = left < 0
    members = {}
    for start, tree in zip(starts.tolist(), trees, strict=True):
        sets = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
        for node, begin, size in sets:
            column = int(tree["split_indices"][node])
            if column not in known:
                raise NotProvedError("XGBoost tests a number for membership")
            goes_right = set(tree["categories"][begin : begin + size])
            members[start + node] = np.array([row for row, code in known[column].items() if code not in goes_right])
    plain = ~leaf
    plain[list(members)] = False
    if np.isin(feature[plain], list(known)).any():
        raise NotProvedError("XGBoost compares a category with a threshold")
    forest = Forest(
        columns=terms,
        feature=np.where(leaf, 0, feature),
        cut=np.where(plain, cuts(np.where(plain, conditions, np.float32(0)), strict=True), 0.0),
        left=np.where(leaf, 0, left + shift),
        right=np.where(leaf, 0, right + shift),
        missing_left=(default > 0) & ~leaf,
        leaf=np.where(leaf, np.cumsum(leaf) - 1, -1),
        members=members,
    )
    return forest, starts, conditions[leaf]


def _power(algebra: Algebra, exponent: Term) -> Term:
    """``expf``: ``2**(k / 32) * 2**r``, a table and a cubic of ``r`` in float64, rounded to float32 at the end."""

    def number(value: float) -> Term:
        return algebra.constant(value)

    with decimal.localcontext(prec=40):
        table = np.array([float(decimal.Decimal(2) ** (decimal.Decimal(i) / _TABLE_SIZE)) for i in range(_TABLE_SIZE)])
    scaled = algebra.apply("Mul", algebra.apply("Cast", exponent, to="f8"), number(_PER_LOG2))
    whole = algebra.apply("Round", scaled)
    rest = algebra.apply("Sub", scaled, whole)
    turns = algebra.apply("Floor", algebra.apply("Mul", whole, number(1 / _TABLE_SIZE)))
    place = algebra.apply("Sub", whole, algebra.apply("Mul", turns, number(float(_TABLE_SIZE))))
    place = algebra.apply("Where", algebra.apply("IsNaN", place), number(0.0), place)
    entry = algebra.look_up(table, algebra.apply("Cast", place, to="i8"), "f8")
    scale = algebra.apply("Mul", entry, algebra.apply("Pow", number(2.0), turns))
    high = algebra.apply("Add", algebra.apply("Mul", number(_CUBIC[0]), rest), number(_CUBIC[1]))
    low = algebra.apply("Add", algebra.apply("Mul", number(_CUBIC[2]), rest), number(1.0))
    cubic = algebra.apply("Add", algebra.apply("Mul", high, algebra.apply("Mul", rest, rest)), low)
    return algebra.apply("Cast", algebra.apply("Mul", cubic, scale), to="f4")


def _logistic(algebra: Algebra, margin: Term) -> Term:
    """``1 / (expf(min(-x, 88.7)) + 1 + 1e-16)`` in float32."""
    power = _power(algebra, algebra.apply("Min", algebra.apply("Neg", margin), algebra.constant(88.7, "f4")))
    below = algebra.apply(
        "Add", algebra.apply("Add", power, algebra.constant(1.0, "f4")), algebra.constant(1e-16, "f4")
    )
    return algebra.apply("Div", algebra.constant(1.0, "f4"), below)


def _softmax(algebra: Algebra, margins: Sequence[Term]) -> list[Term]:
    """Exponentials of the distances from the largest margin, divided by their sum, which is added in float64."""
    largest = algebra.several("Largest", margins)
    powers = [_power(algebra, algebra.apply("Sub", margin, largest)) for margin in margins]
    total = algebra.fold([algebra.apply("Cast", power, to="f8") for power in powers])
    return [algebra.apply("Div", power, algebra.apply("Cast", total, to="f4")) for power in powers]


def _double(algebra: Algebra, term: Term) -> Term:
    return algebra.apply("Cast", term, to="f8")


@states_model("xgboost.XGBRegressor", "xgboost.XGBRFRegressor", "xgboost.XGBRanker")
def regressor(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The margin through the objective's link."""
    stored, margins = _margins(algebra, model, columns)
    if len(margins) == 1 and stored.objective in _IDENTITY:
        return Answer(value=_double(algebra, margins[0]), single=True)
    if len(margins) == 1 and stored.objective in _EXPONENTIAL:
        return Answer(value=_double(algebra, _power(algebra, margins[0])), single=True)
    if len(margins) == 1 and stored.objective in _LOGISTIC:
        return Answer(value=_double(algebra, _logistic(algebra, margins[0])), single=True)
    raise NotProvedError(f"XGBoost's objective {stored.objective} has no statement")


@states_model("xgboost.XGBClassifier", "xgboost.XGBRFClassifier")
def classifier(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """Two classes: the second above one half; more: the first largest probability."""
    n_classes = require_classes(model)
    stored, margins = _margins(algebra, model, columns)
    if n_classes == 2 and len(margins) == 1 and stored.objective in _LOGISTIC:
        second = _logistic(algebra, margins[0])
        first = algebra.apply("Sub", algebra.constant(1.0, "f4"), second)
        above = algebra.apply("Greater", second, algebra.constant(0.5, "f4"))
        label = algebra.apply("Cast", above, to="i8")
        return Answer(label, (_double(algebra, first), _double(algebra, second)), single=True)
    if len(margins) == n_classes and stored.objective == "multi:softprob":
        shares = _softmax(algebra, margins)
        probabilities = tuple(_double(algebra, share) for share in shares)
        return Answer(algebra.several("ArgMax", shares), probabilities, single=True)
    raise NotProvedError(f"XGBoost's objective {stored.objective} has no statement")

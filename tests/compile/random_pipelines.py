"""Hypothesis strategies: a random table of every kind of column, and a random pipeline that can be fitted on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from hypothesis import strategies as st
from sklearn import ensemble as en
from sklearn import linear_model as lm
from sklearn import preprocessing as pp
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from orris.training.learning import Task

TOWNS = ("Oslo", "Rome", "Lima", "Bonn", "Kyiv")


@dataclass(frozen=True)
class Table:
    """Rows, a target, and what was drawn: ``kinds`` and ``missing`` by column."""

    rows: pd.DataFrame
    target: npt.NDArray[Any]
    task: Task
    kinds: dict[str, str]
    missing: dict[str, bool]


def _column(kind: str, n_rows: int, rng: np.random.Generator) -> Any:
    """Values with many ties."""
    scale = 10.0 ** rng.integers(-3, 4)
    makers: dict[str, Callable[[], Any]] = {
        "decimal": lambda: np.round(rng.normal(size=n_rows), 1) * scale,
        "number": lambda: rng.normal(5, 2, n_rows) * scale,
        "constant": lambda: np.full(n_rows, 0.1),
        "integer": lambda: rng.integers(-5, 30, n_rows),
        "boolean": lambda: rng.random(n_rows) < 0.4,
        "text": lambda: rng.choice(TOWNS[: rng.integers(2, 6)], n_rows),
        "code": lambda: rng.choice([3, 7, 20, -1], n_rows),
    }
    return makers[kind]()


def _holes(kind: str, values: Any, where: npt.NDArray[np.bool_]) -> Any:
    """The column with missing values, in one of pandas' ways."""
    if kind == "code":
        return pd.Categorical(np.where(where, np.nan, values), categories=np.unique(values))
    if kind == "text":
        return np.where(where, None, values)
    if kind == "boolean":
        return pd.Series(values, dtype="boolean").mask(where) if where.any() else values
    return np.where(where, np.nan, values) if where.any() else values


@st.composite
def tables(draw: st.DrawFn, container: str) -> Table:
    """A table for a DataFrame, or one of plain numbers for an array."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_rows = draw(st.integers(30, 90))
    numbers = ["decimal", "number", "constant", "integer"]
    drawn = draw(
        st.lists(
            st.sampled_from(numbers if container == "array" else [*numbers, "boolean", "text", "code"]),
            min_size=1,
            max_size=5,
        )
    )
    columns, kinds, missing, signal = {}, {}, {}, np.zeros(n_rows)
    for i, kind in enumerate(drawn):
        name = f"{kind} {i}"
        values = _column(kind, n_rows, rng)
        where = (rng.random(n_rows) < 0.15) if draw(st.booleans()) else np.zeros(n_rows, dtype=bool)
        where[0] = False
        codes = np.unique(values, return_inverse=True)[1]
        signal += np.where(where, 0, codes / max(1, codes.max()))
        columns[name], kinds[name], missing[name] = _holes(kind, values, where), kind, bool(where.any())
    signal += rng.normal(0, 0.3, n_rows)
    task: Task = draw(st.sampled_from(["classification", "classification", "regression"]))
    if task == "regression":
        return Table(pd.DataFrame(columns), np.round(signal * 10, 1), task, kinds, missing)
    n_classes = draw(st.integers(2, 4))
    position = np.searchsorted(np.quantile(signal, np.linspace(0, 1, n_classes + 1)[1:-1]), signal)
    names = draw(st.sampled_from([np.array(["a", "b", "c", "d"]), np.array([5, 2, 11, -3])]))
    return Table(pd.DataFrame(columns), names[position], task, kinds, missing)


def _scalers(draw: st.DrawFn) -> Any:
    return draw(
        st.sampled_from(
            [
                pp.StandardScaler(),
                pp.StandardScaler(with_mean=False),
                pp.MinMaxScaler(),
                pp.MinMaxScaler((-1, 3), clip=True),
                pp.RobustScaler(),
                pp.MaxAbsScaler(),
            ]
        )
    )


def _encoders(draw: st.DrawFn) -> Any:
    def one_hot(**settings: Any) -> Any:
        return pp.OneHotEncoder(sparse_output=draw(st.booleans()), **settings)

    nan = float("nan")
    return draw(
        st.sampled_from(
            [
                one_hot(handle_unknown="ignore"),
                one_hot(handle_unknown="infrequent_if_exist", min_frequency=0.2),
                one_hot(handle_unknown="error", drop="first"),
                one_hot(handle_unknown="ignore", drop="if_binary"),
                pp.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
                pp.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=nan, encoded_missing_value=nan),
            ]
        )
    )


def _needs_values(step: Any) -> bool:
    return isinstance(step, pp.OrdinalEncoder) and step.encoded_missing_value != -2


def _preparation(draw: st.DrawFn, kind: str, missing: bool, gaps: bool) -> Any:
    """The steps of one column; ``gaps`` says whether the model takes missing values."""
    steps = []
    if kind in {"text", "code"}:
        encoder = _encoders(draw)
        steps = [encoder]
        if _needs_values(encoder) and not gaps:
            steps.append(SimpleImputer(strategy="most_frequent"))
        return make_pipeline(*steps)
    if missing and (kind == "boolean" or not (gaps and draw(st.booleans()))):
        strategies = ["most_frequent"] if kind == "boolean" else ["mean", "median", "most_frequent", "constant"]
        steps.append(SimpleImputer(strategy=draw(st.sampled_from(strategies)), add_indicator=draw(st.booleans())))
    if kind != "boolean" and draw(st.booleans()):
        steps.append(_scalers(draw))
    return make_pipeline(*steps) if steps else "passthrough"


def _classifiers(draw: st.DrawFn) -> Any:
    n = draw(st.integers(1, 12))
    depth = draw(st.sampled_from([None, 1, 3]))
    inner = draw(st.sampled_from([lm.LogisticRegression(), SVC(), DecisionTreeClassifier(max_depth=2, random_state=0)]))
    return draw(
        st.sampled_from(
            [
                lm.LogisticRegression(C=0.1 * n),
                lm.RidgeClassifier(),
                lm.SGDClassifier(loss="modified_huber", random_state=0),
                LinearSVC(random_state=0),
                GaussianNB(),
                DecisionTreeClassifier(max_depth=depth, random_state=0),
                en.RandomForestClassifier(n, max_depth=depth, min_samples_leaf=1 + n // 4, random_state=0),
                en.ExtraTreesClassifier(n, max_depth=depth, bootstrap=draw(st.booleans()), random_state=0),
                en.BaggingClassifier(DecisionTreeClassifier(max_depth=depth), n, max_features=0.7, random_state=0),
                en.GradientBoostingClassifier(n_estimators=n, subsample=0.8, random_state=0),
                en.HistGradientBoostingClassifier(max_iter=n, min_samples_leaf=5, random_state=0),
                en.AdaBoostClassifier(n_estimators=n, random_state=0),
                KNeighborsClassifier(
                    n, algorithm="kd_tree", weights=draw(st.sampled_from(["uniform", "distance"])), leaf_size=5
                ),
                SVC(kernel=draw(st.sampled_from(["rbf", "linear", "poly"])), C=float(n)),
                MLPClassifier((n,), max_iter=20, random_state=0),
                CalibratedClassifierCV(
                    inner, cv=2, method=draw(st.sampled_from(["sigmoid", "isotonic"])), ensemble=draw(st.booleans())
                ),
                OneVsRestClassifier(inner),
                OneVsOneClassifier(inner),
                en.VotingClassifier([("a", inner), ("b", GaussianNB())], voting="hard"),
                en.StackingClassifier(
                    [("a", inner), ("b", lm.RidgeClassifier())], cv=2, passthrough=draw(st.booleans())
                ),
            ]
        )
    )


def _regressors(draw: st.DrawFn) -> Any:
    n = draw(st.integers(1, 12))
    depth = draw(st.sampled_from([None, 1, 3]))
    return draw(
        st.sampled_from(
            [
                lm.Ridge(0.1 * n),
                lm.Lasso(0.01),
                lm.HuberRegressor(max_iter=1000),
                DecisionTreeRegressor(max_depth=depth, random_state=0),
                en.RandomForestRegressor(n, max_depth=depth, random_state=0),
                en.ExtraTreesRegressor(n, max_depth=depth, random_state=0),
                en.GradientBoostingRegressor(n_estimators=n, loss="huber", random_state=0),
                en.HistGradientBoostingRegressor(max_iter=n, min_samples_leaf=5, random_state=0),
                KNeighborsRegressor(
                    n, algorithm="kd_tree", weights=draw(st.sampled_from(["uniform", "distance"])), leaf_size=5
                ),
                SVR(C=float(n)),
                MLPRegressor((n,), max_iter=20, random_state=0),
                TransformedTargetRegressor(
                    en.RandomForestRegressor(n, random_state=0), transformer=pp.StandardScaler()
                ),
                en.StackingRegressor(
                    [("a", lm.Ridge()), ("b", DecisionTreeRegressor(max_depth=depth, random_state=0))], cv=2
                ),
            ]
        )
    )


def takes_gaps(model: Any) -> bool:
    """Whether it can be fitted on missing values."""
    return isinstance(
        model,
        en.HistGradientBoostingClassifier
        | en.HistGradientBoostingRegressor
        | en.RandomForestClassifier
        | en.RandomForestRegressor
        | DecisionTreeClassifier
        | DecisionTreeRegressor,
    )


@st.composite
def pipelines(draw: st.DrawFn, table: Table, container: str) -> Any:
    """An unfitted pipeline: each column prepared in its own way, then a model.

    The columns that are left pass through or are dropped.
    """
    model = _classifiers(draw) if table.task == "classification" else _regressors(draw)
    assert is_classifier(model) == (table.task == "classification")
    gaps = takes_gaps(model)
    parts = []
    for position, (name, kind) in enumerate(table.kinds.items()):
        step = _preparation(draw, kind, table.missing[name], gaps)
        parts.append((f"part {position}", step, [name if container == "frame" else position]))
    order = draw(st.permutations(parts))
    between = [] if gaps else draw(st.sampled_from([[], [], [pp.StandardScaler(with_mean=False)], [pp.MaxAbsScaler()]]))
    return make_pipeline(ColumnTransformer(order, sparse_threshold=draw(st.sampled_from([0.0, 0.3]))), *between, model)

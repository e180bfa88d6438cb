"""Gradient boosting, plain and histogram-based, answers from ONNX as it does from scikit-learn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes, load_iris
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from orris.errors import NotConvertibleError
from orris.schema import UNSEEN, Column, Kind, Schema
from orris.schema.frames import decode
from tests.compile import agreement, branches

TOLERANCE = 1e-12
PLAIN: dict[str, Any] = {"max_depth": 3, "n_estimators": 15, "random_state": 0}
HIST: dict[str, Any] = {"max_iter": 15, "random_state": 0, "early_stopping": False}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Keeps scikit-learn's threads from waiting for each other on a shared machine.

    Answers do not depend on their number.
    """
    with threadpool_limits(1):
        yield


@pytest.mark.parametrize("name", branches.TABLES)
def test_gradient_boosting_classifier(run_graph: agreement.RunGraph, name: str) -> None:
    """Two classes or more, with any kind of label, get the same labels and probabilities."""
    x, y = branches.table(name)
    branches.assert_same(run_graph, GradientBoostingClassifier(**PLAIN).fit(x, y), x, absolute=TOLERANCE)


@pytest.mark.parametrize("name", branches.TABLES)
def test_hist_classifier(run_graph: agreement.RunGraph, name: str) -> None:
    """Histogram boosting agrees on two classes or more, with missing values that training saw or did not see."""
    x, y = branches.table(name)
    for data in (x, branches.with_holes(x)):
        model = HistGradientBoostingClassifier(**HIST, max_leaf_nodes=7).fit(data, y)
        branches.assert_same(run_graph, model, data, holes=True, absolute=TOLERANCE)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "exponential"},
        {"init": "zero"},
        {"init": DummyClassifier(strategy="prior")},
        {"init": DummyClassifier(strategy="uniform")},
        {"init": DummyClassifier(strategy="most_frequent")},
        {"subsample": 0.5, "max_features": 2, "learning_rate": 0.7},
        {"n_iter_no_change": 2, "n_estimators": 50},
    ],
    ids=str,
)
def test_gradient_boosting_classifier_settings(run_graph: agreement.RunGraph, options: dict[str, Any]) -> None:
    """Every loss and every start that does not depend on the row agrees."""
    x, y = branches.table("cancer")
    branches.assert_same(run_graph, GradientBoostingClassifier(**{**PLAIN, **options}).fit(x, y), x, absolute=TOLERANCE)


@pytest.mark.parametrize("init", ["zero", DummyClassifier(strategy="prior")], ids=str)
def test_gradient_boosting_of_three_classes_from_any_start(run_graph: agreement.RunGraph, init: Any) -> None:
    """Three classes start from zero or from the logarithms of their shares."""
    x, y = branches.table("iris")
    branches.assert_same(run_graph, GradientBoostingClassifier(**PLAIN, init=init).fit(x, y), x, absolute=TOLERANCE)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "absolute_error"},
        {"loss": "huber", "alpha": 0.8},
        {"loss": "quantile", "alpha": 0.3},
        {"init": "zero"},
        {"init": DummyRegressor(strategy="constant", constant=3.25)},
    ],
    ids=str,
)
def test_gradient_boosting_regressor_to_the_last_bit(run_graph: agreement.RunGraph, options: dict[str, Any]) -> None:
    """Every loss and start gives exactly the same sum."""
    x, y = load_diabetes(return_X_y=True)
    branches.assert_same(run_graph, GradientBoostingRegressor(**{**PLAIN, **options}).fit(x, y), x)


@pytest.mark.parametrize(
    "options",
    [{}, {"loss": "absolute_error"}, {"loss": "quantile", "quantile": 0.9}, {"loss": "poisson"}, {"loss": "gamma"}],
    ids=str,
)
def test_hist_regressor(run_graph: agreement.RunGraph, options: dict[str, Any]) -> None:
    """Sums are the same to the last bit; behind an exponential to a relative 1e-12."""
    x, y = load_diabetes(return_X_y=True)
    relative = TOLERANCE if options.get("loss") in {"poisson", "gamma"} else 0.0
    model = HistGradientBoostingRegressor(**{**HIST, **options}).fit(branches.with_holes(x, 0.05), y)
    branches.assert_same(run_graph, model, x, holes=True, relative=relative)


@pytest.mark.parametrize("name", ["iris", "cancer"])
@pytest.mark.parametrize(
    "options",
    [
        {"max_iter": 1},
        {"max_iter": 1, "min_samples_leaf": 10_000},
        {"early_stopping": True, "max_iter": 60, "n_iter_no_change": 1},
        {"max_leaf_nodes": 2},
        {"max_bins": 3},
        {"class_weight": "balanced"},
        {"monotonic_cst": {0: 1}},
    ],
    ids=str,
)
def test_hist_classifier_at_its_edges(run_graph: agreement.RunGraph, name: str, options: dict[str, Any]) -> None:
    """One iteration, no split at all, early stopping, stumps and few bins agree."""
    x, y = branches.table(name)
    if "monotonic_cst" in options:
        if name == "iris":
            y = y != "setosa"  # scikit-learn takes these constraints for two classes only
        options = {"monotonic_cst": [1] + [0] * (x.shape[1] - 1)}
    model = HistGradientBoostingClassifier(**{**HIST, **options}).fit(x, y)
    branches.assert_same(run_graph, model, x, holes=True, absolute=TOLERANCE)


def test_two_classes_in_the_middle_are_labelled_as_each_library_does(run_graph: agreement.RunGraph) -> None:
    """A raw score of exactly 0 is the second class for plain boosting and the first for histogram boosting."""
    x, y = np.zeros((40, 1)), np.repeat([3, 8], 20)
    plain = GradientBoostingClassifier(n_estimators=1).fit(x, y)
    hist = HistGradientBoostingClassifier(max_iter=1).fit(x, y)
    assert (plain.predict(x[:1]).item(), hist.predict(x[:1]).item()) == (8, 3)
    for model in (plain, hist):
        branches.assert_same(run_graph, model, x, absolute=TOLERANCE)


def coded_table(n_levels: int, seed: int = 0, n_rows: int = 500) -> tuple[Schema, Any, Any]:
    """A schema with two category and two number columns, encoded rows with missing cells, and a target."""
    draw = np.random.default_rng(seed)
    texts = tuple(f"level {i:03d}" for i in range(n_levels))
    rows = np.column_stack(
        [
            draw.normal(size=n_rows).round(1),
            draw.integers(n_levels, size=n_rows),
            draw.normal(size=n_rows).round(2),
            draw.integers(5, size=n_rows),
        ]
    ).astype(float)
    effect, other = draw.normal(size=n_levels), draw.normal(size=5)
    y = rows[:, 0] + effect[rows[:, 1].astype(int)] * 2 + other[rows[:, 3].astype(int)] + draw.normal(size=n_rows) / 3
    rows[draw.random(rows.shape) < 0.08] = np.nan
    schema = Schema(
        columns=(
            Column("size", Kind.NUMBER),
            Column("town", Kind.CATEGORY, dtype="category", levels=texts),
            Column("age", Kind.NUMBER),
            Column("grade", Kind.CATEGORY, dtype="category", levels=(1, 2, 3, 5, 8)),
        ),
        target="y",
        task="regression",
    )
    return schema, rows, y


def strange(schema: Schema, rows: Any) -> Any:
    """The rows, and the rows with every category column unseen, or missing, or drawn anew."""
    draw = np.random.default_rng(5)
    columns = [i for i, column in enumerate(schema.columns) if column.kind is Kind.CATEGORY]
    parts = [rows]
    for value in (UNSEEN, np.nan, None):
        other = rows.copy()
        for i in columns:
            other[:, i] = draw.integers(len(schema.columns[i].levels), size=len(rows)) if value is None else value
        parts.append(other)
    return np.concatenate(parts)


@pytest.mark.parametrize("n_levels", [2, 12, 31, 33, 64, 200])
@pytest.mark.parametrize("categorical", ["from_dtype", ["town", "grade"], [3, 1], [False, True, False, True]], ids=str)
def test_pandas_categories(run_graph: agreement.RunGraph, n_levels: int, categorical: Any) -> None:
    """Sets of levels, missing and unseen levels take the fitted model's branch, however columns were declared."""
    schema, rows, y = coded_table(n_levels)
    model = HistGradientBoostingRegressor(**HIST, categorical_features=categorical, min_samples_leaf=5).fit(
        decode(schema, rows), y
    )
    assert any(member.nodes["is_categorical"].any() for stage in model._predictors for member in stage)
    graph, prediction = branches.compiled(model, 4, {1: schema.columns[1].levels, 3: schema.columns[3].levels})
    rows = strange(schema, branches.on_thresholds(graph, rows, 500))
    branches.assert_answers(model, run_graph(graph, prediction, 4, rows), decode(schema, rows))


def test_levels_that_training_did_not_see(run_graph: agreement.RunGraph) -> None:
    """A level of the schema that this model was not fitted on is unknown to it, wherever it stands among the others."""
    schema, rows, y = coded_table(12)
    known = ~np.isin(rows[:, 1], [0, 5, 11])
    model = HistGradientBoostingClassifier(**HIST, categorical_features="from_dtype").fit(
        decode(schema, rows[known]), y[known] > 0
    )
    graph, prediction = branches.compiled(model, 4, {1: schema.columns[1].levels, 3: schema.columns[3].levels})
    rows = strange(schema, rows)
    branches.assert_answers(model, run_graph(graph, prediction, 4, rows), decode(schema, rows), absolute=TOLERANCE)


def test_column_whose_levels_are_all_unknown(run_graph: agreement.RunGraph) -> None:
    """Where no level of a column is known to the model, all its rows go where the missing go."""
    schema, rows, y = coded_table(12)
    model = HistGradientBoostingRegressor(**HIST, categorical_features="from_dtype").fit(decode(schema, rows), y)
    columns = (
        schema.columns[0],
        Column("town", Kind.CATEGORY, dtype="category", levels=("x", "y")),
        *schema.columns[2:],
    )
    other = Schema(columns=columns, target="y", task="regression")
    graph, prediction = branches.compiled(model, 4, {1: ("x", "y"), 3: schema.columns[3].levels})
    rows[:, 1] = np.where(np.isnan(rows[:, 1]), np.nan, rows[:, 1] % 2)
    branches.assert_answers(model, run_graph(graph, prediction, 4, rows), decode(other, rows))


@pytest.mark.parametrize(
    "values",
    [[0, 1, 2, 3], [-5, 0, 7, 2019], [1, 40, 80, 100_000, 2**31 - 1], list(range(100, 300))],
    ids=lambda v: str(v[:5]),
)
def test_numbers_as_categories(run_graph: agreement.RunGraph, values: list[int]) -> None:
    """Whole numbers declared categorical match by value; a fraction, a missing or any other number is unknown."""
    draw = np.random.default_rng(0)
    x = np.column_stack([draw.normal(size=600), draw.choice(values, size=600), draw.choice([0, 1], size=600)]).astype(
        float
    )
    y = np.isin(x[:, 1], draw.choice(values, size=len(values) // 2)) ^ (x[:, 0] > 0)
    x[::17, 1] = np.nan
    model = HistGradientBoostingClassifier(**HIST, categorical_features=[1, 2]).fit(x, y)
    odd = np.array(
        [
            0.5,
            1.5,
            -0.5,
            2.999,
            80.5,
            -1,
            99,
            1e6,
            -1e6,
            2.0**31,
            2.0**32 + 1,
            -(2.0**31),
            2.0**40 + 100,
            1e300,
            *values,
        ]
    )
    rows = np.concatenate([x, np.column_stack([draw.normal(size=len(odd)), odd, odd])])
    branches.assert_same(run_graph, model, rows, holes=True, absolute=TOLERANCE)


@settings(max_examples=30, deadline=None)
@given(
    data=branches.tables(holes=True), iterations=st.integers(1, 8), leaf=st.integers(1, 5), categorical=st.booleans()
)
def test_any_hist_model_on_tables_full_of_ties(data: Any, iterations: int, leaf: int, categorical: bool) -> None:
    """Random tables and settings give equal labels, probabilities within 1e-12 and values to the last bit."""
    x, y, seed = data
    if categorical:
        x = np.column_stack([x, np.random.default_rng(seed).integers(6, size=len(x))])
    shared = {
        "max_iter": iterations,
        "min_samples_leaf": leaf,
        "categorical_features": [x.shape[1] - 1] if categorical else None,
    }
    branches.assert_same(
        agreement.run, HistGradientBoostingClassifier(**shared).fit(x, y), x, holes=True, absolute=TOLERANCE
    )
    branches.assert_same(agreement.run, HistGradientBoostingRegressor(**shared).fit(x, y / 3), x, holes=True)


@settings(max_examples=25, deadline=None)
@given(data=branches.tables(), rounds=st.integers(1, 8), leaf=st.integers(1, 5), rate=st.floats(0.01, 2.0))
def test_any_gradient_boosting_on_tables_full_of_ties(data: Any, rounds: int, leaf: int, rate: float) -> None:
    """Random tables and settings give equal labels, probabilities within 1e-12 and values to the last bit."""
    x, y, seed = data
    shared = {"n_estimators": rounds, "min_samples_leaf": leaf, "learning_rate": rate, "random_state": seed}
    branches.assert_same(agreement.run, GradientBoostingClassifier(**shared).fit(x, y), x, absolute=TOLERANCE)
    branches.assert_same(agreement.run, GradientBoostingRegressor(**shared).fit(x, y / 3), x)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("name", ["iris", "wine", "cancer"])
def test_adaboost_over_trees(run_graph: agreement.RunGraph, name: str, depth: int) -> None:
    """The weighted votes of trees give the same labels, and probabilities within 1e-12."""
    x, y = branches.table(name)
    model = AdaBoostClassifier(DecisionTreeClassifier(max_depth=depth), n_estimators=20, random_state=0).fit(x, y)
    branches.assert_same(run_graph, model, x, absolute=TOLERANCE)


@settings(max_examples=20, deadline=None)
@given(data=branches.tables(), rounds=st.integers(1, 8), rate=st.floats(0.01, 2.0))
def test_any_adaboost_on_tables_full_of_ties(data: Any, rounds: int, rate: float) -> None:
    """Random tables and settings give equal labels and probabilities within 1e-12."""
    x, y, seed = data
    y = np.where(x[:, 0] > np.median(x[:, 0]), y, (y + 1) % 2)  # boosting gives up on a target that is all noise
    model = AdaBoostClassifier(n_estimators=rounds, learning_rate=rate, random_state=seed)
    with contextlib.suppress(ValueError):
        model.fit(x, y)
    assume(hasattr(model, "estimators_") and len(model.estimators_) and len(model.classes_) > 1)
    branches.assert_same(agreement.run, model, x, absolute=TOLERANCE)


def test_adaboost_over_anything_else_is_refused() -> None:
    """Only trees can be read; other members are left to the next strategy."""
    x, y = load_iris(return_X_y=True)
    with pytest.raises(NotConvertibleError):
        branches.compiled(AdaBoostClassifier(LogisticRegression(), n_estimators=2).fit(x, y), 4)


def test_start_that_depends_on_the_row_is_refused() -> None:
    """Boosting on top of another model's predictions is left to the next strategy."""
    x, y = load_diabetes(return_X_y=True)
    with pytest.raises(NotConvertibleError, match="LinearRegression"):
        branches.compiled(GradientBoostingRegressor(**PLAIN, init=LinearRegression()).fit(x, y), 10)


def test_codes_of_an_undeclared_category_are_refused() -> None:
    """A category-coded column that the model takes for numbers cannot be converted."""
    x, y = load_iris(return_X_y=True)
    with pytest.raises(NotConvertibleError, match="c1"):
        branches.compiled(HistGradientBoostingClassifier(**HIST).fit(x, y), 4, {1: (1, 2)})


@pytest.mark.parametrize("odd", [0.5, 2.0**31])
def test_categories_that_are_no_whole_numbers_are_refused(odd: float) -> None:
    """Fractions and large numbers as categories are left to the next strategy, which names the column."""
    x = np.tile([[odd], [1.0]], (30, 1))
    with pytest.raises(NotConvertibleError, match="c0"):
        branches.compiled(HistGradientBoostingRegressor(**HIST, categorical_features=[0]).fit(x, x[:, 0]), 1)


def test_text_categories_without_codes_are_refused() -> None:
    """A text column that reaches the model as plain values has no numbers to match."""
    frame = pd.DataFrame({"town": pd.Categorical(["a", "b"] * 30)})
    with pytest.raises(NotConvertibleError, match="c0"):
        branches.compiled(
            HistGradientBoostingRegressor(**HIST, categorical_features="from_dtype").fit(frame, np.arange(60.0)), 1
        )


def test_single_class_is_refused() -> None:
    """Histogram boosting on one class answers two columns of probabilities for it, which no caller can use."""
    x = load_iris().data
    with pytest.raises(NotConvertibleError, match="single class"):
        branches.compiled(HistGradientBoostingClassifier(**HIST).fit(x, np.zeros(150)), 4)

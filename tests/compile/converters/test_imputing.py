"""Imputers over numbers and categories: the graph equals ``transform``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from orris.errors import NotConvertibleError
from tests.compile.transformations import CODED, NUMBERS, assert_transforms, converted, draw, fitted, schema_of

TEXT_NAN = ("word", "text", "kind")


@pytest.mark.parametrize("add_indicator", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": "mean"},
        {"strategy": "median"},
        {"strategy": "most_frequent"},
        {"strategy": "constant"},
        {"strategy": "constant", "fill_value": -7.5},
        pytest.param({"strategy": np.nanmax}, id="callable"),
    ],
    ids=str,
)
def test_numbers_are_imputed(run_graph: Any, settings: dict[str, Any], add_indicator: bool) -> None:
    """Every strategy fills numbers, integers and integer-coded categories with scikit-learn's statistic."""
    schema = schema_of(*NUMBERS, *CODED)
    step = fitted(SimpleImputer(**settings, add_indicator=add_indicator), schema, draw(schema, 150))
    assert_transforms(run_graph, step, schema, draw(schema, 300, 1, unseen=0.1))


@pytest.mark.parametrize("strategy", ["mean", "median"])
def test_none_in_objects_is_missing_for_a_mean(run_graph: Any, strategy: str) -> None:
    """A mean converts objects to floats first, so None is imputed like NaN."""
    schema = schema_of("weight", "maybe", "size")
    assert_transforms(
        run_graph, fitted(SimpleImputer(strategy=strategy), schema, draw(schema, 100)), schema, draw(schema, 200, 1)
    )


@pytest.mark.parametrize("add_indicator", [False, True])
@pytest.mark.parametrize(
    "settings", [{}, {"strategy": "constant"}, {"strategy": "constant", "fill_value": "fig"}], ids=str
)
def test_text_is_imputed(run_graph: Any, settings: dict[str, Any], add_indicator: bool) -> None:
    """Text takes the most frequent level or a constant, which may be a level that the table does not have.

    Unseen levels stay unseen.
    """
    schema = schema_of(*TEXT_NAN)
    step = SimpleImputer(**{"strategy": "most_frequent", **settings}, add_indicator=add_indicator)
    assert_transforms(run_graph, fitted(step, schema, draw(schema, 100)), schema, draw(schema, 200, 1, unseen=0.2))


@pytest.mark.parametrize("missing_values", [np.nan, None])
def test_none_is_imputed_only_by_an_imputer_that_looks_for_none(run_graph: Any, missing_values: Any) -> None:
    """An imputer of NaN leaves None in object columns alone, and the encoder behind it sees a category None."""
    schema = schema_of("thing")
    imputer = SimpleImputer(strategy="constant", fill_value="z", missing_values=missing_values)
    step = make_pipeline(imputer, OneHotEncoder(handle_unknown="ignore"))
    frame = assert_transforms(
        run_graph, fitted(step, schema, draw(schema, 100)), schema, draw(schema, 200, 1, unseen=0.2)
    )
    assert frame.width == 5
    names = step.get_feature_names_out(["thing"])
    assert names[-1] == ("thing_z" if missing_values is None else "thing_None")


def test_mixed_table_is_imputed_by_its_most_frequent_values(run_graph: Any) -> None:
    """Numbers and text side by side in one imputer keep their columns' order."""
    schema = schema_of("word", "size", "kind", "holes", "zone")
    step = fitted(SimpleImputer(strategy="most_frequent", add_indicator=True), schema, draw(schema, 120))
    assert_transforms(run_graph, step, schema, draw(schema, 200, 1))


@pytest.mark.parametrize("missing_values", [-1, 0, 3])
def test_a_number_may_stand_for_missing(run_graph: Any, missing_values: int) -> None:
    """An imputer of an ordinary number replaces that number."""
    schema = schema_of("weight", "count")
    step = SimpleImputer(missing_values=missing_values, add_indicator=True)
    assert_transforms(run_graph, fitted(step, schema, draw(schema, 100)), schema, draw(schema, 200, 1))


def test_a_text_may_stand_for_missing(run_graph: Any) -> None:
    """An imputer of a level replaces that level."""
    schema = schema_of("word")
    rows = draw(schema, 100, missing=0.0)
    step = SimpleImputer(missing_values="apple", strategy="most_frequent", add_indicator=True)
    assert_transforms(run_graph, fitted(step, schema, rows), schema, draw(schema, 200, 1, missing=0.0, unseen=0.1))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("strategy", ["mean", "most_frequent", "constant"])
def test_empty_columns_are_dropped_or_filled(run_graph: Any, strategy: str, keep: bool) -> None:
    """A column without any training value is dropped, or filled with zero if it is to be kept."""
    schema = schema_of("weight", "size", "holes")
    rows = draw(schema, 60)
    rows[:, 1] = np.nan
    step = SimpleImputer(strategy=strategy, keep_empty_features=keep, add_indicator=True)
    assert_transforms(run_graph, fitted(step, schema, rows), schema, draw(schema, 100, 1))


def test_imputer_in_front_of_a_scaler_keeps_the_source(run_graph: Any) -> None:
    """An imputed and scaled column is still known as a function of its input column."""
    schema = schema_of("size", "holes")
    frame = assert_transforms(
        run_graph,
        fitted(make_pipeline(SimpleImputer(), StandardScaler()), schema, draw(schema, 80)),
        schema,
        draw(schema, 80, 1),
    )
    assert [feature.source for feature in frame.features] == [0, 1]


@pytest.mark.parametrize("features", ["all", "missing-only"])
@pytest.mark.parametrize("missing_values", [np.nan, None, 3])
def test_indicator_marks_missing_values(run_graph: Any, features: Any, missing_values: Any) -> None:
    """The indicator is one exactly where the value is what stands for missing."""
    names = {"nan": ("size", "weight", "word", "kind"), "None": ("thing", "maybe"), "3": ("weight", "count")}[
        str(missing_values)
    ]
    schema = schema_of(*names)
    step = MissingIndicator(missing_values=missing_values, features=features, error_on_new=False)
    assert_transforms(run_graph, fitted(step, schema, draw(schema, 100)), schema, draw(schema, 200, 1))


def test_indicator_of_nothing_is_refused() -> None:
    """An indicator that covers no column makes a frame of no columns, which no graph can hold."""
    schema = schema_of("weight")
    with pytest.raises(NotConvertibleError, match="covers no column"):
        converted(fitted(MissingIndicator(), schema, draw(schema, 20)), schema)


@settings(deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["most_frequent", "constant"]),
    st.booleans(),
    st.permutations(["size", "word", "text", "kind", "holes", "weight"]),
    st.integers(1, 6),
)
def test_any_imputer_agrees(
    run_graph: Any, seed: int, strategy: str, add_indicator: bool, order: list[str], n_columns: int
) -> None:
    """Imputers of random columns equal scikit-learn on random rows, whatever mixture they are given."""
    names = order[:n_columns]
    if strategy == "constant":  # A text cannot fill a column of numbers, see below.
        names = [name for name in names if name in TEXT_NAN] or ["word"]
    schema = schema_of(*names)
    step = fitted(SimpleImputer(strategy=strategy, add_indicator=add_indicator), schema, draw(schema, 40, seed))
    assert_transforms(run_graph, step, schema, draw(schema, 40, seed + 1, unseen=0.1))


def test_text_in_a_column_of_numbers_is_refused() -> None:
    """A constant text for a mixed table would put text among numbers."""
    schema = schema_of("word", "size")
    with pytest.raises(NotConvertibleError, match="column of numbers 'size'"):
        converted(fitted(SimpleImputer(strategy="constant"), schema, draw(schema, 40)), schema)

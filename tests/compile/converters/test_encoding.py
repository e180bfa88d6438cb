"""Encoders over category codes and over numbers: the graph equals ``transform``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

from tests.compile.transformations import CODED, NUMBERS, TEXT, assert_transforms, converted, draw, fitted, schema_of

EVERY = (*TEXT, *CODED, "flag", "maybe", "holes", "count")

ONE_HOT: list[dict[str, Any]] = [
    {"handle_unknown": "ignore"},
    {"handle_unknown": "ignore", "sparse_output": False, "dtype": np.int64},
    {"handle_unknown": "ignore", "drop": "first"},
    {"handle_unknown": "ignore", "drop": "if_binary"},
    {"handle_unknown": "ignore", "min_frequency": 12},
    {"handle_unknown": "infrequent_if_exist", "min_frequency": 0.2},
    {"handle_unknown": "infrequent_if_exist", "max_categories": 2},
    {"handle_unknown": "infrequent_if_exist", "max_categories": 3, "drop": "first"},
    {"handle_unknown": "infrequent_if_exist", "max_categories": 2, "drop": "if_binary"},
    {"handle_unknown": "infrequent_if_exist"},
    {"handle_unknown": "warn", "max_categories": 3},
]
ORDINAL: list[dict[str, Any]] = [
    {"handle_unknown": "use_encoded_value", "unknown_value": -1},
    {"handle_unknown": "use_encoded_value", "unknown_value": np.nan},
    {"handle_unknown": "use_encoded_value", "unknown_value": 99, "encoded_missing_value": -2},
    {"handle_unknown": "use_encoded_value", "unknown_value": -1, "min_frequency": 12},
    {"handle_unknown": "use_encoded_value", "unknown_value": -5, "max_categories": 2, "encoded_missing_value": -1},
    {"handle_unknown": "use_encoded_value", "unknown_value": -5, "encoded_missing_value": -1, "dtype": np.int32},
]


@pytest.mark.parametrize("settings", ONE_HOT, ids=str)
def test_one_hot_of_every_sort_of_column(run_graph: Any, settings: dict[str, Any]) -> None:
    """Text, integer codes, booleans and numbers, missing and unseen, encode as in scikit-learn."""
    schema = schema_of(*EVERY)
    step = fitted(OneHotEncoder(**settings), schema, draw(schema, 100))
    assert_transforms(run_graph, step, schema, draw(schema, 400, 1, unseen=0.2))


@pytest.mark.parametrize("drop", [None, "first", "if_binary", ["apple", np.nan, 40]])
def test_one_hot_that_refuses_unknown_values(run_graph: Any, drop: Any) -> None:
    """With ``handle_unknown='error'`` the rows that scikit-learn takes are encoded alike, whatever is dropped."""
    schema = schema_of("word", "kind", "zone")
    rows = draw(schema, 300)
    assert_transforms(run_graph, fitted(OneHotEncoder(drop=drop), schema, rows), schema, rows)


def test_missing_is_unknown_to_an_encoder_that_never_saw_it(run_graph: Any) -> None:
    """A missing value that is no category gives a row of zeros."""
    schema = schema_of("word", "thing", "zone", "holes")
    step = fitted(OneHotEncoder(handle_unknown="ignore"), schema, draw(schema, 60, missing=0.0))
    rows = draw(schema, 60, 1, missing=0.9)
    assert_transforms(run_graph, step, schema, rows)


def test_categories_of_its_own(run_graph: Any) -> None:
    """An encoder may know levels in another order, levels that the schema does not have, and miss some that it has."""
    schema = schema_of("word", "thing", "zone", "count")
    categories: list[Any] = [["quince", "fig", "apple"], ["c", "z", "b", None], [1, 3, 7, 47], [-2, 0, 1, 90]]
    for step in (
        OneHotEncoder(categories=categories, handle_unknown="ignore"),
        OrdinalEncoder(categories=categories, handle_unknown="use_encoded_value", unknown_value=-1),
    ):
        rows = draw(schema, 100)
        assert_transforms(run_graph, fitted(step, schema, rows), schema, draw(schema, 200, 1, unseen=0.2))


@pytest.mark.parametrize("settings", ORDINAL, ids=str)
def test_ordinal_of_every_sort_of_column(run_graph: Any, settings: dict[str, Any]) -> None:
    """Positions, infrequent groups, missing and unknown values are as in scikit-learn."""
    schema = schema_of("word", "text", "kind", *CODED, "flag", "holes", "count", "weight")
    step = fitted(OrdinalEncoder(**settings), schema, draw(schema, 100))
    assert_transforms(run_graph, step, schema, draw(schema, 400, 1, unseen=0.2))


def test_ordinal_takes_none_for_a_category(run_graph: Any) -> None:
    """None among objects is a category of its own, with a position rather than the missing value's code."""
    schema = schema_of("thing", "maybe")
    step = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-9)
    rows = draw(schema, 100)
    frame = assert_transforms(run_graph, fitted(step, schema, rows), schema, rows)
    assert frame.width == 2


@pytest.mark.parametrize("target", ["binary", "multiclass", "continuous"])
def test_target_encoder_looks_up_means(run_graph: Any, target: str) -> None:
    """Encodings of known, missing and unknown values are equal to the last bit for every sort of target."""
    schema = schema_of(*TEXT, "zone", "count", "maybe")
    rows = draw(schema, 200)
    y = {
        "binary": rows[:, 5] > 0,
        "multiclass": np.clip(rows[:, 5], 0, 2).astype(int),
        "continuous": rows[:, 5] + np.linspace(0, 1.23, len(rows)),
    }[target]
    frame = assert_transforms(
        run_graph, fitted(TargetEncoder(), schema, rows, y), schema, draw(schema, 300, 1, unseen=0.2)
    )
    assert frame.width == (21 if target == "multiclass" else 7)


@pytest.mark.parametrize("container", ["frame", "array"])
def test_arrays_of_objects_encode_as_frames_do(run_graph: Any, container: str) -> None:
    """A pipeline fitted on an array of objects takes the same encoded rows."""
    schema = schema_of("word", "thing", "zone", "count", container=container)
    step = OneHotEncoder(handle_unknown="ignore", min_frequency=3)
    assert_transforms(run_graph, fitted(step, schema, draw(schema, 80)), schema, draw(schema, 200, 1, unseen=0.1))


def test_numbers_as_categories_are_known_to_the_gate() -> None:
    """The categories of a column of numbers are remembered as thresholds, so rows are compared on and beside them."""
    schema = schema_of("count")
    graph, _ = converted(fitted(OneHotEncoder(), schema, draw(schema, 50)), schema)
    assert {-4.0, 0.0, 4.0} <= set(np.concatenate(graph.thresholds[0]))


def test_scaled_numbers_as_categories(run_graph: Any) -> None:
    """Numbers behind a scaler match their categories to the last bit."""
    schema = schema_of("weight", "count")
    rows = draw(schema, 150)
    step = make_pipeline(StandardScaler(), OneHotEncoder(handle_unknown="ignore"))
    assert_transforms(run_graph, fitted(step, schema, rows), schema, np.concatenate([rows, draw(schema, 100, 1)]))


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    settings=st.sampled_from(
        [(OneHotEncoder, settings) for settings in ONE_HOT] + [(OrdinalEncoder, settings) for settings in ORDINAL]
    ),
    names=st.lists(st.sampled_from(("word", "text", "kind", *CODED, *NUMBERS)), min_size=1, max_size=5, unique=True),
    n_rows=st.integers(2, 60),
    missing=st.sampled_from([0.0, 0.2, 0.7]),
)
def test_any_encoder_agrees(
    run_graph: Any, seed: int, settings: Any, names: list[str], n_rows: int, missing: float
) -> None:
    """Encoders of random settings and columns equal scikit-learn on random rows."""
    kind, keywords = settings
    schema = schema_of(*names)
    step = fitted(kind(**keywords), schema, draw(schema, n_rows, seed, missing=missing))
    if kind is OneHotEncoder and not sum(step._n_features_outs):
        return
    assert_transforms(run_graph, step, schema, draw(schema, 40, seed + 1, unseen=0.2))

"""Tests of tables as encoded rows and back (``tests/training/test_learning.py`` has the round trip of every dtype)."""

from __future__ import annotations

import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orris.errors import Problem, RowError
from orris.schema import Column, Kind, Schema
from orris.schema.frames import decode, encode

NAN = np.nan
NUMBER, INTEGER, FLAG = Column("x", Kind.NUMBER), Column("x", Kind.INTEGER, "int64"), Column("x", Kind.BOOLEAN, "bool")
TEXT, CODE = Column("x", Kind.CATEGORY, "str", levels=("a", "b")), Column("x", Kind.CATEGORY, "int64", levels=(3, 1))


def encoded(column: Column, values: Any) -> list[float]:
    """Return the codes of one column of values."""
    codes: list[float] = encode(Schema((column,), "y", "regression"), pd.DataFrame({"x": values}))[:, 0].tolist()
    return codes


def objects(*values: Any) -> pd.Series[Any]:
    """Return the values as they are, in a column of objects."""
    return pd.Series(values, dtype="object")


@pytest.mark.parametrize(
    ("column", "values", "codes"),
    [
        (NUMBER, [1, 2], [1, 2]),
        (NUMBER, pd.array([1, None], dtype="Int64"), [1, NAN]),
        (NUMBER, objects(1, 2.5, None, pd.NA, np.float32(0.5), decimal.Decimal(3)), [1, 2.5, NAN, NAN, 0.5, 3]),
        (NUMBER, pd.Categorical([2.5, None]), [2.5, NAN]),
        (INTEGER, [1.0, NAN], [1, NAN]),
        (FLAG, [True, False], [1, 0]),
        (FLAG, pd.array([True, None], dtype="boolean"), [1, NAN]),
        (FLAG, [1.0, 0.0, NAN], [1, 0, NAN]),
        (FLAG, [1, 0], [1, 0]),
        (TEXT, ["b", "a", "c", None], [1, 0, -1, NAN]),
        (TEXT, pd.array(["b", pd.NA], dtype="string"), [1, NAN]),
        (TEXT, pd.Categorical(["c", "b", None]), [-1, 1, NAN]),
        (CODE, [1, 3, 2], [1, 0, -1]),
        (CODE, [1.0, NAN, 2.5], [1, NAN, -1]),
        (CODE, objects(1, None, 3.0), [1, NAN, 0]),
        (CODE, pd.Categorical([3, 1, 7]), [0, 1, -1]),
    ],
)
def test_a_caller_may_use_other_dtypes_than_training(column: Column, values: Any, codes: list[float]) -> None:
    """The meaning of a value does not depend on its dtype."""
    np.testing.assert_array_equal(encoded(column, values), codes)


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        (NUMBER, objects(1.0, "2"), "a number is needed, not str"),
        (NUMBER, objects(1.0, True), "a number is needed, not bool"),
        (NUMBER, objects(1.0, 10**400), "this number is larger than any that can be computed with"),
        (NUMBER, pd.Categorical(objects(2, "x")), "a number is needed, not str"),
        (
            INTEGER,
            [1.0, 2.5],
            "an integer is needed, not a number with a fraction: the fitted model takes no other numbers here",
        ),
        (FLAG, [1, 2], "a boolean (or 0 or 1) is needed"),
        (FLAG, objects(True, "yes"), "a boolean is needed, not str"),
        (TEXT, objects("a", 1), "text is needed, not int"),
        (CODE, objects(1, "3"), "an integer is needed, not str"),
        (CODE, objects(1, True), "an integer is needed, not bool"),
    ],
)
def test_a_value_of_another_kind_is_refused(column: Column, values: Any, problem: str) -> None:
    """A value of another kind than the column's is refused with row and column."""
    with pytest.raises(RowError) as caught:
        encoded(column, values)
    assert caught.value.problems[-1] == Problem(1, "x", problem)


def test_numbers_for_a_text_category_are_refused() -> None:
    """Levels that are digits are not accepted as numbers, because 1 and '1' would be indistinguishable."""
    with pytest.raises(RowError, match="row 0, column 'x': text is needed"):
        encoded(Column("x", Kind.CATEGORY, "str", levels=("1", "2")), [1, 2])


def test_columns_are_found_by_name() -> None:
    """Order and further columns of a frame do not matter, and a missing column is named."""
    schema = Schema((NUMBER, Column("z", Kind.NUMBER)), "y", "regression")
    assert encode(schema, pd.DataFrame({"z": [2.0], "other": ["?"], "x": [1.0]})).tolist() == [[1.0, 2.0]]
    with pytest.raises(RowError, match="column 'z': this column is missing"):
        encode(schema, pd.DataFrame({"x": [1.0]}))


def test_arrays_must_have_the_schemas_width() -> None:
    """An array of another width is refused with the needed shape."""
    with pytest.raises(RowError, match=r"shape \(n_rows, 1\) is needed, not \(2, 3\)"):
        encode(Schema((NUMBER,), "y", "regression"), np.zeros((2, 3)))


@pytest.mark.parametrize(
    "column",
    [
        TEXT,
        CODE,
        Column("x", Kind.CATEGORY, "category", levels=("a", "b")),
        Column("x", Kind.CATEGORY, "object", levels=("a",)),
    ],
)
def test_an_unseen_level_is_a_level_of_its_own(column: Column) -> None:
    """The code of an unseen level becomes a value that is none of the levels, and is not missing."""
    schema = Schema((column,), "y", "regression")
    table = decode(schema, np.array([[0.0], [-1.0]]))
    assert isinstance(table, pd.DataFrame)
    assert table["x"][0] == column.levels[0]
    assert table["x"][1] not in column.levels
    assert not table["x"].isna().any()
    assert encode(schema, table).tolist() == [[0.0], [-1.0]]


@pytest.mark.parametrize(("column", "value"), [(INTEGER, 2.5), (INTEGER, 1e300), (INTEGER, NAN), (FLAG, NAN)])
def test_decoding_never_changes_a_value(column: Column, value: float) -> None:
    """What an integer or boolean dtype cannot hold is given as float64."""
    table = decode(Schema((column,), "y", "regression"), np.array([[value]]))
    assert isinstance(table, pd.DataFrame)
    np.testing.assert_array_equal(table["x"].to_numpy(), [value])

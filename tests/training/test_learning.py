"""Tests of learning a schema: kinds, levels, ranges and examples of every dtype, and unusable tables."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orris.errors import SchemaError, TrainingError
from orris.schema import Bounds, Column, Kind, Schema
from orris.schema.frames import decode, encode
from orris.training.learning import Declared, choose_task, learn_schema, to_training_frame


def learn(values: Any, **options: Any) -> Column:
    """The column learned from one column of values."""
    series = values if isinstance(values, pd.Series) else pd.Series(values)
    return learn_schema(series.to_frame("x"), target="y", task="classification", **options).columns[0]


def objects(*values: Any) -> pd.Series[Any]:
    """The values as they are, in a column of objects."""
    return pd.Series(values, dtype="object")


COLUMNS: dict[str, tuple[Any, Column]] = {
    "float": ([1.5, 0.5], Column("x", Kind.NUMBER, low=0.5, high=1.5, example=1.5)),
    "float with gaps": ([np.nan, 0.5], Column("x", Kind.NUMBER, missing=True, low=0.5, high=0.5, example=0.5)),
    "float32": (np.array([1.5, 0.5], dtype="f4"), Column("x", Kind.NUMBER, "float32", low=0.5, high=1.5, example=1.5)),
    "nullable float": (
        pd.array([1.5, None], dtype="Float64"),
        Column("x", Kind.NUMBER, missing=True, low=1.5, high=1.5, example=1.5),
    ),
    "integer": ([3, 1], Column("x", Kind.INTEGER, "int64", low=1, high=3, example=3)),
    "int32": (np.array([3, 1], dtype="i4"), Column("x", Kind.INTEGER, "int32", low=1, high=3, example=3)),
    "nullable integer": (pd.array([3, 1], dtype="Int64"), Column("x", Kind.INTEGER, "int64", low=1, high=3, example=3)),
    "nullable integer with gaps": (
        pd.array([3, None], dtype="Int64"),
        Column("x", Kind.INTEGER, "float64", missing=True, low=3, high=3, example=3),
    ),
    "boolean": ([True, False], Column("x", Kind.BOOLEAN, "bool", low=0, high=1, example=True)),
    "nullable boolean with gaps": (
        pd.array([True, None], dtype="boolean"),
        Column("x", Kind.BOOLEAN, "float64", missing=True, low=1, high=1, example=True),
    ),
    "boolean objects": (
        objects(True, None, False),
        Column("x", Kind.BOOLEAN, "object", missing_as="none", missing=True, low=0, high=1, example=True),
    ),
    "boolean category": (
        pd.Categorical([True, False]),
        Column("x", Kind.BOOLEAN, "category", low=0, high=1, example=True),
    ),
    "text": (pd.Series(["b", "a"], dtype="str"), Column("x", Kind.CATEGORY, "str", levels=("a", "b"), example="b")),
    "text with gaps": (
        pd.Series(["b", None], dtype="str"),
        Column("x", Kind.CATEGORY, "str", levels=("b",), missing=True, example="b"),
    ),
    "nullable text": (
        pd.array(["b", None], dtype="string"),
        Column("x", Kind.CATEGORY, "object", levels=("b",), missing=True, example="b"),
    ),
    "text objects with None": (
        objects("b", None, "a"),
        Column("x", Kind.CATEGORY, "object", levels=("a", "b"), missing_as="none", missing=True, example="b"),
    ),
    "text objects with NaN": (
        objects("b", np.nan, "a"),
        Column("x", Kind.CATEGORY, "object", levels=("a", "b"), missing=True, example="b"),
    ),
    "text category in its own order": (
        pd.Categorical(["lo", "hi"], categories=["lo", "mid", "hi"]),
        Column("x", Kind.CATEGORY, "category", levels=("lo", "hi"), example="lo"),
    ),
    "integer category with gaps": (
        pd.Categorical([2, None, 1], categories=[2, 1]),
        Column("x", Kind.CATEGORY, "category", levels=(2, 1), missing=True, example=2),
    ),
    "integer objects": (objects(2, 1), Column("x", Kind.INTEGER, "object", low=1, high=2, example=2)),
    "number objects with None": (
        objects(2, None, 1.5),
        Column("x", Kind.NUMBER, "object", missing_as="none", missing=True, low=1.5, high=2, example=2.0),
    ),
}


@pytest.mark.parametrize(("values", "column"), COLUMNS.values(), ids=COLUMNS.keys())
def test_a_column_is_described(values: Any, column: Column) -> None:
    """Kind, dtype, levels, missing values, range and example follow from the values."""
    assert learn(values) == column


@pytest.mark.parametrize("values", [values for values, _ in COLUMNS.values()], ids=COLUMNS.keys())
def test_the_pipeline_receives_the_values_of_the_table(values: Any) -> None:
    """Encoded and decoded, a column holds the same values, missing ones included, with the schema's dtype."""
    frame = pd.DataFrame({"x": values})
    schema = learn_schema(frame, target="y", task="regression")
    table = decode(schema, encode(schema, frame))
    assert isinstance(table, pd.DataFrame)
    pd.testing.assert_frame_equal(to_training_frame(frame, schema), table)
    assert str(table["x"].dtype) == schema.columns[0].dtype
    missing = frame["x"].isna()
    assert table["x"].isna().tolist() == missing.tolist()
    assert table["x"][~missing].tolist() == frame["x"][~missing].tolist()
    np.testing.assert_array_equal(encode(schema, table), encode(schema, frame))


@pytest.mark.parametrize(
    ("values", "dtype", "levels"),
    [
        ([2, 1, 2], "int64", (1, 2)),
        ([2.0, np.nan, 1.0], "float64", (1, 2)),
        (pd.array([2, None], dtype="Int64"), "float64", (2,)),
        (pd.Categorical([2, 1], categories=[2, 1]), "category", (2, 1)),
    ],
)
def test_whole_numbers_can_be_declared_categories(values: Any, dtype: str, levels: tuple[int, ...]) -> None:
    """A declared column has integer levels."""
    column = learn(values, declared=Declared(categorical=["x"]))
    assert (column.kind, column.dtype, column.levels) == (Kind.CATEGORY, dtype, levels)


def test_the_example_is_one_row_of_the_table() -> None:
    """The examples of all columns are those of the first complete row."""
    frame = pd.DataFrame({"a": [np.nan, 2.0, 3.0], "b": ["x", "y", "x"]})
    schema = learn_schema(frame, target="y", task="regression")
    assert [column.example for column in schema.columns] == [2.0, "y"]


def test_a_schema_survives_json() -> None:
    """Everything learned is a plain value, so a manifest can hold it."""
    frame = pd.DataFrame({f"c{i}": pd.Series(values) for i, (values, _) in enumerate(COLUMNS.values())})
    schema = learn_schema(
        frame,
        target="y",
        task="classification",
        labels=list(np.array([0, 1])),
        declared=Declared(bounds={"c0": Bounds(minimum=0)}),
    )
    assert schema.labels == (0, 1)
    assert msgspec.json.decode(msgspec.json.encode(schema), type=Schema) == schema


@pytest.mark.parametrize(
    ("array", "kinds"),
    [
        (np.array([[1.5, 2.0], [np.nan, 1.0]]), [Kind.NUMBER, Kind.NUMBER]),
        (np.array([[1, 2], [3, 4]]), [Kind.INTEGER, Kind.INTEGER]),
        (np.array([["a", 2.5], [None, 1.5]], dtype=object), [Kind.CATEGORY, Kind.NUMBER]),
        (np.array([["a", "b"], ["c", "d"]]), [Kind.CATEGORY, Kind.CATEGORY]),
    ],
)
def test_an_array_is_learned_and_given_back(array: npt.NDArray[Any], kinds: list[Kind]) -> None:
    """Columns of an array are named by position, and decoded to an array of the same values."""
    schema = learn_schema(array, target="y", task="regression")
    assert (schema.container, schema.names) == ("array", ("x0", "x1"))
    assert [column.kind for column in schema.columns] == kinds
    decoded = decode(schema, encode(schema, array))
    assert isinstance(decoded, np.ndarray)
    assert pd.DataFrame(decoded).equals(pd.DataFrame(array.astype(decoded.dtype)))


def test_coded_categories_in_a_float_array_stay_numbers() -> None:
    """An array of floats is decoded to floats, though a column is declared a category."""
    array = np.array([[5.0, 1.5], [np.nan, 2.5], [3.0, 2.5]])
    schema = learn_schema(array, target="y", task="regression", declared=Declared(categorical=["x0"]))
    decoded = decode(schema, encode(schema, array))
    assert isinstance(decoded, np.ndarray)
    assert decoded.dtype == np.float64
    np.testing.assert_array_equal(decoded, array)


MANY = 120
REFUSED: dict[str, tuple[Any, str]] = {
    "nothing at all": ([np.nan, np.nan], "holds no value"),
    "datetimes": (pd.to_datetime(["2024-01-01", "2024-02-01"]), "dates or times"),
    "date objects": (objects(datetime.date(2024, 1, 1), None), "dates or times"),
    "durations": (pd.to_timedelta([1, 2], unit="s"), "dates or times"),
    "date texts": ([f"2024-01-{day:02}" for day in range(1, 29)], "dates or times, such as '2024-01-01'"),
    "written dates": (["3 Jan 2024", "4 February 2024", None] * 9, "dates or times"),
    "times": (["10:30", "11:45:10"] * 9, "dates or times"),
    "free text": ([f"this is remark number {i % 80}" for i in range(MANY)], "free text"),
    "identifiers": ([f"id{i}" for i in range(10)], "different in every row"),
    "too many levels": ([f"level {i % 1001}" for i in range(5000)], "1,001 different values"),
    "long texts": ([f"{i % 21} {'word ' * 30}" for i in range(MANY)], "characters long"),
    "half a surrogate pair": (objects("\udc80", "a", "a"), "no Unicode text"),
    "sparse values": (pd.arrays.SparseArray([0.0, 1.0]), r"sparse values.*X\.sparse\.to_dense\(\)"),
    "infinity": ([1.0, np.inf], "infinite in row 1"),
    "mixed types": (objects("a", 1), "mixes types.*row 1"),
    "nested values": (objects([1], [2]), "values of type list"),
    "complex numbers": ([1j, 2j], "values of type complex128"),
    "intervals": (pd.cut(pd.Series([1, 2, 3]), 2), "values of type interval"),
}


@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_an_unusable_column_is_named(values: Any, message: str) -> None:
    """A column that cannot be learned from is refused, and the error names it."""
    with pytest.raises(SchemaError, match=f"column 'x'.*{message}"):
        learn(values)


@pytest.mark.parametrize("case", ["nothing at all", "datetimes", "date texts", "free text", "identifiers"])
def test_the_error_offers_to_drop_the_column(case: str) -> None:
    """The error of an unusable column has the option that leaves the column out."""
    with pytest.raises(SchemaError, match="--drop x"):
        learn(REFUSED[case][0])


@pytest.mark.parametrize("case", ["date texts", "free text", "identifiers", "too many levels"])
def test_texts_can_be_declared_categories(case: str) -> None:
    """A column of text that is declared a category is one, even where it would be refused as free text."""
    assert learn(REFUSED[case][0], declared=Declared(categorical=["x"])).kind is Kind.CATEGORY


@pytest.mark.parametrize(
    "values", [["1.2.3", "1.2.4"] * 9, ["may", "june"] * 9, ["10-20", "20-30"] * 9, ["2024", "2025"] * 9, ["a"] * 30]
)
def test_ordinary_categories_are_no_dates(values: list[str]) -> None:
    """Versions, names, ranges, years and a constant column are categories."""
    assert learn(values).kind is Kind.CATEGORY


def test_numbers_with_fractions_are_levels_where_they_are_declared() -> None:
    """All levels are floats then; numbers that float64 does not tell apart are refused."""
    column = learn([1.5, 2.0], declared=Declared(categorical=["x"]))
    assert [type(level) for level in column.levels] == [float, float]
    assert column.levels == (1.5, 2.0)
    with pytest.raises(SchemaError, match="column 'x' is a category, but holds numbers beyond"):
        learn([1.5, 2.0**60], declared=Declared(categorical=["x"]))


@pytest.mark.parametrize(
    ("values", "bounds", "message"),
    [
        ([1.0, -2.0], Bounds(exclusive_minimum=0), "column 'x', row 1 .*-2 breaks"),
        ([1.0, 7.0], Bounds(maximum=5), "column 'x', row 1 .*at most 5"),
        (["a", "b"], Bounds(minimum=0), "is a category, so it cannot have bounds"),
        ([1.0], Bounds(minimum=float("nan")), "not a finite number"),
    ],
)
def test_bounds_must_fit_the_table(values: Any, bounds: Bounds, message: str) -> None:
    """Bounds are for numbers, and the training rows respect them."""
    with pytest.raises(SchemaError, match=message):
        learn(values, declared=Declared(bounds={"x": bounds}))


def test_declared_columns_must_exist() -> None:
    """A misspelt column is named, with the nearest one."""
    frame = pd.DataFrame({"petal_width": [1.0]})
    with pytest.raises(SchemaError, match=r"'petal_wdth' is declared.*'petal_width' meant"):
        learn_schema(frame, target="y", task="regression", declared=Declared(bounds={"petal_wdth": Bounds(1)}))


@pytest.mark.parametrize(
    "frame", [pd.DataFrame(), pd.DataFrame({1: [2.0]}), pd.DataFrame([[1, 2]], columns=["a", "a"]), np.zeros(3)]
)
def test_frames_without_usable_names_are_refused(frame: Any) -> None:
    """No rows, numbers for names, a name twice, and arrays of one dimension are refused."""
    with pytest.raises(SchemaError):
        learn_schema(frame, target="y", task="regression")


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"] * 5, "classification"),
        ([True, False], "classification"),
        (pd.Categorical([1.5, 2.5]), "classification"),
        ([0.5, 1.5, 2.5], "regression"),
        ([0, 1, 1], "classification"),
        (list(range(3)) * 50, "classification"),
        ([1.0, 2.0, 3.0] * 50, "classification"),
        (list(range(10)) * 3, "regression"),
        (list(range(21)) * 50, "regression"),
        (pd.array([1, 2, 3] * 50, dtype="Int64"), "classification"),
    ],
)
def test_the_task_follows_from_the_target(values: Any, task: str) -> None:
    """Texts and few whole numbers are classes; fractions and many numbers are values."""
    assert choose_task(pd.Series(values)) == task


def test_the_task_can_be_overridden() -> None:
    """A declared task overrides the one that whole numbers would suggest."""
    assert choose_task(pd.Series([1, 2, 3] * 50), "regression") == "regression"
    assert choose_task(pd.Series(range(100)), "classification") == "classification"


@pytest.mark.parametrize(
    ("values", "override", "message"),
    [
        (["a", None, "b"], None, r"target column 'y' is missing in row 1 \(the first is 0\)"),
        ([1.0, np.inf, 2.5], None, "infinite in row 1"),
        (["a", "a"], None, "the same in every row"),
        (["a", "b"], "regression", "cannot be regression"),
        ([1, 2], "clustering", "task 'clustering' is unknown"),
        ([f"text {i}" for i in range(60)], None, "too many for classes"),
    ],
)
def test_an_unusable_target_is_named(values: Any, override: str | None, message: str) -> None:
    """The error names the column, and the rows where there are some."""
    with pytest.raises(TrainingError, match=message):
        choose_task(pd.Series(values, name="y"), override)


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(-1e30, 1e30)),
            st.one_of(st.none(), st.sampled_from(["", "a", "b", "ü"])),
            st.integers(-(2**53), 2**53),
            st.booleans(),
        ),
        min_size=1,
        max_size=30,
    ).filter(lambda rows: all(any(row[i] is not None for row in rows) for i in (0, 1)))
)
def test_any_table_is_given_back(rows: list[tuple[Any, ...]]) -> None:
    """Whatever the values, decoding the encoded table gives the table."""
    frame = pd.DataFrame(rows, columns=["a", "b", "c", "d"]).astype({"a": "float64", "b": "str"})
    schema = learn_schema(frame, target="y", task="regression", declared=Declared(categorical=["b"]))
    pd.testing.assert_frame_equal(to_training_frame(frame.sample(frac=1, axis=1, random_state=0), schema), frame)

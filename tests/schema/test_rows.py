"""Tests of reading JSON rows: the fast and the strict reader agree, and every problem has its place."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orris.errors import BodyError, RowError
from orris.schema import MAX_INTEGER, UNSEEN, Bounds, Column, Kind, Reading, Schema, strict
from orris.schema.rows import RowReader

MIXED = Schema(
    columns=(
        Column("size", Kind.NUMBER, low=0.5, high=9.5, bounds=Bounds(exclusive_minimum=0, message="Size matters")),
        Column("n:rooms", Kind.INTEGER, dtype="int64", low=1, high=12, bounds=Bounds(minimum=1, maximum=50)),
        Column("sunny", Kind.BOOLEAN, dtype="bool"),
        Column("town", Kind.CATEGORY, dtype="object", levels=("oslo", "rome"), unseen=True, missing=True),
        Column("grade", Kind.CATEGORY, dtype="int64", levels=(1, 2, 3)),
        Column("age", Kind.NUMBER, missing=True, low=0, high=100),
    ),
    target="price",
    task="regression",
)
NUMBERS = msgspec.structs.replace(
    MIXED,
    columns=tuple(column for column in MIXED.columns if column.kind is not Kind.CATEGORY),
    table=("size", "n:rooms", "sunny", "age", "other"),
)
PLAIN = Schema(columns=(Column("a", Kind.NUMBER), Column("b", Kind.NUMBER)), target="y", task="regression")
GOOD = {"size": 2.5, "n:rooms": 3, "sunny": True, "town": "rome", "grade": 2, "age": 40}


def body(**changes: Any) -> bytes:
    """A good row, changed; a value of ``...`` leaves the column out."""
    row = {
        name: value
        for name, value in (GOOD | {k.replace("__", ":"): v for k, v in changes.items()}).items()
        if value is not ...
    }
    return json.dumps(row).encode()


def outcome(read: Any, text: bytes) -> Any:
    """What a reader makes of a body, in a form that compares."""
    try:
        rows, single = read(text)
    except (BodyError, RowError) as error:
        return type(error), str(error), getattr(error, "problems", None)
    return rows.shape, rows.tobytes(), single


def problem_of(text: bytes, schema: Schema = MIXED) -> tuple[int | None, str | None, str]:
    """The only problem of a body."""
    with pytest.raises(RowError) as caught:
        RowReader(schema).read(text)
    (problem,) = caught.value.problems
    return problem.row, problem.column, problem.problem


def test_a_good_row_is_encoded_in_schema_order() -> None:
    """Numbers are themselves, booleans 0 or 1, categories the position of their level."""
    rows, single = RowReader(MIXED).read(body())
    assert rows.tolist() == [[2.5, 3.0, 1.0, 1.0, 1.0, 40.0]]
    assert rows.dtype == np.float64
    assert single


def test_a_list_of_rows_keeps_its_order() -> None:
    """A list is several rows, also if it holds one."""
    rows, single = RowReader(PLAIN).read(b'[{"b":2,"a":1},{"a":3,"b":4}]')
    assert rows.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert not single
    assert not RowReader(PLAIN).read(b'[{"b":2,"a":1}]')[1]


def test_missing_values_may_be_null_or_left_out_where_training_saw_some() -> None:
    """Null and a column that is left out both become NaN where training saw missing values."""
    for text in (body(town=None, age=None), body(town=..., age=...)):
        rows, _ = RowReader(MIXED).read(text)
        assert np.isnan(rows[0, [3, 5]]).all()


def test_an_unseen_level_is_encoded_where_the_model_takes_it() -> None:
    """An unseen level becomes -1 where the model accepts it and is refused elsewhere."""
    rows, _ = RowReader(MIXED).read(body(town="paris"))
    assert rows[0, 3] == UNSEEN
    row, column, text = problem_of(body(grade=9))
    assert (row, column) == (0, "grade")
    assert "levels" in text


@pytest.mark.parametrize(
    ("changes", "column", "words"),
    [
        ({"size": "2.5"}, "size", "a number is needed, not text"),
        ({"size": True}, "size", "a number is needed, not a boolean"),
        ({"size": [1]}, "size", "a number is needed, not a list"),
        ({"size": {"x": 1}}, "size", "a number is needed, not an object"),
        ({"size": None}, "size", "a value is needed"),
        ({"size": ...}, "size", "this column is missing"),
        ({"size": 0}, "size", "Size matters: must be greater than 0 (a declared bound)"),
        ({"size": math.nan}, "size", "NaN is not a number"),
        ({"size": math.inf}, "size", "Infinity is not a number"),
        ({"size": 1e31}, "size", "magnitude"),
        ({"age": math.nan}, "age", "send null"),
        ({"n__rooms": 2.5}, "n:rooms", "an integer is needed"),
        ({"n__rooms": 51}, "n:rooms", "at most 50"),
        ({"n__rooms": 0}, "n:rooms", "at least 1"),
        ({"sunny": 2}, "sunny", "true or false is needed"),
        ({"town": 5}, "town", "as text"),
        ({"grade": "2"}, "grade", "as an integer"),
    ],
)
def test_a_wrong_value_is_reported_with_row_and_column(changes: dict[str, Any], column: str, words: str) -> None:
    """Each kind of mistake gets one problem with its place and advice."""
    row, found, text = problem_of(body(**changes))
    assert (row, found) == (0, column)
    assert words in text


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    """Python's parser takes it, but no answer could name such a column; both halves are a character."""
    unknown: dict[str, None] = {}
    RowReader(PLAIN).read(rb'{"a": 1, "b": 2, "\ud83d\ude00": 3}', unknown)
    assert list(unknown) == ["\U0001f600"]
    for half in (rb'{"a": 1, "\ud83d": 2}', rb'[{"a": 1, "b": 2, "c": ["\udE00"]}]'):
        with pytest.raises(BodyError, match="one half of a UTF-16 surrogate pair"):
            RowReader(PLAIN).read(half)


def test_an_unknown_column_is_ignored_and_named() -> None:
    """A row may carry more than the model reads."""
    unknown: dict[str, None] = {}
    rows, _ = RowReader(MIXED).read(body(colour="red"), unknown)
    assert rows.tolist() == RowReader(MIXED).read(body())[0].tolist()
    assert list(unknown) == ["colour"]


@pytest.mark.parametrize("absent", ["size", "town"])
def test_an_unknown_column_beside_an_absent_one_is_a_misspelling(absent: str) -> None:
    """Whether or not the absent one may be missing, the row is refused with the name that was probably meant."""
    text = body(**{absent: ..., absent.capitalize() + " ": 1})
    with pytest.raises(RowError) as caught:
        RowReader(MIXED).read(text)
    first = caught.value.problems[0]
    assert first.column == absent.capitalize() + " "
    assert f"did you mean '{absent}'?" in first.problem


def test_other_columns_of_the_training_table_are_no_misspellings() -> None:
    """Columns that the pipeline never reads may be given or left out, also beside an omitted missing value."""
    schema = msgspec.structs.replace(MIXED, table=("id", *MIXED.names), others=("note",))
    for extra in ({"id": 7}, {"id": 7, "note": [1, {"a": 2}]}, {"note": None, "price": 3}):
        unknown: dict[str, None] = {}
        rows, _ = RowReader(schema).read(body(age=..., **extra), unknown)
        assert np.array_equal(rows, RowReader(MIXED).read(body(age=...))[0], equal_nan=True)
        assert not unknown
    wide = json.dumps([7, *GOOD.values()]).encode()
    assert (
        strict.read_document(schema, [list(json.loads(wide))], 10)[0].tolist()
        == RowReader(MIXED).read(body())[0].tolist()
    )


def test_text_is_read_as_in_the_training_table() -> None:
    """Trimmed names and values, and texts for missing values, are read by the recorded rules, and only by those."""
    ruled = msgspec.structs.replace(MIXED, reading=Reading(trim=True, missing=("", "NA")))
    assert RowReader(ruled).read(body(town=" rome ", age=1))[0][0, 3] == 1
    for text in ("", "NA", " NA"):
        assert math.isnan(RowReader(ruled).read(body(town=text))[0][0, 3])
        assert RowReader(MIXED).read(body(town=text))[0][0, 3] == UNSEEN
    assert RowReader(ruled).read(body(town=..., **{" town": "rome"}))[0][0, 3] == 1
    needed = msgspec.structs.replace(
        ruled, columns=tuple(msgspec.structs.replace(c, missing=False) for c in ruled.columns)
    )
    assert problem_of(body(town="NA"), needed)[2].startswith("a value is needed")


def test_a_refusal_has_its_cause() -> None:
    """The problem of a value names the cause: the model or a declaration."""
    model = Schema((Column("n", Kind.INTEGER), Column("c", Kind.CATEGORY, levels=("x",))), "y", "regression")
    declared = msgspec.structs.replace(
        model,
        columns=tuple(msgspec.structs.replace(c, required=True, integer=True, closed=True) for c in model.columns),
    )
    for text, words in (
        (b'{"n":1.5,"c":"x"}', "integer"),
        (b'{"n":1,"c":"z"}', "closed"),
        (b'{"n":1,"c":null}', "required"),
    ):
        assert "fitted model" in problem_of(text, model)[2]
        assert f"declared {words}" in problem_of(text, declared)[2]


def test_a_fraction_is_read_where_the_model_takes_it() -> None:
    """A column of whole numbers in training accepts fractions unless it is declared integer."""
    schema = Schema((Column("n", Kind.INTEGER, fractions=True),), "y", "regression")
    assert RowReader(schema).read(b'{"n":1.5}')[0].tolist() == [[1.5]]
    assert RowReader(schema).read(b'{"n":9007199254740993}')[0].tolist() == [[2.0**53]]


def test_a_key_given_twice_is_refused() -> None:
    """A key given twice is refused, because a JSON parser keeps the last one silently."""
    assert problem_of(b'{"a":1,"b":2,"a":3}', PLAIN)[1:] == ("a", "this column is given twice; give it once")
    assert problem_of(b'{"a":1,"b":2,"\\u0061":3}', PLAIN)[1] == "a"


def test_a_key_given_twice_does_not_hide_behind_one_left_out() -> None:
    """A row with one key twice and one left out, so with the right number of colons, is refused."""
    text = body(town=...)[:-1] + b', "size": 3}'
    assert problem_of(text)[1] == "size"


def test_every_problem_of_a_body_is_reported() -> None:
    """Up to a limit, problems are listed with the rows that they are in."""
    with pytest.raises(RowError) as caught:
        RowReader(PLAIN).read(b'[{"a":1,"b":2},{"a":"x"},{"b":null,"a":1,"c":1},{"a":1,"c":1}]')
    assert [(p.row, p.column) for p in caught.value.problems] == [(1, "b"), (1, "a"), (2, "b"), (3, "c"), (3, "b")]


def test_very_many_problems_are_counted_rather_than_listed() -> None:
    """Problems beyond the limit are counted, so that a hostile body cannot cause a huge answer."""
    with pytest.raises(RowError) as caught:
        RowReader(PLAIN).read(b"[" + b",".join([b"{}"] * 1000) + b"]")
    assert len(caught.value.problems) == strict.MAX_PROBLEMS + 1
    assert "1900 more problems" in caught.value.problems[-1].problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b"\xff\xfe{\x00", "not UTF-8"),
        ('{"a":1,"b":2}'.encode("utf-16"), "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 50_000, "nested too deeply"),
    ],
)
def test_a_body_that_is_no_json_is_refused(text: bytes, words: str) -> None:
    """A body that is not JSON is a ``BodyError`` that names the problem."""
    with pytest.raises(BodyError, match=words):
        RowReader(PLAIN).read(text)


def test_a_byte_order_mark_is_skipped() -> None:
    """A byte order mark, as some editors write, is skipped."""
    assert RowReader(PLAIN).read(b'\xef\xbb\xbf{"a":1,"b":2}')[0].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("text", [b"1", b'"x"', b"null", b"true", b"NaN", b"[1]", b"[[]]", b"[null]", b"{}", b"[]"])
def test_a_document_of_another_shape_is_refused(text: bytes) -> None:
    """A document other than an object or a list of objects is a ``RowError``."""
    with pytest.raises(RowError):
        RowReader(PLAIN).read(text)


def test_huge_numbers_are_refused() -> None:
    """A huge exponent and thousands of digits are refused as the caller's mistake."""
    for number in (b"1e999", b"9" * 5_000, b"-1e400", str(MAX_INTEGER * 10**300).encode()):
        assert problem_of(b'{"a":' + number + b',"b":1}', PLAIN)[1] == "a"


def test_integers_beyond_exact_ones_are_refused_in_integer_columns() -> None:
    """Integers that float64 would change silently are refused in integer columns."""
    schema = Schema(columns=(Column("n", Kind.INTEGER),), target="y", task="regression")
    assert problem_of(b'{"n":9007199254740993}', schema)[1] == "n"
    assert RowReader(schema).read(b'{"n":9007199254740992}')[0].tolist() == [[2.0**53]]


def test_integral_floats_are_integers() -> None:
    """An integer may be written as 3.0, which JSON does not distinguish from 3."""
    assert RowReader(MIXED).read(body(n__rooms=3.0, grade=2.0))[0][0].tolist()[:5] == [2.5, 3.0, 1.0, 1.0, 1.0]


def test_too_many_rows_are_refused() -> None:
    """Too many rows are refused, and the error names the limit."""
    with pytest.raises(RowError, match="more than the 2"):
        RowReader(PLAIN, max_rows=2).read(b'[{"a":1,"b":2},{"a":1,"b":2},{"a":1,"b":2}]')


def test_ten_thousand_rows_are_read() -> None:
    """Ten thousand rows are read into one array."""
    rows, _ = RowReader(PLAIN).read(json.dumps([{"a": i, "b": -i} for i in range(10_000)]).encode())
    assert rows.shape == (10_000, 2)
    assert rows[9_999].tolist() == [9_999.0, -9_999.0]


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 60),
    st.integers(),
    st.floats(),
    st.sampled_from(["oslo", "rome", "paris:", "", "2"]),
    st.lists(st.integers(), max_size=2),
)
names = st.sampled_from([*MIXED.names, "other"])
written_rows = st.lists(st.tuples(names, scalars), max_size=8)


def written(pairs: list[tuple[str, Any]]) -> str:
    """An object with its keys as they are, twice if twice."""
    return "{" + ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs) + "}"


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine draws slowly
@given(st.lists(written_rows, max_size=3), st.booleans())
def test_the_fast_reader_agrees_with_the_strict_one(rows: list[list[tuple[str, Any]]], single: bool) -> None:
    """On any body the fast and the strict reader give the same rows or the same error."""
    text = written(rows[0]) if single and rows else "[" + ",".join(map(written, rows)) + "]"
    encoded = text.encode()
    assert outcome(RowReader(MIXED).read, encoded) == outcome(lambda b: strict.read(MIXED, b, 100_000), encoded)


@pytest.mark.parametrize("schema", [MIXED, NUMBERS], ids=["with categories", "numbers"])
@given(data=st.data())
def test_the_fast_reader_agrees_with_the_strict_one_on_nearly_good_rows(schema: Schema, data: st.DataObject) -> None:
    """Rows with all columns and one or two surprises reach the fast path's own branches."""
    order = data.draw(st.permutations(list(schema.names)))
    pairs = [(name, data.draw(st.one_of(st.just(GOOD[name]), scalars))) for name in order]
    if data.draw(st.booleans()):
        pairs.append((data.draw(names), data.draw(scalars)))
    if data.draw(st.booleans()):
        del pairs[data.draw(st.integers(0, len(pairs) - 1))]
    encoded = written(pairs).encode()
    assert outcome(RowReader(schema).read, encoded) == outcome(lambda b: strict.read(schema, b, 100_000), encoded)


def test_a_list_of_rows_of_numbers_keeps_what_is_missing() -> None:
    """Whether a value is null or left out, in objects and in lists, beside columns that nothing reads."""
    rows = [{"size": 2.5, "n:rooms": 3, "sunny": True, "age": age} for age in (40, None, 50)]
    with_other = [row | {"other": 1} for row in rows]
    without = [{name: value for name, value in row.items() if value is not None} for row in rows]
    for body_of in (rows, with_other, without):
        encoded, single = RowReader(NUMBERS).read(json.dumps(body_of).encode())
        assert not single
        assert encoded[:, :3].tolist() == [[2.5, 3.0, 1.0]] * 3
        np.testing.assert_array_equal(encoded[:, 3], [40.0, math.nan, 50.0])


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_body_or_row_error(text: bytes) -> None:
    """Any bytes are read or raise a ``BodyError`` or ``RowError``."""
    outcome(RowReader(MIXED).read, text)


def test_a_column_may_have_any_name() -> None:
    """Columns with quotes, backslashes and line breaks in their names are read, and problems name them."""
    schema = Schema(
        columns=(Column('a "b" \\ \n', Kind.NUMBER), Column("<b>", Kind.NUMBER)), target="y", task="regression"
    )
    row = {'a "b" \\ \n': 1.5, "<b>": 2}
    rows, single = RowReader(schema).read(json.dumps(row).encode())
    assert (rows.tolist(), single) == ([[1.5, 2.0]], True)
    assert RowReader(schema).read(json.dumps([row, row]).encode())[0].shape == (2, 2)
    with pytest.raises(RowError, match="did you mean '<b>'"):
        RowReader(schema).read(json.dumps({'a "b" \\ \n': 1.5, "never": 0}).encode())

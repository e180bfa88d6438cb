"""Tests of the Open Inference Protocol's tensors: their raw and JSON forms, rows and answers."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orris.errors import BodyError, RowError
from orris.protocols.inference_requests import Input
from orris.protocols.json_tensors import from_json
from orris.protocols.quick_rows import QuickRows
from orris.protocols.tensors import (
    DATATYPES,
    Tensor,
    TensorReader,
    from_raw,
    from_values,
    input_specs,
    output_specs,
    tensors_from_answers,
    to_raw,
    wanted_outputs,
)
from orris.runtime import Answers
from orris.schema.columns import Bounds, Column, Kind, Reading, Schema

SCHEMA = Schema(
    (
        Column("age", Kind.NUMBER, missing=True, bounds=Bounds(exclusive_minimum=0)),
        Column("visits", Kind.INTEGER, missing=True),
        Column("member", Kind.BOOLEAN, missing=True),
        Column("town", Kind.CATEGORY, levels=("Oslo", "São Paulo"), missing=True, unseen=True),
        Column("tariff", Kind.CATEGORY, levels=(10, 20, 2**53 + 1), missing=True),
        Column("spend", Kind.NUMBER),
    ),
    "churned",
    "classification",
    ("no", "yes"),
    reading=Reading(missing=("",)),
)
NUMBERS = Schema((Column("a", Kind.NUMBER, missing=True), Column("b", Kind.NUMBER)), "y", "regression")
NAN = math.nan


def column(name: str, datatype: str, values: list[Any]) -> Tensor:
    """Return a tensor of one column, from JSON values."""
    return from_json(name, datatype, [len(values), 1], values)


def row(**changed: tuple[str, list[Any]]) -> list[Tensor]:
    """Draw a request of the mixed schema with one row, some of its columns changed."""
    usual: dict[str, tuple[str, list[Any]]] = {
        "age": ("FP64", [45.5]),
        "visits": ("INT64", [3]),
        "member": ("BOOL", [True]),
        "town": ("BYTES", ["São Paulo"]),
        "tariff": ("INT64", [20]),
        "spend": ("FP32", [20.5]),
    }
    return [column(name, *value) for name, value in {**usual, **changed}.items()]


NUMERIC = [name for name in DATATYPES if name not in {"BYTES", "BF16"}]


@pytest.mark.parametrize("datatype", NUMERIC)
def test_raw_data_are_little_endian(datatype: str) -> None:
    """Raw data are little-endian for each datatype, whatever the machine's own order."""
    values = np.array([0, 1, 1, 0], dtype=DATATYPES[datatype])
    tensor = from_raw("x", datatype, [2, 2], values.tobytes())
    assert tensor.values.tolist() == values.tolist()
    assert to_raw(tensor) == values.tobytes()


def test_bf16_is_the_upper_half_of_a_float32() -> None:
    """BF16 is the upper half of a float32 and is widened exactly."""
    raw = b"".join(struct.pack("<f", value)[2:] for value in (1.5, -2.0, math.inf))
    assert from_raw("x", "BF16", [3], raw).values.tolist() == [1.5, -2.0, math.inf]


def test_fp32_is_widened_exactly() -> None:
    """A binary float32 becomes exactly that number, not the decimal that its caller may have rounded."""
    raw = np.array([5.1], dtype=np.float32).tobytes()
    assert TensorReader(NUMBERS).read([from_raw("x", "FP32", [1, 2], raw + raw)]).tolist() == [
        [float(np.float32(5.1))] * 2
    ]


def test_bytes_are_prefixed_with_their_length() -> None:
    """Elements of BYTES have a length of four bytes, little-endian, and may hold any bytes."""
    raw = b"\x04\0\0\0Oslo\0\0\0\0\x02\0\0\0\xff\0"
    tensor = from_raw("x", "BYTES", [3], raw)
    assert tensor.values.tolist() == [b"Oslo", b"", b"\xff\0"]
    assert to_raw(tensor) == raw


@pytest.mark.parametrize(
    ("datatype", "shape", "raw"),
    [
        ("FP64", [1, 2], b"\0" * 15),
        ("FP64", [2], b"\0" * 17),
        ("BOOL", [1], b"\2"),
        ("BYTES", [1], b"\5\0\0\0Oslo"),
        ("BYTES", [1], b"\4\0\0"),
        ("BYTES", [2], b"\4\0\0\0Oslo"),
        ("FP8", [1], b"\0"),
        ("FP64", [], b"\0" * 8),
        ("FP64", [-1, -1], b"\0" * 8),
        ("FP64", [2**63] * 32, b"\0" * 8),
        ("FP64", [1] * 33, b"\0" * 8),
        ("FP64", [10**9, 10**9], b""),
    ],
)
def test_raw_data_that_do_not_fill_their_shape_are_refused(datatype: str, shape: list[int], raw: bytes) -> None:
    """Raw data that do not fill their shape are refused, and nothing is allocated for the shape."""
    with pytest.raises(BodyError, match="input 'x'"):
        from_raw("x", datatype, shape, raw)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "expected"),
    [
        ("FP64", [2, 2], [1, 2.5, 3, 4], [1, 2.5, 3, 4]),
        ("FP64", [2, 2], [[1, 2.5], [3, 4]], [1, 2.5, 3, 4]),
        ("FP64", [1, 2, 1], [[[1], [2]]], [1, 2]),
        ("FP32", [1], [5.1], [5.1]),
        ("INT8", [2], [-128, 127], [-128, 127]),
        ("UINT64", [1], [2**64 - 1], [2**64 - 1]),
        ("INT64", [2], [1, 2.0], [1, 2]),
        ("BOOL", [4], [True, False, 1, 0], [True, False, True, False]),
        ("BOOL", [2], [True, None], [True, None]),
        ("BYTES", [2, 1], [["Oslo"], [None]], ["Oslo", None]),
        ("FP64", [0], [], []),
    ],
)
def test_json_data_are_flat_or_nested(datatype: str, shape: list[int], data: list[Any], expected: list[Any]) -> None:
    """JSON data may be flat or nested, and null is a missing value."""
    assert from_json("x", datatype, shape, data).values.tolist() == expected


def test_a_missing_number_in_json_is_nan() -> None:
    """A null among numbers, integers included, is read as NaN."""
    for datatype in ("FP64", "FP32", "INT64", "UINT8"):
        assert np.isnan(from_json("x", datatype, [2], [1, None]).values).tolist() == [False, True]


@pytest.mark.parametrize(
    ("datatype", "shape", "data"),
    [
        ("FP64", [3], [1, 2]),
        ("FP64", [2, 2], [[1, 2], [3]]),
        ("FP64", [2, 2], [[1, 2, 3], [4]]),
        ("FP64", [2, 2], [[1, 2], 3]),
        ("FP64", [2, 2], [1, [2], 3, 4]),
        ("FP64", [2], [[1], [2]]),
        ("FP64", [4, 1], [[1, 2, 3, 4]]),
        ("FP64", [1], ["1"]),
        ("FP64", [1], [True]),
        ("FP64", [1], [{}]),
        ("INT64", [1], [1.5]),
        ("INT8", [1], [128]),
        ("UINT8", [1], [-1]),
        ("INT64", [1], [2**63]),
        ("INT64", [2], [2**53 + 1, None]),
        ("BOOL", [1], [2]),
        ("BOOL", [1], [1.0]),
        ("BYTES", [1], [1]),
        ("FP16", [1], [1.0]),
        ("BF16", [1], [1.0]),
        ("fp64", [1], [1.0]),
        ("FP64", [-1], [1.0]),
    ],
)
def test_json_data_of_another_kind_are_refused(datatype: str, shape: list[int], data: list[Any]) -> None:
    """Text among numbers, FP16 in JSON and nesting unlike the shape are refused."""
    with pytest.raises(BodyError, match="input 'x'"):
        from_json("x", datatype, shape, data)


@pytest.mark.parametrize(
    ("datatype", "values"), [("FP16", [1.0]), ("INT8", [300]), ("FP64", ["one"]), ("FP64", [1.0, 2.0])]
)
def test_typed_values_that_do_not_fit_are_refused(datatype: str, values: list[Any]) -> None:
    """Typed values of gRPC that do not fit the shape or datatype are refused."""
    with pytest.raises(BodyError, match="input 'x'"):
        from_values("x", datatype, [1], values)


def test_one_tensor_per_column_in_any_order_is_a_row() -> None:
    """Tensors in any order are a row, with text as its level and booleans as 0 and 1."""
    reader = TensorReader(SCHEMA)
    assert reader.read(row()).tolist() == [[45.5, 3, 1, 1, 1, 20.5]]
    assert reader.read(row()[::-1]).tolist() == [[45.5, 3, 1, 1, 1, 20.5]]


def test_one_tensor_of_any_name_holds_rows_of_numbers() -> None:
    """One tensor of any name and numeric datatype holds rows in the order of the schema."""
    reader = TensorReader(NUMBERS)
    for datatype in ("FP32", "FP64", "INT8", "UINT64"):
        assert reader.read([from_json("input-0", datatype, [2, 2], [1, 2, 3, 4])]).tolist() == [[1, 2], [3, 4]]


def test_one_tensor_may_hold_booleans_and_integer_levels() -> None:
    """Booleans and integer levels in one tensor are numbers and are checked as values of their columns."""
    schema = Schema((Column("m", Kind.BOOLEAN), Column("t", Kind.CATEGORY, levels=(10, 20))), "y", "regression")
    assert TensorReader(schema).read([from_json("x", "FP32", [1, 2], [1, 20])]).tolist() == [[1, 1]]
    with pytest.raises(RowError, match="row 0, column 'm'"):
        TensorReader(schema).read([from_json("x", "INT32", [1, 2], [2, 20])])


def test_one_tensor_cannot_hold_text() -> None:
    """One tensor for a schema with text is refused with advice."""
    with pytest.raises(RowError, match="one tensor per column"):
        TensorReader(SCHEMA).read([from_json("x", "FP64", [1, 6], [1] * 6)])


def test_a_missing_value_is_nan_null_or_an_empty_text() -> None:
    """A missing value is NaN, null or an empty text, in a float tensor also for integers, booleans and levels."""
    nan = np.array([NAN]).tobytes()
    tensors = [from_raw(name, "FP64", [1, 1], nan) for name in ("age", "visits", "member", "tariff")]
    tensors += [from_raw("town", "BYTES", [1, 1], b"\0\0\0\0"), column("spend", "FP64", [1])]
    expected = [NAN, NAN, NAN, NAN, NAN, 1.0]
    assert np.array_equal(TensorReader(SCHEMA).read(tensors)[0], expected, equal_nan=True)
    nulls = [column(name, datatype, [None]) for name, datatype, _ in input_specs(SCHEMA)[:5]]
    assert np.array_equal(
        TensorReader(SCHEMA).read([*nulls, column("spend", "FP64", [1])])[0], expected, equal_nan=True
    )


@pytest.mark.parametrize("trim", [False, True])
def test_an_empty_text_is_missing_if_it_is_no_level(trim: bool) -> None:
    """An empty text is a missing value where it is no level and the column may be missing, since BYTES have no null."""
    may, may_not = (Column(name, Kind.CATEGORY, levels=("x",), missing=name == "t", unseen=True) for name in ("t", "u"))
    reader = TensorReader(Schema((may, may_not), "y", "regression", reading=Reading(trim=trim)))
    empty = [from_raw(name, "BYTES", [1], b"\0\0\0\0") for name in ("t", "u")]
    assert np.array_equal(reader.read(empty), [[NAN, -1]], equal_nan=True)
    typed = [from_values(name, "BYTES", [1], [b""]) for name in ("t", "u")]
    assert np.array_equal(reader.read(typed), [[NAN, -1]], equal_nan=True)
    assert np.array_equal(
        reader.read([column(name, "BYTES", [""]) for name in ("t", "u")]), [[NAN, -1]], equal_nan=True
    )
    quick = QuickRows(reader).read([Input(name, "BYTES", [1], [""]) for name in ("t", "u")])
    assert quick is not None
    assert np.array_equal(quick, [[NAN, -1]], equal_nan=True)
    blank = [column(name, "BYTES", [" "]) for name in ("t", "u")]
    assert np.array_equal(reader.read(blank), [[NAN if trim else -1, -1]], equal_nan=True)
    plain = TensorReader(reader.schema, empty_is_missing=False)
    assert plain.read(empty).tolist() == [[-1, -1]]


def test_a_column_that_may_be_missing_may_be_left_out() -> None:
    """A column that may be missing may be left out, as in named rows."""
    assert np.array_equal(TensorReader(SCHEMA).read(row()[-1:])[0], [NAN, NAN, NAN, NAN, NAN, 20.5], equal_nan=True)


def test_an_empty_text_that_is_a_level_is_that_level() -> None:
    """An empty text stands for a missing value only where training saw no empty level."""
    schema = Schema((Column("t", Kind.CATEGORY, levels=("", "x"), missing=True),), "y", "regression")
    assert TensorReader(schema).read([from_raw("t", "BYTES", [1], b"\0\0\0\0")]).tolist() == [[0]]
    assert QuickRows(TensorReader(schema)).codes([Input("t", "BYTES", [1], [""])]) == [0]


def test_integers_are_never_rounded_to_others() -> None:
    """Integers beyond 2**53 are refused by an integer column and compared exactly with levels."""
    with pytest.raises(RowError, match="column 'visits': an integer of magnitude at most"):
        TensorReader(SCHEMA).read(row(visits=("INT64", [2**53 + 1])))
    assert TensorReader(SCHEMA).read(row(tariff=("INT64", [2**53 + 1])))[0, 4] == 2
    with pytest.raises(RowError, match="column 'tariff': not one of the levels"):
        TensorReader(SCHEMA).read(row(tariff=("INT64", [2**53 + 3])))


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ([], "there is no input"),
        (row(age=("FP64", [0.0])), "row 0, column 'age': must be greater than 0"),
        (row(age=("FP64", [1e31])), "row 0, column 'age': a magnitude"),
        (row(spend=("FP64", [None])), "row 0, column 'spend': a value is needed"),
        (row(spend=("BYTES", ["1"])), "row 0, column 'spend': a number is needed"),
        (row(visits=("FP64", [1.5])), "row 0, column 'visits': an integer is needed"),
        (row(member=("INT8", [2])), "row 0, column 'member': a boolean"),
        (row(town=("FP64", [1])), "row 0, column 'town': text is needed"),
        (row(tariff=("INT64", [11])), "row 0, column 'tariff': not one of the levels"),
        (row(age=("FP64", [1, 2])), "the first input has 2|1 rows, but"),
        (row()[:-1], "column 'spend': this column is missing"),
        ([*row(), *row()[:1]], "column 'age': this input is given twice"),
        ([*row()[:-1], column("spent", "FP64", [1])], "column 'spent': .* did you mean 'spend'"),
        ([from_json("age", "FP64", [1, 3], [1, 2, 3])], r"column 'age': .*shape \[n\] or \[n, 1\], not \[1, 3\]"),
        ([from_json("x", "FP64", [1, 3], [1, 2, 3])], r"column 'x': the model has no such input; .*\[n, 6\]"),
        (
            [from_raw("town", "BYTES", [1], b"\1\0\0\0\xff"), column("spend", "FP64", [1])],
            "row 0, column 'town': this text is not UTF-8",
        ),
        ([column("spend", "FP64", [])], "no row"),
        ([column("spend", "FP64", [1] * 11)], "11 rows are more than the 10"),
        ([from_raw("x", "FP64", [0, 6], b"")], "no row"),
    ],
)
def test_inputs_that_do_not_fit_the_schema_are_refused(tensors: list[Tensor], said: str) -> None:
    """Inputs that do not fit are refused with row and column, or with the missing or surplus input."""
    with pytest.raises(RowError, match=said):
        TensorReader(SCHEMA, max_rows=10).read(tensors)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**54), 2**54)
    | st.floats()
    | st.sampled_from(["Oslo", "", "São Paulo", "Rome"])
)


@given(
    st.fixed_dictionaries(
        {spec.name: st.tuples(st.sampled_from(sorted(DATATYPES)), SCALARS) for spec in input_specs(SCHEMA)}
    )
)
def test_the_fast_reader_agrees_with_the_strict_one(request: dict[str, tuple[str, Any]]) -> None:
    """The fast reader gives the rows of the strict one or leaves the request to it."""
    reader = TensorReader(SCHEMA)
    given_ = [Input(name, datatype, [1, 1], [value]) for name, (datatype, value) in request.items()]
    quick = QuickRows(reader).read(given_)
    if quick is not None:
        assert np.array_equal(
            quick, reader.read([from_json(g.name, g.datatype, g.shape, g.data or []) for g in given_]), equal_nan=True
        )


@given(
    st.sampled_from(["FP32", "FP64", "INT64"]),
    st.lists(st.none() | st.integers(-9, 9) | st.floats() | st.booleans(), min_size=1, max_size=3),
)
def test_the_fast_reader_agrees_on_one_tensor(datatype: str, values: list[Any]) -> None:
    """The fast reader reads one tensor, flat or nested, as the strict one does."""
    reader = TensorReader(NUMBERS)
    for data in (values, [values]):
        quick = QuickRows(reader).read([Input("x", datatype, [1, 2], data)])
        if quick is not None:
            assert np.array_equal(quick, reader.read([from_json("x", datatype, [1, 2], data)]), equal_nan=True)


def test_usual_rows_take_the_fast_reader() -> None:
    """Usual rows in each shape that clients send are read by the fast reader."""
    values: dict[str, Any] = {"age": 45.5, "visits": 3, "member": True, "town": "Rome", "tariff": 20, "spend": 20}
    given_ = [Input(name, datatype, [1, 1], [values[name]]) for name, datatype, _ in input_specs(SCHEMA)]
    assert QuickRows(TensorReader(SCHEMA)).read(given_) is not None
    for data in ([1.5, 2], [[1.5, 2]]):
        assert QuickRows(TensorReader(NUMBERS)).read([Input("x", "FP32", [1, 2], data)]) is not None


def test_metadata_names_a_tensor_per_column() -> None:
    """Metadata has a tensor per column in the datatype that loses nothing."""
    assert [spec.datatype for spec in input_specs(SCHEMA)] == ["FP64", "INT64", "BOOL", "BYTES", "INT64", "FP64"]
    assert {spec.shape for spec in input_specs(SCHEMA)} == {(-1, 1)}


@pytest.mark.parametrize(
    ("labels", "datatype", "values"),
    [
        (("no", "yes"), "BYTES", ["yes", "no"]),
        ((3, 7), "INT64", [7, 3]),
        ((False, True), "BOOL", [True, False]),
        ((0.5, 1.5), "FP64", [1.5, 0.5]),
    ],
)
def test_labels_leave_in_their_own_datatype(labels: tuple[Any, ...], datatype: str, values: list[Any]) -> None:
    """Labels of text, integers, booleans and floats have their own datatypes, with probabilities beside them."""
    schema = Schema((Column("a", Kind.NUMBER),), "y", "classification", labels)
    predict, proba = tensors_from_answers(schema, Answers(np.array([1, 0]), np.array([[0.25, 0.75], [0.5, 0.5]])))
    assert (predict.name, predict.datatype, predict.shape, predict.values.tolist()) == (
        "predict",
        datatype,
        (2,),
        values,
    )
    assert (proba.name, proba.datatype, proba.shape, proba.values.tolist()) == (
        "predict_proba",
        "FP64",
        (2, 2),
        [0.25, 0.75, 0.5, 0.5],
    )
    specs = output_specs(schema, has_probabilities=True)
    assert [(spec.name, spec.datatype) for spec in specs] == [("predict", datatype), ("predict_proba", "FP64")]


def test_a_regression_gives_numbers() -> None:
    """A regression has one FP64 number per row and no other output."""
    (predict,) = tensors_from_answers(NUMBERS, Answers(values=np.array([1.5, 2.5])))
    assert (predict.datatype, predict.shape, predict.values.tolist()) == ("FP64", (2,), [1.5, 2.5])
    assert [spec.name for spec in output_specs(NUMBERS, has_probabilities=False)] == ["predict"]


def test_outputs_are_the_requested_ones() -> None:
    """Outputs are in the order of the request; an unknown or repeated output is refused."""
    specs = output_specs(SCHEMA, has_probabilities=True)
    assert wanted_outputs(specs, []) == ("predict", "predict_proba")
    assert wanted_outputs(specs, ["predict_proba", "predict"]) == ("predict_proba", "predict")
    with pytest.raises(BodyError, match="no output 'score'; it has predict, predict_proba"):
        wanted_outputs(specs, ["score"])
    with pytest.raises(BodyError, match="twice"):
        wanted_outputs(specs, ["predict", "predict"])

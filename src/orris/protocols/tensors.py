"""Tensors of the Open Inference Protocol (V2) <-> encoded rows and answers: what its REST and its gRPC form share.

Source: https://github.com/kserve/open-inference-protocol, and Triton's binary tensor data extension for the raw form. Rows come as one
tensor per column, named as the column, or as one tensor ``[n_rows, n_columns]`` of any name where no column holds text. Answers leave as
``predict`` and, for classifiers that have them, ``predict_proba``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from orris.errors import BodyError, OrrisError, Problem, RowError
from orris.runtime import Answers
from orris.schema import strict
from orris.schema.checks import check
from orris.schema.columns import MAX_INTEGER, Column, Kind, Schema
from orris.schema.frames import encode_column
from orris.schema.rows import MAX_ROWS

FloatArray = npt.NDArray[np.float64]
Values = npt.NDArray[Any]

SERVER_NAME = "orris"

EXTENSIONS = ("binary_tensor_data", "model_repository")
"""Extensions of the protocol that are spoken, as server metadata tells them."""

PREDICT, PREDICT_PROBA = "predict", "predict_proba"
"""Names of the outputs."""

MAX_RANK = 32
"""Most dimensions of a tensor."""

MAX_TOLD = 5
"""Problems that an error's text holds; further ones are counted."""

DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "FP16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # the upper half of a float32: widened when it is read
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype("O"),
}
"""The protocol's datatypes, and what numpy calls them (little-endian, as the raw form has them)."""


class TensorSpec(NamedTuple):
    """A tensor as model metadata describes it; -1 is a dimension of any length."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Tensor(NamedTuple):
    """A tensor.

    Attributes:
        name: Its name.
        datatype: A key of ``DATATYPES``.
        shape: Its dimensions.
        values: Its elements in row-major order, ``(n_elements,)``. BYTES are an object array of ``bytes`` or ``str``. A missing value is NaN
            in an array of floats and ``None`` in an array of objects; integers with missing values are an array of floats.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Values


# What a model takes and gives


def input_specs(schema: Schema) -> tuple[TensorSpec, ...]:
    """One tensor per column, ``[-1, 1]``: numbers FP64, integers and integer categories INT64, booleans BOOL, text BYTES."""
    return tuple(TensorSpec(column.name, column_datatype(column), (-1, 1)) for column in schema.columns)


def column_datatype(column: Column) -> str:
    """The datatype that metadata names for a column."""
    if column.kind is Kind.CATEGORY:
        return "BYTES" if isinstance(column.levels[0], str) else "INT64"
    return {Kind.NUMBER: "FP64", Kind.INTEGER: "INT64", Kind.BOOLEAN: "BOOL"}[column.kind]


def output_specs(schema: Schema, *, has_probabilities: bool) -> tuple[TensorSpec, ...]:
    """``predict`` ``[-1]``, and ``predict_proba`` ``[-1, n_classes]`` FP64 in the order of ``Schema.labels``."""
    predict = TensorSpec(PREDICT, label_datatype(schema), (-1,))
    return (predict, TensorSpec(PREDICT_PROBA, "FP64", (-1, len(schema.labels)))) if has_probabilities else (predict,)


def label_datatype(schema: Schema) -> str:
    """The datatype of ``predict``: BYTES for text labels, BOOL, INT64 or FP64 for others, FP64 for regression."""
    if schema.task == "regression":
        return "FP64"
    kinds = {type(label) for label in schema.labels}
    return {bool: "BOOL", int: "INT64", float: "FP64"}.get(kinds.pop(), "BYTES") if len(kinds) == 1 else "BYTES"


def wanted_outputs(specs: Sequence[TensorSpec], names: Sequence[str]) -> tuple[str, ...]:
    """The outputs that a request asks for, in its order; all if it names none.

    Raises:
        BodyError: The model has no such output, or it is asked for twice.
    """
    known = [spec.name for spec in specs]
    for name in names:
        if name not in known:
            raise BodyError(f"the model has no output '{name[:100]}'; it has {', '.join(known)}")
    if len(set(names)) != len(names):
        raise BodyError("an output is asked for twice; name each once")
    return tuple(names or known)


# Tensors <-> what travels


def from_values(name: str, datatype: str, shape: Sequence[int], values: Sequence[Any]) -> Tensor:
    """A tensor of typed elements, ``n_elements`` in row-major order, as gRPC's ``contents`` holds them.

    Raises:
        BodyError: Unknown datatype, a shape that is none, or another number of elements than the shape has.
    """
    size = _size(name, datatype, shape)
    if len(values) != size:
        raise _miscounted(name, shape, len(values))
    if datatype in {"FP16", "BF16"}:
        raise BodyError(f"input '{name[:100]}': {datatype} travels in raw form only")
    try:
        array = _objects(values) if datatype == "BYTES" else np.array(values, dtype=DATATYPES[datatype])
    except (OverflowError, ValueError, TypeError):
        raise BodyError(f"input '{name[:100]}': a value does not fit {datatype}") from None
    return Tensor(name, datatype, tuple(shape), array)


def from_raw(name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview) -> Tensor:
    """A tensor in raw form: little-endian, row-major, each BYTES element behind its length as four bytes.

    Raises:
        BodyError: Unknown datatype, a shape that is none, or another number of bytes than the shape needs.
    """
    size = _size(name, datatype, shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, tuple(shape), _texts_from_raw(name, shape, size, bytes(raw)))
    dtype = DATATYPES[datatype]
    if len(raw) != size * dtype.itemsize:
        needed = size * dtype.itemsize
        raise BodyError(f"input '{name[:100]}': {datatype} of shape {_told(shape)} is {needed} bytes in raw form, not {len(raw)}")
    values: Values
    if datatype == "BOOL":
        values = np.frombuffer(raw, dtype=np.uint8)
        if (values > 1).any():
            raise BodyError(f"input '{name[:100]}': a BOOL is a byte 0 or 1")
        values = values.astype(np.bool_)
    else:
        values = np.frombuffer(raw, dtype=dtype)
        if datatype == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
    return Tensor(name, datatype, tuple(shape), values)


def from_json(name: str, datatype: str, shape: Sequence[int], data: list[Any]) -> Tensor:
    """A tensor of JSON values, flat or nested as the shape says; ``null`` is a missing value.

    Numbers are taken as they are written: 5.1 is not rounded to the float32 beside it because FP32 is declared.

    Raises:
        BodyError: Unknown datatype, a shape that is none, another number of elements than the shape has, or elements of another type.
    """
    size = _size(name, datatype, shape)
    flat = _flat(name, shape, data)
    if len(flat) != size:
        raise _miscounted(name, shape, len(flat))
    kinds = set(map(type, flat))
    if datatype == "BYTES":
        _require(name, datatype, flat, kinds, {str}, "text")
        return Tensor(name, datatype, tuple(shape), _objects(flat))
    if datatype in {"FP16", "BF16"}:
        raise BodyError(f"input '{name[:100]}': {datatype} does not travel as JSON; send it as binary data, or send FP32")
    if datatype == "BOOL":
        _require(name, datatype, [v for v in flat if v not in (0, 1) or type(v) is float], kinds - {int}, {bool}, "true or false")
        missing = type(None) in kinds
        booleans = [v if v is None else bool(v) for v in flat]
        return Tensor(name, datatype, tuple(shape), _objects(booleans) if missing else np.array(booleans, dtype=np.bool_))
    _require(name, datatype, flat, kinds, {int, float}, "a number")
    try:
        values = _integers(datatype, flat, kinds) if "INT" in datatype else np.array(flat, dtype=np.float64)
    except (OverflowError, ValueError):
        raise BodyError(f"input '{name[:100]}': a value does not fit {datatype}") from None
    return Tensor(name, datatype, tuple(shape), values)


def to_raw(tensor: Tensor) -> bytes:
    """A tensor's values in raw form."""
    if tensor.datatype == "BYTES":
        texts = [value if isinstance(value, bytes) else str(value).encode() for value in tensor.values.tolist()]
        return b"".join([len(text).to_bytes(4, "little") + text for text in texts])
    return tensor.values.astype(DATATYPES[tensor.datatype], copy=False).tobytes()


def _size(name: str, datatype: str, shape: Sequence[int]) -> int:
    """The number of elements."""
    if datatype not in DATATYPES:
        raise BodyError(f"input '{name[:100]}': there is no datatype '{datatype[:20]}'; there are {', '.join(DATATYPES)}")
    if not 1 <= len(shape) <= MAX_RANK or min(shape) < 0:
        raise BodyError(f"input '{name[:100]}': a shape has 1 to {MAX_RANK} dimensions, none of them negative")
    return math.prod(shape)


def _miscounted(name: str, shape: Sequence[int], n_values: int) -> BodyError:
    return BodyError(f"input '{name[:100]}': shape {_told(shape)} has {math.prod(shape)} elements, the data has {n_values}")


def _told(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _objects(values: Sequence[Any]) -> Values:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _texts_from_raw(name: str, shape: Sequence[int], size: int, raw: bytes) -> Values:
    texts, start, end = [], 0, len(raw)
    while start < end:
        stop = start + 4 + int.from_bytes(raw[start : start + 4], "little")
        if start + 4 > end or stop > end:
            raise BodyError(f"input '{name[:100]}': BYTES element {len(texts)} is longer than the data")
        texts.append(raw[start + 4 : stop])
        start = stop
    if len(texts) != size:
        raise _miscounted(name, shape, len(texts))
    return _objects(texts)


def _flat(name: str, shape: Sequence[int], data: list[Any]) -> list[Any]:
    """The elements of flat or nested data; nesting has to follow the shape."""
    if not data or type(data[0]) is not list:
        return data
    if len(data) != shape[0]:
        raise BodyError(f"input '{name[:100]}': the data is not nested as shape {_told(shape)} says")
    for length in shape[1:]:
        if not all(type(part) is list and len(part) == length for part in data):
            raise BodyError(f"input '{name[:100]}': the data is not nested as shape {_told(shape)} says")
        data = [value for part in data for value in part]
        if not data or type(data[0]) is not list:
            break
    return data


def _require(name: str, datatype: str, flat: list[Any], kinds: set[type], wanted: set[type], needed: str) -> None:
    """Raise ``BodyError`` unless every element is of a wanted type or missing."""
    if not kinds <= wanted | {type(None)}:
        raise BodyError(f"input '{name[:100]}': every element of {datatype} data is {needed}, or null for a missing value")


def _integers(datatype: str, flat: list[Any], kinds: set[type]) -> Values:
    """Integers, with missing ones as an array of floats; raises ``ValueError`` or ``OverflowError`` for what does not fit."""
    present = [value for value in flat if value is not None]
    if float in kinds:
        if not all(float(value).is_integer() for value in present):
            raise ValueError
        present = [int(value) for value in present]
    values = np.array(present, dtype=DATATYPES[datatype])
    if type(None) not in kinds:
        return values
    if any(abs(value) > MAX_INTEGER for value in present):
        raise OverflowError
    return np.array(flat, dtype=np.float64)


# Tensors -> rows


def rows_from_tensors(schema: Schema, tensors: Sequence[Tensor], max_rows: int = MAX_ROWS) -> FloatArray:
    """A request's inputs as encoded rows, checked as every other route checks them.

    A missing value is NaN in a tensor of floats (which every column but text takes), ``None``, or, for text, an empty element where
    training saw missing values and no empty level. A column that may be missing may be left out.

    Args:
        schema: The contract.
        tensors: One tensor per column, ``[n]`` or ``[n, 1]``, in any order; or one tensor ``[n, n_columns]`` of any name.
        max_rows: Most rows that one request may hold.

    Returns:
        float64 ``(n_rows, n_columns)``.

    Raises:
        RowError: Names the row and the column.
    """
    values, n_rows = _by_column(schema, tensors)
    strict.check_count(n_rows, max_rows)
    problems: list[Problem] = []
    rows = np.full((n_rows, schema.n_columns), np.nan)
    for j, column in enumerate(schema.columns):
        if column.name in values:
            rows[:, j] = _encoded(column, values[column.name], problems)
    if problems:
        raise RowError(sorted(problems, key=lambda problem: problem.row or 0)[: strict.MAX_PROBLEMS])
    check(schema, rows)
    return rows


def _by_column(schema: Schema, tensors: Sequence[Tensor]) -> tuple[dict[str, Values], int]:
    """The values of every column that is given, by name, and the number of rows."""
    if not tensors:
        raise RowError([Problem(None, None, f"there is no input; {_wanted(schema)}")])
    first = tensors[0]
    if len(tensors) == 1 and len(first.shape) == 2 and first.shape[1] == schema.n_columns:
        if any(column_datatype(column) == "BYTES" for column in schema.columns) and schema.n_columns > 1:
            raise RowError([Problem(None, None, "the model has text columns: send one tensor per column, text as BYTES")])
        matrix = first.values.reshape(first.shape)
        return {name: matrix[:, j] for j, name in enumerate(schema.names)}, first.shape[0]
    values: dict[str, Values] = {}
    problems = []
    for tensor in tensors:
        if tensor.name not in schema.names:
            problems.append(Problem(None, tensor.name[:100], f"the model has no such input; {_wanted(schema)}"))
        elif tensor.name in values:
            problems.append(Problem(None, tensor.name, "this input is given twice; give it once"))
        elif any(length != 1 for length in tensor.shape[1:]):
            told = _told(tensor.shape)
            problems.append(Problem(None, tensor.name, f"an input of one column has shape [n] or [n, 1], not {told}; {_wanted(schema)}"))
        elif tensor.shape[0] != first.shape[0]:
            problems.append(Problem(None, tensor.name, f"{tensor.shape[0]} rows, but input '{first.name[:100]}' has {first.shape[0]}"))
        values[tensor.name] = tensor.values
    lost = [] if problems else [c.name for c in schema.columns if c.name not in values and not c.missing]
    problems += [Problem(None, name, "this input is missing; every column needs a tensor") for name in lost]
    if problems:
        raise RowError(problems[: strict.MAX_PROBLEMS])
    return values, first.shape[0]


def _wanted(schema: Schema) -> str:
    return f"send one tensor per column, or one of shape [n, {schema.n_columns}]; the model's metadata names them"


def _encoded(column: Column, values: Values, problems: list[Problem]) -> FloatArray:
    """The codes of one column, float64 ``(n_rows,)``."""
    kind = values.dtype.kind
    if kind == "O":
        return encode_column(column, _texts(column, values, problems), problems)
    if kind in "iu" and column.kind is not Kind.NUMBER:
        large = (values > MAX_INTEGER) | (values < -MAX_INTEGER)
        if large.any():
            # As float64 it would be another integer.
            if column.kind is Kind.CATEGORY:
                return encode_column(column, values.astype(object), problems)
            text = f"an integer of magnitude at most {MAX_INTEGER} is needed"
            problems += [Problem(int(i), column.name, text) for i in np.flatnonzero(large)]
        values = values.astype(np.float64)
    return encode_column(column, values, problems)


def _texts(column: Column, values: Values, problems: list[Problem]) -> Values:
    """Bytes as text; an empty element is a missing value where the column has those, and no empty level."""
    empty_is_missing = column.missing and "" not in column.levels
    texts: list[Any] = []
    for i, value in enumerate(values.tolist()):
        text = value
        if isinstance(value, bytes):
            try:
                text = value.decode()
            except UnicodeDecodeError:
                problems.append(Problem(i, column.name, "this text is not UTF-8"))
                text = None
        texts.append(None if text == "" and empty_is_missing else text)
    return _objects(texts)


# Answers -> tensors


def tensors_from_answers(schema: Schema, answers: Answers, wanted: Sequence[str] = ()) -> list[Tensor]:
    """The outputs of a model.

    Args:
        schema: The contract.
        answers: What the model answered to ``n_rows`` rows.
        wanted: Names of outputs, in the order in which they are returned; all if empty.

    Returns:
        ``predict`` ``[n_rows]`` (text labels as ``str``) and ``predict_proba`` ``[n_rows, n_classes]``, as far as there are any.
    """
    tensors = {}
    if answers.values is not None:
        tensors[PREDICT] = Tensor(PREDICT, "FP64", answers.values.shape, answers.values)
    if answers.labels is not None:
        datatype = label_datatype(schema)
        table = _objects(schema.labels) if datatype == "BYTES" else np.array(schema.labels, dtype=DATATYPES[datatype])
        tensors[PREDICT] = Tensor(PREDICT, datatype, answers.labels.shape, table[answers.labels])
    if answers.probabilities is not None:
        tensors[PREDICT_PROBA] = Tensor(PREDICT_PROBA, "FP64", answers.probabilities.shape, answers.probabilities.ravel())
    return [tensors[name] for name in wanted or tensors]


def told(error: OrrisError) -> str:
    """An error's text for the caller: of rows, the first problems with row and column."""
    if not isinstance(error, RowError):
        return str(error)
    texts = [str(RowError([problem])) for problem in error.problems[:MAX_TOLD]]
    more = len(error.problems) - len(texts)
    return "; ".join(texts) + (f"; and {more} more problems" if more else "")

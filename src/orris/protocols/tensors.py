"""Tensors of the Open Inference Protocol (V2) <-> encoded rows and answers: what its REST and its gRPC form share.

Source: https://github.com/kserve/open-inference-protocol, and Triton's binary tensor data extension for the raw form.
Rows come as one tensor per column, named as the column, or as one tensor ``[n_rows, n_columns]`` of any name where no
column holds text. Answers leave as ``predict`` and, for classifiers that have them, ``predict_proba``.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Container, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from orris.errors import BodyError, NotOfferedError, Problem, RowError
from orris.runtime import Answers
from orris.schema import strict
from orris.schema.arrays import FloatArray
from orris.schema.checks import check
from orris.schema.columns import MAX_INTEGER, UNSEEN, Column, Kind, Reading, Schema
from orris.schema.frames import encode_column
from orris.schema.limits import Limits
from orris.schema.names import Names
from orris.schema.rows import MAX_ROWS

Values = npt.NDArray[Any]

SERVER_NAME = "orris"

EXTENSIONS = ("binary_tensor_data", "model_repository", "model_configuration", "statistics")
"""Extensions of the protocol that are supported, as server metadata lists them."""

PREDICT, PREDICT_PROBA, SCORE = "predict", "predict_proba", "score"
"""Names of the outputs."""

KSERVE_PREDICT = "output-0"
"""The name that KServe's own runtimes give to their predictions: it is answered with ``predict`` if it is asked for."""

NO_SHARED_MEMORY = (
    "shared memory is not offered: the server reads no other process' memory; send the tensors in the request, as"
    " binary data"
)
NO_CLASSIFICATION = "classification is not offered: 'predict' is the class, and 'predict_proba' has the probabilities"

CONTENT_TYPES = ("pd", "np", "str", "base64", "datetime")
"""Content types of MLServer's codecs that are known; all but ``base64`` say what the datatype says already."""

MAX_RANK = 32
"""Most dimensions of a tensor."""

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
        values: Its elements in row-major order, ``(n_elements,)``; BYTES are objects, ``bytes`` or ``str``. A missing
            value is NaN among floats and ``None`` among objects; integers with missing values are an array of floats.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Values


def check_content_type(content_type: str) -> None:
    """Raise ``BodyError`` for a content type that none of MLServer's codecs has; an empty one is none."""
    if content_type and content_type not in CONTENT_TYPES:
        known = ", ".join(CONTENT_TYPES)
        raise BodyError(f"content type '{content_type[:100]}' is not read here; there are {known}")


def decoded(tensor: Tensor, content_type: str) -> Tensor:
    """A tensor with the content type of one of MLServer's codecs; empty: it has none.

    Source: MLServer's "Content types" and ``mlserver.codecs``.

    Raises:
        BodyError: A content type that is not known, or ``base64`` of elements that are not.
    """
    check_content_type(content_type)
    if content_type != "base64":
        return tensor
    if tensor.datatype != "BYTES":
        raise BodyError(f"input '{tensor.name[:100]}': base64 is a content type of BYTES, not of {tensor.datatype}")
    values: list[Any] = []
    for value in tensor.values.tolist():
        try:
            values.append(value if value is None else base64.b64decode(value, validate=True))
        except ValueError:
            raise BodyError(f"input '{tensor.name[:100]}': element {len(values)} is not base64") from None
    return tensor._replace(values=objects(values))


# What a model takes and gives


def input_specs(schema: Schema) -> tuple[TensorSpec, ...]:
    """One tensor per column, ``[-1, 1]``: FP64, INT64 for integers and their categories, BOOL, or BYTES."""
    return tuple(TensorSpec(column.name, column_datatype(column), (-1, 1)) for column in schema.columns)


def column_datatype(column: Column) -> str:
    """The datatype that metadata names for a column."""
    if column.kind is Kind.CATEGORY:
        return {str: "BYTES", int: "INT64"}.get(type(column.levels[0]), "FP64")
    return {Kind.NUMBER: "FP64", Kind.INTEGER: "INT64", Kind.BOOLEAN: "BOOL"}[column.kind]


def output_specs(schema: Schema, *, has_probabilities: bool, has_scores: bool = False) -> tuple[TensorSpec, ...]:
    """``predict`` ``[-1]``, ``predict_proba`` ``[-1, n_classes]`` in the order of the labels, ``score`` ``[-1]``."""
    specs = [TensorSpec(PREDICT, label_datatype(schema), (-1,))]
    if has_probabilities:
        specs.append(TensorSpec(PREDICT_PROBA, "FP64", (-1, len(schema.labels))))
    if has_scores:
        specs.append(TensorSpec(SCORE, "FP64", (-1,)))
    return tuple(specs)


def label_datatype(schema: Schema) -> str:
    """The datatype of ``predict``: BYTES for text labels, BOOL, INT64 or FP64 for others, FP64 for regression."""
    if schema.task == "regression":
        return "FP64"
    kinds = {type(label) for label in schema.labels}
    return {bool: "BOOL", int: "INT64", float: "FP64"}.get(kinds.pop(), "BYTES") if len(kinds) == 1 else "BYTES"


def check_extensions(name: str, parameters: Container[str]) -> None:
    """Raise ``NotOfferedError`` for a tensor whose parameters ask for shared memory or classification."""
    if "shared_memory_region" in parameters:
        raise NotOfferedError(f"tensor '{name[:100]}': {NO_SHARED_MEMORY}")
    if "classification" in parameters:
        raise NotOfferedError(f"output '{name[:100]}': {NO_CLASSIFICATION}")


def wanted_outputs(specs: Sequence[TensorSpec], names: Sequence[str]) -> tuple[str, ...]:
    """The outputs that a request selects, in its order; all if it names none.

    Raises: BodyError: The model has no such output, or an output is named twice.
    """
    known = [spec.name for spec in specs]
    for name in names:
        if name not in known and name != KSERVE_PREDICT:
            raise BodyError(f"the model has no output '{name[:100]}'; it has {', '.join(known)}")
    if len(set(names)) != len(names):
        raise BodyError("an output is asked for twice; name each once")
    return tuple(names or known)


# Tensors <-> what travels (JSON: ``json_tensors``)


def from_values(name: str, datatype: str, shape: Sequence[int], values: Sequence[Any]) -> Tensor:
    """A tensor of typed elements, ``n_elements`` in row-major order, as gRPC's ``contents`` holds them.

    Raises:
        BodyError: Unknown datatype, a shape that is none, another number of elements than the shape has, or an element
            out of range.
    """
    if len(values) != n_elements(name, datatype, shape):
        raise miscounted(name, shape, len(values))
    if datatype in {"FP16", "BF16"}:
        raise BodyError(f"input '{name[:100]}': {datatype} travels in raw form only")
    try:
        array = objects(values) if datatype == "BYTES" else np.array(values, dtype=DATATYPES[datatype])
    except (OverflowError, ValueError, TypeError):
        raise BodyError(f"input '{name[:100]}': a value does not fit {datatype}") from None
    return Tensor(name, datatype, tuple(shape), array)


def from_raw(name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview) -> Tensor:
    """A tensor in raw form: little-endian, row-major, each BYTES element behind its length as four bytes.

    Raises:
        BodyError: Unknown datatype, a shape that is none, or another number of bytes than the shape needs.
    """
    size = n_elements(name, datatype, shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, tuple(shape), _texts_from_raw(name, shape, size, bytes(raw)))
    needed = size * DATATYPES[datatype].itemsize
    if len(raw) != needed:
        raise BodyError(
            f"input '{name[:100]}': {datatype} of shape {shape_text(shape)} is {needed} bytes in raw form, not"
            f" {len(raw)}"
        )
    values: Values = np.frombuffer(raw, dtype=np.uint8 if datatype == "BOOL" else DATATYPES[datatype])
    if datatype == "BOOL":
        if (values > 1).any():
            raise BodyError(f"input '{name[:100]}': a BOOL is a byte 0 or 1")
        values = values.astype(np.bool_)
    elif datatype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return Tensor(name, datatype, tuple(shape), values)


def to_raw(tensor: Tensor) -> bytes:
    """A tensor's values in raw form."""
    if tensor.datatype == "BYTES":
        values = tensor.values.tolist()
        framed = {value: _framed(value) for value in set(values)}  # labels: few different ones
        return b"".join([framed[value] for value in values])
    return tensor.values.astype(DATATYPES[tensor.datatype], copy=False).tobytes()


def _framed(value: object) -> bytes:
    """A text with its length in front."""
    text = value if isinstance(value, bytes) else str(value).encode()
    return len(text).to_bytes(4, "little") + text


def n_elements(name: str, datatype: str, shape: Sequence[int]) -> int:
    """The number of elements of an input; raises ``BodyError`` for an unknown datatype or a shape that is none."""
    if datatype not in DATATYPES:
        raise BodyError(
            f"input '{name[:100]}': there is no datatype '{datatype[:20]}'; there are {', '.join(DATATYPES)}"
        )
    if not 1 <= len(shape) <= MAX_RANK or min(shape) < 0:
        raise BodyError(f"input '{name[:100]}': a shape has 1 to {MAX_RANK} dimensions, none of them negative")
    return math.prod(shape)


def miscounted(name: str, shape: Sequence[int], n_values: int) -> BodyError:
    """The refusal of data that does not fill its shape."""
    return BodyError(
        f"input '{name[:100]}': shape {shape_text(shape)} has {math.prod(shape)} elements, the data has {n_values}"
    )


def shape_text(shape: Sequence[int]) -> str:
    """A shape as JSON writes it."""
    return f"[{', '.join(map(str, shape))}]"


def objects(values: Sequence[Any]) -> Values:
    """Values as an array of objects, whatever they are."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _texts_from_raw(name: str, shape: Sequence[int], size: int, raw: bytes) -> Values:
    texts: list[bytes] = []
    start, end = 0, len(raw)
    while start < end:
        stop = start + 4 + int.from_bytes(raw[start : start + 4], "little")
        if start + 4 > end or stop > end:
            raise BodyError(f"input '{name[:100]}': BYTES element {len(texts)} is longer than the data")
        texts.append(raw[start + 4 : stop])
        start = stop
    if len(texts) != size:
        raise miscounted(name, shape, len(texts))
    return objects(texts)


# Tensors -> rows


class TensorReader:
    """Reads a request's inputs as encoded rows, checked as every other route checks them.

    A missing value is NaN among floats (which every column but text takes), ``None``, or an empty text where that is no
    level and a missing value is answered: BYTES have no other word for it. Any other text means what it means on every
    other route. A column that may be missing may be left out.

    Args:
        schema: The contract.
        max_rows: Most rows that one request may hold.
        empty_is_missing: Whether an empty text can stand for a missing value, as in BYTES.

    Attributes:
        readings: The rules by which text becomes values, of each column.
        low: Smallest code of each column that is plainly right, float64 ``(n_columns,)``.
        high: Largest such code.
        plain: All columns are numbers.
    """

    def __init__(self, schema: Schema, max_rows: int = MAX_ROWS, *, empty_is_missing: bool = True) -> None:
        self.schema = schema
        empty = msgspec.structs.replace(schema.reading, missing=(*schema.reading.missing, ""))
        self.readings = tuple(
            empty if empty_is_missing and column.missing else schema.reading for column in schema.columns
        )
        self.max_rows = max_rows
        self.has_text = any(column_datatype(column) == "BYTES" for column in schema.columns)
        self.plain = all(column.kind is Kind.NUMBER for column in schema.columns)
        limits = [_limits(schema, column) for column in schema.columns]
        self.low = np.array([low for low, _ in limits])
        self.high = np.array([high for _, high in limits])
        self._limits = Limits(self.low, self.high)
        self._names = Names.of(schema)
        self._wanted = (
            f"send one tensor per column, or one of shape [n, {schema.n_columns}]; the model's metadata names the"
            " columns"
        )

    def check_size(self, name: str, datatype: str, shape: Sequence[int]) -> None:
        """Raise ``RowError`` for a tensor that has too many rows or elements, before its elements are read.

        Raises:
            BodyError: Unknown datatype, or a shape that is none.
        """
        size = n_elements(name, datatype, shape)
        if shape[0] > self.max_rows or size > self.max_rows * self.schema.n_columns:
            strict.check_count(max(shape[0], size // self.schema.n_columns), self.max_rows)

    def read(self, tensors: Sequence[Tensor], unknown: dict[str, None] | None = None) -> FloatArray:
        """Encoded rows, float64 ``(n_rows, n_columns)``.

        Args:
            tensors: One tensor per column, ``[n]`` or ``[n, 1]``, in any order; or one tensor ``[n, n_columns]`` of any
                name.
            unknown: Where names of columns go that the schema does not have, and that were ignored.

        Raises:
            RowError: Names the row and the column.
        """
        schema = self.schema
        first = tensors[0] if tensors else None
        if first is not None and len(tensors) == 1 and len(first.shape) == 2 and first.shape[1] == schema.n_columns:
            rows = self._from_matrix(first)
        elif first is not None and len(tensors) == 1 and self._names.meant(first.name) not in self._names.known:
            raise self._no_rows(first)
        else:
            rows = self._from_columns(tensors, {} if unknown is None else unknown)
        if not self._limits.hold(rows):
            check(schema, rows)
        return rows

    def _from_matrix(self, tensor: Tensor) -> FloatArray:
        strict.check_count(tensor.shape[0], self.max_rows)
        matrix = tensor.values.reshape(tensor.shape)
        if self.plain and matrix.dtype.kind in "fiu":
            return matrix.astype(np.float64)
        if self.has_text and self.schema.n_columns > 1:
            raise RowError(
                [Problem(None, None, "the model has text columns: send one tensor per column, text as BYTES")]
            )
        return self._encoded({name: matrix[:, j] for j, name in enumerate(self.schema.names)}, tensor.shape[0])

    def _no_rows(self, tensor: Tensor) -> RowError:
        """The refusal of one tensor that is neither a column nor a matrix of rows."""
        n_columns, shape = self.schema.n_columns, shape_text(tensor.shape)
        if math.prod(tensor.shape[1:] or tensor.shape) != n_columns and math.prod(tensor.shape) != n_columns:
            return RowError([Problem(None, tensor.name[:100], f"the model has no such input; {self._wanted}")])
        problem = f"shape {shape} is not [n, {n_columns}]; one row has shape [1, {n_columns}]"
        return RowError([Problem(None, tensor.name[:100], problem)])

    def _from_columns(self, tensors: Sequence[Tensor], unknown: dict[str, None]) -> FloatArray:
        if not tensors:
            raise RowError([Problem(None, None, f"there is no input; {self._wanted}")])
        values: dict[str, Values] = {}
        problems = []
        n_rows = tensors[0].shape[0]
        for tensor in tensors:
            name = self._names.meant(tensor.name)
            if self._names.is_unknown(name):
                unknown[name] = None
                continue
            wrong = self._wrong(tensor, name, values, n_rows) if name in self._names.known else ""
            if wrong:
                problems.append(Problem(None, name[:100], wrong))
            values[name] = tensor.values
        if not values and not problems:
            text = f"the model has no such input; {self._wanted}"
            problems = [Problem(None, name[:100], text) for name in unknown]
        if not problems:
            problems = self._names.problems(None, values, unknown)
        if problems:
            raise RowError(problems[: strict.MAX_PROBLEMS])
        strict.check_count(n_rows, self.max_rows)
        return self._encoded(values, n_rows)

    def _wrong(self, tensor: Tensor, name: str, before: dict[str, Values], n_rows: int) -> str:
        """The problem of a tensor of one column; empty if there is none."""
        if name in before:
            return "this input is given twice; give it once"
        if any(length != 1 for length in tensor.shape[1:]):
            return f"an input of one column has shape [n] or [n, 1], not {shape_text(tensor.shape)}; {self._wanted}"
        return "" if tensor.shape[0] == n_rows else f"{tensor.shape[0]} rows, but the first input has {n_rows}"

    def _encoded(self, values: dict[str, Values], n_rows: int) -> FloatArray:
        rows = np.full((n_rows, self.schema.n_columns), np.nan)
        problems: list[Problem] = []
        for j, column in enumerate(self.schema.columns):
            if column.name in values:
                rows[:, j] = _codes(self.readings[j], column, values[column.name], problems)
        if problems:
            raise RowError(sorted(problems, key=lambda problem: problem.row or 0)[: strict.MAX_PROBLEMS])
        return rows


def _limits(schema: Schema, column: Column) -> tuple[float, float]:
    """Smallest and largest code of a column that needs no second look."""
    if column.kind is Kind.CATEGORY:
        return UNSEEN if column.unseen else 0.0, len(column.levels) - 1.0
    largest = schema.max_magnitude
    if column.kind is Kind.BOOLEAN:
        largest = 1.0
    elif column.kind is Kind.INTEGER and not column.fractions:
        # Whether they are whole, ``encode_column`` has checked.
        largest = min(schema.max_magnitude, MAX_INTEGER)
    lows, highs = [0.0 if column.kind is Kind.BOOLEAN else -largest], [largest]
    if column.bounds is not None:
        bounds = column.bounds
        lows += [float(np.nextafter(bounds.exclusive_minimum, np.inf))] if bounds.exclusive_minimum is not None else []
        lows += [bounds.minimum] if bounds.minimum is not None else []
        highs += (
            [float(np.nextafter(bounds.exclusive_maximum, -np.inf))] if bounds.exclusive_maximum is not None else []
        )
        highs += [bounds.maximum] if bounds.maximum is not None else []
    return max(lows), min(highs)


def _codes(reading: Reading, column: Column, values: Values, problems: list[Problem]) -> FloatArray:
    """The codes of one column, float64 ``(n_rows,)``; what does not fit is appended to ``problems``."""
    kind = values.dtype.kind
    if kind == "O":
        return encode_column(column, _texts(column, values, problems), problems, reading)
    if kind in "iu" and column.kind is not Kind.NUMBER and not column.fractions:
        large = (values > MAX_INTEGER) | (values < -MAX_INTEGER)
        if large.any():
            # As float64 it would be another integer.
            if column.kind is Kind.CATEGORY:
                return encode_column(column, values.astype(object), problems)
            text = f"an integer of magnitude at most {MAX_INTEGER} is needed: float64 holds no others exactly"
            problems += [Problem(int(i), column.name, text) for i in np.flatnonzero(large)]
        values = values.astype(np.float64)
    return encode_column(column, values, problems)


def _texts(column: Column, values: Values, problems: list[Problem]) -> Values:
    """Bytes as text."""
    texts: list[Any] = []
    for i, value in enumerate(values.tolist()):
        text = value
        if isinstance(value, bytes):
            try:
                text = value.decode()
            except UnicodeDecodeError:
                problems.append(Problem(i, column.name, "this text is not UTF-8"))
                text = None
        texts.append(text)
    return objects(texts)


# Answers -> tensors


def tensors_from_answers(schema: Schema, answers: Answers, wanted: Sequence[str] = ()) -> list[Tensor]:
    """The outputs of a model.

    Args:
        schema: The contract.
        answers: What the model answered to ``n_rows`` rows.
        wanted: Names of outputs, in the order in which they are returned; all if empty.

    Returns:
        ``predict`` ``[n_rows]`` (text labels as ``str``), ``predict_proba`` ``[n_rows, n_classes]`` and ``score``
        ``[n_rows]``, as far as there are any.
    """
    tensors = {}
    if answers.values is not None:
        tensors[PREDICT] = Tensor(PREDICT, "FP64", answers.values.shape, answers.values)
    if answers.labels is not None:
        datatype = label_datatype(schema)
        labels = [str(label) for label in schema.labels] if datatype == "BYTES" else schema.labels
        table = objects(labels) if datatype == "BYTES" else np.array(labels, dtype=DATATYPES[datatype])
        tensors[PREDICT] = Tensor(PREDICT, datatype, answers.labels.shape, table[answers.labels])
    if answers.probabilities is not None:
        tensors[PREDICT_PROBA] = Tensor(
            PREDICT_PROBA, "FP64", answers.probabilities.shape, answers.probabilities.ravel()
        )
    if answers.scores is not None:
        tensors[SCORE] = Tensor(SCORE, "FP64", answers.scores.shape, answers.scores)
    if KSERVE_PREDICT in wanted:
        tensors[KSERVE_PREDICT] = tensors[PREDICT]._replace(name=KSERVE_PREDICT)
    return [tensors[name] for name in wanted or tensors]

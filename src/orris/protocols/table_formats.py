"""Tables in other forms than JSON: CSV, JSON lines and NumPy's arrays, as SageMaker's serializers write and read them.

Source: ``sagemaker.serializers`` and ``sagemaker.deserializers``; for arrays, NumPy's NEP 1. No array is unpickled, and
none is made before its header has been compared with the length of the body.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.lib import format as npy

from orris.errors import BodyError, MediaTypeError
from orris.protocols.tensors import Tensor, TensorReader
from orris.schema import strict
from orris.schema.arrays import FloatArray
from orris.schema.pieces import read_array
from orris.schema.rows import RowReader
from orris.serving.exchange import JSON

CSV, JSON_LINES, NPY = b"text/csv", b"application/jsonlines", b"application/x-npy"

_encode = msgspec.json.Encoder().encode


def parse_media_type(content_type: bytes) -> tuple[str, dict[str, str]]:
    """A media type and its parameters, lower case."""
    kind, *parts = (part.strip() for part in content_type.decode("latin-1").lower().split(";"))
    pairs = (part.partition("=") for part in parts if part)
    return kind, {name.strip(): value.strip(' "') for name, _, value in pairs}


def check_parameters(parameters: dict[str, str]) -> None:
    """Raise ``MediaTypeError`` for parameters that are not known, or a charset that is not UTF-8."""
    for name, value in parameters.items():
        if name == "charset" and value not in {"utf-8", "utf8"}:
            raise MediaTypeError(f"charset '{value[:100]}' is not read here; send UTF-8")
        if name == "header" and value not in {"present", "absent"}:
            raise MediaTypeError("the parameter header of text/csv is 'present' or 'absent'")
        if name not in {"charset", "header"}:
            raise MediaTypeError(f"content type parameter '{name[:100]}' is not read here; only charset and header are")


def csv_header(content_type: bytes) -> bool | None:
    """Whether CSV says that its first line holds names (RFC 4180); ``None``: it says nothing.

    Raises:
        MediaTypeError: A parameter that is not known.
    """
    _, parameters = parse_media_type(content_type)
    check_parameters(parameters)
    return {"present": True, "absent": False}.get(parameters.get("header", ""))


def read_lines(reader: RowReader, body: bytes) -> FloatArray:
    """JSON lines: a row on each line, an object or a list; blank lines are no rows.

    Raises:
        BodyError: Not JSON, or not a row on each line.
        RowError: Rows that do not fit the schema, or too many.
    """
    lines = [line for line in body.split(b"\n", reader.max_rows + 1) if line.strip()]
    strict.check_count(len(lines), reader.max_rows)
    rows = read_array(reader, b"[%b]" % b",".join(lines), nan_is_missing=True)
    if len(rows) != len(lines):
        raise BodyError(f"{len(lines)} lines hold {len(rows)} rows; send one row on each line")
    return rows


def read_npy(reader: RowReader, body: bytes) -> FloatArray:
    """An array of NumPy's: ``(n_rows, n_columns)``, or one row ``(n_columns,)``.

    Raises:
        BodyError: Not an array, one of objects or records, or one that is not as long as it says.
        RowError: Rows that do not fit the schema, or too many.
    """
    stream = io.BytesIO(body)
    try:
        version = npy.read_magic(stream)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read_header(stream)
    except (ValueError, KeyError) as error:
        raise BodyError(f"the body is not an array in NumPy's format: {error}") from None
    if dtype.kind not in "biufU":
        raise BodyError(f"an array of {dtype} is not read here; send numbers, booleans or text")
    n_bytes, there = math.prod(shape) * dtype.itemsize, len(body) - stream.tell()
    if n_bytes != there:
        raise BodyError(f"an array of shape {list(shape)} and {dtype} has {n_bytes} bytes, and {there} are there")
    tensors = TensorReader(reader.schema, reader.max_rows, empty_is_missing=False)
    rows = (1, *shape) if len(shape) == 1 else shape
    tensors.check_size("array", "FP64", rows)
    values: np.ndarray[Any, Any] = np.frombuffer(body, dtype, offset=stream.tell())
    if fortran and len(shape) > 1:
        values = values.reshape(shape[::-1]).T
    values = values.ravel()
    return tensors.read([Tensor("array", "FP64", rows, values.astype(object) if dtype.kind == "U" else values)])


def accepted(accept: bytes) -> bytes:
    """The media type of an answer: the first that ``Accept`` names and that is written here, otherwise JSON."""
    if accept in {b"", b"*/*", JSON}:
        return JSON
    for part in accept.lower().split(b","):
        kind = part.partition(b";")[0].strip()
        if kind == JSON or kind in WRITERS:
            return kind
    return JSON


def _write_csv(predictions: list[Any]) -> bytes:
    text = io.StringIO(newline="")
    rows = (row if isinstance(row, list) else [row] for row in predictions)
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _write_lines(predictions: list[Any]) -> bytes:
    return b"".join([_encode(prediction) + b"\n" for prediction in predictions])


def _write_npy(predictions: list[Any]) -> bytes:
    kinds = set(map(type, predictions))
    array = np.array(predictions if len(kinds) == 1 else list(map(str, predictions)))
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


WRITERS: dict[bytes, Callable[[list[Any]], bytes]] = {CSV: _write_csv, JSON_LINES: _write_lines, NPY: _write_npy}
"""The writers of predictions, by media type."""

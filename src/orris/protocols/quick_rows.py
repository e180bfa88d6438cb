"""One row of Open Inference JSON -> an encoded row, for requests that are plainly right.

The usual ones, at the speed of named rows.

Whatever is not taken here at once is read by ``json_tensors`` and ``TensorReader``, which answer precisely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from orris.protocols.tensors import TensorReader, column_datatype
from orris.schema.arrays import FloatArray
from orris.schema.codes import Codes
from orris.schema.columns import UNSEEN, Column, Kind, Reading

_FLOATS = frozenset({"FP32", "FP64"})


class Given(Protocol):
    """An input of a request, as it was parsed."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None
    parameters: Any


class _Expected(NamedTuple):
    """Values that need no further check: datatypes, types, and codes from ``low`` to ``high``, or by level."""

    position: int
    datatypes: frozenset[str]
    types: frozenset[type]
    low: float
    high: float
    levels: Codes | None
    missing: bool
    unseen: bool


class QuickRows:
    """Reads one row, ``[1, n_columns]`` in one tensor or ``[1]`` or ``[1, 1]`` in one tensor per column.

    Args:
        reader: Reads all other requests.
    """

    def __init__(self, reader: TensorReader) -> None:
        schema = reader.schema
        limits = zip(reader.readings, reader.low.tolist(), reader.high.tolist(), strict=True)
        self._columns = {
            c.name: _expected(j, c, *limit) for j, (c, limit) in enumerate(zip(schema.columns, limits, strict=True))
        }
        self._limits = [(expected.low, expected.high) for expected in self._columns.values()]
        self._n_columns = schema.n_columns
        self._row_shape = [1, schema.n_columns]
        self._numbers = all(column.kind is Kind.NUMBER for column in schema.columns)

    def read(self, inputs: Sequence[Given]) -> FloatArray | None:
        """The encoded row, float64 ``(1, n_columns)``, or ``None`` if the request needs a closer look."""
        row = self.codes(inputs)
        return None if row is None else np.array([row], dtype=np.float64)

    def codes(self, inputs: Sequence[Given]) -> list[Any] | None:
        """The codes of the row, ``n_columns`` of them, or ``None`` if the request needs a closer look."""
        if len(inputs) == 1 and inputs[0].shape == self._row_shape:
            return self._from_matrix(inputs[0]) if self._numbers else None
        return self._from_columns(inputs) if len(inputs) == self._n_columns else None

    def _from_matrix(self, given: Given) -> list[Any] | None:
        row = given.data
        if not row or given.parameters is not None or given.datatype not in _FLOATS:
            return None
        if type(row[0]) is list:
            if len(row) != 1:
                return None
            row = row[0]
        if len(row) != self._n_columns:
            return None
        for value, (low, high) in zip(row, self._limits, strict=True):
            if (type(value) is not float and type(value) is not int) or not low <= value <= high:
                return None
        return row

    def _from_columns(self, inputs: Sequence[Given]) -> list[Any] | None:
        row: list[Any] = [None] * self._n_columns
        for given in inputs:
            expected, data = self._columns.get(given.name), given.data
            if expected is None or not data or len(data) != 1 or given.parameters is not None:
                return None
            if given.datatype not in expected.datatypes or given.shape not in ([1, 1], [1]):
                return None
            value = data[0]
            if type(value) is list and len(value) == 1 and len(given.shape) == 2:
                value = value[0]
            code = _code(expected, value)
            if code is None or row[expected.position] is not None:
                return None
            row[expected.position] = code
        return row


def _expected(position: int, column: Column, reading: Reading, low: float, high: float) -> _Expected:
    datatype = column_datatype(column)
    types: dict[str, set[type]] = {"FP64": {int, float}, "INT64": {int}, "BOOL": {bool}, "BYTES": {str}}
    datatypes, found = frozenset({datatype}), types[datatype]
    if datatype == "FP64" or column.fractions:
        datatypes, found = datatypes | _FLOATS, {int, float}
    levels = Codes(column, reading) if column.kind is Kind.CATEGORY else None
    return _Expected(position, datatypes, frozenset(found), low, high, levels, column.missing, column.unseen)


def _code(expected: _Expected, value: Any) -> float | None:
    """The code of a value that is plainly right."""
    if value is None:
        return math.nan if expected.missing else None
    if type(value) not in expected.types:
        return None
    if expected.levels is not None:
        code = expected.levels[value]
        if (code == UNSEEN and not expected.unseen) or (math.isnan(code) and not expected.missing):
            return None
        return code
    return value if expected.low <= value <= expected.high else None

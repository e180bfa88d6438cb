"""JSON rows -> encoded rows, at full speed: the first step of every request.

The schema becomes a msgspec ``Struct``, so that types, presence, bounds and unknown fields are checked while the bytes are parsed. Whatever
is not plainly right is read a second time by ``strict``, which answers precisely.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from orris.schema import strict
from orris.schema.columns import MAX_INTEGER, UNSEEN, Column, Kind, Schema

FloatArray = npt.NDArray[np.float64]

MAX_ROWS = 100_000
"""Most rows that one request may hold, unless the settings say otherwise."""


class RowReader:
    """Reads ``{"column": value, …}`` or a list of such rows.

    Args:
        schema: The contract.
        max_rows: Most rows that one body may hold.
    """

    def __init__(self, schema: Schema, max_rows: int = MAX_ROWS) -> None:
        self.schema = schema
        self.max_rows = max_rows
        self._row = _row_struct(schema)
        self._decoder = msgspec.json.Decoder(self._row | list[self._row])  # type: ignore[name-defined]
        self._plain = not any(column.kind is Kind.CATEGORY or column.missing for column in schema.columns)
        self._tables = [_codes(column) for column in schema.columns]
        self._closed = [j for j, column in enumerate(schema.columns) if column.kind is Kind.CATEGORY and not column.unseen]
        # A colon stands behind every key, so as many colons as columns means that no key was given twice: msgspec keeps the last silently.
        self._countable = not any(":" in name for name in schema.names)

    def read(self, body: bytes) -> tuple[FloatArray, bool]:
        """Parse and check one request body.

        Returns:
            The encoded rows, float64 ``(n_rows, n_columns)``, and whether the body was a single row rather than a list.

        Raises:
            BodyError: Not a JSON document.
            RowError: Rows that do not fit the schema; every problem found, with row and column.
        """
        try:
            parsed = self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return strict.read(self.schema, body, self.max_rows)
        single = type(parsed) is self._row
        rows = [parsed] if single else parsed
        strict.check_count(len(rows), self.max_rows)
        if self._plain:
            encoded, n_absent = np.array([msgspec.structs.astuple(row) for row in rows], dtype=np.float64), 0
        else:
            encoded, n_absent = self._encode(rows)
        if not self._countable or body.count(b":") != encoded.size - n_absent or self._refuses(encoded):
            return strict.read(self.schema, body, self.max_rows)
        return encoded, single

    def _refuses(self, encoded: FloatArray) -> bool:
        return bool(self._closed) and bool((encoded[:, self._closed] == UNSEEN).any())

    def _encode(self, rows: list[Any]) -> tuple[FloatArray, int]:
        """The encoded rows, and how many values were left out of their objects."""
        encoded, n_absent = [], 0
        for row in rows:
            codes = []
            for table, value in zip(self._tables, msgspec.structs.astuple(row), strict=True):
                if value is None:
                    codes.append(math.nan)
                elif value is msgspec.UNSET:
                    codes.append(math.nan)
                    n_absent += 1
                else:
                    codes.append(value if table is None else table.get(value, UNSEEN))
            encoded.append(codes)
        return np.array(encoded, dtype=np.float64), n_absent


def _codes(column: Column) -> dict[Any, float] | None:
    if column.kind is not Kind.CATEGORY:
        return None
    return {level: float(code) for code, level in enumerate(column.levels)}


def _row_struct(schema: Schema) -> type[msgspec.Struct]:
    """A Struct type with one field per column, as strict as the schema."""
    fields: list[Any] = []
    for j, column in enumerate(schema.columns):
        kind: Any = _field_type(schema, column)
        fields.append((f"c{j}", kind | None | msgspec.UnsetType, msgspec.UNSET) if column.missing else (f"c{j}", kind))
    rename = {f"c{j}": name for j, name in enumerate(schema.names)}
    return msgspec.defstruct("Row", fields, rename=rename, forbid_unknown_fields=True, kw_only=True, gc=False)


def _field_type(schema: Schema, column: Column) -> Any:
    if column.kind is Kind.CATEGORY:
        return type(column.levels[0])
    if column.kind is Kind.BOOLEAN:
        return bool
    largest = schema.max_magnitude if column.kind is Kind.NUMBER else min(schema.max_magnitude, MAX_INTEGER)
    bounds = column.bounds
    low, high = -largest, largest
    constraints: dict[str, Any] = {}
    if bounds is not None and bounds.exclusive_minimum is not None:
        constraints["gt"] = bounds.exclusive_minimum
    else:
        constraints["ge"] = low if bounds is None or bounds.minimum is None else max(low, bounds.minimum)
    if bounds is not None and bounds.exclusive_maximum is not None:
        constraints["lt"] = bounds.exclusive_maximum
    else:
        constraints["le"] = high if bounds is None or bounds.maximum is None else min(high, bounds.maximum)
    if column.kind is Kind.INTEGER:
        return Annotated[int, msgspec.Meta(**_integral(constraints))]
    return Annotated[float, msgspec.Meta(**_real(constraints))]


def _real(constraints: dict[str, Any]) -> dict[str, Any]:
    return {name: float(value) for name, value in constraints.items()}


def _integral(constraints: dict[str, Any]) -> dict[str, Any]:
    """Bounds of an integer column as integers: msgspec compares like with like."""
    rounding = {"gt": math.floor, "ge": math.ceil, "lt": math.ceil, "le": math.floor}
    return {name: rounding[name](value) for name, value in constraints.items()}

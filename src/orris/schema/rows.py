"""JSON rows -> encoded rows, at full speed: the first step of every request.

The schema becomes a msgspec ``Struct``, so that types, presence, bounds and unknown fields are checked while the bytes
are parsed. Whatever is not plainly right is read a second time by ``strict``, which answers precisely.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np

from orris.schema import strict
from orris.schema.arrays import FloatArray
from orris.schema.codes import Codes
from orris.schema.columns import MAX_INTEGER, UNSEEN, Column, Kind, Schema

MAX_ROWS = 100_000
"""Most rows that one request may hold, unless the settings say otherwise."""

_UNNAMEABLE = re.compile(r'["\\\x00-\x1f]')
"""Characters that msgspec does not accept in the name of a field."""


class RowReader:
    """Reads ``{"column": value, …}`` or a list of such rows.

    Args:
        schema: The contract.
        max_rows: Most rows that one body may hold.

    Attributes:
        named: The msgspec type of a row as an object.
        listed: The msgspec type of a row as a list in the order of the schema. Protocols build their envelopes of both.
        array_decoder: Decodes an array of both.
    """

    def __init__(self, schema: Schema, max_rows: int = MAX_ROWS) -> None:
        self.schema = schema
        self.max_rows = max_rows
        self.named = _row_struct(schema)
        self.listed = _row_tuple(schema)
        self._decoder = msgspec.json.Decoder(self.named | list[self.named])  # type: ignore[name-defined]
        self._one_decoder = msgspec.json.Decoder(self.named)
        self.array_decoder = msgspec.json.Decoder(list[self.named | self.listed])  # type: ignore[name-defined]
        self._n_columns = schema.n_columns
        self._plain = not _others(schema) and not any(
            column.kind is Kind.CATEGORY or column.missing for column in schema.columns
        )
        self._numeric = not any(column.kind is Kind.CATEGORY for column in schema.columns)
        self._tables = [
            Codes(column, schema.reading) if column.kind is Kind.CATEGORY else None for column in schema.columns
        ]
        self._closed = [
            j for j, column in enumerate(schema.columns) if column.kind is Kind.CATEGORY and not column.unseen
        ]
        # A text may stand for a missing value, which not every column takes.
        self._complete = [
            j
            for j, column in enumerate(schema.columns)
            if column.kind is Kind.CATEGORY and not column.missing and schema.reading.missing
        ]
        # A colon stands behind every key, so as many colons as columns means that no key was given twice: msgspec keeps
        # the last silently.
        self._countable = not any(":" in name for name in (*schema.names, *_others(schema)))

    def read(self, body: bytes, unknown: dict[str, None] | None = None) -> tuple[FloatArray, bool]:
        """Parse and check one request body.

        Args:
            body: The text.
            unknown: Where names of columns go that the schema does not have, and that were ignored.

        Returns:
            The encoded rows, float64 ``(n_rows, n_columns)``, and whether the body was a single row rather than a list.

        Raises:
            BodyError: Not a JSON document.
            RowError: Rows that do not fit the schema; every problem found, with row and column.
        """
        return self.attempt(body) or strict.read(self.schema, body, self.max_rows, unknown)

    def attempt(self, body: bytes) -> tuple[FloatArray, bool] | None:
        """``read`` for a body that is plainly right; ``None`` for any other, which ``strict.read`` then has to answer.

        Raises:
            RowError: No row, or more than ``max_rows``.
        """
        try:
            parsed = self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        single = type(parsed) is self.named
        if single and self._plain and self._countable and body.count(b":") == self._n_columns:
            return np.array([msgspec.structs.astuple(parsed)], dtype=np.float64), True
        encoded = self.encode([parsed] if single else parsed, body.count(b":"))
        return None if encoded is None else (encoded, single)

    def several(self, bodies: Sequence[bytes]) -> FloatArray | None:
        """The codes of bodies that are one named row of numbers each, float64 ``(n_bodies, n_columns)``.

        ``None`` if one of them is not plainly that; ``one`` tells which.
        """
        if not self._plain or not self._countable:
            return None
        try:
            rows = list(map(self._one_decoder.decode, bodies))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        # Each body has at least as many colons as columns; so if they have as many together, then so has each.
        if b"".join(bodies).count(b":") != len(rows) * self._n_columns:
            return None
        return self._table(map(msgspec.structs.astuple, rows), len(rows))

    def one(self, body: bytes) -> Sequence[float] | None:
        """The codes of a body that is one named row and plainly right, ``n_columns``; ``None`` for any other."""
        try:
            parsed = self._one_decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if self._plain and self._countable and body.count(b":") == self._n_columns:
            codes: tuple[float, ...] = msgspec.structs.astuple(parsed)
            return codes
        return self._first(self.encode([parsed], body.count(b":")))

    def listed_one(self, row: tuple[Any, ...]) -> Sequence[float] | None:
        """The codes of a parsed row of type ``listed``; ``None`` if it has to be read strictly."""
        return row if self._plain else self._first(self.encode([row], 0))

    def listed_several(self, rows: Sequence[tuple[Any, ...]]) -> FloatArray | None:
        """The codes of parsed rows of type ``listed`` of numbers, float64 ``(n_rows, n_columns)``.

        ``None`` if not all columns are plain numbers.
        """
        return self._table(rows, len(rows)) if self._plain else None

    @staticmethod
    def _first(encoded: FloatArray | None) -> Sequence[float] | None:
        if encoded is None:
            return None
        codes: list[float] = encoded[0].tolist()
        return codes

    def encode(self, rows: list[Any], n_colons: int) -> FloatArray | None:
        """Encode parsed rows.

        Args:
            rows: Rows of type ``named`` or ``listed``.
            n_colons: Colons in the text that the rows were parsed from; tells whether a key was given twice in one of
                them.

        Returns:
            float64 ``(n_rows, n_columns)``, or ``None`` if the text has to be read strictly.

        Raises:
            RowError: No row, or more than ``max_rows``.
        """
        strict.check_count(len(rows), self.max_rows)
        n_keys: int
        if not self._plain:
            encoded, n_keys = (self._numbers(rows) if self._numeric else None) or self._encode(rows)
        elif type(rows[0]) is self.named:
            try:
                encoded = self._table(map(msgspec.structs.astuple, rows), len(rows))
            except TypeError:  # objects and lists, mixed
                return None
            n_keys = encoded.size
        elif self.named in set(map(type, rows)):
            return None
        else:
            encoded, n_keys = self._table(rows, len(rows)), 0
        if n_keys and (not self._countable or n_colons != n_keys):
            return None
        if self._closed and (encoded[:, self._closed] == UNSEEN).any():
            return None
        if self._complete and np.isnan(encoded[:, self._complete]).any():
            return None
        return encoded

    def _table(self, rows: Iterable[tuple[Any, ...]], n_rows: int) -> FloatArray:
        """Rows of plain numbers; three times as fast as ``np.array`` of many rows."""
        values = np.fromiter(chain.from_iterable(rows), np.float64, n_rows * self._n_columns)
        return values.reshape(n_rows, self._n_columns)

    def _numbers(self, rows: list[Any]) -> tuple[FloatArray, int] | None:
        """``_encode`` of rows without categories, four times as fast; ``None`` if a row lacks a column.

        Rows of objects and of lists, mixed, are ``None`` as well.
        """
        named, width = type(rows[0]) is self.named, self._n_columns
        try:
            values = [msgspec.structs.astuple(row) for row in rows] if named else rows
            n_keys = len(rows) * width if named else 0
            if named and len(values[0]) > width:
                n_keys += sum(value is not msgspec.UNSET for row in values for value in row[width:])
                values = [row[:width] for row in values]
            try:
                return self._table(values, len(rows)), n_keys
            except TypeError:  # at a null, which NumPy reads as NaN
                return np.array(values, dtype=np.float64), n_keys
        except TypeError:
            return None

    def _encode(self, rows: list[Any]) -> tuple[FloatArray, int]:
        """The encoded rows, and how many keys their objects have."""
        encoded, n_keys, width = [], 0, self._n_columns
        for row in rows:
            codes = []
            is_object = type(row) is self.named
            values = row
            if is_object:
                values = msgspec.structs.astuple(row)
                if len(values) > width:
                    n_keys += sum(value is not msgspec.UNSET for value in values[width:])
                    values = values[:width]
            for table, value in zip(self._tables, values, strict=True):
                if value is msgspec.UNSET:
                    codes.append(math.nan)
                    continue
                n_keys += is_object
                if value is None:
                    codes.append(math.nan)
                else:
                    codes.append(value if table is None else table[value])
            encoded.append(codes)
        return np.array(encoded, dtype=np.float64), n_keys


def _others(schema: Schema) -> tuple[str, ...]:
    """Columns of the training table that rows may carry, and that nothing reads."""
    return tuple(name for name in (*schema.table, *schema.others) if name not in set(schema.names))


def _row_struct(schema: Schema) -> type[msgspec.Struct]:
    """A Struct type with one field per column, as strict as the schema, and then one per column that nothing reads.

    One that nothing fits, if msgspec cannot name such fields.
    """
    others = _others(schema)
    if any(_UNNAMEABLE.search(name) for name in (*schema.names, *others)):
        return msgspec.defstruct(
            "Row", [("never", Annotated[int, msgspec.Meta(gt=0, lt=0)])]
        )  # so that objects are read strictly
    fields: list[Any] = []
    for j, column in enumerate(schema.columns):
        kind: Any = _field_type(schema, column)
        fields.append((f"c{j}", kind | None | msgspec.UnsetType, msgspec.UNSET) if column.missing else (f"c{j}", kind))
    fields += [(f"o{j}", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for j in range(len(others))]
    rename = {f"c{j}": name for j, name in enumerate(schema.names)}
    rename |= {f"o{j}": name for j, name in enumerate(others)}
    return msgspec.defstruct("Row", fields, rename=rename, forbid_unknown_fields=True, kw_only=True, gc=False)


def _row_tuple(schema: Schema) -> Any:
    """A tuple type with one item per column, as strict as the schema."""
    kinds = [
        _field_type(schema, column) | None if column.missing else _field_type(schema, column)
        for column in schema.columns
    ]
    return tuple[tuple(kinds)]  # type: ignore[misc]


def _field_type(schema: Schema, column: Column) -> Any:
    if column.kind is Kind.CATEGORY:
        return type(column.levels[0])
    if column.kind is Kind.BOOLEAN:
        return bool
    whole = column.kind is Kind.INTEGER and not column.fractions
    largest = min(schema.max_magnitude, MAX_INTEGER) if whole else schema.max_magnitude
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
    if whole:
        return Annotated[int, msgspec.Meta(**_integral(constraints))]
    return Annotated[float, msgspec.Meta(**_real(constraints))]


def _real(constraints: dict[str, Any]) -> dict[str, Any]:
    return {name: float(value) for name, value in constraints.items()}


def _integral(constraints: dict[str, Any]) -> dict[str, Any]:
    """Bounds of an integer column as integers: msgspec compares like with like."""
    rounding = {"gt": math.floor, "ge": math.ceil, "lt": math.ceil, "le": math.floor}
    return {name: rounding[name](value) for name, value in constraints.items()}

"""CSV text -> encoded rows: the same contract for values that come without a type."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from orris.errors import BodyError, Problem, RowError
from orris.schema import strict
from orris.schema.arrays import FloatArray
from orris.schema.columns import Column, Kind
from orris.schema.rows import RowReader

Converter = Callable[[str], Any]

MISSING = frozenset({"", "NA", "N/A", "null", "NULL", "NaN", "nan"})
"""Texts that stand for a missing value, as in a training table, unless one is a level of the column."""

_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_PLAIN = re.compile(rb'["\\\[\]{}]')


def read_csv(reader: RowReader, body: bytes) -> FloatArray:
    """Read CSV with a line of column names, in any order; values may be quoted, a blank line is no row.

    A column without a name, which is how pandas writes its index, is left out.

    Args:
        reader: Of the model's schema.
        body: The text, UTF-8.

    Returns:
        The encoded rows, float64 ``(n_rows, n_columns)``.

    Raises:
        BodyError: Not UTF-8, no line of names, or lines of different lengths.
        RowError: Rows that do not fit the schema; every problem, with row and column.
    """
    numbers = _read_numbers(reader, body) if _NOT_PLAIN.search(body) is None else None
    return _read_values(reader, body) if numbers is None else numbers


def _read_numbers(reader: RowReader, body: bytes) -> FloatArray | None:
    """A table of nothing but numbers in the order of the schema, through the JSON parser; ``None`` for any other."""
    header, _, lines = body.partition(b"\n")
    if header.strip() != ",".join(reader.schema.names).encode():
        return None
    try:
        rows = _decoder(reader).decode(b"[[" + lines.strip().replace(b"\n", b"],[") + b"]]")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return reader.encode(rows, 0)


def _read_values(reader: RowReader, body: bytes) -> FloatArray:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BodyError(f"the body is not UTF-8 (byte {error.start}); encode it as UTF-8") from None
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except csv.Error as error:
        raise BodyError(f"the body is not CSV: {error}") from None
    if not lines:
        raise BodyError("the body is empty; send a line of column names, and a line per row")
    names = [name.strip() for name in lines[0]]
    if all(map(_NUMBER.fullmatch, names)):
        raise BodyError("the first line holds values; send a line of column names before it")
    strict.check_names([name for name in names if name])
    strict.check_count(len(lines) - 1, reader.max_rows)
    converters = {column.name: _converter(column) for column in reader.schema.columns}
    kept = [(position, name, converters.get(name, str)) for position, name in enumerate(names) if name]
    rows = [_row(i, line, len(names), kept) for i, line in enumerate(lines[1:])]
    return strict.encode(reader.schema, rows, reader.max_rows)


def _row(i: int, line: list[str], width: int, kept: list[tuple[int, str, Converter]]) -> dict[str, Any]:
    if len(line) != width:
        raise RowError([Problem(i, None, f"{width} values are needed, one for each column name, not {len(line)}")])
    return {name: convert(line[position]) for position, name, convert in kept}


def _converter(column: Column) -> Converter:
    """Convert a value's text to its JSON value.

    Text of another kind stays text, which ``strict`` then refuses.
    """
    if column.kind is Kind.BOOLEAN:
        return lambda text: _BOOLEANS.get(text.strip(), _present(text))
    if column.kind is Kind.CATEGORY and isinstance(column.levels[0], str):
        levels = frozenset(column.levels)
        return lambda text: text if text in levels else _present(text)
    return _number


def _present(text: str) -> str | None:
    text = text.strip()
    return None if text in MISSING else text


def _number(text: str) -> Any:
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return _present(text)
    return int(text) if text.lstrip("+-").isdigit() and len(text) < 20 else float(text)


@lru_cache(maxsize=64)
def _decoder(reader: RowReader) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(list[reader.listed])  # type: ignore[name-defined]

"""CSV text -> encoded rows: the same contract for values that come without a type."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain, islice
from typing import Any

import msgspec
import numpy as np

from orris.errors import BodyError, Problem, RowError
from orris.schema import strict
from orris.schema.arrays import FloatArray
from orris.schema.columns import Column, Kind
from orris.schema.rows import RowReader

Converter = Callable[[str], Any]

MISSING = frozenset({"", "NA", "N/A", "null", "NULL", "NaN", "nan"})
"""Texts that stand for a missing value, as in a training table, unless one is a level of the column."""

BLOCK_ROWS = 1_000
"""Rows that are encoded at once."""

MAX_PLAIN_BYTES = 1024 * 1024
"""Longest body that is handed to the JSON parser as a whole."""

_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_PLAIN = re.compile(rb'["\\\[\]{}]')


def read_csv(reader: RowReader, body: bytes, *, header: bool | None = None) -> FloatArray:
    """Read CSV with a line of column names, in any order; values may be quoted, a blank line is no row.

    A column without a name, which is how pandas writes its index, is left out. Rows are counted while they are read,
    and reading stops at the limit.

    Args:
        reader: Of the model's schema.
        body: The text, UTF-8.
        header: Whether the first line holds the names; without, values are in the order of the schema. ``None``: it
            does, unless it holds as many values as there are columns, and not one of their names.

    Returns:
        The encoded rows, float64 ``(n_rows, n_columns)``.

    Raises:
        BodyError: Not UTF-8, no line of names, or lines of different lengths.
        RowError: Rows that do not fit the schema, with row and column: the problems of the first block that has some.
    """
    plain = len(body) <= MAX_PLAIN_BYTES and _NOT_PLAIN.search(body) is None
    numbers = _read_numbers(reader, body) if plain and header is not False else None
    return _read_values(reader, body, header) if numbers is None else numbers


def _read_numbers(reader: RowReader, body: bytes) -> FloatArray | None:
    """A table of nothing but numbers in the order of the schema, through the JSON parser; ``None`` for any other."""
    header, _, lines = body.partition(b"\n")
    if header.strip() != ",".join(reader.schema.names).encode() or lines.count(b"\n") > reader.max_rows:
        return None
    try:
        rows = _decoder(reader).decode(b"[[" + lines.strip().replace(b"\n", b"],[") + b"]]")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return reader.encode(rows, 0)


def _read_values(reader: RowReader, body: bytes, header: bool | None) -> FloatArray:
    lines = _lines(body)
    first = next(lines, None)
    if first is None:
        raise BodyError("the body is empty; send a line of column names, and a line per row")
    names = [name.strip() for name in first]
    if not _is_header(names, reader, header):
        lines, names = chain([first], lines), list(reader.schema.names)
    strict.check_names([name for name in names if name])
    converters = {column.name: _converter(column) for column in reader.schema.columns}
    kept = [(position, name, converters.get(name, str)) for position, name in enumerate(names) if name]
    blocks: list[FloatArray] = []
    n_rows = 0
    while block := list(islice(lines, BLOCK_ROWS)):
        if n_rows + len(block) > reader.max_rows:
            many = f"there are more rows than the {reader.max_rows} that one request may hold; send them in parts"
            raise RowError([Problem(None, None, many)])
        rows = [_row(n_rows + i, line, len(names), kept) for i, line in enumerate(block)]
        blocks.append(strict.encode(reader.schema, rows, reader.max_rows, first=n_rows))
        n_rows += len(block)
    return np.concatenate(blocks) if blocks else strict.encode(reader.schema, [], reader.max_rows)


def _lines(body: bytes) -> Iterator[list[str]]:
    """The values of each line that is not blank."""
    text = io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", newline="")
    lines = csv.reader(text, strict=True)
    while True:
        try:
            line = next(lines)
        except StopIteration:
            return
        except UnicodeDecodeError:
            where = _not_utf8(body)
            raise BodyError(f"the body is not UTF-8 (byte {where}); encode it as UTF-8") from None
        except csv.Error as error:
            raise BodyError(f"the body is not CSV: {error}") from None
        if line:
            yield line


def _not_utf8(body: bytes) -> int:
    """The first byte that is not UTF-8."""
    try:
        body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _is_header(first: list[str], reader: RowReader, header: bool | None) -> bool:
    """Whether a first line holds names rather than values.

    Where nothing says so, it holds values only if it has no name of a column in it and a number for every numeric
    column: a line of misspelt names is never read as a row.

    Raises:
        BodyError: It may be either, or it is said to hold names and holds numbers.
    """
    names = reader.schema.names
    numbers = all(map(_NUMBER.fullmatch, first))
    if header is not None:
        if header and numbers and first != list(names):
            raise BodyError("the first line holds values; send a line of column names before it, or header=absent")
        return header
    if numbers and first != list(names) and set(first) & set(names):
        raise BodyError("the first line may hold names or values; say which, as in  text/csv; header=absent")
    if set(first) & set(names) or len(first) != len(names):
        return True
    numeric = [
        value
        for value, column in zip(first, reader.schema.columns, strict=True)
        if column.kind in {Kind.NUMBER, Kind.INTEGER}
    ]
    return not (any(map(_NUMBER.fullmatch, numeric)) and all(_NUMBER.fullmatch(v) or v in MISSING for v in numeric))


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

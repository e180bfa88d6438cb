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
from orris.schema.codes import takes_text
from orris.schema.columns import Column, Kind, Reading
from orris.schema.names import Names
from orris.schema.rows import RowReader

Converter = Callable[[str], Any]

MISSING = frozenset({"", "NA", "N/A", "null", "NULL", "NaN", "nan"})
"""Tokens that stand for a missing value in a column of numbers or booleans, where no text can be meant."""

BLOCK_ROWS = 1_000
"""Rows that are encoded at once."""

MAX_BLANK_LINES = 100_000
"""Most blank lines of a body: each costs as much time as a short row, and counts for none."""

MAX_LINE_CHARACTERS = 1024 * 1024
"""Longest line, and longest row whose quoted values go over several lines."""

PLAIN_BYTES = 128 * 1024
"""Bytes of lines that are handed to the JSON parser at once, to the end of the last line."""

MAX_SPACES = 100
"""Space around a line of names that is nothing but the schema's names."""

_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NOT_PLAIN = re.compile(rb'["\\\[\]{}]')


class Quoted(str):
    """A value that stood in quotation marks: text, whatever it looks like."""

    __slots__ = ()


def read_csv(
    reader: RowReader, body: bytes, unknown: dict[str, None] | None = None, *, header: bool | None = None
) -> FloatArray:
    """Read CSV with a line of column names, in any order; values may be quoted, a blank line is no row.

    A column without a name, which is how pandas writes its index, is left out. Rows are counted while they are read,
    and reading stops at the limit. An empty value without quotation marks is missing, unless it is a level of a column
    in which training saw no missing values; what else stands for a missing value among text, and whether space is cut
    off, the schema's ``reading`` says.

    Args:
        reader: Of the model's schema.
        body: The text, UTF-8.
        unknown: Where names of columns go that the schema does not have, and that were ignored.
        header: Whether the first line holds the names; without, values are in the order of the schema. ``None``: it
            does, unless it holds as many values as there are columns, and not one of their names.

    Returns:
        The encoded rows, float64 ``(n_rows, n_columns)``.

    Raises:
        BodyError: Not UTF-8, no line of names, lines of different lengths, a line that is too long, or too many blank
            lines.
        RowError: Rows that do not fit the schema, with row and column: the problems of the first block that has some.
    """
    numbers = _read_numbers(reader, body) if header is not False else None
    return _read_values(reader, body, unknown, header) if numbers is None else numbers


def _read_numbers(reader: RowReader, body: bytes) -> FloatArray | None:
    """A table of nothing but numbers in the order of the schema, through the JSON parser; ``None`` for any other."""
    names = ",".join(reader.schema.names).encode()
    start = body.find(b"\n", 0, len(names) + MAX_SPACES) + 1
    if not start or body[:start].strip() != names or reader.schema.reading.decimal != ".":
        return None
    blocks: list[FloatArray] = []
    n_rows = 0
    while start < len(body) or not blocks:
        end = body.find(b"\n", start + PLAIN_BYTES, start + PLAIN_BYTES + MAX_LINE_CHARACTERS) + 1
        end = end or len(body)
        if end - start > PLAIN_BYTES + MAX_LINE_CHARACTERS or (block := _number_block(reader, body[start:end])) is None:
            return None
        start = end
        blocks.append(block)
        n_rows += len(block)
        if n_rows > reader.max_rows:
            raise _too_many(reader.max_rows)
    return np.concatenate(blocks)


def _number_block(reader: RowReader, lines: bytes) -> FloatArray | None:
    if _NOT_PLAIN.search(lines) is not None:
        return None
    try:
        rows = _decoder(reader).decode(b"[[" + lines.strip().replace(b"\n", b"],[") + b"]]")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return reader.encode(rows, 0)


def _too_many(max_rows: int) -> RowError:
    many = f"there are more rows than the {max_rows} that one request may hold; send them in parts"
    return RowError([Problem(None, None, many)])


def _read_values(reader: RowReader, body: bytes, unknown: dict[str, None] | None, header: bool | None) -> FloatArray:
    known = Names.of(reader.schema)
    lines = _lines(body, _delimiter(known, body))
    first = next(lines, None)
    if first is None:
        raise BodyError("the body is empty; send a line of column names, and a line per row")
    names = [known.meant(str(name)) for name in first]
    if not _is_header(names, reader, header):
        lines, names = chain([first], lines), list(reader.schema.names)
    strict.check_names([name for name in names if name])
    converters = {column.name: _converter(column, reader.schema.reading) for column in reader.schema.columns}
    kept = [(position, name, converters.get(name, str)) for position, name in enumerate(names) if name]
    blocks: list[FloatArray] = []
    n_rows = 0
    while block := list(islice(lines, BLOCK_ROWS)):
        if n_rows + len(block) > reader.max_rows:
            raise _too_many(reader.max_rows)
        rows = [_row(n_rows + i, line, len(names), kept) for i, line in enumerate(block)]
        blocks.append(strict.encode(reader.schema, rows, reader.max_rows, unknown, first=n_rows))
        n_rows += len(block)
    return np.concatenate(blocks) if blocks else strict.encode(reader.schema, [], reader.max_rows)


def _lines(body: bytes, delimiter: str) -> Iterator[list[str]]:
    """The values of each line that is not blank; a value that was quoted is ``Quoted``."""
    text = io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", newline="")
    seen: list[str] = []
    n_blank = 0
    lines = csv.reader(_remembered(text, seen), strict=True, delimiter=delimiter)
    values = _value_pattern(delimiter)
    while True:
        seen.clear()
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
            yield _marked(line, "".join(seen), values)
            continue
        n_blank += 1
        if n_blank > MAX_BLANK_LINES:
            raise BodyError(f"the body holds more than {MAX_BLANK_LINES} blank lines; send lines of values only")


def _remembered(text: io.TextIOWrapper, seen: list[str]) -> Iterator[str]:
    """The lines of a text; those of the row that is being read are in ``seen``, which the reader of rows clears."""
    n_characters = 0
    while line := text.readline(MAX_LINE_CHARACTERS + 1):
        n_characters = len(line) + (n_characters if seen else 0)
        seen.append(line)
        if n_characters > MAX_LINE_CHARACTERS:
            raise BodyError(f"a row is longer than {MAX_LINE_CHARACTERS} characters; send a line for each row")
        yield line


def _value_pattern(delimiter: str) -> re.Pattern[str]:
    """One value of a line, quoted (the first group takes part) or not, and what ends it."""
    mark = re.escape(delimiter)
    return re.compile(rf'(?:"((?:[^"]|"")*)"|([^{mark}\r\n]*))({mark}|\r\n|\n|\r|\Z)')


def _marked(line: list[str], text: str, values: re.Pattern[str]) -> list[str]:
    """The values of a line; those in quotation marks, which the csv module does not tell, as ``Quoted``."""
    if '"' not in text:
        return line
    position, marked = 0, []
    for value in line:
        match = values.match(text, position)
        if match is None:
            return line
        position = match.end()
        marked.append(Quoted(value) if match.group(1) is not None else value)
    return marked


def _delimiter(names: Names, body: bytes) -> str:
    """A comma, or what parted the training table's values if the first line has columns by that and none by a comma."""
    other = names.schema.reading.delimiter
    if other == ",":
        return other
    head = body.lstrip(b"\r\n")[:MAX_LINE_CHARACTERS].partition(b"\n")[0].rstrip(b"\r").decode("utf-8-sig", "replace")

    def known(delimiter: str) -> bool:
        return any(names.meant(name.strip('"')) in names.known for name in head.split(delimiter))

    return other if known(other) and not known(",") else ","


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


def _converter(column: Column, reading: Reading) -> Converter:
    """Makes of a value's text what it would be in JSON.

    Text of another kind stays text, which ``strict`` then refuses.
    """
    if column.kind is Kind.BOOLEAN:
        return lambda text: _BOOLEANS.get(text.strip(), _number(text, reading))
    if column.kind is Kind.CATEGORY and takes_text(column):
        return lambda text: _text(text, column, reading)
    return lambda text: _number(text, reading)


def _text(text: str, column: Column, reading: Reading) -> str | None:
    """A text value; the rules for missing values apply to what was not quoted before levels are looked up."""
    if type(text) is Quoted:
        return str(text)
    trimmed = reading.trimmed(text)
    # An empty value is the level "" only where training had that level and no missing values beside it.
    is_level = "" in column.levels and not (column.missing and column.seen_missing)
    if trimmed in reading.missing or (not trimmed and not is_level):
        return None
    return text


def _number(text: str, reading: Reading) -> Any:
    text = text.strip()
    plain = text
    if reading.thousands:
        plain = plain.replace(reading.thousands, "")
    if reading.decimal != ".":
        plain = text if "." in plain else plain.replace(reading.decimal, ".", 1)
    if not _NUMBER.fullmatch(plain):
        gone = text in MISSING or text in reading.missing or text in reading.missing_numbers
        return None if gone else str(text)
    return int(plain) if plain.lstrip("+-").isdigit() and len(plain) < 20 else float(plain)


@lru_cache(maxsize=64)
def _decoder(reader: RowReader) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(list[reader.listed])  # type: ignore[name-defined]

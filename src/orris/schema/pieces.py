"""A long JSON array of rows, read piece by piece.

Rows are counted while they are read, reading stops at the limit, and what a piece was parsed into is dropped before the
next one is: whatever the array holds, the memory that it takes stays near its own size.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import numpy as np

from orris.errors import BodyError, Problem, RowError
from orris.schema import strict
from orris.schema.arrays import FloatArray
from orris.schema.rows import RowReader

LONG_BYTES = 256 * 1024
"""Bodies that are longer than this are read in pieces."""

PIECE_BYTES = 128 * 1024
"""Least length of a piece, but for the last."""

MAX_ROW_BYTES = 1024 * 1024
"""Longest row of a long body; it is also the longest member of an envelope beside its rows."""

_BOUNDARY = re.compile(rb"[}\]][ \t\r\n]*,(?=[ \t\r\n]*[{\[])")
"""The end of a row, the comma, and the beginning of the next: or something inside a row that looks like it."""

_OPENING = re.compile(rb"[ \t\r\n]*\[")
_CLOSING = re.compile(rb"\][ \t\r\n]*\Z")

Rows = Callable[[list[object]], list[object]]
"""Parsed rows -> the same rows as objects or as lists in the order of the schema."""


def is_array(text: bytes) -> bool:
    """Whether a text begins as a JSON array does."""
    return _OPENING.match(text) is not None


def read_array(
    reader: RowReader, text: bytes, *, nan_is_missing: bool = False, rename: Rows | None = None
) -> FloatArray:
    """The rows of a JSON array.

    Args:
        reader: Of the model's schema.
        text: The array; each row an object or a list.
        nan_is_missing: Take ``NaN`` as a missing value.
        rename: Makes rows of what is in the array, where it does not hold rows in the order of the schema.

    Returns:
        float64 ``(n_rows, n_columns)``.

    Raises:
        BodyError: Not a JSON array, or a row of more than ``MAX_ROW_BYTES``.
        RowError: No row, more than ``max_rows``, or rows that do not fit the schema: the problems of the first piece
            that has some.
    """
    opening, closing = _OPENING.match(text), _CLOSING.search(text, max(0, len(text) - MAX_ROW_BYTES))
    if opening is None or closing is None:
        raise BodyError("the body is not JSON: an array of rows does not begin with [ and end with ]")
    start, end = opening.end(), closing.start()
    encoded: list[FloatArray] = []
    n_rows = 0
    while start < end or not encoded:
        rows, start = _piece(reader, text, start, end, n_rows, nan_is_missing, rename)
        n_rows += len(rows)
        encoded.append(rows)
        if n_rows > reader.max_rows or (n_rows == reader.max_rows and start < end):
            raise RowError([Problem(None, None, _too_many(reader.max_rows))])
    return np.concatenate(encoded)


def _too_many(max_rows: int) -> str:
    return f"there are more rows than the {max_rows} that one request may hold; send them in parts"


def _piece(
    reader: RowReader, text: bytes, start: int, end: int, n_before: int, nan_is_missing: bool, rename: Rows | None
) -> tuple[FloatArray, int]:
    """The rows from ``start`` on, at least ``PIECE_BYTES`` of them, and where the next ones begin."""
    size = PIECE_BYTES
    while True:
        boundary = _BOUNDARY.search(text, min(start + size, end), end)
        stop = boundary.end() - 1 if boundary is not None else end
        if stop - start > PIECE_BYTES + 2 * MAX_ROW_BYTES:
            raise BodyError(f"the array does not hold rows, or one of them is longer than {MAX_ROW_BYTES} bytes")
        piece = b"[%b]" % text[start:stop]
        after = stop + 1 if boundary is not None else end
        if rename is None and (encoded := _plain(reader, piece, n_before)) is not None:
            return encoded, after
        try:
            parsed = strict.parse(piece, nan_is_missing=nan_is_missing)
        except BodyError as error:
            # The boundary may have been inside a text or a nested value: then a longer piece is JSON.
            if boundary is not None and stop - start < MAX_ROW_BYTES:
                size = 2 * (stop - start)
                continue
            if boundary is not None:
                raise BodyError(f"a row is longer than {MAX_ROW_BYTES} bytes, or the body is not JSON") from None
            raise BodyError(f"{error} (counted from byte {start} of the rows)") from None
        if n_before + len(parsed) > reader.max_rows:
            raise RowError([Problem(None, None, _too_many(reader.max_rows))])
        rows = rename(parsed) if rename is not None else parsed
        return strict.encode(reader.schema, rows, reader.max_rows, first=n_before), after


def _plain(reader: RowReader, piece: bytes, n_before: int) -> FloatArray | None:
    """The rows of a piece that is plainly right; ``None`` for any other."""
    try:
        rows = reader.array_decoder.decode(piece)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if n_before + len(rows) > reader.max_rows:
        raise RowError([Problem(None, None, _too_many(reader.max_rows))])
    return reader.encode(rows, piece.count(b":")) if rows else None

"""Tests of long CSV: it is read in blocks, and a row has an end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orris.errors import BodyError, RowError
from orris.schema import Column, Kind, Schema
from orris.schema.rows import RowReader
from orris.tables.csv_rows import MAX_LINE_CHARACTERS, PLAIN_BYTES, read_csv

SCHEMA = Schema((Column("a", Kind.NUMBER, missing=True), Column("b", Kind.NUMBER)), "y", "regression", ())
N_ROWS = 40_000
HEAD = b"a,b\n"


def lines(ending: str, *, quote: bool = False) -> bytes:
    """Rows of two numbers each, with a header, of several blocks."""
    mark = '"' if quote else ""
    return HEAD + "".join(f"{mark}{i / 7}{mark},{-i}{ending}" for i in range(N_ROWS)).encode()


@pytest.mark.parametrize("ending", ["\n", "\r\n", " \n"], ids=["LF", "CRLF", "space"])
def test_long_csv_of_numbers_is_read_as_its_lines_are(ending: str) -> None:
    """Wherever blocks end, plain numbers have the values that the same numbers in quotation marks have."""
    plain, quoted = lines(ending), lines(ending, quote=True)
    assert len(plain) > 4 * PLAIN_BYTES
    reader = RowReader(SCHEMA)
    found = read_csv(reader, plain)
    assert np.array_equal(found, np.array([[i / 7, -i] for i in range(N_ROWS)]))
    assert np.array_equal(found, read_csv(reader, quoted))
    assert np.array_equal(found, read_csv(reader, plain.rstrip()))


@pytest.mark.parametrize("odd", [b",5\n", b"NA,5\n", b'"1",5\n', b"\n\n"], ids=["empty", "NA", "quoted", "blank"])
@pytest.mark.parametrize("where", [0, N_ROWS], ids=["first", "last"])
def test_one_odd_line_of_long_csv_changes_no_other(odd: bytes, where: int) -> None:
    """A missing or quoted value or a blank line, in the first block or behind the last, is read as in short CSV."""
    head, *rest = lines("\n").splitlines(keepends=True)
    rest.insert(where, odd)
    found = read_csv(RowReader(SCHEMA), b"".join([head, *rest]))
    added: Any = {b"NA,5\n": [[np.nan, 5]], b",5\n": [[np.nan, 5]], b'"1",5\n': [[1, 5]]}.get(odd, [])
    expected = np.array([[i / 7, -i] for i in range(N_ROWS)])
    assert np.array_equal(
        found, np.concatenate([expected[:where], np.reshape(added, (-1, 2)), expected[where:]]), equal_nan=True
    )


@pytest.mark.parametrize("quote", [True, False], ids=["quoted", "plain"])
def test_long_csv_of_too_many_rows_is_refused(quote: bool) -> None:
    """Reading stops at the greatest number of rows; as many are read."""
    body = lines("\n", quote=quote)
    assert len(read_csv(RowReader(SCHEMA, max_rows=N_ROWS), body)) == N_ROWS
    with pytest.raises(RowError, match=f"more rows than the {N_ROWS - 1}"):
        read_csv(RowReader(SCHEMA, max_rows=N_ROWS - 1), body)


@pytest.mark.parametrize(
    "row",
    [b"," * (MAX_LINE_CHARACTERS + 1), b'","' * MAX_LINE_CHARACTERS, b'"\n",' * MAX_LINE_CHARACTERS, b"1" * 2_000_000],
    ids=["commas", "quoted commas", "quoted line breaks", "digits"],
)
@pytest.mark.parametrize("head", [b"", HEAD], ids=["as names", "as values"])
def test_a_row_of_csv_that_is_too_long_is_refused(head: bytes, row: bytes) -> None:
    """A row of more than a million characters is refused before its values are parted, whatever it holds."""
    with pytest.raises(BodyError, match="a row is longer than"):
        read_csv(RowReader(SCHEMA), head + row)

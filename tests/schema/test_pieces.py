"""Tests of long arrays of rows, which are read in pieces and counted while they are read."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest

from orris.errors import BodyError, RowError
from orris.schema import Column, Kind, Schema, strict
from orris.schema.pieces import MAX_ROW_BYTES, PIECE_BYTES, read_array
from orris.schema.rows import RowReader

LEVELS = ("a", 'b},{"', "c],[\\", "ü")
SCHEMA = Schema(
    (Column("number", Kind.NUMBER, missing=True), Column("text", Kind.CATEGORY, levels=LEVELS)), "y", "regression", ()
)
MANY = 20_000


def rows(n_rows: int, seed: int = 1) -> list[Any]:
    """Draw rows as objects and as lists, mixed, with brackets and quotes inside their texts."""
    draw = random.Random(seed)
    values = [[draw.choice([None, draw.random()]), draw.choice(LEVELS)] for _ in range(n_rows)]
    return [dict(zip(SCHEMA.names, row, strict=True)) if draw.random() < 0.5 else row for row in values]


@pytest.mark.parametrize("separators", [(",", ":"), (" ,\n ", " : ")], ids=["dense", "spaced"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_long_array_is_read_as_the_strict_reader_reads_it(separators: tuple[str, str], *, ascii_only: bool) -> None:
    """Wherever pieces end, even inside texts that look like a row's end, the rows are the strict reader's."""
    given = rows(MANY)
    text = json.dumps(given, separators=separators, ensure_ascii=ascii_only).encode()
    assert len(text) > 4 * PIECE_BYTES
    expected = strict.encode(SCHEMA, given, MANY)
    assert np.array_equal(read_array(RowReader(SCHEMA), text), expected, equal_nan=True)


def test_a_problem_has_its_row() -> None:
    """Rows are numbered from the beginning of the array, whichever piece they are in."""
    given = rows(MANY)
    given[MANY - 3] = ["wide", "a"]
    with pytest.raises(RowError) as caught:
        read_array(RowReader(SCHEMA), json.dumps(given).encode())
    assert [(problem.row, problem.column) for problem in caught.value.problems] == [(MANY - 3, "number")]


@pytest.mark.parametrize("row", [b"{}", b"[]", b'[1,"a"]'], ids=["empty objects", "empty lists", "good rows"])
def test_reading_stops_at_the_limit(row: bytes) -> None:
    """More rows than the limit are refused, whatever their content is."""
    with pytest.raises(RowError) as caught:
        read_array(RowReader(SCHEMA, max_rows=1_000), b"[" + b",".join([row] * 1_000_000) + b"]")
    assert "more rows than the 1000" in str(caught.value)


def test_the_limit_itself_is_allowed() -> None:
    """As many rows as the limit says are read, in any number of pieces."""
    text = json.dumps(rows(MANY)).encode()
    assert len(read_array(RowReader(SCHEMA, max_rows=MANY), text)) == MANY
    with pytest.raises(RowError):
        read_array(RowReader(SCHEMA, max_rows=MANY - 1), text)


BROKEN: dict[str, bytes] = {
    "not closed": b"[" + b'[1,"a"],' * 50_000 + b'[1,"a"]',
    "a comma too many": b"[" + b'[1,"a"],' * 50_000 + b"]",
    "no comma": b"[" + b'[1,"a"]' * 50_000 + b"]",
    "numbers": b"[" + b"1," * 2_000_000 + b"1]",
    "a row of lists": b"[[" + b"[]," * 1_000_000 + b"[]]]",
    "a long text": b'[[1,"' + b"x" * (4 * MAX_ROW_BYTES) + b'"]]',
    "boundaries in a text": b'[[1,"' + b"],[" * MAX_ROW_BYTES + b'"]]',
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_malformed_array_is_refused(case: str) -> None:
    """An array that is not JSON, holds no rows, or holds one that is too long is refused."""
    with pytest.raises((BodyError, RowError)):
        read_array(RowReader(SCHEMA), BROKEN[case])

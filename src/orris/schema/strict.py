"""JSON rows -> encoded rows, slowly and precisely: every problem of a body, with row and column.

``rows`` reads ordinary bodies at full speed and hands over whatever it does not take at once; the answer here is final.
Messages never repeat the caller's values or the model's levels: a response may end up in someone else's log.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from orris.errors import BodyError, Problem, RowError
from orris.schema import refusals
from orris.schema.arrays import FloatArray
from orris.schema.codes import Codes, needed
from orris.schema.columns import MAX_INTEGER, UNSEEN, Column, Kind, Schema
from orris.schema.names import Names

MAX_PROBLEMS = 100
"""Problems reported for one body; the rest are counted in the last one."""

MAX_COUNTED = 5_000
"""Problems after which a body is read no further: what is wrong with it is known by then."""

_NAMES: dict[type, str] = {
    str: "text",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    list: "a list",
    type(None): "null",
}
_ARTICLES = {Kind.NUMBER: "a number", Kind.INTEGER: "an integer", Kind.BOOLEAN: "true or false"}


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""A half of a surrogate pair, which is text only beside its other half."""


class _Object(NamedTuple):
    """A JSON object as it was written: duplicate keys are still there."""

    pairs: list[tuple[str, Any]]


class _Constant(NamedTuple):
    """``NaN``, ``Infinity`` or ``-Infinity``: what many JSON writers emit and no JSON reader should take."""

    text: str


class _Digits(NamedTuple):
    """An integer with more digits than Python converts."""

    text: str


def parse(body: bytes, *, nan_is_missing: bool = False) -> Any:
    """The JSON document, objects and non-numbers still as they were written.

    Args:
        body: The text.
        nan_is_missing: Take ``NaN``, which Python's and pandas' JSON writers emit for a missing value, as ``null``.

    Raises:
        BodyError: Empty, not UTF-8, not JSON or nested too deeply.
    """
    if not body.strip():
        raise BodyError("the body is empty; send a JSON object with one value per column")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BodyError(f"the body is not UTF-8 (byte {error.start}); encode it as UTF-8") from None
    constant = _nan_or_constant if nan_is_missing else _Constant
    try:
        document = json.loads(text, object_pairs_hook=_Object, parse_constant=constant, parse_int=_integer)
        if _SURROGATE.search(text):
            json.dumps(document, ensure_ascii=False).encode()
        return document
    except UnicodeEncodeError:
        # Python's parser takes it, and no answer that names it could be written.
        raise BodyError("the body is not JSON: a text holds one half of a UTF-16 surrogate pair") from None
    except json.JSONDecodeError as error:
        raise BodyError(f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise BodyError("the body is not usable JSON: it is nested too deeply") from None


def read(schema: Schema, body: bytes, max_rows: int, unknown: dict[str, None] | None = None) -> tuple[FloatArray, bool]:
    """The encoded rows and whether the body was a single row, or an error that says everything.

    Names of columns that the schema does not have, and that were ignored, are added to ``unknown``.
    """
    return read_document(schema, parse(body), max_rows, unknown)


def read_document(
    schema: Schema, document: Any, max_rows: int, unknown: dict[str, None] | None = None
) -> tuple[FloatArray, bool]:
    """``read`` for a document that is parsed already."""
    single = isinstance(document, _Object)
    if not single and not isinstance(document, list):
        raise RowError(
            [Problem(None, None, "a JSON object with one value per column, or a list of such objects, is needed")]
        )
    return encode(schema, [document] if single else document, max_rows, unknown), single


def members(document: Any) -> dict[str, Any] | None:
    """The members of a parsed JSON object, the last one where a key was given twice; ``None`` if it is no object."""
    return dict(document.pairs) if isinstance(document, _Object) else None


def encode(
    schema: Schema, rows: Sequence[Any], max_rows: int, unknown: dict[str, None] | None = None, *, first: int = 0
) -> FloatArray:
    """Check and encode parsed rows, each an object (also a plain ``dict``) or a list in schema order.

    Names of columns that the schema does not have, and that were ignored, are added to ``unknown``. ``first`` is the
    number of the first row in the errors.
    """
    check_count(len(rows), max_rows)
    reader = _Reader(schema)
    encoded = np.full((len(rows), schema.n_columns), np.nan)
    for i, row in enumerate(rows):
        for j, code in reader.row(first + i, row):
            encoded[i, j] = code
        if len(reader.problems) > MAX_COUNTED:
            break
    problems = reader.problems
    if problems:
        if len(problems) > MAX_PROBLEMS:
            more = str(len(problems) - MAX_PROBLEMS)
            if len(problems) > MAX_COUNTED:
                more = f"more than {MAX_COUNTED - MAX_PROBLEMS}"
            problems = [*problems[:MAX_PROBLEMS], Problem(None, None, f"and {more} more problems")]
        raise RowError(problems)
    if unknown is not None:
        unknown |= reader.unknown
    return encoded


def check_names(names: Sequence[str]) -> None:
    """Raise ``RowError`` if a column name is given twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise RowError(
            [Problem(None, name[:100], "this column is given twice; give it once") for name in twice[:MAX_PROBLEMS]]
        )


def check_count(n_rows: int, max_rows: int) -> None:
    """Raise ``RowError`` unless ``0 < n_rows <= max_rows``."""
    if n_rows == 0:
        raise RowError([Problem(None, None, "the list holds no row; send at least one")])
    if n_rows > max_rows:
        raise RowError(
            [
                Problem(
                    None,
                    None,
                    f"{n_rows} rows are more than the {max_rows} that one request may hold; send them in parts",
                )
            ]
        )


class _Reader:
    """Reads the rows of one body."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.names = Names.of(schema)
        self.problems: list[Problem] = []
        self.unknown: dict[str, None] = {}
        self._codes = {
            column.name: Codes(column, schema.reading) for column in schema.columns if column.kind is Kind.CATEGORY
        }

    def row(self, i: int, row: Any) -> list[tuple[int, float]]:
        """The codes of one row by column position; what is wrong is appended to ``problems``."""
        given = self._by_name(i, row)
        if given is None:
            return []
        codes = []
        for j, column in enumerate(self.schema.columns):
            if column.name not in given:
                continue
            outcome = self._code(column, given[column.name])
            if isinstance(outcome, str):
                self.problems.append(Problem(i, column.name, outcome))
            else:
                codes.append((j, outcome))
        return codes

    def _by_name(self, i: int, row: Any) -> dict[str, Any] | None:
        schema, problems = self.schema, self.problems
        if isinstance(row, list | tuple) and not isinstance(row, _Object | _Constant | _Digits):
            if schema.table and len(row) == len(schema.table):
                return dict(zip(schema.table, row, strict=True))
            if len(row) != schema.n_columns:
                wanted = f"{schema.n_columns} values are needed, in the order of the schema, not {len(row)}"
                problems.append(Problem(i, None, wanted))
                return None
            return dict(zip(schema.names, row, strict=True))
        if isinstance(row, dict):
            row = _Object(list(row.items()))
        if not isinstance(row, _Object):
            problems.append(Problem(i, None, f"a row must be an object with one value per column, not {_name(row)}"))
            return None
        given: dict[str, Any] = {}
        unknown: dict[str, None] = {}
        for key, value in row.pairs:
            name = self.names.meant(key)
            if name in given:
                problems.append(Problem(i, name, "this column is given twice; give it once"))
            elif self.names.is_unknown(name):
                unknown[name] = None
            else:
                given[name] = value
        problems += self.names.problems(i, given, unknown)
        self.unknown |= unknown
        return given

    def _code(self, column: Column, value: Any) -> float | str:
        """The code of one value, or what is wrong with it."""
        if value is None:
            return math.nan if column.missing else refusals.missing(column)
        if isinstance(value, _Constant | _Digits):
            return _no_number(column, value)
        if column.kind is Kind.CATEGORY:
            return self._category(column, value)
        if column.kind is Kind.BOOLEAN:
            return float(value) if isinstance(value, int | float) and value in (0, 1) else _unfit(column, value)
        if not isinstance(value, int | float) or isinstance(value, bool):
            return _unfit(column, value)
        return _number(self.schema, column, value)

    def _category(self, column: Column, value: Any) -> float | str:
        if type(value) not in ((str,) if type(column.levels[0]) is str else (int, float)):
            return f"one of the column's levels is needed, as {needed(column)}, not {_name(value)}"
        code = self._codes[column.name][value]
        if code == UNSEEN and not column.unseen:
            return refusals.level(column)
        if math.isnan(code) and not column.missing:
            return refusals.missing(column)
        return code


def _no_number(column: Column, value: _Constant | _Digits) -> str:
    if isinstance(value, _Digits):
        return "this number is larger than any that can be computed with"
    if column.missing:
        return f"{value.text} is not a JSON number; send null for a missing value"
    return f"{value.text} is not a number"


def _unfit(column: Column, value: Any) -> str:
    return f"{_ARTICLES[column.kind]} is needed, not {_name(value)}"


def _number(schema: Schema, column: Column, value: float) -> float | str:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not abs(number) <= schema.max_magnitude:
        return refusals.magnitude(schema)
    if column.kind is Kind.INTEGER and not column.fractions:
        if not number.is_integer():
            return refusals.fraction(column)
        if abs(value) > MAX_INTEGER:
            return f"an integer of magnitude at most {MAX_INTEGER} is needed: float64 holds no others exactly"
    problem = column.bounds.problem(number) if column.bounds else None
    return problem or number


def _name(value: Any) -> str:
    return _NAMES.get(type(value), "an object")


def _nan_or_constant(text: str) -> _Constant | None:
    return None if text == "NaN" else _Constant(text)


def _integer(text: str) -> int | _Digits:
    return int(text) if len(text) <= 400 else _Digits(text)

"""JSON rows -> encoded rows, slowly and precisely: every problem of a body, with row and column.

``rows`` reads ordinary bodies at full speed and hands over whatever it does not take at once; the answer here is final.
Messages never repeat the caller's values or the model's levels: a response may end up in someone else's log.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from orris.errors import BodyError, Problem, RowError
from orris.schema.arrays import FloatArray
from orris.schema.columns import MAX_INTEGER, UNSEEN, Column, Kind, Schema

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
        return json.loads(text, object_pairs_hook=_Object, parse_constant=constant, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise BodyError(f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise BodyError("the body is not usable JSON: it is nested too deeply") from None


def read(schema: Schema, body: bytes, max_rows: int) -> tuple[FloatArray, bool]:
    """The encoded rows and whether the body was a single row, or an error that says everything."""
    return read_document(schema, parse(body), max_rows)


def read_document(schema: Schema, document: Any, max_rows: int) -> tuple[FloatArray, bool]:
    """``read`` for a document that is parsed already."""
    single = isinstance(document, _Object)
    if not single and not isinstance(document, list):
        raise RowError(
            [Problem(None, None, "a JSON object with one value per column, or a list of such objects, is needed")]
        )
    return encode(schema, [document] if single else document, max_rows), single


def members(document: Any) -> dict[str, Any] | None:
    """The members of a parsed JSON object, the last one where a key was given twice; ``None`` if it is no object."""
    return dict(document.pairs) if isinstance(document, _Object) else None


def encode(schema: Schema, rows: Sequence[Any], max_rows: int, *, first: int = 0) -> FloatArray:
    """Check and encode parsed rows, each an object (also a plain ``dict``) or a list in schema order.

    ``first`` is the number of the first row in the errors.
    """
    check_count(len(rows), max_rows)
    problems: list[Problem] = []
    encoded = np.full((len(rows), schema.n_columns), np.nan)
    for i, row in enumerate(rows):
        for j, code in _row(schema, first + i, row, problems):
            encoded[i, j] = code
        if len(problems) > MAX_COUNTED:
            break
    if problems:
        if len(problems) > MAX_PROBLEMS:
            more = str(len(problems) - MAX_PROBLEMS)
            if len(problems) > MAX_COUNTED:
                more = f"more than {MAX_COUNTED - MAX_PROBLEMS}"
            problems = [*problems[:MAX_PROBLEMS], Problem(None, None, f"and {more} more problems")]
        raise RowError(problems)
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


def _row(schema: Schema, i: int, row: Any, problems: list[Problem]) -> list[tuple[int, float]]:
    """The codes of one row by column position; what is wrong is appended to ``problems``."""
    given = _by_name(schema, i, row, problems)
    if given is None:
        return []
    codes = []
    for j, column in enumerate(schema.columns):
        if column.name not in given:
            if not column.missing:
                problems.append(Problem(i, column.name, "this column is missing; every column needs a value"))
            continue
        outcome = _code(schema, column, given[column.name])
        if isinstance(outcome, str):
            problems.append(Problem(i, column.name, outcome))
        else:
            codes.append((j, outcome))
    return codes


def _by_name(schema: Schema, i: int, row: Any, problems: list[Problem]) -> dict[str, Any] | None:
    if isinstance(row, list | tuple) and not isinstance(row, _Object | _Constant | _Digits):
        if len(row) != schema.n_columns:
            problems.append(
                Problem(i, None, f"{schema.n_columns} values are needed, in the order of the schema, not {len(row)}")
            )
            return None
        return dict(zip(schema.names, row, strict=True))
    if isinstance(row, dict):
        row = _Object(list(row.items()))
    if not isinstance(row, _Object):
        problems.append(Problem(i, None, f"a row must be an object with one value per column, not {_name(row)}"))
        return None
    given: dict[str, Any] = {}
    known = set(schema.names)
    for key, value in row.pairs:
        if key not in known:
            problems.append(Problem(i, key[:100], "this column is not in the model's schema; remove it"))
        elif key in given:
            problems.append(Problem(i, key, "this column is given twice; give it once"))
        given[key] = value
    return given


def _code(schema: Schema, column: Column, value: Any) -> float | str:
    """The code of one value, or what is wrong with it."""
    if value is None:
        return math.nan if column.missing else "a value is needed: training saw no missing values here"
    if isinstance(value, _Constant):
        return (
            f"{value.text} is not a JSON number; send null for a missing value"
            if column.missing
            else f"{value.text} is not a number"
        )
    if isinstance(value, _Digits):
        return "this number is larger than any that can be computed with"
    if column.kind is Kind.CATEGORY:
        return _category(column, value)
    wanted: Any = bool if column.kind is Kind.BOOLEAN else int | float
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        return f"{_ARTICLES[column.kind]} is needed, not {_name(value)}"
    return float(value) if wanted is bool else _number(schema, column, value)


def _category(column: Column, value: Any) -> float | str:
    wanted = type(column.levels[0])
    if isinstance(value, float) and wanted is int and value.is_integer():
        value = int(value)
    if type(value) is not wanted:
        return (
            f"one of the column's levels is needed, as {'text' if wanted is str else 'an integer'}, not {_name(value)}"
        )
    try:
        return float(column.levels.index(value))
    except ValueError:
        return (
            UNSEEN if column.unseen else "not one of the levels that the model knows; see /api/v1/model/info for them"
        )


def _number(schema: Schema, column: Column, value: float) -> float | str:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not abs(number) <= schema.max_magnitude:
        return f"a magnitude of at most {schema.max_magnitude:g} is needed"
    if column.kind is Kind.INTEGER:
        if not number.is_integer():
            return "an integer is needed, not a number with a fraction"
        if abs(value) > MAX_INTEGER:
            return f"an integer of magnitude at most {MAX_INTEGER} is needed"
    problem = column.bounds.problem(number) if column.bounds else None
    return problem or number


def _name(value: Any) -> str:
    return _NAMES.get(type(value), "an object")


def _nan_or_constant(text: str) -> _Constant | None:
    return None if text == "NaN" else _Constant(text)


def _integer(text: str) -> int | _Digits:
    return int(text) if len(text) <= 400 else _Digits(text)

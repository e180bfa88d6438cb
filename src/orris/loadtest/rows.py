"""Rows to send: a model's own examples, others drawn from its schema, or those of a file.

What is known of the model comes from its card, ``GET /api/v1/model/card``: columns with their kinds, ranges and levels.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from orris.errors import LoadTestError

Row = dict[str, Any]
Value = float | int | str | bool | None


class Column(msgspec.Struct, frozen=True):
    """A column of the card: what a value of it looks like.

    Attributes:
        name: Its key in a row.
        kind: ``number``, ``integer``, ``boolean`` or ``category``.
        missing: Whether the model answers rows without it.
        range: Least and greatest value in training.
        levels: Of a category.
        bounds: Limits that the user declared: ``minimum``, ``exclusive_minimum`` …
        example: A value.
    """

    name: str
    kind: str
    missing: bool = False
    range: tuple[float, float] | None = None
    levels: tuple[str | int | bool, ...] = ()
    bounds: dict[str, Any] = {}
    example: Value = None


class Example(msgspec.Struct, frozen=True):
    """A row of the card, which the model was trained on."""

    row: Row


class Card(msgspec.Struct, frozen=True):
    """The parts of a model's card that a load test reads."""

    name: str
    version: str
    columns: tuple[Column, ...]
    examples: tuple[Example, ...] = ()


def drawn_rows(card: Card, n_rows: int, seed: int = 0) -> list[Row]:
    """The card's examples, and rows drawn from the schema after them.

    A drawn value is uniform over the training range of a number, and over the levels of a category. No value is
    missing.

    Args:
        card: The model's.
        n_rows: How many.
        seed: Of the drawn rows.
    """
    generator = np.random.default_rng(seed)
    rows = [dict(example.row) for example in card.examples[:n_rows]]
    while len(rows) < n_rows:
        rows.append({column.name: _drawn(column, generator) for column in card.columns})
    return rows


def _drawn(column: Column, generator: np.random.Generator) -> Value:
    if column.kind == "boolean":
        return bool(generator.integers(2))
    if column.levels:
        return column.levels[int(generator.integers(len(column.levels)))]
    if column.range is None:
        return column.example
    low, high = (float(end) for end in column.range)
    if column.kind == "integer":
        return int(generator.integers(math.ceil(low), math.floor(high) + 1))
    # Five digits, as a client would write them; rounding may lead out of the range.
    return min(max(float(f"{generator.uniform(low, high):.5g}"), low), high)


def read_rows(path: Path, columns: Sequence[Column]) -> list[Row]:
    """The rows of a file: CSV with a line of names, or JSON: a list of objects, or an object on each line.

    Columns that the model does not have, such as the target, are left out. In CSV an empty field is a missing value.

    Raises:
        LoadTestError: The file cannot be read, lacks a column, or holds a value that its column cannot; says where.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LoadTestError(f"{path}: {getattr(error, 'strerror', None) or 'it is no UTF-8 text'}") from error
    as_json = text.lstrip()[:1] in {"[", "{"}
    rows = _json_rows(path, text) if as_json else [dict(each) for each in csv.DictReader(text.splitlines())]
    if not rows:
        raise LoadTestError(f"{path}: there is no row in it")
    return [
        {column.name: _value(path, number, row, column, as_json=as_json) for column in columns}
        for number, row in enumerate(rows, 1)
    ]


def _json_rows(path: Path, text: str) -> list[Row]:
    try:
        if text.lstrip().startswith("["):
            return msgspec.json.decode(text, type=list[Row])
        return msgspec.json.Decoder(Row).decode_lines(text)
    except msgspec.MsgspecError as error:
        raise LoadTestError(
            f"{path}: it is neither a list of JSON objects nor an object on each line: {error}"
        ) from None


def _value(path: Path, number: int, row: Mapping[str, Any], column: Column, *, as_json: bool) -> Value:
    if column.name not in row:
        if column.missing:
            return None
        raise LoadTestError(f"{path}: row {number} has no column '{column.name}', which the model needs")
    value: Value = row[column.name]
    if as_json or value is None:
        return value
    text = str(value).strip()
    if not text:
        return None
    try:
        return _parsed(text, column)
    except ValueError:
        raise LoadTestError(f"{path}: row {number}, column '{column.name}': '{text}' is no {column.kind}") from None


def _parsed(text: str, column: Column) -> Value:
    if column.kind == "boolean":
        if text.lower() not in _BOOLEANS:
            raise ValueError
        return _BOOLEANS[text.lower()]
    if column.kind == "category":
        return int(text) if column.levels and not isinstance(column.levels[0], str) else text
    number = float(text)
    return int(number) if column.kind == "integer" and number.is_integer() else number


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}

"""Rows inside an envelope: ``{"instances": [[…], …]}`` and its relatives, which several dialects share.

A row is a list of values in the order of the schema, or an object. An envelope that is plainly right is parsed straight
into typed rows, as named rows are; any other is read a second time, strictly, and every problem is told with row and
column.

==================== ====================================================================================
``features``         one row
``instances``        a list of rows
``inputs``           a list of rows, or an object with a list of values per column
``dataframe_records`` a list of objects
``dataframe_split``  ``{"columns": […], "data": [[…], …]}``, as pandas writes it
==================== ====================================================================================
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from orris.errors import BodyError, Problem, RowError
from orris.protocols.tensors import PREDICT, PREDICT_PROBA
from orris.runtime import Answers
from orris.schema import Schema, strict
from orris.schema.arrays import FloatArray
from orris.schema.rows import RowReader
from orris.serving.engine import Engine

FEATURES, INSTANCES, INPUTS, RECORDS, SPLIT = "features", "instances", "inputs", "dataframe_records", "dataframe_split"

_FORMS = {
    FEATURES: "a list of values in the order of the schema",
    INSTANCES: "a list of rows",
    INPUTS: "a list of rows, or an object with a list of values per column",
    RECORDS: "a list of objects",
    SPLIT: 'an object with "columns" and "data", a list of rows',
}


class Opened(NamedTuple):
    """What an envelope holds.

    Attributes:
        key: The member that held the rows.
        rows: The encoded rows, float64 ``(n_rows, n_columns)``.
        parameters: The member ``parameters`` or ``params``, if there is one.
    """

    key: str
    rows: FloatArray
    parameters: Any


def open_envelope(
    reader: RowReader, body: bytes, keys: tuple[str, ...], *, only_one: bool = False, nan_is_missing: bool = False
) -> Opened | None:
    """The rows of an envelope.

    Args:
        reader: Of the model's schema.
        body: The text.
        keys: Members that may hold the rows; the first that is there counts.
        only_one: Refuse an envelope with several of ``keys``.
        nan_is_missing: Take ``NaN`` as a missing value.

    Returns:
        What it holds; ``None`` if the body is JSON, but no object with one of ``keys``.

    Raises:
        BodyError: Not JSON, or the member does not hold rows at all.
        RowError: Rows that do not fit the schema; every problem, with row and column.
    """
    return _open_plain(reader, body, keys) or _open_strictly(reader, body, keys, only_one, nan_is_missing)


def wants_probabilities(engine: Engine, parameters: Any) -> bool:
    """Whether ``{"predict_method": "predict_proba"}`` is among the parameters; all other parameters are tolerated.

    Raises:
        BodyError: Another method, or a model without probabilities.
    """
    if type(parameters) is not dict or (method := parameters.get("predict_method", PREDICT)) == PREDICT:
        return False
    if method != PREDICT_PROBA:
        raise BodyError(f"'predict_method' is '{PREDICT}' or '{PREDICT_PROBA}'")
    if not engine.has_probabilities:
        raise BodyError(f"'predict_method': {engine.manifest.name} has no probabilities; leave it out")
    return True


def predictions(engine: Engine, answers: Answers, *, probabilities: bool = False) -> list[Any]:
    """One prediction per row: the label in its own JSON type, the value, or the list of probabilities."""
    numbers = answers.probabilities if probabilities else answers.values
    if numbers is not None:
        return list(numbers.tolist())
    assert answers.labels is not None  # noqa: S101 (a classifier's answers always have labels)
    labels = engine.schema.labels
    return [labels[i] for i in answers.labels.tolist()]


@lru_cache(maxsize=64)
def _decoder(reader: RowReader) -> msgspec.json.Decoder[Any]:
    """Decodes plain envelopes of a schema; members that are not named here are skipped."""
    # ``__class_getitem__``, since these types are values to a type checker.
    lists: Any = list.__class_getitem__
    unset: Any = msgspec.UnsetType
    rows = lists(reader.named | reader.listed)
    columns = tuple[str, ...] | unset
    split: Any = msgspec.defstruct("Split", [("data", lists(reader.listed)), ("columns", columns, msgspec.UNSET)])
    members: list[Any] = [
        (FEATURES, reader.named | reader.listed | unset, msgspec.UNSET),
        (INSTANCES, rows | unset, msgspec.UNSET),
        (INPUTS, rows | unset, msgspec.UNSET),
        (RECORDS, lists(reader.named) | unset, msgspec.UNSET),
        (SPLIT, split | unset, msgspec.UNSET),
        ("parameters", Any, None),
        ("params", Any, None),
    ]
    return msgspec.json.Decoder(msgspec.defstruct("Envelope", members, gc=False))


def _open_plain(reader: RowReader, body: bytes, keys: tuple[str, ...]) -> Opened | None:
    """The rows of an envelope that is plainly right, with one member that holds rows; ``None`` for any other."""
    try:
        envelope = _decoder(reader).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    held = [(key, value) for key in keys if (value := getattr(envelope, key)) is not msgspec.UNSET]
    if len(held) != 1:
        return None
    key, value = held[0]
    if key == FEATURES:
        value = [value]
    elif key == SPLIT:
        if value.columns is not msgspec.UNSET and value.columns != reader.schema.names:
            return None
        value = value.data
    # Whoever adds members beside the rows is read strictly if a row is an object: its keys cannot be counted then.
    encoded = reader.encode(value, body.count(b":") - 1)
    return None if encoded is None else Opened(key, encoded, envelope.parameters or envelope.params)


def _open_strictly(
    reader: RowReader, body: bytes, keys: tuple[str, ...], only_one: bool, nan_is_missing: bool
) -> Opened | None:
    members = strict.members(strict.parse(body, nan_is_missing=nan_is_missing))
    held = [key for key in keys if members is not None and key in members]
    if members is None or not held:
        return None
    if only_one and len(held) > 1:
        raise BodyError(f"exactly one of {', '.join(repr(key) for key in keys)} is needed, and {len(held)} are there")
    key = held[0]
    rows = _rows(reader.schema, key, members[key])
    if rows is None:
        raise BodyError(f"'{key}' must be {_FORMS[key]}")
    parameters = strict.members(members.get("parameters")) or strict.members(members.get("params"))
    return Opened(key, strict.encode(reader.schema, rows, reader.max_rows), parameters)


def _rows(schema: Schema, key: str, value: Any) -> list[Any] | None:
    """The rows that a member holds, each an object or a list; ``None`` if it does not hold rows."""
    if key == FEATURES:
        return [value]
    if type(value) is list:
        return None if key == SPLIT else value
    members = strict.members(value)
    if members is None or key in {INSTANCES, RECORDS}:
        return None
    return _split(schema, members) if key == SPLIT else _columns(members)


def _columns(columns: dict[str, Any]) -> list[Any] | None:
    """Rows of an object with a list of values per column; with a single value per column, one row."""
    lists = [value for value in columns.values() if type(value) is list]
    if not lists:
        return [columns]
    if len(lists) != len(columns) or len(set(map(len, lists))) != 1:
        raise BodyError("'inputs': every column needs a list, all of the same length")
    return [dict(zip(columns, values, strict=True)) for values in zip(*lists, strict=True)]


def _split(schema: Schema, members: dict[str, Any]) -> list[Any] | None:
    data, columns = members.get("data"), members.get("columns")
    if type(data) is not list:
        return None
    if columns is None or columns == list(range(schema.n_columns)):  # an array that became a frame has no names
        return data
    if type(columns) is not list or not all(isinstance(name, str) for name in columns):
        raise BodyError("'dataframe_split': \"columns\" must be a list of names")
    strict.check_names(columns)
    return [_by_name(i, row, columns) for i, row in enumerate(data)]


def _by_name(i: int, row: Any, columns: list[str]) -> dict[str, Any]:
    if type(row) is not list or len(row) != len(columns):
        raise RowError([Problem(i, None, f"a list of {len(columns)} values is needed, one for each of 'columns'")])
    return dict(zip(columns, row, strict=True))

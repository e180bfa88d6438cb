"""Rows inside an envelope: ``{"instances": [[…], …]}`` and its relatives, which several dialects share.

A row is a list of values in the order of the schema, or an object. An envelope that is plainly right is parsed straight
into typed rows, as named rows are; any other is read again, strictly, and every problem is reported with row and
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

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from orris.errors import BodyError, Problem, RowError
from orris.protocols.tensors import PREDICT, PREDICT_PROBA
from orris.runtime import Answers
from orris.schema import Schema, strict
from orris.schema.arrays import FloatArray
from orris.schema.pieces import LONG_BYTES, MAX_ROW_BYTES, Rows, is_array, read_array
from orris.schema.rows import RowReader
from orris.serving.engine import Engine

FEATURES, INSTANCES, INPUTS, RECORDS, SPLIT = "features", "instances", "inputs", "dataframe_records", "dataframe_split"

MAX_COMMAS = 4
"""Commas for each row that a column of a long body may hold before it is known to have too many rows."""

_STRING_OR_NAN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|\bNaN\b', re.DOTALL)
"""A text, to the end of the body if nothing closes it, or ``NaN``: never tried twice from the same byte."""

_FORMS = {
    FEATURES: "a list of values in the order of the schema",
    INSTANCES: "a list of rows",
    INPUTS: "a list of rows, or an object with a list of values per column",
    RECORDS: "a list of objects",
    SPLIT: 'an object with "columns" and "data", a list of rows',
}


class Opened(NamedTuple):
    """The content of an envelope.

    Attributes:
        key: The member that held the rows.
        rows: The encoded rows, float64 ``(n_rows, n_columns)``.
        parameters: The member ``parameters`` or ``params``, if there is one.
        unknown: Names of columns that the schema does not have, and that were ignored.
    """

    key: str
    rows: FloatArray
    parameters: Any
    unknown: tuple[str, ...] = ()


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
    if len(body) > LONG_BYTES:
        return _open_long(reader, body, keys, only_one, nan_is_missing)
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
    """One prediction per row: the label in its own JSON type, the value, or the list of probabilities.

    Where the model has a score, ``[label, score]`` in place of the label.
    """
    numbers = answers.probabilities if probabilities else answers.values
    if numbers is not None:
        return list(numbers.tolist())
    assert answers.labels is not None  # noqa: S101 (a classifier's answers always have labels)
    labels = [engine.schema.labels[i] for i in answers.labels.tolist()]
    if answers.scores is None:
        return labels
    return [[label, score] for label, score in zip(labels, answers.scores.tolist(), strict=True)]


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
    # A body with members beside the rows is read strictly if a row is an object: its keys cannot be counted then.
    encoded = reader.encode(value, body.count(b":") - 1)
    return None if encoded is None else Opened(key, encoded, envelope.parameters or envelope.params)


def _open_long(
    reader: RowReader, body: bytes, keys: tuple[str, ...], only_one: bool, nan_is_missing: bool
) -> Opened | None:
    """A long envelope: its members are separated without being parsed, and its rows are read in pieces."""
    if nan_is_missing and body.count(b"NaN") > reader.max_rows * (reader.schema.n_columns + 1):
        raise BodyError(f"there are more values than {reader.max_rows} rows have; send them in parts")
    members = _members(body, _split_envelope, nan_is_missing=nan_is_missing)
    if members is None:
        return None
    held = [key for key in keys if key in members]
    if not held:
        return None
    if only_one and len(held) > 1:
        raise _several(keys, len(held))
    key = held[0]
    rename = None
    rows = members[key]
    if (
        key == SPLIT
        and (split := _members(rows, _split_frame, nan_is_missing=nan_is_missing)) is not None
        and "data" in split
    ):
        rows = split["data"]
        columns = strict.parse(short("'columns'", split["columns"])) if "columns" in split else None
        rename = _renaming(reader.schema, columns)
    parameters = None
    for name in ("parameters", "params"):
        if parameters is None and name in members:
            parameters = strict.members(strict.parse(short(f"'{name}'", members[name])))
    if is_array(rows) and key != FEATURES:
        return Opened(key, read_array(reader, rows, nan_is_missing=nan_is_missing, rename=rename), parameters)
    if key == INPUTS and len(rows) > MAX_ROW_BYTES:
        return Opened(key, _long_columns(reader, rows, nan_is_missing=nan_is_missing), parameters)
    text = b'{"%b":%b}' % (key.encode(), short(f"'{key}'", rows))
    opened = _open_strictly(reader, text, (key,), only_one, nan_is_missing)
    return opened._replace(parameters=parameters) if opened is not None else None


def _members(text: bytes, decode: Callable[[bytes], Any], *, nan_is_missing: bool) -> dict[str, bytes] | None:
    """The members of a JSON object that are in ``decode``'s type, as they were written; ``None`` for an array.

    Raises:
        BodyError: Not a JSON object or array.
    """
    if is_array(text):
        return None
    try:
        found = decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if nan_is_missing and b"NaN" in text:
            return _members(without_nan(text), decode, nan_is_missing=False)
        raise BodyError(f"the body is not a JSON object or array as it is read here: {error}") from None
    names = [field.encode_name for field in msgspec.structs.fields(type(found))]
    raws = zip(names, msgspec.structs.astuple(found), strict=True)
    return {name: bytes(raw) for name, raw in raws if raw != _ABSENT}


def _raw_members(names: Sequence[str], **options: Any) -> Callable[[bytes], Any]:
    """Decodes these members of an object without parsing them; others are skipped."""
    fields = [(f"m{i}", msgspec.Raw, _ABSENT) for i in range(len(names))]
    rename = {f"m{i}": name for i, name in enumerate(names)}
    return msgspec.json.Decoder(msgspec.defstruct("Members", fields, rename=rename, gc=False, **options)).decode


_ABSENT = msgspec.Raw(b"")
_split_envelope = _raw_members((FEATURES, INSTANCES, INPUTS, RECORDS, SPLIT, "parameters", "params"))
_split_frame = _raw_members(("data", "columns"))


@lru_cache(maxsize=64)
def _split_columns(reader: RowReader) -> Callable[[bytes], Any]:
    return _raw_members(reader.schema.names, forbid_unknown_fields=True)


def short(name: str, text: bytes) -> bytes:
    """A member that is parsed whole; raises ``BodyError`` if it is too long for that."""
    if len(text) > MAX_ROW_BYTES:
        raise BodyError(f"{name} is longer than {MAX_ROW_BYTES} bytes")
    return text


def _long_columns(reader: RowReader, text: bytes, *, nan_is_missing: bool) -> FloatArray:
    """The rows of a long object with a list of values per column; a list of more than ``max_rows`` is not parsed."""
    members = _members(text, _split_columns(reader), nan_is_missing=nan_is_missing) or {}
    columns: dict[str, Any] = {}
    for name, values in members.items():
        # A comma in a text is counted as well: a column of texts with commas has to be sent in smaller parts.
        if values.count(b",") >= reader.max_rows * MAX_COMMAS:
            raise RowError([Problem(None, name, f"more than the {reader.max_rows} values that a request may hold")])
        columns[name] = strict.parse(values, nan_is_missing=nan_is_missing)
    return strict.encode(reader.schema, _columns(columns) or [], reader.max_rows)


def _renaming(schema: Schema, columns: Any) -> Rows | None:
    """Makes rows of the data of ``dataframe_split``; ``None``: they are rows in the order of the schema."""
    if columns is None or columns in (list(schema.names), list(range(schema.n_columns))):
        return None
    _check_columns(columns)
    return lambda rows: [_by_name(i, row, columns) for i, row in enumerate(rows)]


def _several(keys: tuple[str, ...], n_held: int) -> BodyError:
    return BodyError(f"exactly one of {', '.join(repr(key) for key in keys)} is needed, and {n_held} are there")


def _open_strictly(
    reader: RowReader, body: bytes, keys: tuple[str, ...], only_one: bool, nan_is_missing: bool
) -> Opened | None:
    members = strict.members(strict.parse(body, nan_is_missing=nan_is_missing))
    held = [key for key in keys if members is not None and key in members]
    if members is None or not held:
        return None
    if only_one and len(held) > 1:
        raise _several(keys, len(held))
    key = held[0]
    rows = _rows(reader.schema, key, members[key])
    if rows is None:
        raise BodyError(f"'{key}' must be {_FORMS[key]}")
    parameters = strict.members(members.get("parameters")) or strict.members(members.get("params"))
    unknown: dict[str, None] = {}
    encoded = strict.encode(reader.schema, rows, reader.max_rows, unknown)
    return Opened(key, encoded, parameters, tuple(unknown))


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
    _check_columns(columns)
    return [_by_name(i, row, columns) for i, row in enumerate(data)]


def _check_columns(columns: Any) -> None:
    if type(columns) is not list or not all(isinstance(name, str) for name in columns):
        raise BodyError("'dataframe_split': \"columns\" must be a list of names")
    strict.check_names(columns)


def _by_name(i: int, row: Any, columns: list[str]) -> dict[str, Any]:
    if type(row) is not list or len(row) != len(columns):
        raise RowError([Problem(i, None, f"a list of {len(columns)} values is needed, one for each of 'columns'")])
    return dict(zip(columns, row, strict=True))


def without_nan(body: bytes) -> bytes:
    """JSON with ``null`` for every ``NaN`` outside a text; writers of Python and of Triton's client put it there."""
    written, last = bytearray(), 0
    for found in _STRING_OR_NAN.finditer(body):
        if found.group() == b"NaN":
            written += body[last : found.start()]
            written += b"null"
            last = found.end()
    written += body[last:]
    return bytes(written)

"""The usual requests, one row that is plainly right, read and written for all requests of a tick at once.

A codec gives the bytes that its dialect would give, with fewer objects on the way: the parts of an answer that do not
change are encoded once for each version, and the probabilities of all rows in one call of the encoder. Whatever a codec
does not take is read by its dialect, which answers precisely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from orris.runtime import Answers
from orris.schema.arrays import FloatArray
from orris.schema.rows import RowReader
from orris.serving.engine import Engine
from orris.serving.exchange import Headers, Query, is_plain_json

_encode = msgspec.json.Encoder().encode

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Taken = tuple[FloatArray, Sequence[int] | None]
"""Codes of rows, ``(n_taken, n_columns)``, and the positions of the bodies they are from; ``None``: all."""


class NamedCodec:
    """A named row; see ``named.NamedRows``. ``with_class`` as there."""

    def __init__(self, engine: Engine, *, with_class: bool) -> None:
        self._reader = engine.reader
        self._n_columns = engine.schema.n_columns
        starts = []
        for number, text in zip(engine.class_numbers, engine.text_labels, strict=True):
            start = {"prediction": number, "prediction_label": text}
            if with_class:
                start["predicted_class"] = text
            starts.append(_encode(start)[:-1])
        self._starts = [start + b',"request_id":"' for start in starts]
        self._starts_with_probabilities = [start + b',"probabilities":[' for start in starts]
        self._end = b'","model_version":%b}' % _encode(engine.manifest.version)

    def takes(self, headers: Headers) -> bool:
        """JSON."""
        return is_plain_json(headers)

    def read(self, bodies: Sequence[bytes]) -> Taken:
        """The codes of the rows."""
        rows = self._reader.several(bodies)
        if rows is not None:
            return rows, None
        return _taken([self._reader.one(body) for body in bodies], self._n_columns)

    def query(self, row: FloatArray) -> Query:
        """A single row."""
        return Query(row, True)

    def write(self, answers: Answers, ids: list[bytes]) -> list[bytes]:
        """One object for each row."""
        end = self._end
        labels, probabilities, values = answers
        join = b"".join
        if labels is None:
            assert values is not None  # noqa: S101 (a regressor's answers always have values)
            middle = b',"request_id":"'
            numbers = zip(_numbers(values), ids, strict=True)
            return [join((b'{"prediction":', number, middle, name, end)) for number, name in numbers]
        if probabilities is None:
            starts = self._starts
            return [join((starts[label], name, end)) for label, name in zip(labels.tolist(), ids, strict=True)]
        starts, middle = self._starts_with_probabilities, b'],"request_id":"'
        parts = zip(labels.tolist(), _lists(probabilities), ids, strict=True)
        return [join((starts[label], numbers, middle, name, end)) for label, numbers, name in parts]


class InstanceCodec:
    """One row under ``instances``; see ``instances.InstanceRows``. ``wanted`` says that labels are, and no event."""

    def __init__(self, engine: Engine, wanted: object) -> None:
        self._wanted = wanted
        members: list[Any] = [("instances", list.__class_getitem__(engine.reader.listed))]
        envelope = msgspec.defstruct("Instances", members, forbid_unknown_fields=True, gc=False)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(envelope).decode
        self._reader: RowReader = engine.reader
        self._n_columns = engine.schema.n_columns
        self._answers = [b'{"predictions":[%b]}' % _encode(label) for label in engine.schema.labels]

    def takes(self, headers: Headers) -> bool:
        """JSON, and no CloudEvent."""
        return is_plain_json(headers) and b"ce-specversion" not in headers

    def read(self, bodies: Sequence[bytes]) -> Taken:
        """The codes of the rows."""
        return _taken([self._one(body) for body in bodies], self._n_columns)

    def _one(self, body: bytes) -> Sequence[float] | None:
        try:
            rows = self._decode(body).instances
        except _UNREADABLE:
            return None
        return self._reader.listed_one(rows[0]) if len(rows) == 1 else None

    def query(self, row: FloatArray) -> Query:
        """A list of one row."""
        return Query(row, False, self._wanted)

    def write(self, answers: Answers, ids: list[bytes]) -> list[bytes]:  # noqa: ARG002 (V1 has no place for ids)
        """One prediction for each row."""
        if answers.labels is not None:
            return [self._answers[label] for label in answers.labels.tolist()]
        assert answers.values is not None  # noqa: S101 (a regressor's answers always have values)
        return [b'{"predictions":[%b]}' % value for value in _numbers(answers.values)]


class TensorCodec:
    """One row of tensors in JSON; see ``openinference.OpenInference``.

    Args:
        row: Reads a body that asks for all outputs, in JSON, and names no id; ``None`` for any other.
        n_columns: Columns of the schema.
        head: The answer up to the id.
        predict: The output ``predict`` up to its data.
        labels: A classifier's labels as JSON, by position.
        probabilities: The output ``predict_proba`` up to its data; empty: there is none.
    """

    def __init__(
        self,
        row: Callable[[bytes], Sequence[float] | None],
        *,
        n_columns: int,
        head: bytes,
        predict: bytes,
        labels: Sequence[bytes],
        probabilities: bytes,
    ) -> None:
        self._row = row
        self._n_columns = n_columns
        self._head = head + b'"'
        start = b'","outputs":[' + predict + b'"data":['
        self._value = start
        between = b"]}," + probabilities + b'"data":[' if probabilities else b"]}]}"
        self._middles = [start + label + between for label in labels]

    def takes(self, headers: Headers) -> bool:
        """JSON without binary tensors behind it."""
        return is_plain_json(headers) and b"inference-header-content-length" not in headers

    def read(self, bodies: Sequence[bytes]) -> Taken:
        """The codes of the rows."""
        return _taken(list(map(self._row, bodies)), self._n_columns)

    def query(self, row: FloatArray) -> Query:
        """Tensors of one row."""
        return Query(row)

    def write(self, answers: Answers, ids: list[bytes]) -> list[bytes]:
        """One response for each row."""
        head, end, join = self._head, b"]}]}", b"".join
        labels, probabilities, values = answers
        if labels is None:
            assert values is not None  # noqa: S101 (a regressor's answers always have values)
            numbers = zip(_numbers(values), ids, strict=True)
            return [join((head, name, self._value, value, end)) for value, name in numbers]
        middles = self._middles
        if probabilities is None:
            return [join((head, name, middles[label])) for label, name in zip(labels.tolist(), ids, strict=True)]
        parts = zip(labels.tolist(), _lists(probabilities), ids, strict=True)
        return [join((head, name, middles[label], numbers, end)) for label, numbers, name in parts]


def _taken(rows: Sequence[Sequence[float] | None], n_columns: int) -> Taken:
    """The rows that were read, as an array, and where they are from."""
    found: Iterable[Sequence[float]] = filter(None, rows)
    positions = None if None not in rows else [i for i, row in enumerate(rows) if row is not None]
    n_rows = len(rows) if positions is None else len(positions)
    codes = np.fromiter(chain.from_iterable(found), np.float64, n_rows * n_columns)
    return codes.reshape(n_rows, n_columns), positions


def _numbers(values: FloatArray) -> list[bytes]:
    """Each number of ``(n_rows,)`` as JSON."""
    return bytes(_encode(values.tolist()))[1:-1].split(b",")


def _lists(numbers: FloatArray) -> list[bytes]:
    """Each row of ``(n_rows, n)`` as JSON, without its brackets."""
    return bytes(_encode(numbers.tolist()))[2:-2].split(b"],[")

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

from orris.protocols.envelopes import FEATURES, INSTANCES
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
        forms = [form for form in (FEATURES, INSTANCES) if form not in engine.schema.names]
        self._others = tuple(b'{"%b"' % form.encode() for form in forms)
        starts = []
        for number, text in zip(engine.class_numbers, engine.text_labels, strict=True):
            start = {"prediction": number, "prediction_label": text}
            if with_class:
                start["predicted_class"] = text
            starts.append(_encode(start)[:-1])
        self._bare = starts
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
        one, others = self._reader.one, self._others
        return _taken([None if body.startswith(others) else one(body) for body in bodies], self._n_columns)

    def query(self, row: FloatArray) -> Query:
        """A single row."""
        return Query(row, True)

    def write(self, answers: Answers, ids: list[bytes]) -> list[bytes]:
        """One object for each row."""
        end = self._end
        labels, probabilities, values, scores = answers
        join = b"".join
        if scores is not None:
            return self._with_scores(answers, scores, ids)
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

    def _with_scores(self, answers: Answers, scores: FloatArray, ids: list[bytes]) -> list[bytes]:
        """``write`` where the model has a score."""
        labels, probabilities, _, _ = answers
        assert labels is not None  # noqa: S101 (scores stand beside labels)
        starts, opening, middle, end = self._bare, b',"score":', b',"request_id":"', self._end
        if probabilities is not None:
            starts, opening = self._starts_with_probabilities, b'],"score":'
        lists = [b""] * len(ids) if probabilities is None else _lists(probabilities)
        parts = zip(labels.tolist(), lists, _numbers(scores), ids, strict=True)
        return [
            b"".join((starts[label], numbers, opening, score, middle, name, end))
            for label, numbers, score, name in parts
        ]


class ListedCodec:
    """One row as a list in an envelope: ``{"instances": [[…]]}``, or ``{"features": […]}``.

    Args:
        reader: Of the model's schema.
        key: The envelope's member.
        single: The member is the row rather than a list with it.
        takes: Says whether requests with these headers may be usual ones.
        query: What the dialect's ``read`` would give for a row.
        write: Writes the answers' bodies.
    """

    def __init__(
        self,
        reader: RowReader,
        key: str,
        *,
        single: bool,
        takes: Callable[[Headers], bool],
        query: Callable[[FloatArray], Query],
        write: Callable[[Answers, list[bytes]], list[bytes]],
    ) -> None:
        self.takes = takes
        self.query = query
        self.write = write
        self._reader = reader
        self._single = single
        self._n_columns = reader.schema.n_columns
        rows: Any = reader.listed if single else list.__class_getitem__(reader.listed)
        envelope = msgspec.defstruct(
            "Envelope", [("rows", rows)], rename={"rows": key}, forbid_unknown_fields=True, gc=False
        )
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(envelope).decode

    def read(self, bodies: Sequence[bytes]) -> Taken:
        """The codes of the rows."""
        codes = self._several(bodies)
        return (codes, None) if codes is not None else _taken([self._one(body) for body in bodies], self._n_columns)

    def _several(self, bodies: Sequence[bytes]) -> FloatArray | None:
        """``read`` if all of the bodies are plainly right."""
        try:
            rows = [envelope.rows for envelope in map(self._decode, bodies)]
        except _UNREADABLE:
            return None
        if b"".join(bodies).count(b":") != len(bodies):
            return None
        if not self._single:
            if set(map(len, rows)) != {1}:
                return None
            rows = [row for (row,) in rows]
        return self._reader.listed_several(rows)

    def _one(self, body: bytes) -> Sequence[float] | None:
        if body.count(b":") != 1:  # the member is given twice: msgspec keeps the last silently
            return None
        try:
            rows = self._decode(body).rows
        except _UNREADABLE:
            return None
        if self._single:
            return self._reader.listed_one(rows)
        return self._reader.listed_one(rows[0]) if len(rows) == 1 else None


def instance_writer(engine: Engine) -> Callable[[Answers, list[bytes]], list[bytes]]:
    """Writes ``{"predictions": […]}`` with a bare label or value, or with a label and its score."""
    bodies = [b'{"predictions":[%b]}' % _encode(label) for label in engine.schema.labels]
    starts = [b'{"predictions":[[%b,' % _encode(label) for label in engine.schema.labels]

    def write(answers: Answers, _ids: list[bytes]) -> list[bytes]:
        if answers.labels is not None and answers.scores is not None:
            pairs = zip(answers.labels.tolist(), _numbers(answers.scores), strict=True)
            return [starts[label] + score + b"]]}" for label, score in pairs]
        if answers.labels is not None:
            return [bodies[label] for label in answers.labels.tolist()]
        assert answers.values is not None  # noqa: S101 (a regressor's answers always have values)
        return [b'{"predictions":[%b]}' % value for value in _numbers(answers.values)]

    return write


def named_instance_writer(engine: Engine) -> Callable[[Answers, list[bytes]], list[bytes]]:
    """The same with probabilities, the request's id and the model's version, as on ``/predict``."""
    starts = [b'{"predictions":[%b]' % _encode(label) for label in engine.schema.labels]
    scored = [b'{"predictions":[[%b,' % _encode(label) for label in engine.schema.labels]
    end = b'","model_version":%b}' % _encode(engine.manifest.version)
    join = b"".join

    def write(answers: Answers, ids: list[bytes]) -> list[bytes]:
        labels, probabilities, values, scores = answers
        middle = b',"request_id":"'
        if labels is not None and scores is not None:
            lists = [b""] * len(ids) if probabilities is None else _lists(probabilities)
            opening, closing = (b"]]", b"") if probabilities is None else (b']],"probabilities":[[', b"]]")
            rows = zip(labels.tolist(), _numbers(scores), lists, ids, strict=True)
            return [
                join((scored[label], score, opening, numbers, closing, middle, name, end))
                for label, score, numbers, name in rows
            ]
        if labels is None:
            assert values is not None  # noqa: S101 (a regressor's answers always have values)
            numbers = zip(_numbers(values), ids, strict=True)
            return [join((b'{"predictions":[', number, b"]", middle, name, end)) for number, name in numbers]
        if probabilities is None:
            return [join((starts[label], middle, name, end)) for label, name in zip(labels.tolist(), ids, strict=True)]
        parts = zip(labels.tolist(), _lists(probabilities), ids, strict=True)
        opening, middle = b',"probabilities":[[', b']],"request_id":"'
        return [join((starts[label], opening, numbers, middle, name, end)) for label, numbers, name in parts]

    return write


class TensorCodec:
    """One row of tensors in JSON; see ``openinference.OpenInference``.

    Args:
        row: Reads a body that asks for all outputs, in JSON, and names no id; ``None`` for any other.
        n_columns: Columns of the schema.
        head: The answer up to the id.
        predict: The output ``predict`` up to its data.
        labels: A classifier's labels as JSON, by position.
        probabilities: The output ``predict_proba`` up to its data; empty: there is none.
        score: The output ``score`` likewise.
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
        score: bytes = b"",
    ) -> None:
        self._row = row
        self._n_columns = n_columns
        self._head = head + b'"'
        start = b'","outputs":[' + predict + b'"data":['
        self._value = start
        between = b"]}," + probabilities + b'"data":[' if probabilities else b"]}]}"
        self._middles = [start + label + between for label in labels]
        self._unscored = [start + label for label in labels]
        self._probabilities = b"]}," + probabilities + b'"data":['
        self._score = b"]}," + score + b'"data":['

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
        labels, probabilities, values, scores = answers
        if labels is not None and scores is not None:
            starts, middle = self._unscored, b"" if probabilities is None else self._probabilities
            lists = [b""] * len(ids) if probabilities is None else _lists(probabilities)
            rows = zip(labels.tolist(), lists, _numbers(scores), ids, strict=True)
            return [
                join((head, name, starts[label], middle, numbers, self._score, score, end))
                for label, numbers, score, name in rows
            ]
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

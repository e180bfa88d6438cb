"""The usual requests, one row of JSON that is plainly right, read and written for all requests of a tick at once.

A codec gives the bytes that its dialect would give, with fewer objects on the way: the parts of an answer that do not
change are encoded once for each version, and the probabilities of all rows in one call of the encoder. Whatever a codec
does not take is read by its dialect, which answers precisely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from orris.runtime import Answers
from orris.schema.arrays import FloatArray
from orris.schema.rows import RowReader
from orris.serving.engine import Engine
from orris.serving.exchange import JSON, Exchange, Headers, Query

_encode = msgspec.json.Encoder().encode

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class NamedCodec:
    """A named row; see ``named.NamedRows``. ``with_class`` as there."""

    def __init__(self, engine: Engine, *, with_class: bool) -> None:
        self._read = engine.reader.one
        starts = []
        for number, text in zip(engine.class_numbers, engine.text_labels, strict=True):
            start = {"prediction": number, "prediction_label": text}
            if with_class:
                start["predicted_class"] = text
            starts.append(_encode(start)[:-1])
        self._starts = starts
        self._end = b',"model_version":%b}' % _encode(engine.manifest.version)

    def read(self, exchanges: Sequence[Exchange]) -> list[Sequence[float] | None]:
        """The codes of each row."""
        read = self._read
        return [read(each.body) if each.headers.get(b"content-type") == JSON else None for each in exchanges]

    def query(self, row: FloatArray) -> Query:
        """A single row."""
        return Query(row, True)

    def write(self, answers: Answers, ids: list[bytes]) -> list[bytes]:
        """One object for each row."""
        ends = [b',"request_id":"%b"%b' % (name, self._end) for name in ids]
        labels, probabilities, values = answers
        if labels is None:
            assert values is not None  # noqa: S101 (a regressor's answers always have values)
            return [b'{"prediction":%b%b' % each for each in zip(_numbers(values), ends, strict=True)]
        starts = [self._starts[label] for label in labels.tolist()]
        if probabilities is None:
            return [start + end for start, end in zip(starts, ends, strict=True)]
        return [b'%b,"probabilities":[%b]%b' % each for each in zip(starts, _lists(probabilities), ends, strict=True)]


class InstanceCodec:
    """One row under ``instances``; see ``instances.InstanceRows``. ``wanted`` says that labels are, and no event."""

    def __init__(self, engine: Engine, wanted: object) -> None:
        self._wanted = wanted
        members: list[Any] = [("instances", list.__class_getitem__(engine.reader.listed))]
        envelope = msgspec.defstruct("Instances", members, forbid_unknown_fields=True, gc=False)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(envelope).decode
        self._reader: RowReader = engine.reader
        self._answers = [b'{"predictions":[%b]}' % _encode(label) for label in engine.schema.labels]

    def read(self, exchanges: Sequence[Exchange]) -> list[Sequence[float] | None]:
        """The codes of each row."""
        return [
            self._one(each.body)
            if each.headers.get(b"content-type") == JSON and b"ce-specversion" not in each.headers
            else None
            for each in exchanges
        ]

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
        head: The answer up to the id.
        predict: The output ``predict`` up to its data.
        labels: A classifier's labels as JSON, by position.
        probabilities: The output ``predict_proba`` up to its data; empty: there is none.
    """

    def __init__(
        self,
        row: Callable[[bytes], Sequence[float] | None],
        *,
        head: bytes,
        predict: bytes,
        labels: Sequence[bytes],
        probabilities: bytes,
    ) -> None:
        self._row = row
        self._head = head
        start = b'","outputs":[' + predict + b'"data":['
        self._value = start
        between = b"]}," + probabilities + b'"data":[' if probabilities else b"]}]}"
        self._middles = [start + label + between for label in labels]

    def read(self, exchanges: Sequence[Exchange]) -> list[Sequence[float] | None]:
        """The codes of each row."""
        row = self._row
        return [row(each.body) if _is_plain(each.headers) else None for each in exchanges]

    def query(self, row: FloatArray) -> Query:
        """Tensors of one row."""
        return Query(row)

    def write(self, answers: Answers, ids: list[bytes]) -> list[bytes]:
        """One response for each row."""
        heads = [b'%b"%b' % (self._head, name) for name in ids]
        labels, probabilities, values = answers
        if labels is None:
            assert values is not None  # noqa: S101 (a regressor's answers always have values)
            return [
                b"%b%b%b]}]}" % (head, self._value, value) for head, value in zip(heads, _numbers(values), strict=True)
            ]
        middles = [self._middles[label] for label in labels.tolist()]
        if probabilities is None:
            return [head + middle for head, middle in zip(heads, middles, strict=True)]
        return [b"%b%b%b]}]}" % each for each in zip(heads, middles, _lists(probabilities), strict=True)]


def _is_plain(headers: Headers) -> bool:
    return (
        headers.get(b"content-type") == JSON
        and b"inference-header-content-length" not in headers
        and b"content-encoding" not in headers
    )


def _numbers(values: FloatArray) -> list[bytes]:
    """Each number of ``(n_rows,)`` as JSON."""
    return bytes(_encode(values.tolist()))[1:-1].split(b",")


def _lists(numbers: FloatArray) -> list[bytes]:
    """Each row of ``(n_rows, n)`` as JSON, without its brackets."""
    return bytes(_encode(numbers.tolist()))[2:-2].split(b"],[")

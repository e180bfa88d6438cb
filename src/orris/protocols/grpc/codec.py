"""The usual ``ModelInfer``, one row of FP64 in one tensor, read and written for all calls of a tick at once.

The bytes of such a message before its numbers are the same in every call of a client: they are compared with those of
messages that protobuf has read. ``docs/grpc-path.md`` says why a message that begins with them means the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.message import DecodeError

from orris.errors import ServingError
from orris.protocols.grpc.generated.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from orris.protocols.tensors import TensorReader
from orris.runtime import Answers
from orris.schema.arrays import FloatArray
from orris.serving.engine import Engine
from orris.serving.exchange import Headers, Query

if TYPE_CHECKING:
    from orris.protocols.grpc.dialect import Tensors

MAX_KNOWN = 64
"""Beginnings of messages that a codec remembers."""

MAX_KNOWN_BYTES = 1_024
"""Longest beginning that is remembered."""

_NUMBER, _SCORE = (np.frombuffer(mark, "<f8")[0] for mark in (b"orris-n\x40", b"orris-s\x40"))
"""Stand for the numbers of an answer while its other bytes are prepared."""


class RowMessageCodec:
    """One row in one tensor ``[1, n_columns]``.

    Args:
        dialect: Writes the answers that are taken apart, once, for their constant bytes.
        engine: The version.
        reader: Its reader of tensors.
        query: What the dialect's ``read`` gives for a row.
        raw: Numbers come and go in ``raw_input_contents`` and ``raw_output_contents``; otherwise in ``contents``.
    """

    def __init__(self, dialect: Tensors, engine: Engine, reader: TensorReader, query: Query, *, raw: bool) -> None:
        self._raw = raw
        self._query = query
        self._low, self._high = reader.low, reader.high
        self._n_columns = engine.schema.n_columns
        self._n_bytes = 8 * self._n_columns
        self._known: set[bytes] = set()
        manifest = engine.manifest
        self._start = ModelInferResponse(model_name=manifest.name, model_version=manifest.version).SerializeToString()
        marked, numbered = _samples(engine, _NUMBER, _SCORE), _samples(engine, 0.25, -0.5)
        self._parts = [self._taken_apart(dialect, engine, answers) for answers in marked]
        for answers in numbered:
            if self.write(answers, [b"-"]) != [dialect.write(engine, query, answers, "-", []).body]:
                raise ServingError("an answer of this model cannot be put together from prepared bytes")

    def takes(self, headers: Headers) -> bool:  # noqa: ARG002
        """Any call."""
        return True

    def read(self, bodies: Sequence[bytes]) -> tuple[FloatArray, Sequence[int] | None]:
        """The codes of the rows."""
        n_bytes, known = self._n_bytes, self._known
        taken = [i for i, body in enumerate(bodies) if body[:-n_bytes] in known or self._learn(body)]
        numbers = b"".join([bodies[i][-n_bytes:] for i in taken])
        rows = np.frombuffer(numbers, "<f8").reshape(len(taken), self._n_columns).astype(np.float64)
        plain = np.all((rows >= self._low) & (rows <= self._high), axis=1)
        if not plain.all():
            rows = rows[plain]
            taken = [i for i, is_plain in zip(taken, plain.tolist(), strict=True) if is_plain]
        return rows, None if len(taken) == len(bodies) else taken

    def query(self, row: FloatArray) -> Query:
        """Tensors of one row."""
        return self._query._replace(rows=row)

    def write(self, answers: Answers, ids: list[bytes]) -> list[bytes]:
        """One response for each row."""
        labels, probabilities, values, scores = answers
        start, join = self._start, b"".join
        n_rows = len(ids)
        parts = self._parts
        which = [0] * n_rows if labels is None else labels.tolist()
        first = probabilities if probabilities is not None else values
        names = [_id_field(name) for name in ids]
        if scores is not None:
            numbers = [b""] * n_rows if first is None else _slices(first)
            rows = zip(names, which, numbers, _slices(scores), strict=True)
            return [
                join((start, name, parts[i][0], number, parts[i][1], score, parts[i][2]))
                for name, i, number, score in rows
            ]
        if first is None:
            return [join((start, name, parts[i][0])) for name, i in zip(names, which, strict=True)]
        return [
            join((start, name, parts[i][0], number, parts[i][1]))
            for name, i, number in zip(names, which, _slices(first), strict=True)
        ]

    def _learn(self, body: bytes) -> bool:
        """Read a message whole; ``True`` if its numbers are its end, and all messages with its beginning are alike."""
        beginning = body[: -self._n_bytes]
        if len(beginning) > MAX_KNOWN_BYTES or len(body) <= self._n_bytes:
            return False
        # A message of the same beginning whose last bytes are no field: they can but be the numbers.
        if not self._plain(beginning + b"\xff" * self._n_bytes):
            return False
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known.add(beginning)
        return True

    def _plain(self, body: bytes) -> bool:
        try:
            request = ModelInferRequest.FromString(body)
        except DecodeError:
            return False
        if len(request.inputs) != 1 or request.id or request.parameters or request.outputs:
            return False
        given, raws = request.inputs[0], request.raw_input_contents
        if given.datatype != "FP64" or list(given.shape) != [1, self._n_columns] or given.parameters:
            return False
        if self._raw:
            return not given.HasField("contents") and list(raws) == [body[-self._n_bytes :]]
        filled = [field.name for field, _ in given.contents.ListFields()]
        numbers = np.array(given.contents.fp64_contents, "<f8").tobytes()
        return not raws and filled == ["fp64_contents"] and numbers == body[-self._n_bytes :]

    def _taken_apart(self, dialect: Tensors, engine: Engine, answers: Answers) -> tuple[bytes, bytes, bytes]:
        """The bytes of an answer behind its id: before its numbers, between them and the score, and behind it."""
        written = dialect.write(engine, self._query, answers, "", []).body[len(self._start) :]
        n_numbers = 0 if answers.probabilities is None else answers.probabilities.shape[1]
        n_numbers = 1 if answers.values is not None else n_numbers
        before, _, rest = written.partition(np.full(n_numbers, _NUMBER).tobytes()) if n_numbers else (written, b"", b"")
        if answers.scores is None:
            return before, rest, b""
        text = rest if n_numbers else before
        middle, _, end = text.partition(np.array([_SCORE]).tobytes())
        return (before, middle, end) if n_numbers else (middle, b"", end)


def _samples(engine: Engine, number: float, score: float) -> list[Answers]:
    """An answer for each label, or one for a regressor."""
    schema = engine.schema
    if not schema.labels:
        return [Answers(values=np.array([number]))]
    probabilities = np.full((1, len(schema.labels)), number) if engine.has_probabilities else None
    scores = np.array([score]) if engine.has_scores else None
    return [
        Answers(labels=np.array([i]), probabilities=probabilities, scores=scores) for i in range(len(schema.labels))
    ]


def _slices(numbers: FloatArray) -> list[bytes]:
    """The bytes of each row of ``(n_rows,)`` or ``(n_rows, n)``."""
    content = numbers.astype("<f8").tobytes()
    n_bytes = len(content) // len(numbers)
    return [content[i : i + n_bytes] for i in range(0, len(content), n_bytes)]


def _id_field(request_id: bytes) -> bytes:
    """The field ``id`` of a response; ids have at most 128 bytes."""
    n_bytes = len(request_id)
    length = bytes((n_bytes,)) if n_bytes < 0x80 else bytes((n_bytes & 0x7F | 0x80, n_bytes >> 7))
    return b"\x1a" + length + request_id

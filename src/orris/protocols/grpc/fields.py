"""The fields of a ``ModelInferRequest`` are counted before protobuf reads it: two bytes can become a hundred.

Source: https://protobuf.dev/programming-guides/encoding/. Only what is repeated takes more memory than it has bytes:
an empty input of two bytes becomes about 90 of them, a small number of one byte becomes eight to sixteen.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from orris.errors import BodyError, TooLargeError

MAX_FIELDS = 65_536
"""Most fields at the top of a message, and the part of the other limits that does not depend on the model."""

UNCOUNTED_BYTES = 65_536
"""A message of no more bytes needs no count: what protobuf makes of it has a few megabytes at most."""

MAX_ELEMENTS = 1_048_576
"""Elements that a request may have beside those of as many rows as the model takes: columns that are ignored."""

FIELDS_PER_COLUMN = 16
"""Fields that an input may have, on the average."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

BROKEN = "the message is not a ModelInferRequest"


Field = tuple[int, int, int, int, int]
"""A field: its number, its wire type, and the positions of its tag, of its content and behind it."""


def fields(body: bytes, start: int, stop: int) -> Iterator[Field]:
    """The fields of the message in ``body[start:stop]``; raises ``BodyError`` where there is none."""
    at = start
    while at < stop:
        tag, content = (body[at], at + 1) if body[at] < 0x80 else _varint(body, at, stop)
        wire_type = tag & 7
        if wire_type == _BYTES:
            n_bytes, content = _varint(body, content, stop)
            end = content + n_bytes
        elif wire_type == _VARINT:
            end = _varint(body, content, stop)[1]
        elif wire_type == _FIXED64:
            end = content + 8
        elif wire_type == _FIXED32:
            end = content + 4
        else:  # a group: the protocol has none
            raise BodyError(BROKEN)
        if end > stop:
            raise BodyError(BROKEN)
        yield tag >> 3, wire_type, at, content, end
        at = end


def named(body: bytes) -> bytes:
    """The fields of a message that name its model, or all of them if it is short.

    Raises:
        BodyError: It is no message.
        TooLargeError: It has too many fields.
    """
    if len(body) <= UNCOUNTED_BYTES:
        return body
    found: list[bytes] = []
    for i, (number, _, at, _, stop) in enumerate(fields(body, 0, len(body))):
        if i >= MAX_FIELDS:
            raise TooLargeError(f"the message has more than {MAX_FIELDS} fields; send the rows in one tensor")
        if number <= 2:
            found.append(body[at:stop])
    return b"".join(found)


def check_counts(body: bytes, n_columns: int, max_rows: int) -> None:
    """Refuse a request that protobuf would make much more of than any request of this model has.

    Args:
        body: A ``ModelInferRequest``.
        n_columns: Columns of the model.
        max_rows: Most rows of a request.

    Raises:
        BodyError: It is no message.
        TooLargeError: It has too many fields or elements.
    """
    if len(body) > UNCOUNTED_BYTES:
        counter = FieldCounter(MAX_FIELDS + FIELDS_PER_COLUMN * n_columns, MAX_ELEMENTS + n_columns * max_rows)
        counter.count(body, 0, len(body), "request")


_PARTS: dict[str, dict[int, str]] = {
    "request": {4: "entry", 5: "input", 6: "output"},
    "input": {4: "entry", 5: "contents"},
    "output": {2: "entry"},
    "entry": {2: "parameter"},
    "parameter": {},
}
"""The messages within the messages, by their fields' numbers; ``contents`` has elements."""

_SHAPE = 3
"""The field of an input with its shape."""

_VARINTS = frozenset({2, 3, 4, 5})
"""Fields of ``contents`` with packed elements that may be shorter than what they become: 4 or 8 bytes."""


class FieldCounter:
    """Counts the fields and elements of a request, up to limits.

    Attributes:
        n_fields: Fields seen at any depth, but for elements.
        n_elements: Elements seen of integers, texts and shapes, and those that are not packed.
    """

    def __init__(self, max_fields: int, max_elements: int) -> None:
        self.n_fields = 0
        self.n_elements = 0
        self._max_fields = max_fields
        self._max_elements = max_elements

    def count(self, body: bytes, start: int, stop: int, kind: str) -> None:
        """Count the fields of a message of a kind of ``_PARTS``; raises ``BodyError`` or ``TooLargeError``."""
        parts = _PARTS[kind]
        for number, wire_type, _, begin, end in fields(body, start, stop):
            self.n_fields += 1
            if self.n_fields > self._max_fields:
                raise TooLargeError(f"the message has more than {self._max_fields} fields; send the rows in one tensor")
            part = parts.get(number) if wire_type == _BYTES else None
            if part == "contents":
                self._count_elements(body, begin, end)
            elif part is not None:
                self.count(body, begin, end, part)
            elif kind == "input" and number == _SHAPE:
                self._add(1 if wire_type != _BYTES else _n_varints(body, begin, end))

    def _count_elements(self, body: bytes, start: int, stop: int) -> None:
        for number, wire_type, _, begin, end in fields(body, start, stop):
            packed = wire_type == _BYTES and number in _VARINTS
            self._add(1 + _n_varints(body, begin, end) if packed else 1)

    def _add(self, n: int) -> None:
        self.n_elements += n
        if self.n_elements > self._max_elements:
            raise TooLargeError(
                f"the message has more than {self._max_elements} elements; send fewer rows, or fewer columns"
            )


def _n_varints(body: bytes, start: int, stop: int) -> int:
    """The number of packed integers: each has one byte below 0x80, its last."""
    return int(np.count_nonzero(np.frombuffer(body, np.uint8, stop - start, start) < 0x80))


def _varint(body: bytes, at: int, stop: int) -> tuple[int, int]:
    """A number, and the position behind it."""
    value = shift = 0
    while at < stop and shift < 70:
        byte = body[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise BodyError(BROKEN)

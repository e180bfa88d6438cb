"""Replies as bytes of HTTP/1.1: the answers of predict routes, and refusals of what is no request."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from time import perf_counter

from orris.serving.exchange import Exchange, Reply

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

Headers = tuple[tuple[bytes, bytes], ...]

RETRY_AFTER: Headers = ((b"retry-after", b"1"),)

STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


_LENGTHS = [b"%d\r\nx-request-id: " % n for n in range(1_024)]
"""The end of the header ``content-length``, and the beginning of the next one, by length."""


class AnswerWriter:
    """Writes answers; what does not change between two of the same second is encoded once.

    Args:
        common: Headers of every answer: the date. uvicorn replaces the list once a second.
    """

    __slots__ = ("_common", "_encoded", "_usual")

    def __init__(self) -> None:
        self._common: list[tuple[bytes, bytes]] | None = None
        self._encoded = b""
        self._usual = b""

    def usual(
        self,
        common: list[tuple[bytes, bytes]],
        exchanges: Sequence[Exchange],
        bodies: Sequence[bytes],
        microseconds: int,
    ) -> list[bytes]:
        """Answers with status 200 and a body of JSON.

        Args:
            common: Headers of every answer; the same list for as long as they do not change.
            exchanges: What is answered.
            bodies: The body for each.
            microseconds: How long they took; less than a second.
        """
        if common is not self._common:
            self._renew(common)
        start = b"%bx-process-time: 0.%06d\r\ncontent-length: " % (self._usual, microseconds)
        answers = []
        for exchange, body in zip(exchanges, bodies, strict=True):
            length = len(body)
            middle = _LENGTHS[length] if length < 1_024 else b"%d\r\nx-request-id: " % length
            trace = exchange.trace
            end = b"\r\n\r\n" if trace is None or not trace.header else b"\r\ntraceparent: %b\r\n\r\n" % trace.header
            answers.append(b"".join((start, middle, exchange.id, end, body)))
        return answers

    def any(
        self,
        exchange: Exchange,
        reply: Reply,
        common: list[tuple[bytes, bytes]],
        *,
        more: Headers = (),
        close: bool = False,
    ) -> bytes:
        """Any answer.

        Args:
            exchange: What is answered.
            reply: The reply.
            common: As in ``usual``.
            more: Further headers.
            close: Say that the connection ends with this answer.
        """
        if common is not self._common:
            self._renew(common)
        extra = b"".join([b"%b: %b\r\n" % header for header in (*reply.headers, *more)])
        if exchange.trace is not None and exchange.trace.header:
            extra += b"traceparent: %b\r\n" % exchange.trace.header
        if close and b"connection: close\r\n" not in extra:
            extra += b"connection: close\r\n"
        return (
            b"%bcontent-type: %b\r\nx-content-type-options: nosniff\r\n%bcontent-length: %d\r\nx-request-id: %b\r\n"
            b"x-process-time: %b\r\n%b\r\n%b"
        ) % (
            STATUS_LINES[reply.status],
            reply.content_type,
            self._encoded,
            len(reply.body),
            exchange.id,
            seconds_since(exchange.started),
            extra,
            reply.body,
        )

    def _renew(self, common: list[tuple[bytes, bytes]]) -> None:
        self._common = common
        self._encoded = b"".join([b"%b: %b\r\n" % header for header in common])
        self._usual = (
            STATUS_LINES[200] + b"content-type: application/json\r\nx-content-type-options: nosniff\r\n" + self._encoded
        )


def seconds_since(started: float) -> bytes:
    """Seconds from a moment of ``perf_counter`` until now, to the microsecond."""
    microseconds = int((perf_counter() - started) * 1e6)
    return b"%d.%06d" % divmod(microseconds, 1_000_000)


def refusal(status: int, text: bytes, headers: Headers = ()) -> bytes:
    """The last answer of a connection, to what is no request, or one that nothing may begin to read."""
    extra = b"".join([b"%b: %b\r\n" % header for header in headers])
    return (
        b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nx-content-type-options: nosniff\r\n"
        b"connection: close\r\n%b\r\n%b"
    ) % (STATUS_LINES[status], len(text), extra, text)

"""A stream: one request and its answer, with the windows that bound what either side may send (RFC 9113, 5)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from orris.serving.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD,
    HEADERS,
    LARGEST_WINDOW,
    ErrorCode,
    StreamFault,
    frame,
    header_frames,
    window_update,
)

if TYPE_CHECKING:
    from orris.serving.http2.connection import Http2Connection
    from orris.serving.http2.heads import Head

STREAM_WINDOW = 1_048_576
"""Bytes that a client may send on a stream before it is granted more."""

_WHOLE_BLOCK = END_HEADERS | END_STREAM


class Receiver(Protocol):
    """Takes what comes on a stream."""

    def data(self, data: bytes, ended: bool) -> None:
        """Bytes of the request; ``ended``: they are the last."""

    def cancelled(self) -> None:
        """The stream is gone before its answer: nothing more can be sent on it."""

    def look(self, now: float) -> None:
        """End the stream if its time is up; called about twice a second with ``perf_counter()``."""


class _Nobody:
    """Takes nothing: the receiver of a stream until it has another one."""

    def data(self, data: bytes, ended: bool) -> None:
        """Nothing."""

    def cancelled(self) -> None:
        """Nothing."""

    def look(self, now: float) -> None:
        """Nothing."""


NOBODY = _Nobody()


class Stream:
    """A stream on which a request has begun.

    Attributes:
        number: Its identifier.
        head: The request's head.
        ended: The client has sent all of the request.
        open: Something may still be sent on it.
        receiver: Takes what comes.
        window: Bytes that may be sent on it.
        receivable: Bytes that the client may still send.
        queue: Data that waits for a window.
        stalled_since: When ``queue`` last moved, ``perf_counter()``; 0: it is empty.
    """

    __slots__ = (
        "_drained",
        "_ends",
        "_n_left",
        "_trailers",
        "connection",
        "ended",
        "head",
        "number",
        "open",
        "queue",
        "receivable",
        "receiver",
        "stalled_since",
        "window",
    )

    def __init__(self, connection: Http2Connection, number: int, head: Head, ended: bool, window: int) -> None:
        self.connection = connection
        self.number = number
        self.head = head
        self.ended = ended
        self.open = True
        self.receiver: Receiver = NOBODY
        self.window = window
        self.receivable = STREAM_WINDOW
        self.queue: deque[bytes] | None = None
        self.stalled_since = 0.0
        self._ends = False
        self._n_left = head.n_body_bytes
        self._trailers: bytes | None = None
        self._drained: asyncio.Future[None] | None = None

    # receiving

    def receive(self, data: bytes, ended: bool) -> None:
        """Pass data on; raises ``StreamFault`` if they are not as long as was announced."""
        if self._n_left >= 0:
            self._n_left -= len(data)
            if self._n_left < 0 or (ended and self._n_left):
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "the body is not as long as content-length says")
        self.ended = ended
        self.receiver.data(data, ended)

    def grant(self, n_bytes: int) -> None:
        """Let the client send so many bytes more."""
        if n_bytes > 0 and self.open and not self.ended:
            self.receivable += n_bytes
            self.connection.put(window_update(self.number, n_bytes))

    # sending

    def answer(self, headers: bytes, data: bytes, trailers: bytes) -> None:
        """Send a whole answer: a header block, data, and the block of the trailers; the stream ends."""
        connection = self.connection
        n_bytes = len(data)
        if (
            not self.open
            or n_bytes > self.window
            or n_bytes > connection.window
            or n_bytes > connection.max_frame_bytes
            or connection.unread_since
            or connection.resized_table
        ):
            self.send_headers(headers)
            self.send(data)
            self.end(trailers)
            return
        connection.window -= n_bytes
        number, pack = self.number, FRAME_HEAD.pack
        n_headers, n_trailers = len(headers), len(trailers)
        connection.output += (
            pack(n_headers >> 8, n_headers & 0xFF, HEADERS, END_HEADERS, number),
            headers,
            pack(n_bytes >> 8, n_bytes & 0xFF, DATA, 0, number),
            data,
            pack(n_trailers >> 8, n_trailers & 0xFF, HEADERS, _WHOLE_BLOCK, number),
            trailers,
        )
        self.open = False
        connection.answered(self)

    def send_headers(self, block: bytes, *, end: bool = False) -> None:
        """Send a header block; with ``end`` it is the whole answer."""
        if not self.open:
            return
        connection = self.connection
        if connection.resized_table:
            block = connection.resized_table + block
            connection.resized_table = b""
        connection.put(header_frames(self.number, block, connection.max_frame_bytes, end=end))
        if end:
            self.open = False
            connection.answered(self)

    def send(self, data: bytes, *, last: bool = False) -> None:
        """Send data, as far as the windows allow, and the rest when they do; ``last``: the answer ends with them."""
        if self.open and data:
            if self.queue is None:
                self.queue = deque()
            self.queue.append(data)
            self._ends = last
            self.pump()

    def end(self, trailers: bytes) -> None:
        """End the answer with trailers, behind the data that wait."""
        if self.queue:
            self._trailers = trailers
        else:
            self.send_headers(trailers, end=True)

    def pump(self) -> None:
        """Send what waits, as far as the windows allow."""
        connection, queue = self.connection, self.queue
        while queue and self.open:
            data = queue[0]
            n_bytes = min(len(data), self.window, connection.window, connection.max_frame_bytes)
            if n_bytes <= 0 or connection.unread_since:
                connection.block(self)
                return
            self.window -= n_bytes
            connection.window -= n_bytes
            if n_bytes == len(data):
                queue.popleft()
            else:
                queue[0] = data[n_bytes:]
            ends = self._ends and not queue
            connection.put(frame(DATA, END_STREAM if ends else 0, self.number, data[:n_bytes]))
            connection.n_earned += 1
            self.stalled_since = 0.0
        connection.unblock(self)
        if self._ends and self.open:
            self.open = False
            connection.answered(self)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._trailers is not None:
            self.send_headers(self._trailers, end=True)

    async def drained(self) -> None:
        """Wait until nothing waits to be sent, or the stream is gone."""
        while self.queue and self.open:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def widen(self, n_bytes: int) -> None:
        """The client takes so many bytes more."""
        self.window += n_bytes
        if self.window > LARGEST_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "the window is wider than any may be")
        if self.queue:
            self.pump()

    def close(self) -> None:
        """The stream is gone; called by the connection alone."""
        self.open = False
        self.queue = None
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

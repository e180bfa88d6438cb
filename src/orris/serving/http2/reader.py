"""Reads a connection's frames, in one pass over the bytes that arrive, and keeps the rules of RFC 9113.

What a frame does to a stream is done there; what it does to the connection, in ``connection.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

from orris.serving.http2.frames import (
    ACK,
    CONTINUATION,
    DEFAULT_FRAME_BYTES,
    DEFAULT_TABLE_BYTES,
    DEFAULT_WINDOW,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD,
    HEAD_BYTES,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    LARGEST_FRAME_BYTES,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    MAX_FRAME_SIZE,
    N_KINDS,
    PADDED,
    PING,
    PREFACE,
    SETTINGS,
    WITH_PRIORITY,
    ConnectionFault,
    ErrorCode,
    StreamFault,
    check_priority,
    frame,
    read_settings,
    reset,
    unpadded,
    window_update,
)
from orris.serving.http2.heads import HeadReader
from orris.serving.http2.stream import Stream

if TYPE_CHECKING:
    from orris.serving.http2.connection import Http2Connection

MAX_STREAMS = 256
"""Streams of one connection at once; a client keeps further requests to itself, or they are refused unread."""

CONNECTION_WINDOW = 16 * 1024**2
"""Bytes that a client may send on all streams before it is granted more, which it is when a quarter has come."""

MAX_CONTINUATIONS = 32
"""Frames that one header block may come in."""

FREE_FRAMES, EARNED_FRAMES = 1_000, 8
"""Frames that bring no request, between two looks: so many, and so many more for each answer or frame of data sent.

They are PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM, tiny data, frames of unknown types and of closed streams.
"""

FREE_RESETS = 2 * MAX_STREAMS
"""Requests that a client may take back between two looks, beside as many as were answered."""

TINY_BYTES = 64
"""Data that are shorter, and not a request's last, count among the frames that bring no request."""

MAX_RESET = 1_024
"""Streams that were reset here and are remembered: what still comes on them is no mistake of the client."""

NO_HTTP2 = b"This port speaks gRPC over HTTP/2; HTTP has a port of its own.\n"

_METHODS = (b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ")


class FrameReader:
    """Reads the frames of a connection.

    Args:
        connection: The connection.
        max_header_bytes: Longest header list.

    Attributes:
        last: The last stream that a request has opened.
        configured: The client's first SETTINGS have come.
        refusing: Further requests are not taken; the client was told so.
        active: Something other than an answer has happened since the last look.
        partial_since: When a frame, a header block or the preface began that is not whole, ``perf_counter()``; 0: none.
    """

    def __init__(self, connection: Http2Connection, max_header_bytes: int) -> None:
        self.last = 0
        self.configured = False
        self.refusing = False
        self.active = True
        self.partial_since = perf_counter()
        self._connection = connection
        self._heads = HeadReader(max_header_bytes)
        self._max_block_bytes = 2 * max_header_bytes
        self._rest = b""
        self._greeted = False
        self._block: tuple[int, int, list[bytes]] | None = None
        self._initial_window = DEFAULT_WINDOW
        self._receivable = CONNECTION_WINDOW
        self._reset: dict[int, None] = {}
        self._n_idle = 0
        self._n_taken_back = 0
        self._handlers: tuple[Callable[[int, int, bytes], None], ...] = (
            self._on_data,
            self._on_headers,
            self._on_priority,
            self._on_reset,
            self._on_settings,
            self._on_push_promise,
            self._on_ping,
            self._on_go_away,
            self._on_window_update,
            self._on_continuation,
            self._on_unknown,
        )

    def feed(self, data: bytes) -> None:
        """Read bytes; raises ``ConnectionFault``."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        if not self._greeted:
            self._rest = data
            if not self._greets(data):
                return
            at = len(PREFACE)
        unpack, handlers, closing = FRAME_HEAD.unpack_from, self._handlers, self._connection.transport.is_closing
        while end - at >= HEAD_BYTES:
            high, low, kind, flags, number = unpack(data, at)
            start = at + HEAD_BYTES
            stop = start + (high << 8 | low)
            if stop - start > DEFAULT_FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame is longer than SETTINGS_MAX_FRAME_SIZE")
            if stop > end:
                break
            at = stop
            number &= LARGEST_STREAM
            if self._block is not None or not self.configured:
                self._check_order(kind, flags, number)
            try:
                handlers[min(kind, N_KINDS)](number, flags, data[start:stop])
            except StreamFault as fault:
                self._refuse(number, fault)
        if not closing():
            self._keep(data[at:])

    def _keep(self, rest: bytes) -> None:
        """What has come of a frame that is not whole waits for the rest."""
        self._rest = rest
        if not rest and self._block is None:
            self.partial_since = 0.0
        elif not self.partial_since:
            self.partial_since = perf_counter()

    def forget(self, number: int) -> None:
        """A stream was reset here: what still comes on it is no mistake."""
        self._reset[number] = None
        if len(self._reset) > MAX_RESET:
            del self._reset[next(iter(self._reset))]

    def renew(self) -> None:
        """Count from zero what a client may do between two looks."""
        self._n_idle = self._n_taken_back = 0

    # the order of frames, and what is spent

    def _greets(self, data: bytes) -> bool:
        """Whether the client's preface has come."""
        if data.startswith(PREFACE):
            self._greeted = True
            self._connection.introduce()
        elif data.startswith(_METHODS):
            self._connection.end_plainly(NO_HTTP2)
        elif not PREFACE.startswith(data):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2")
        return self._greeted

    def _check_order(self, kind: int, flags: int, number: int) -> None:
        if self._block is not None and (kind != CONTINUATION or number != self._block[0]):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted")
        if not self.configured and (kind != SETTINGS or flags & ACK):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")

    def _refuse(self, number: int, fault: StreamFault) -> None:
        """End a stream whose client broke the rules."""
        self._spend()
        self.forget(number)
        connection = self._connection
        connection.put(reset(number, fault.code))
        stream = connection.streams.get(number)
        if stream is not None:
            connection.drop(stream)

    def _spend(self) -> None:
        """Count a frame that brings no request."""
        self._n_idle += 1
        if self._n_idle > FREE_FRAMES + EARNED_FRAMES * self._connection.n_earned:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that bring no request")

    def _require_opened(self, number: int) -> None:
        """Refuse a frame of a stream that no request has opened; those that are taken no more may be opened."""
        if not number or (number > self.last and not self.refusing):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream was not opened")

    def _closed(self, number: int, stream: Stream | None, text: str) -> None:
        """A frame of a request came after its end."""
        self._require_opened(number)
        self._spend()
        if number in self._reset or number > self.last:
            return
        if stream is not None:
            raise StreamFault(ErrorCode.STREAM_CLOSED, text)
        raise ConnectionFault(ErrorCode.STREAM_CLOSED, text)

    def _on_unknown(self, number: int, flags: int, payload: bytes) -> None:  # noqa: ARG002
        self._spend()

    # requests

    def _on_data(self, number: int, flags: int, payload: bytes) -> None:
        n_bytes = len(payload)
        self._receivable -= n_bytes
        if self._receivable < CONNECTION_WINDOW - CONNECTION_WINDOW // 4:
            if self._receivable < 0:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window")
            self._connection.put(window_update(0, CONNECTION_WINDOW - self._receivable))
            self._receivable = CONNECTION_WINDOW
        stream = self._connection.streams.get(number)
        if flags & PADDED:
            payload = unpadded(payload)
        if stream is None or stream.ended:
            self._closed(number, stream, "data behind the end of a request")
            return
        stream.receivable -= n_bytes
        if stream.receivable < 0:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the stream's window")
        ended = flags & END_STREAM > 0
        if n_bytes < TINY_BYTES and not ended:
            self._spend()
        stream.receive(payload, ended)

    def _on_headers(self, number: int, flags: int, payload: bytes) -> None:
        if flags & PADDED:
            payload = unpadded(payload)
        if flags & WITH_PRIORITY:
            try:
                check_priority(number, payload[:5])
            except StreamFault as fault:  # the block is not read, so that no further one could be
                raise ConnectionFault(fault.code, str(fault)) from None
            payload = payload[5:]
        if not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client's streams have odd numbers")
        if flags & END_HEADERS:
            self._on_block(number, flags, payload)
        else:
            self._block = number, flags, [payload]

    def _on_continuation(self, number: int, flags: int, payload: bytes) -> None:
        if self._block is None:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION continues nothing")
        _, first_flags, parts = self._block
        parts.append(payload)
        if len(parts) > MAX_CONTINUATIONS or sum(map(len, parts)) > self._max_block_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block is too long")
        if flags & END_HEADERS:
            self._block = None
            self._on_block(number, first_flags, b"".join(parts))

    def _on_block(self, number: int, flags: int, block: bytes) -> None:
        """A header block is whole: a request begins, or ends with trailers."""
        ended = flags & END_STREAM > 0
        if number <= self.last:
            self._on_trailers(number, ended, block)
            return
        if self.refusing:
            self._heads.skip(block)
            return
        connection = self._connection
        self.last = number
        head = self._heads.request(block)
        if len(connection.streams) >= MAX_STREAMS:
            raise StreamFault(ErrorCode.REFUSED_STREAM, "too many streams")
        if ended and head.n_body_bytes > 0:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "the body is not as long as content-length says")
        self.active = True
        stream = connection.streams[number] = Stream(connection, number, head, ended, self._initial_window)
        connection.context.begin(stream)
        if ended and stream.open:
            stream.receiver.data(b"", True)

    def _on_trailers(self, number: int, ended: bool, block: bytes) -> None:
        stream = self._connection.streams.get(number)
        fields = self._heads.skip(block)
        if stream is None or stream.ended:
            if number < self.last and stream is None and number not in self._reset:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the numbers of streams do not increase")
            self._closed(number, stream, "a header block behind the end of a request")
        elif not ended:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "trailers end a request")
        else:
            self._heads.check_trailers(fields)
            stream.receive(b"", True)

    def _on_priority(self, number: int, flags: int, payload: bytes) -> None:  # noqa: ARG002
        if len(payload) != 5:
            raise StreamFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY has 5 bytes")
        check_priority(number, payload)
        self._spend()

    def _on_reset(self, number: int, flags: int, payload: bytes) -> None:  # noqa: ARG002
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM has 4 bytes")
        self._require_opened(number)
        self._reset.pop(number, None)
        stream = self._connection.streams.get(number)
        if stream is None:
            self._spend()
            return
        self._n_taken_back += 1
        if self._n_taken_back > FREE_RESETS + self._connection.n_earned:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many requests are taken back")
        self._connection.drop(stream)

    # the connection

    def _on_settings(self, number: int, flags: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS is for the connection")
        self._spend()
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS is empty")
            return
        values = read_settings(payload)
        self._connection.put(frame(SETTINGS, ACK, 0))  # before what a wider window lets out
        for name, value in values:
            self._set(name, value)
        if not self.configured:
            self.configured = True
            self._connection.greeted()

    def _set(self, name: int, value: int) -> None:
        """One setting of the client."""
        connection = self._connection
        if name == ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS_ENABLE_PUSH is 0 or 1")
        if name == HEADER_TABLE_SIZE and value < DEFAULT_TABLE_BYTES:
            # What is sent uses no table; the client has to be told all the same (RFC 9113, 4.3.1).
            connection.resized_table = b"\x20"
        elif name == MAX_FRAME_SIZE:
            if not DEFAULT_FRAME_BYTES <= value <= LARGEST_FRAME_BYTES:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE is out of range")
            connection.max_frame_bytes = value
        elif name == INITIAL_WINDOW_SIZE:
            if value > LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE is out of range")
            difference, self._initial_window = value - self._initial_window, value
            try:
                for stream in list(connection.streams.values()):
                    stream.widen(difference)
            except StreamFault as fault:
                raise ConnectionFault(fault.code, str(fault)) from None

    def _on_push_promise(self, number: int, flags: int, payload: bytes) -> None:  # noqa: ARG002
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client pushes nothing")

    def _on_ping(self, number: int, flags: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING is for the connection")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING has 8 bytes")
        self._spend()
        if flags & ACK:
            self._connection.acknowledged(payload)
        else:
            self.active = True
            self._connection.put(frame(PING, ACK, 0, payload))

    def _on_go_away(self, number: int, flags: int, payload: bytes) -> None:  # noqa: ARG002
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY is for the connection")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY has 8 bytes")
        self._connection.leave()

    def _on_window_update(self, number: int, flags: int, payload: bytes) -> None:  # noqa: ARG002
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE has 4 bytes")
        self._spend()
        n_bytes = int.from_bytes(payload, "big") & LARGEST_WINDOW
        if not number:
            if not n_bytes:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window is widened by nothing")
            self._connection.widen(n_bytes)
            return
        self._require_opened(number)
        if not n_bytes:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a window is widened by nothing")
        stream = self._connection.streams.get(number)
        if stream is not None:
            stream.widen(n_bytes)

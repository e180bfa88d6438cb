"""A client's connection over HTTP/2: an asyncio protocol with its streams, what is sent on it, and its end.

``reader.py`` reads the frames. What is sent is collected, and written once for each turn of the loop.
``docs/grpc-path.md`` draws this, and says what bounds a hostile client.
"""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING

from orris.serving.http2.frames import (
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    INITIAL_WINDOW_SIZE,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    PING,
    ConnectionFault,
    ErrorCode,
    frame,
    go_away,
    reset,
    settings,
    window_update,
)
from orris.serving.http2.reader import CONNECTION_WINDOW, MAX_STREAMS, FrameReader
from orris.serving.http2.stream import STREAM_WINDOW, Stream

if TYPE_CHECKING:
    from orris.serving.http2.context import Http2Context

SHUTDOWN_SECONDS = 1.0
"""How long the end of a connection waits for the client to have seen that it is near."""

_SHUTDOWN_PING = b"orris-go"
_NEAR_END = go_away(LARGEST_STREAM, ErrorCode.NO_ERROR) + frame(PING, 0, 0, _SHUTDOWN_PING)

_PLAIN = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b"
)

logger = logging.getLogger(__name__)


class Http2Connection(asyncio.Protocol):
    """A connection.

    Args:
        context: What the connections of a process share.

    Attributes:
        scheme: ``http`` or ``https``.
        streams: Streams with a request that is not answered, or not sent whole, by their number.
        output: What is to be written.
        window: Bytes that may be sent on all streams.
        max_frame_bytes: Longest payload that the client takes.
        unread_since: When the client stopped reading, ``perf_counter()``; 0: it reads.
        resized_table: Begins the next header block that is sent, as the client has made its table smaller.
        n_earned: Answers and frames of data that were sent since the last look.
        idle_since: When the connection last had a stream, to half a second.
    """

    def __init__(self, context: Http2Context) -> None:
        self.context = context
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # until ``connection_made``
        self.scheme = "http"
        self.streams: dict[int, Stream] = {}
        self.output: list[bytes] = []
        self.window = DEFAULT_WINDOW
        self.max_frame_bytes = DEFAULT_FRAME_BYTES
        self.unread_since = 0.0
        self.resized_table = b""
        self.n_earned = 0
        self.idle_since = perf_counter()
        self._reader = FrameReader(self, context.max_header_bytes)
        self._blocked: dict[int, Stream] = {}
        self._n_unread = 0
        self._flushing = False
        self._paused = False
        self._deaf = False
        self._leaving = False
        self._shutdown_at = 0.0
        self._ending_since = 0.0

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # sockets have no other
        """A client has connected."""
        self.transport = transport
        self.context.connections.add(self)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.scheme = "https"
            if tls.selected_alpn_protocol() != "h2":
                self._deaf = True
                transport.close()
                return

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._deaf:
            return
        try:
            self._reader.feed(data)
        except ConnectionFault as fault:
            self._fail(fault)
        except Exception:
            logger.exception("a connection failed")
            self._fail(ConnectionFault(ErrorCode.INTERNAL_ERROR, "the server failed"))
        if self.output:
            self.flush()

    def eof_received(self) -> bool:
        """The client sends no more; what it has asked is answered first, if the transport can do that."""
        if not self.streams or self._deaf or self.scheme == "https":
            return False
        self._deaf = self._leaving = True
        self._ending_since = perf_counter()
        for stream in [each for each in self.streams.values() if not each.ended]:
            self.drop(stream)
        return bool(self.streams)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's name)
        """The client is gone; what is being computed for it is dropped when it is done."""
        self.context.connections.discard(self)
        self._deaf = True
        for stream in list(self.streams.values()):
            self.drop(stream)

    def pause_writing(self) -> None:
        """More is to be written than the client reads: nothing further is read from it, and it is given a while."""
        self.unread_since = perf_counter()
        self._n_unread = self.transport.get_write_buffer_size()
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The client has read."""
        self.unread_since = 0.0
        if self._paused:
            self._paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()
        self._pump()
        self.flush()

    # what is sent

    def put(self, frames: bytes) -> None:
        """Send frames by the end of this turn of the loop."""
        self.output.append(frames)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write what has been collected, in one piece."""
        self._flushing = False
        if self.output:
            frames, self.output = b"".join(self.output), []
            if frames and not self.transport.is_closing():
                self.transport.write(frames)
        if not self.streams and (self._leaving or self._reader.refusing):
            self._deaf = True
            self.transport.close()

    def introduce(self) -> None:
        """Answer the client's preface with our own."""
        own = {
            MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            MAX_HEADER_LIST_SIZE: self.context.max_header_bytes,
        }
        self.put(settings(own) + window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW))

    def end_plainly(self, text: bytes) -> None:
        """Answer a client that does not speak HTTP/2, and close."""
        self._deaf = True
        self.transport.write(_PLAIN % (len(text), text))
        self.transport.close()

    def widen(self, n_bytes: int) -> None:
        """The client takes so many bytes more; raises ``ConnectionFault``."""
        self.window += n_bytes
        if self.window > LARGEST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the window is wider than any may be")
        if self._blocked:
            self._pump()

    def block(self, stream: Stream) -> None:
        """A stream's data wait for a window."""
        self._blocked[stream.number] = stream
        if not stream.stalled_since:
            stream.stalled_since = perf_counter()

    def unblock(self, stream: Stream) -> None:
        """They wait no more."""
        stream.stalled_since = 0.0
        self._blocked.pop(stream.number, None)

    def _pump(self) -> None:
        for stream in list(self._blocked.values()):
            if self.window <= 0 or self.unread_since:
                return
            stream.pump()

    # the end of streams

    def answered(self, stream: Stream) -> None:
        """The last frame of a stream's answer was sent."""
        self.n_earned += 1
        self.streams.pop(stream.number, None)
        if not stream.ended:
            # The answer needs nothing more of the request (RFC 9113, 8.1).
            self._reader.forget(stream.number)
            self.put(reset(stream.number, ErrorCode.NO_ERROR))

    def cut(self, stream: Stream, code: ErrorCode) -> None:
        """End a stream without an answer."""
        self.put(reset(stream.number, code))
        self._reader.forget(stream.number)
        self.drop(stream)

    def drop(self, stream: Stream) -> None:
        """A stream is gone."""
        self.streams.pop(stream.number, None)
        self._blocked.pop(stream.number, None)
        stream.close()
        stream.receiver.cancelled()
        if self._leaving or self._reader.refusing:
            self.put(b"")

    # time

    def look(self, now: float) -> None:
        """End what is out of time; called about twice a second with ``perf_counter()``."""
        reader, seconds = self._reader, self.context.request_seconds
        self.n_earned = 0
        reader.renew()
        if self.unread_since:
            self._look_at_unread(now)
            return
        if self._ending_since or self.transport.is_closing():
            self._look_at_end(now)
        if self._shutdown_at and now > self._shutdown_at:
            self._take_no_more()
        if reader.partial_since and now - reader.partial_since > seconds:
            self._fail(ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"a frame was not whole after {seconds:g} s"))
            return
        for stream in list(self.streams.values()):
            if stream.stalled_since and now - stream.stalled_since > seconds:
                self.cut(stream, ErrorCode.CANCEL)
            elif stream.open:
                stream.receiver.look(now)
        if self.streams or reader.active:
            reader.active = False
            self.idle_since = now
        elif now - self.idle_since > self.context.keep_alive_seconds:
            self.shutdown()

    def _look_at_unread(self, now: float) -> None:
        """Cut the client off if it has read nothing since the last look."""
        if now - self.unread_since < self.context.request_seconds:
            return
        left = self.transport.get_write_buffer_size()
        if left >= self._n_unread:
            self.transport.abort()
            return
        self.unread_since, self._n_unread = now, left

    def _look_at_end(self, now: float) -> None:
        """Cut off a client that sends no more, while a watch goes on or while it does not read the last of it."""
        self._ending_since = self._ending_since or now
        if now - self._ending_since > self.context.request_seconds:
            self.transport.abort()

    # the end of the connection

    @property
    def idle(self) -> bool:
        """Whether no request has begun that is not answered, or not sent whole."""
        return not self.streams

    def shutdown(self) -> None:
        """Answer what is on its way, take nothing more, and close (RFC 9113, 6.8).

        The client is told first that the end is near; what it has sent until it has seen that is answered.
        """
        if not self._shutdown_at and not self._deaf:
            self._shutdown_at = perf_counter() + SHUTDOWN_SECONDS
            self.greeted()

    def greeted(self) -> None:
        """The client has said how it wants to be spoken to; if the end is near, this can be said now."""
        if self._shutdown_at and self._reader.configured:
            self.put(_NEAR_END)

    def acknowledged(self, ping: bytes) -> None:
        """The client has seen all that was sent before a PING."""
        if ping == _SHUTDOWN_PING and self._shutdown_at:
            self._take_no_more()

    def leave(self) -> None:
        """The client has said that it will send no more requests: close when all are answered."""
        self._leaving = True
        self.put(b"")

    def _take_no_more(self) -> None:
        if not self._reader.refusing:
            self._reader.refusing = True
            self.put(go_away(self._reader.last, ErrorCode.NO_ERROR))

    def _fail(self, fault: ConnectionFault) -> None:
        """End the connection, and say why."""
        self._deaf = self._leaving = True
        self.output.append(go_away(self._reader.last, fault.code, str(fault)))
        for stream in list(self.streams.values()):
            self.drop(stream)
        self.flush()

"""One client's connection: uvicorn's HTTP protocol, with a way straight to the predict_routes.

A POST to a predict route is answered without an ASGI task: parsed by httptools, entered at its predict route, and
written to the socket at the end of the tick. All other requests take uvicorn's way to the ASGI application. The order
of answers on a connection is the order of requests: while an exchange is open it stands where uvicorn expects its own
request cycle, so that whatever comes behind it is queued.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sized
from time import perf_counter
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from orris.errors import OrrisError, RequestTimeoutError
from orris.serving.exchange import Exchange, Reply
from orris.serving.http.asgi import announced, too_large
from orris.serving.http.cors import Cors
from orris.serving.predict_route import PredictRoute
from orris.telemetry.tracecontext import Arrival

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

LINGER_SECONDS = 1.0
LINGER_BYTES = 64 * 1024**2
"""How long, and how much, of a refused request's rest is read and dropped, so that the client can read its answer."""

_ANSWER = (
    b"%bcontent-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\nx-process-time: %.6f\r\nx-content-type-options:"
    b" nosniff\r\n%b\r\n%b"
)
"""Status line, content type, length, request id, seconds, further headers, body."""


class _NoEvent:
    """uvicorn sets a cycle's event when data or a hang-up arrives; nobody waits for an exchange's."""

    def set(self) -> None:
        """Nothing to wake."""


_NO_EVENT = _NoEvent()

_common: list[Any] = [None, b""]
"""uvicorn's default headers, and their bytes."""


class _Open(Exchange):
    """An exchange on a connection, in the shape of uvicorn's request cycle."""

    __slots__ = (
        "connection",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "path",
        "response_complete",
        "version",
    )

    def __init__(
        self, connection: Connection, headers: Mapping[bytes, bytes], path: bytes, version: str, keep_alive: bool
    ) -> None:
        super().__init__(b"", headers)
        self.connection = connection
        self.path = path
        self.version = version
        self.keep_alive = keep_alive and version != "1.0"
        self.response_complete = False
        self.disconnected = False
        self.more_body = True
        self.message_event = _NO_EVENT

    def finish(self, reply: Reply) -> None:
        """Write the reply."""
        self.connection.finish(self, reply)

    def arrival(self) -> Arrival:
        """From the connection, and the request line."""
        return Arrival(self.path.decode("latin-1"), self.connection.scheme or "http", self.version)


class _Flow(FlowControl):
    """uvicorn's flow control, which reads on for every request of a pipeline.

    This one waits until the pipeline is empty, and written.
    """

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        """Read on, unless requests or answers have piled up."""
        if not self.write_paused and not self._pipeline:
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """A connection.

    Args:
        predict_routes: The predict route of each predict route, by raw path; shared with, and changed by, the catalog's
            owner.
        max_header_bytes: Most bytes of request line and headers.
        request_seconds: Longest time from a request's first byte to its last.
        cors: What answers say about origins; ``None``: nothing.
        **uvicorn: What uvicorn gives to its protocols.
    """

    def __init__(
        self,
        predict_routes: Mapping[bytes, PredictRoute],
        *,
        max_header_bytes: int,
        request_seconds: float,
        cors: Cors | None = None,
        **uvicorn: Any,
    ) -> None:
        super().__init__(**uvicorn)
        self.cycle: Any = None  # the newest request: an exchange of ours or a request cycle of uvicorn's
        self._running: RequestResponseCycle | None = None
        self._predict_routes = predict_routes
        self._max_header_bytes = max_header_bytes
        self._request_seconds = request_seconds
        self._cors = cors
        self._header_bytes = 0
        self._predict_route: PredictRoute | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._deadline: Any = None
        self._idle_timer: Any = None
        self._idle_since = 0.0
        self._unread: Any = None
        self._n_unread = 0
        self._refused = False
        self._n_refused = 0
        self._begun = False
        self._whole = True
        self.stopping = False

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """A request begins. What only ASGI needs is built when it is known to be for ASGI."""
        self.url = b""
        self.headers = []
        self._begun = True
        self._header_bytes = 0
        self._predict_route = None
        self._whole = False

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._header_bytes += len(url)
        self.url += url
        self._check_header_bytes()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > self._max_header_bytes:
            self._check_header_bytes()
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The headers are there: it is known which way the request goes."""
        if self._refused:
            return
        predict_route = self._predict_routes.get(self.url)
        if (
            predict_route is None
            or self.parser.get_method() != b"POST"
            or not (self.cycle is None or self.cycle.response_complete)
        ):
            self._to_asgi()
            return
        parser, headers = self.parser, dict(self.headers)
        self._predict_route = predict_route
        self._parts = []
        self._size = 0
        self.cycle = _Open(self, headers, self.url, parser.get_http_version(), parser.should_keep_alive())
        if announced(headers) > predict_route.context.max_body_bytes:
            self._refuse_and_close(too_large(predict_route.context.max_body_bytes))
        elif b"expect" in headers and headers[b"expect"].lower() == b"100-continue":
            self.transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._predict_route is None:
            if not self._refused:
                super().on_body(body)
                return
            self._n_refused += len(body)
            if self._n_refused > LINGER_BYTES:
                self.transport.close()
            return
        self._size += len(body)
        if self._size > self._predict_route.context.max_body_bytes:
            self._refuse_and_close(too_large(self._predict_route.context.max_body_bytes))
            return
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._begun = False
        self._clear_deadline()
        self._whole = True
        predict_route, exchange = self._predict_route, self.cycle
        if predict_route is None:
            if self._refused:
                self.transport.close()
            else:
                super().on_message_complete()
            return
        self._predict_route = None
        parts = self._parts
        exchange.body = parts[0] if len(parts) == 1 else b"".join(parts)
        predict_route.enter(exchange)

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade:
            self._unsupported_upgrade_warning()
        except HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self.parser is not None and self._deadline is None and self._receiving():
            self._deadline = self.loop.call_later(self._request_seconds, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; what is being computed for it is dropped when it is done."""
        self._clear_deadline()
        for timer in (self._idle_timer, self._unread):
            if timer is not None:
                timer.cancel()
        if self._running is not None:
            # uvicorn tells the newest request only, and this one may have others behind it.
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    # a client that does not read its answers

    def pause_writing(self) -> None:
        """More is to be written than the client reads: nothing further is read from it, and it is given a while."""
        super().pause_writing()
        self.flow.pause_reading()
        self._n_unread = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(self._request_seconds, self._still_unread)

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        self.flow.resume_reading()

    def _still_unread(self) -> None:
        """Cut the client off if it has read nothing since the last look."""
        left = self.transport.get_write_buffer_size()
        if left >= self._n_unread:
            self.transport.abort()
            return
        self._n_unread = left
        self._unread = self.loop.call_later(self._request_seconds, self._still_unread)

    # answers

    def finish(self, exchange: _Open, reply: Reply) -> None:
        """Write an exchange's reply, and let the next request of the connection go on."""
        exchange.response_complete = True
        if exchange.disconnected or self.transport.is_closing():
            return
        if self.stopping and not self.pipeline:
            exchange.keep_alive = False
        self.transport.write(self._encoded(exchange, reply))
        self.server_state.total_requests += 1
        if not exchange.keep_alive:
            if self._refused and self._begun:
                # Its rest is still coming: closing now would reset the connection before the client has read why.
                self.loop.call_later(LINGER_SECONDS, self.transport.close)
            else:
                self.transport.close()
        elif self.pipeline:
            self.on_response_complete()
        else:
            self._idle_since = perf_counter()
            if self._idle_timer is None:
                self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._idle)

    def _idle(self) -> None:
        """Close a connection that nothing has come on for a while; one timer serves many requests."""
        self._idle_timer = None
        left = self.timeout_keep_alive - (perf_counter() - self._idle_since)
        busy = self._receiving() or not (self.cycle is None or self.cycle.response_complete)
        if busy or left > 0:
            self._idle_timer = self.loop.call_later(max(left, 0.1), self._idle)
        elif not self.transport.is_closing():
            self.transport.close()

    def _encoded(self, exchange: _Open, reply: Reply) -> bytes:
        extra = self._common_headers()
        if reply.headers:
            extra += b"".join([b"%b: %b\r\n" % header for header in reply.headers])
        if self._cors is not None:
            extra += b"".join([b"%b: %b\r\n" % header for header in self._cors.headers(exchange.headers)])
        if exchange.trace is not None and exchange.trace.header:
            extra += b"traceparent: %b\r\n" % exchange.trace.header
        if not exchange.keep_alive:
            extra += b"connection: close\r\n"
        return _ANSWER % (
            STATUS_LINE[reply.status],
            reply.content_type,
            len(reply.body),
            exchange.request_id.encode("ascii"),
            perf_counter() - exchange.started,
            extra,
            reply.body,
        )

    # the server stops

    @property
    def idle(self) -> bool:
        """Whether no request has begun that is not answered."""
        return self._whole and (self.cycle is None or self.cycle.response_complete)

    def shutdown(self) -> None:
        """The server stops: the next answer is the connection's last, and says so.

        Those before it in the pipeline are given too.
        """
        self.stopping = True
        if not self.idle and isinstance(self.cycle, RequestResponseCycle):
            self.cycle.keep_alive = False

    def _common_headers(self) -> bytes:
        """Uvicorn's own headers (the date), encoded once for as long as they stay the same list."""
        headers = self.server_state.default_headers
        if _common[0] is not headers:
            _common[:] = [headers, b"".join([b"%b: %b\r\n" % header for header in headers])]
        encoded: bytes = _common[1]
        return encoded

    # refusals before a request is whole

    def _receiving(self) -> bool:
        """Whether a request has begun and is not whole yet."""
        return self._begun

    def _check_header_bytes(self) -> None:
        if self._header_bytes > self._max_header_bytes and not self._refused:
            self._close_with(431, b"the request line and headers are too long")

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP.

        A request that is still open is answered first, as the last one, and nothing after it.
        """
        open_exchange = isinstance(self.cycle, _Open) and not self.cycle.response_complete
        if open_exchange and self._predict_route is None:
            self.cycle.keep_alive = False
            self._refused = True
            return
        if open_exchange:
            # It is this one's body that is broken: nothing has been asked yet.
            self._predict_route = None
            self.cycle.response_complete = True
        super().send_400_response(msg)

    def _too_slow(self) -> None:
        self._deadline = None
        if self._predict_route is not None:
            self._refuse_and_close(
                RequestTimeoutError(f"the request did not arrive within {self._request_seconds:g} s")
            )
        elif not self.transport.is_closing():
            self.transport.close()

    def _refuse_and_close(self, error: OrrisError) -> None:
        """Refuse the request that is coming in; its rest is thrown away."""
        predict_route, exchange = self._predict_route, self.cycle
        assert predict_route is not None  # noqa: S101
        self._predict_route = None
        self._refused = True
        exchange.keep_alive = False
        predict_route.refuse(exchange, error)

    def _close_with(self, status: int, text: bytes) -> None:
        self._refused = True
        head = (
            STATUS_LINE[status]
            + b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head % len(text) + text)
        self.transport.close()

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _to_asgi(self) -> None:
        """Build what ASGI needs, and go uvicorn's way."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url, self.expect_100_continue = (
            url,
            any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers),
        )
        self.headers.extend(headers)
        super().on_headers_complete()
        if self.stopping:
            self.shutdown()

"""One client's connection: an asyncio protocol that reads every request with httptools.

A POST to a predict route is answered here, with all others that arrive in the same tick of the loop; any other request
is handed over to uvicorn (``handover.py``). Requests of a pipeline are answered in their order. ``docs/fast-path.md``
draws this, and says why no request can begin inside another's body.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from orris.errors import OrrisError, OverloadedError, RequestTimeoutError, TooLargeError
from orris.serving.exchange import Exchange, Reply, id_of
from orris.serving.http.answers import CONTINUE, USUAL, Headers, refusal
from orris.serving.http.handover import Handover, head_of
from orris.telemetry.tracecontext import Arrival, TraceContext

if TYPE_CHECKING:
    from orris.serving.http.context import HttpContext
    from orris.serving.predict_route import PredictRoute

LINGER_SECONDS = 1.0
LINGER_BYTES = 32 * 1024**2
"""How long, and how much, of a refused request's rest is read and thrown away: the client is to read its answer."""

SMALL_BODY_BYTES = 64 * 1024
"""A refused request's body of at most this length is read to its end, and the connection stays open."""

MAX_PIPELINED = 256
"""Requests of one connection that wait to be answered; no more is read from it until there are fewer."""

logger = logging.getLogger(__name__)


class _Open(Exchange):
    """An exchange on a connection.

    Attributes:
        answer: The answer, when it is there.
        keep_alive: Whether the connection stays open after it.
        n_received: Bytes of its body that ``Receiving`` counts.
    """

    __slots__ = ("answer", "connection", "keep_alive", "n_received", "path", "route", "version")

    def __init__(  # not by way of ``super``: this is the hottest constructor
        self, connection: Connection, route: PredictRoute, body: bytes, headers: dict[bytes, bytes]
    ) -> None:
        self.connection = connection
        self.route = route
        self.body = body
        self.headers = headers
        self.id = id_of(headers.get(b"x-request-id"))
        self.trace: TraceContext | None = None
        self.started = perf_counter()
        self.path = connection.path
        self.version = connection.version
        self.keep_alive = connection.keep_alive
        self.answer: bytes | None = None
        self.n_received = 0

    def finish(self, reply: Reply) -> None:
        """Write the reply when its turn has come."""
        connection = self.connection
        context = connection.context
        if connection.says_last_answer(self) or (b"connection", b"close") in reply.headers:
            self.keep_alive = False
        more: Headers = context.cors.headers(self.headers) if context.cors is not None else ()
        self.answer = context.writer.any(
            self, reply, context.server_state.default_headers, more=more, close=not self.keep_alive
        )
        connection.answered(self)

    @staticmethod
    def succeed(exchanges: Sequence[_Open], bodies: Sequence[bytes], microseconds: Sequence[int]) -> None:
        """Write the usual answers, each when its turn has come."""
        context = exchanges[0].connection.context
        plain = context.cors is None and not context.stopping
        start = context.writer.usual(context.server_state.default_headers)
        for exchange, body, spent in zip(exchanges, bodies, microseconds, strict=True):
            connection = exchange.connection
            if exchange.trace is not None or not (plain and exchange.keep_alive) or spent >= 1_000_000:
                exchange.finish(Reply(200, body))
                continue
            answer = USUAL % (start, len(body), exchange.id, spent, body)
            pending = connection.pending
            if len(pending) == 1 and pending[0] is exchange and not connection.attention:
                pending.popleft()
                connection.active = True
                connection.transport.write(answer)
            else:
                exchange.answer = answer
                connection.answered(exchange)

    def arrival(self) -> Arrival:
        """From the connection, and the request line."""
        return Arrival(self.path.partition(b"?")[0].decode("latin-1"), self.connection.scheme, self.version)


class _Refusal:
    """The answer to what is no request; it ends the connection."""

    __slots__ = ("answer",)
    keep_alive = False
    n_received = 0

    def __init__(self, answer: bytes) -> None:
        self.answer = answer


class Connection(asyncio.Protocol):
    """A connection.

    Args:
        context: What the connections of a process share.

    Attributes:
        path: The target of the request that is being read.
        version: HTTP's version in it.
        keep_alive: Whether the connection stays open after that.
        stopping: The next answer is the last.
        pending: Requests without an answer, in their order: ``_Open``, ``Handover``, ``_Refusal``.
        active: A request was received or answered since the last look.
        attention: Something is to be done after the next answer, beside writing it.
    """

    __slots__ = (
        "_began",
        "_deaf",
        "_error",
        "_expects_continue",
        "_handed",
        "_handover",
        "_head_bytes",
        "_headers",
        "_in_body",
        "_linger_until",
        "_long",
        "_n_ignored",
        "_n_received",
        "_n_unread",
        "_odd",
        "_parser",
        "_parts",
        "_paused",
        "_repeated",
        "_route",
        "_served",
        "_since",
        "_size",
        "_unread_since",
        "_upgrade",
        "_whole",
        "active",
        "attention",
        "context",
        "keep_alive",
        "path",
        "pending",
        "scheme",
        "stopping",
        "transport",
        "version",
    )

    def __init__(self, context: HttpContext) -> None:
        self.context = context
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # until ``connection_made``
        self.scheme = "http"
        self.stopping = False
        self.version = "1.1"
        self.keep_alive = True
        self._parser: Any = HttpRequestParser(self)
        self.pending: deque[Any] = deque()
        # the request that is being read
        self.path = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._size = 0
        self._route: PredictRoute | None = None
        self._handover: Handover | None = None
        self._error: OrrisError | None = None
        self._upgrade = False
        self._expects_continue = False
        self._whole = True
        self._in_body = False
        self._long = False
        self._odd = False
        self._head_bytes = 0
        self._n_received = 0
        self._began = 0.0
        # the connection
        self._handed = 0
        self._deaf = False
        self._linger_until = 0.0
        self._n_ignored = 0
        self.active = False
        self.attention = False
        self._served = False
        self._since = 0.0
        self._paused = False
        self._unread_since = 0.0
        self._n_unread = 0

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # sockets have no other
        """A client has connected."""
        self.transport = transport
        self.scheme = "https" if transport.get_extra_info("sslcontext") is not None else "http"
        self._since = perf_counter()
        self.context.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._deaf:
            self._ignore(len(data))
            return
        if len(data) + self._head_bytes > self.context.max_header_bytes:
            self._long = self._odd = True
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as error:
            if self._upgrade:
                self._without_upgrade(data[error.args[0] :])
        except HttpParserError as error:
            self._malformed(error)
        if not self._whole and not self._deaf:
            self._incomplete(len(data))
        if len(self.pending) > MAX_PIPELINED:
            self._pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more; what it has asked is answered first, if the transport can do that."""
        if not self.pending or not self._whole or self.scheme == "https":
            return False
        self._deaf = True
        self.pending[-1].keep_alive = False
        return not isinstance(self.pending[-1], Handover)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; what is being computed for it is dropped when it is done."""
        self.context.connections.discard(self)
        self._deaf = True
        if self._handover is not None and self._handover not in self.pending:
            self._handover.lost(exc)
        for waiting in self.pending:
            if isinstance(waiting, Handover):
                waiting.lost(exc)
            self.context.receiving.free(waiting.n_received)
        self.pending.clear()
        self.context.receiving.free(self._n_received)
        self._n_received = 0
        self._parts = []
        self._parser = None

    # httptools' callbacks

    def on_url(self, url: bytes) -> None:
        """A part of the target: a request has begun."""
        self._whole = False
        self.path = self.path + url if self.path else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        name = name.lower()
        headers = self._headers
        if name in headers:
            self._repeated.append((name, headers[name]))
            self._odd = True
        headers[name] = value

    def on_headers_complete(self) -> None:
        """The headers are there: it is known which way the request goes."""
        if self._deaf:
            return
        parser, headers, context = self._parser, self._headers, self.context
        self._in_body = True
        self.keep_alive = parser.should_keep_alive()
        self.version = version = parser.get_http_version()
        if (version != "1.1" or b"host" not in headers or self._long or self._repeated) and not self._acceptable():
            return
        if parser.should_upgrade():
            self._upgrade = True
            return
        route = context.predict_routes.get(self.path)
        if route is None and b"?" in self.path:
            route = context.predict_routes.get(self.path.partition(b"?")[0])
        if route is None or parser.get_method() != b"POST":
            self._hand_over()
            return
        self._route = route
        length = headers.get(b"content-length")
        if length is not None and int(length) > route.context.max_body_bytes:
            self._refuse_now(_too_large(route))
            return
        if route.context.admit is not None:
            try:
                route.context.admit(headers)
            except OrrisError as error:
                self._error = error
                return
        if b"expect" in headers:
            self._expects_continue = headers[b"expect"].lower() == b"100-continue"
            self._odd = True

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._handover is not None:
            self._handover.body(body)
            if self._handover.ended:
                self._ignore(len(body))
            elif not self._handover.started and self._handover.n_waiting > SMALL_BODY_BYTES:
                self._pause_reading()
            return
        if self._deaf:
            self._ignore(len(body))
            return
        self._size += len(body)
        route = self._route
        if route is not None and self._size > route.context.max_body_bytes:
            self._refuse_now(_too_large(route))
        elif self._error is None:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._upgrade:
            return
        self._whole = True
        self.active = True
        route, handover = self._route, self._handover
        if self._deaf:
            if self._linger_until and not self.pending:
                self.transport.close()
            return
        if handover is not None:
            handover.complete()
            if handover.ended:
                self.context.receiving.free(self._n_received)
            else:
                handover.n_received = self._n_received
            self._n_received = 0
            self._deaf = not handover.keep_alive
            self._renew()
            return
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        exchange = _Open(self, route, body, self._headers)  # type: ignore[arg-type]
        if self._n_received:
            exchange.n_received, self._n_received = self._n_received, 0
            self.attention = True
        error = self._error
        self._renew()
        if not exchange.keep_alive:
            self._deaf = True
        self.pending.append(exchange)
        if error is not None:
            route.refuse(exchange, error)  # type: ignore[union-attr]
        elif not self._handed:
            route.take(exchange)  # type: ignore[union-attr]

    def _renew(self) -> None:
        """Nothing of the next request has been read."""
        self.path = b""
        self._headers = {}
        self._parts = []
        self._size = 0
        self._in_body = False
        self._route = self._handover = self._error = None
        if self._odd:
            self._odd = False
            self._repeated = []
            self._head_bytes = 0
            self._began = 0.0
            self._expects_continue = False
            self._long = False

    # the ways of a request

    def _acceptable(self) -> bool:
        """Whether a request is as HTTP/1 has it; otherwise it is refused."""
        headers = self._headers
        if self._long:
            size = len(self.path) + sum(len(name) + len(value) for name, value in [*headers.items(), *self._repeated])
            if size > self.context.max_header_bytes:
                self._refuse_connection(431, b"the request line and headers are too long")
                return False
        if self.version == "1.0":
            self.keep_alive = False
        elif self.version != "1.1":
            self._refuse_connection(400, b"HTTP/%b is not spoken here; send HTTP/1.1" % self.version.encode("ascii"))
            return False
        elif b"host" not in headers:
            self._refuse_connection(400, b"a request of HTTP/1.1 needs a header Host")
            return False
        if any(name == b"host" for name, _ in self._repeated):
            self._refuse_connection(400, b"a request has one header Host")
            return False
        return True

    def _hand_over(self) -> None:
        """Let uvicorn answer the request that is being read, when its turn has come."""
        context, headers = self.context, self._headers
        chunked = b"transfer-encoding" in headers
        framing = b"transfer-encoding: chunked\r\n" if chunked else b""
        if not chunked and b"content-length" in headers:
            framing = b"content-length: %b\r\n" % headers[b"content-length"]
        head = head_of(self._parser.get_method(), self.path, self.version, [*self._repeated, *headers.items()], framing)
        handover = self._handover = Handover(
            head, chunked=chunked, keep_alive=self.keep_alive, context=context, done=self._handed_back
        )
        self.pending.append(handover)
        self._handed += 1
        if len(self.pending) == 1:
            handover.start(self.transport, last=self.stopping)

    def _handed_back(self, handover: Handover) -> None:
        """Uvicorn has answered."""
        self._handed -= 1
        self.active = True
        if self.transport.is_closing() or not self.pending or self.pending[0] is not handover:
            return
        self.pending.popleft()
        self.context.receiving.free(handover.n_received)
        handover.n_received = 0
        for waiting in list(self.pending):
            if isinstance(waiting, Handover):
                break
            if isinstance(waiting, _Open) and waiting.answer is None:
                waiting.route.take(waiting)
        self._write_ready()

    def _without_upgrade(self, rest: bytes) -> None:
        """Read the request again without its wish for another protocol, which is not spoken (RFC 9110, 7.8).

        httptools takes such a request to end with its headers; what follows is its body all the same.
        """
        while True:
            self._upgrade = False
            method, headers = self._parser.get_method(), self._headers
            if method == b"CONNECT":
                self._refuse_connection(405, b"CONNECT is not answered here", ((b"allow", b"GET, HEAD, POST"),))
                return
            tokens = b",".join([value for name, value in [*self._repeated, *headers.items()] if name == b"connection"])
            kept = [
                token for token in tokens.lower().replace(b" ", b"").split(b",") if token in {b"close", b"keep-alive"}
            ]
            lines = [(name, value) for name, value in [*self._repeated, *headers.items()]]
            framing = b"".join(
                [b"%b: %b\r\n" % line for line in lines if line[0] in {b"content-length", b"transfer-encoding"}]
            )
            framing += b"".join([b"connection: %b\r\n" % token for token in kept])
            head = head_of(method, self.path, self.version, lines, framing) + b"\r\n"
            self._renew()
            self._whole = True
            self._parser = HttpRequestParser(self)
            try:
                self._parser.feed_data(head)
                if rest:
                    self._parser.feed_data(rest)
            except HttpParserUpgrade as error:
                if self._upgrade:
                    rest = rest[error.args[0] :]
                    continue
            except HttpParserError as error:
                self._malformed(error)
            return

    def _incomplete(self, n_bytes: int) -> None:
        """A request has begun, and its end has not come with these bytes."""
        self._odd = True
        if not self._began:
            self._began = perf_counter()
        if not self._in_body:
            self._head_bytes += n_bytes
            if self._head_bytes > self.context.max_header_bytes:
                self._refuse_connection(431, b"the request line and headers are too long")
            return
        if self._error is not None:
            if self._announced() > SMALL_BODY_BYTES or b"transfer-encoding" in self._headers or self._expects():
                self._refuse_now(self._error)
            return
        wanted = max(self._announced(), self._size)
        if wanted > self._n_received:
            try:
                self.context.receiving.take(wanted - self._n_received)
            except OverloadedError as error:
                self._refuse_now(error)
                return
            self._n_received = wanted
        if self._expects_continue:
            if self.pending:
                self.attention = True
            else:
                self._expects_continue = False
                self.transport.write(CONTINUE)

    def _announced(self) -> int:
        return int(self._headers.get(b"content-length", 0))

    def _expects(self) -> bool:
        return self._headers.get(b"expect", b"").lower() == b"100-continue"

    # refusals

    def _refuse_now(self, error: OrrisError) -> None:
        """Refuse the request that is being read before its end; the rest of it is thrown away."""
        route = self._route
        if route is None:
            if isinstance(error, OverloadedError):
                self._refuse_connection(503, str(error).encode(), ((b"retry-after", b"1"),))
            else:
                self._refuse_connection(408, str(error).encode())
            return
        self.keep_alive = False
        exchange = _Open(self, route, b"", self._headers)
        self._parts = []
        self._linger()
        self.pending.append(exchange)
        route.refuse(exchange, error)

    def _refuse_connection(self, status: int, text: bytes, headers: Headers = ()) -> None:
        """Answer what has come, and nothing after it; requests before it get their answers first."""
        if self._handover is not None and self.pending and self.pending[-1] is self._handover:
            if self._handover.started:
                self.transport.close()
                return
            self.pending.pop()
            self._handed -= 1
        self._linger()
        self.pending.append(_Refusal(refusal(status, text, headers)))
        self._write_ready()

    def _malformed(self, error: HttpParserError) -> None:
        """What has come is no HTTP."""
        if self._deaf:
            return
        if isinstance(error, HttpParserCallbackError):
            logger.error("a request could not be taken", exc_info=error)
        self._refuse_connection(400, b"Invalid HTTP request received.")

    def _linger(self) -> None:
        """Read no further request; what comes is thrown away, for a while."""
        self._deaf = True
        self.context.receiving.free(self._n_received)
        self._n_received = 0
        self._linger_until = perf_counter() + LINGER_SECONDS

    def _ignore(self, n_bytes: int) -> None:
        """Throw bytes away that belong to no request which will be answered."""
        self._n_ignored += n_bytes
        if self._n_ignored > LINGER_BYTES:
            self.transport.abort()

    # answers

    def says_last_answer(self, exchange: _Open) -> bool:
        """Whether an answer says that it is the connection's last: the server stops, and nothing waits behind it."""
        return self.stopping and self._whole and len(self.pending) == 1 and self.pending[0] is exchange

    def answered(self, exchange: _Open) -> None:
        """Write an answer that is there, and those behind it that had to wait for it."""
        if self.pending and self.pending[0] is exchange:
            self._write_ready()

    def _write_ready(self) -> None:
        """Write what is ready, in one piece and in order; then it is the turn of what waits behind it."""
        pending, ready = self.pending, []
        last = None
        while pending and not isinstance(pending[0], Handover) and pending[0].answer is not None:
            last = pending.popleft()
            ready.append(last.answer)
            self.context.receiving.free(last.n_received)
            if not last.keep_alive:
                break
        if ready and not self.transport.is_closing():
            self.active = True
            self.transport.write(b"".join(ready))
        if last is not None and not last.keep_alive:
            if self._whole or not self._linger_until:
                self.transport.close()
            return
        if pending and isinstance(pending[0], Handover) and not pending[0].started:
            pending[0].start(self.transport, last=self.stopping and len(pending) == 1)
        if self._paused and len(pending) <= MAX_PIPELINED // 2 and not self._unread_since:
            self._resume_reading()
        if not pending and self._expects_continue and not self._whole:
            self._incomplete(0)
        self.attention = self._paused or self._expects_continue or self._n_received > 0

    # a client that does not read its answers, or sends faster than it is answered

    def pause_writing(self) -> None:
        """More is to be written than the client reads: nothing further is read from it, and it is given a while."""
        self._unread_since = perf_counter()
        self._n_unread = self.transport.get_write_buffer_size()
        self._pause_reading()
        if self.pending and isinstance(self.pending[0], Handover):
            self.pending[0].pause_writing()

    def resume_writing(self) -> None:
        """The client has read."""
        self._unread_since = 0.0
        if self.pending and isinstance(self.pending[0], Handover):
            self.pending[0].resume_writing()
        if self._paused:
            self._resume_reading()

    def _pause_reading(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self._paused = self.attention = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        self._paused = False
        if not self.transport.is_closing():
            self.transport.resume_reading()

    # time

    def look(self, now: float) -> None:
        """Close the connection if its time is up; called about twice a second with ``perf_counter()``."""
        context = self.context
        if self._unread_since:
            self._look_at_unread(now)
        elif self._linger_until:
            if now > self._linger_until and not self.pending:
                self.transport.close()
        elif not self._whole:
            if self._began and now - self._began > context.request_seconds:
                self._too_slow()
        elif self.pending:
            return
        elif self.active:
            self.active, self._served = False, True
            self._since = now
        elif now - self._since > (context.idle_seconds if self._served else context.request_seconds):
            self.transport.close()

    def _look_at_unread(self, now: float) -> None:
        """Cut the client off if it has read nothing since the last look."""
        if now - self._unread_since < self.context.request_seconds:
            return
        left = self.transport.get_write_buffer_size()
        if left >= self._n_unread:
            self.transport.abort()
            return
        self._unread_since, self._n_unread = now, left

    def _too_slow(self) -> None:
        self._began = 0.0
        self._refuse_now(RequestTimeoutError(f"the request did not arrive within {self.context.request_seconds:g} s"))

    # the server stops

    @property
    def idle(self) -> bool:
        """Whether no request has begun that is not answered."""
        return self._whole and not self.pending

    @property
    def idle_since(self) -> float:
        """When the connection was last seen with a request, in ``perf_counter()``, to half a second."""
        return self._since

    def shutdown(self) -> None:
        """The server stops: the next answer is the connection's last, and says so.

        Those before it in the pipeline are given too.
        """
        self.stopping = True
        if len(self.pending) == 1 and isinstance(self.pending[0], Handover):
            self.pending[0].close_after()


def _too_large(route: PredictRoute) -> TooLargeError:
    return TooLargeError(f"the body is longer than {route.context.max_body_bytes} bytes; send the rows in parts")

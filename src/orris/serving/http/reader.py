"""Reads a connection's requests with httptools, and says which way each goes.

Every byte that decides where a request ends is read here, in full and strictly; but for heads that ``heads.py``
recognises. A POST to a predict route enters that route when it is whole, any other request is handed over to uvicorn
(``handover.py``), and what is no request ends the connection.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from orris.errors import OrrisError, OverloadedError, RequestTimeoutError
from orris.serving.http import framing
from orris.serving.http.answers import CONTINUE, Headers, refusal
from orris.serving.http.asgi import too_large
from orris.serving.http.exchanges import Head, HttpExchange, Refusal
from orris.serving.http.handover import Handover, head_of

if TYPE_CHECKING:
    from orris.serving.http.connection import Connection
    from orris.serving.predict_route import PredictRoute

logger = logging.getLogger(__name__)


class RequestReader:
    """Reads the requests of a connection.

    Args:
        connection: Where they belong.

    Attributes:
        whole: No request has begun that is not whole.
        last: The head of the last request of this segment that is whole and for a predict route.
        expects_continue: The client waits for ``100 Continue`` before it sends the body.
        n_received: Bytes of the body that ``Receiving`` counts.
    """

    __slots__ = (
        "_began",
        "_connection",
        "_error",
        "_handover",
        "_head_bytes",
        "_headers",
        "_in_body",
        "_keep_alive",
        "_long",
        "_odd",
        "_parser",
        "_parts",
        "_path",
        "_repeated",
        "_route",
        "_size",
        "_upgrade",
        "_usual_version",
        "_version",
        "expects_continue",
        "last",
        "n_received",
        "whole",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._parser: Any = None
        self.whole = True
        self.last: Head | None = None
        self._path = b""
        self._version = "1.1"
        self._keep_alive = True
        self._headers: dict[bytes, bytes] = {}
        self._repeated: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._size = 0
        self._route: PredictRoute | None = None
        self._handover: Handover | None = None
        self._error: OrrisError | None = None
        self._upgrade = False
        self._usual_version = False
        self.expects_continue = False
        self._in_body = False
        self._long = False
        self._odd = False
        self._head_bytes = 0
        self.n_received = 0
        self._began = 0.0

    def feed(self, data: bytes) -> None:
        """Read a segment."""
        connection = self._connection
        self.last = None
        parser = self._parser
        if parser is None:
            parser = self._parser = HttpRequestParser(self)
        # A request line that ends so needs no question to the parser, which makes a text to answer it.
        line_end = data.find(b"\n")
        self._usual_version = self.whole and data[line_end - 10 : line_end] == b" HTTP/1.1\r"
        if len(data) + self._head_bytes > connection.context.max_header_bytes:
            self._long = self._odd = True
        try:
            parser.feed_data(data)
        except HttpParserUpgrade as error:
            if self._upgrade:
                self._without_upgrade(data[error.args[0] :])
        except HttpParserError as error:
            self._malformed(error)
        if not self.whole and not connection.deaf:
            self.incomplete(len(data))

    def close(self, exc: Exception | None) -> None:
        """The client is gone."""
        connection = self._connection
        if self._handover is not None and self._handover not in connection.pending:
            self._handover.lost(exc)
        self.release()
        self._parts = []
        self._parser = None

    def release(self) -> None:
        """Count the bytes of the body that is being read no longer."""
        self._connection.context.receiving.free(self.n_received)
        self.n_received = 0

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.whole = False

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._path = self._path + url if self._path else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; a trailer, which comes behind a body in chunks, says nothing (RFC 9110, 6.5.1)."""
        if self._in_body:
            return
        name = name.lower()
        headers = self._headers
        if name in headers:
            self._repeated.append((name, headers[name]))
            self._odd = True
        headers[name] = value

    def on_headers_complete(self) -> None:
        """The headers are there: it is known which way the request goes."""
        connection = self._connection
        if connection.deaf:
            return
        parser, headers = self._parser, self._headers
        self._in_body = True
        self._keep_alive = parser.should_keep_alive()
        version = self._version = "1.1" if self._usual_version else parser.get_http_version()
        self._usual_version = False
        odd = version != "1.1" or b"host" not in headers or self._long or self._repeated
        if (odd or b"transfer-encoding" in headers) and not self._acceptable():
            return
        if parser.should_upgrade():
            self._upgrade = True
            return
        routes = connection.context.predict_routes
        route = routes.get(self._path)
        if route is None and b"?" in self._path:
            route = routes.get(self._path.partition(b"?")[0])
        if route is None or parser.get_method() != b"POST":
            self._hand_over()
            return
        self._route = route
        length = headers.get(b"content-length", b"")
        if len(length) > 4 and framing.announced(self._headers) > route.context.max_body_bytes:
            self._refuse_now(too_large(route.context.max_body_bytes))
            return
        if route.context.admit is not None:
            try:
                route.context.admit(headers)
            except OrrisError as error:
                self._error = error
                return
        if b"expect" in headers:
            self.expects_continue = framing.expects_continue(self._headers)
            self._odd = True

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        connection = self._connection
        if self._handover is not None:
            self._handover.body(body)
            if self._handover.ended:
                connection.ignore(len(body))
                return
            self._size += len(body)
            if not self._handover.started and self._handover.n_waiting > framing.SHORT_BYTES:
                connection.pause_reading()
            return
        if connection.deaf:
            connection.ignore(len(body))
            return
        self._size += len(body)
        route = self._route
        if route is not None and self._size > route.context.max_body_bytes:
            self._refuse_now(too_large(route.context.max_body_bytes))
        elif self._error is None:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._upgrade:
            return
        self.whole = True
        connection = self._connection
        connection.active = True
        route, handover = self._route, self._handover
        if connection.deaf:
            connection.close_if_lingering()
            return
        if handover is not None:
            handover.complete()
            if handover.ended:
                self.release()
            else:
                handover.n_received, self.n_received = self.n_received, 0
            connection.deaf = not handover.keep_alive
            self._renew()
            return
        assert route is not None  # noqa: S101 (a request is for a route, handed over, or refused)
        parts, size = self._parts, self._size
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        head = self.last = Head(self._path, self._headers, size, self._version, self._keep_alive)
        exchange = HttpExchange(connection, route, body, head)
        if self.n_received:
            exchange.n_received, self.n_received = self.n_received, 0
            connection.attention = True
        error = self._error
        self._renew()
        connection.enter(exchange, error)

    def _renew(self) -> None:
        """Nothing of the next request has been read."""
        self._path = b""
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
            self.expects_continue = False
            self._long = False

    # the ways of a request

    def _acceptable(self) -> bool:
        """Whether a request is as HTTP/1 has it; otherwise it is refused."""
        if self._long:
            size = len(self._path) + sum(len(name) + len(value) for name, value in self._lines())
            if size > self._connection.context.max_header_bytes:
                self._refuse_connection(431, b"the request line and headers are too long")
                return False
        if self._version == "1.0":
            self._keep_alive = False
        found = framing.objection(self._version, self._headers, self._repeated)
        if found is not None:
            self._refuse_connection(*found)
        return found is None

    def _lines(self) -> list[tuple[bytes, bytes]]:
        """All headers, those that were given several times as well."""
        return [*self._repeated, *self._headers.items()]

    def _hand_over(self) -> None:
        """Let uvicorn answer the request that is being read, when its turn has come."""
        connection, headers = self._connection, self._headers
        # Counted here: a request that uvicorn has begun to answer is refused no more. Chunks count as they come.
        chunked = b"transfer-encoding" in headers
        wanted = framing.announced(headers) or int(chunked)
        if wanted > connection.context.receiving.max_bytes:
            self._refuse_connection(413, b"the body is too long")
            return
        if not self._received(wanted):
            return
        head = head_of(self._parser.get_method(), self._path, self._version, self._lines(), framing.of_body(headers))
        context, done = connection.context, connection.handed_back
        self._handover = Handover(head, chunked=chunked, keep_alive=self._keep_alive, context=context, done=done)
        connection.hand_over(self._handover)

    def _without_upgrade(self, rest: bytes) -> None:
        """Read the request again without its wish for another protocol, which is not spoken (RFC 9110, 7.8).

        httptools takes such a request to end with its headers; what follows is its body all the same.
        """
        while True:
            self._upgrade = False
            method, lines = self._parser.get_method(), self._lines()
            if method == b"CONNECT":
                self._refuse_connection(405, b"CONNECT is not answered here", ((b"allow", b"GET, HEAD, POST"),))
                return
            head = framing.without_upgrade(method, self._path, self._version, lines)
            self._renew()
            self.whole = True
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

    def incomplete(self, n_bytes: int) -> None:
        """A request has begun, and its end has not come with these bytes."""
        connection = self._connection
        self._odd = True
        if not self._began:
            self._began = perf_counter()
        if not self._in_body:
            self._head_bytes += n_bytes
            if self._head_bytes > connection.context.max_header_bytes:
                self._refuse_connection(431, b"the request line and headers are too long")
            return
        if self._error is not None:
            if not framing.is_short(self._headers):
                self._refuse_now(self._error)
            return
        if not self._received(max(framing.announced(self._headers), self._size)):
            return
        if self.expects_continue:
            if connection.pending:
                connection.attention = True
            else:
                self.expects_continue = False
                connection.transport.write(CONTINUE)

    def _received(self, n_bytes: int) -> bool:
        """Count so many bytes of the body; ``False``: all connections receive too many, and the request is refused."""
        if n_bytes > self.n_received:
            try:
                self._connection.context.receiving.take(n_bytes - self.n_received)
            except OverloadedError as error:
                self._refuse_now(error)
                return False
            self.n_received = n_bytes
        return True

    # refusals

    def refuse_if_slow(self, now: float) -> None:
        """Refuse a request whose time to arrive is up; ``now`` is ``perf_counter()``."""
        limit = self._connection.context.request_seconds
        if self._began and now - self._began > limit:
            self._began = 0.0
            self._refuse_now(RequestTimeoutError(f"the request did not arrive within {limit:g} s"))

    def _refuse_now(self, error: OrrisError) -> None:
        """Refuse the request that is being read before its end; the rest of it is thrown away."""
        route, connection = self._route, self._connection
        if route is None:
            late = isinstance(error, RequestTimeoutError)
            self._refuse_connection(
                408 if late else 503, str(error).encode(), () if late else ((b"retry-after", b"1"),)
            )
            return
        exchange = HttpExchange(
            connection, route, b"", Head(self._path, self._headers, version=self._version, keep_alive=False)
        )
        self._parts = []
        connection.linger()
        connection.pending.append(exchange)
        exchange.refuse(error)

    def _refuse_connection(self, status: int, text: bytes, headers: Headers = ()) -> None:
        """Answer what has come, and nothing after it; requests before it get their answers first."""
        connection = self._connection
        if self._handover is not None and not connection.take_back(self._handover):
            return
        connection.linger()
        connection.pending.append(Refusal(refusal(status, text, headers)))
        connection.write_ready()

    def _malformed(self, error: HttpParserError) -> None:
        """Handle bytes that are not HTTP."""
        if self._connection.deaf:
            return
        if isinstance(error, HttpParserCallbackError):
            logger.error("a request could not be taken", exc_info=error)
        self._refuse_connection(400, b"Invalid HTTP request received.")

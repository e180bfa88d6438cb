"""A request of a predict route on its connection, and the answer to what is no request."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from orris.errors import OrrisError
from orris.serving.exchange import ANY_ID, FRESH_IDS, Exchange, Reply, id_of
from orris.serving.http.answers import Headers
from orris.telemetry.tracecontext import Arrival, TraceContext

if TYPE_CHECKING:
    from orris.serving.http.connection import Connection
    from orris.serving.predict_route import PredictRoute


class Head(msgspec.Struct, frozen=True, gc=False):
    """A request's head as it was understood. Requests with the same bytes share one (``heads.py``).

    Attributes:
        path: The target.
        headers: Names in lower case, and values; never changed.
        n_body_bytes: Length of the body that it announces.
        version: HTTP's.
        keep_alive: Whether the connection stays open after the request.
    """

    path: bytes
    headers: dict[bytes, bytes]
    n_body_bytes: int = 0
    version: str = "1.1"
    keep_alive: bool = True


class HttpExchange(Exchange):
    """An exchange on a connection.

    Attributes:
        answer: The answer, when it is there.
        keep_alive: Whether the connection stays open after it.
        n_received: Bytes of its body that ``Receiving`` counts.
    """

    __slots__ = ("answer", "connection", "head", "keep_alive", "n_received", "route")

    def __init__(  # not by way of ``super``: this is the hottest constructor
        self, connection: Connection, route: PredictRoute, body: bytes, head: Head
    ) -> None:
        headers = head.headers
        self.connection = connection
        self.route = route
        self.body = body
        self.head = head
        self.headers = headers
        given = headers.get(b"x-request-id")
        self.id = FRESH_IDS.pop() if given is None and FRESH_IDS else id_of(given)
        self.trace: TraceContext | None = None
        self.keep_alive = head.keep_alive
        self.answer: bytes | None = None
        self.n_received = 0

    def refuse(self, error: OrrisError) -> None:
        """Let the route refuse the request; it has not entered it."""
        self.started = perf_counter()
        self.route.refuse(self, error)

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
    def succeed(exchanges: Sequence[HttpExchange], bodies: Sequence[bytes], microseconds: int) -> None:
        """Write the usual answers, each when its turn has come."""
        context = exchanges[0].connection.context
        if context.cors is not None or context.stopping or microseconds >= 1_000_000:
            for exchange, body in zip(exchanges, bodies, strict=True):
                exchange.finish(Reply(200, body))
            return
        answers = context.writer.usual(context.server_state.default_headers, exchanges, bodies, microseconds)
        for exchange, answer, body in zip(exchanges, answers, bodies, strict=True):
            if exchange.keep_alive:
                exchange.write(answer)
            else:
                exchange.finish(Reply(200, body))

    @staticmethod
    def refuse_together(exchanges: Sequence[HttpExchange], reply: Reply) -> None:
        """Write the same refusal for each, when its turn has come."""
        context = exchanges[0].connection.context
        alike = context.cors is None and not context.stopping
        anybody = Exchange(b"", {b"x-request-id": ANY_ID})
        anybody.started = exchanges[0].started
        parts = context.writer.any(anybody, reply, context.server_state.default_headers).split(ANY_ID)
        for exchange in exchanges:
            if alike and exchange.keep_alive and exchange.trace is None and len(exchange.id) == len(ANY_ID):
                exchange.write(exchange.id.join(parts))
            else:
                exchange.finish(reply.for_id(exchange.id))

    def write(self, answer: bytes) -> None:
        """Write the answer when its turn has come; the connection stays open after it."""
        connection = self.connection
        pending = connection.pending
        if len(pending) == 1 and not connection.attention and pending[0] is self:
            pending.clear()
            connection.transport.write(answer)
        else:
            self.answer = answer
            connection.answered(self)

    def arrival(self) -> Arrival:
        """From the connection, and the request line."""
        path = self.head.path.partition(b"?")[0].decode("latin-1")
        return Arrival(path, self.connection.scheme, self.head.version)


class Refusal:
    """The answer to what is no request; it ends the connection."""

    __slots__ = ("answer",)
    keep_alive = False
    n_received = 0

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

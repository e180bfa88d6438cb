"""One client's connection: an asyncio protocol whose requests are answered in their order.

A POST to a predict route is answered here, with all others that arrive in the same tick of the loop; any other request
is handed over to uvicorn (``handover.py``). ``reader.py`` reads the requests; a head that was read before is recognised
here (``heads.py``). ``docs/fast-path.md`` draws this, and says why no request can begin inside another's body.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

from orris.errors import OrrisError
from orris.serving.http.exchanges import HttpExchange
from orris.serving.http.handover import Handover
from orris.serving.http.heads import before_trace, differs
from orris.serving.http.reader import RequestReader

if TYPE_CHECKING:
    from orris.serving.http.context import HttpContext

LINGER_SECONDS = 1.0
LINGER_BYTES = 32 * 1024**2
"""How long, and how much, of a refused request's rest is read and thrown away: the client is to read its answer."""

MAX_PIPELINED = 256
"""Requests of one connection that wait to be answered; no more is read from it until there are fewer."""


class Connection(asyncio.Protocol):
    """A connection.

    Args:
        context: What the connections of a process share.

    Attributes:
        stopping: The next answer is the last.
        pending: Requests without an answer, in their order: ``HttpExchange``, ``Handover``, ``Refusal``.
        active: A request was received since the last look, or handed back.
        attention: Something is to be done after the next answer, beside writing it.
        deaf: No further request is read.
    """

    __slots__ = (
        "_before_trace",
        "_differs",
        "_handed",
        "_linger_until",
        "_n_ignored",
        "_n_unread",
        "_paused",
        "_reader",
        "_served",
        "_since",
        "_unread_since",
        "active",
        "attention",
        "context",
        "deaf",
        "pending",
        "scheme",
        "stopping",
        "transport",
    )

    def __init__(self, context: HttpContext) -> None:
        self.context = context
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # until ``connection_made``
        self.scheme = "http"
        self.stopping = False
        self.pending: deque[Any] = deque()
        self.active = False
        self.attention = False
        self.deaf = False
        self._reader = RequestReader(self)
        self._differs = False
        self._before_trace = b""
        self._handed = 0
        self._linger_until = 0.0
        self._n_ignored = 0
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
        reader, context = self._reader, self.context
        if self._differs or self.pending or self.deaf or not reader.whole:
            self._read(data)
            if self._differs and reader.last is not None:
                self._differs = differs(reader.last)
            return
        if self._before_trace:
            head = context.heads.recall(data, self._before_trace)
        else:
            end = data.find(b"\r\n\r\n") + 4
            head = context.heads.known.get(data[:end])
            if head is not None and len(data) != end + head.n_body_bytes:
                head = None
        if head is None:
            self._read(data)
            if reader.whole and reader.last is not None:
                self._differs = differs(reader.last)
                self._before_trace = before_trace(data, reader.last)
                context.heads.offer(data, reader.last)
            return
        route = context.predict_routes.get(head.path)
        if route is None:
            self._read(data)
            return
        self.active = True
        exchange = HttpExchange(self, route, data[len(data) - head.n_body_bytes :], head)
        self.pending.append(exchange)
        if route.context.admit is not None:
            try:
                route.context.admit(head.headers)
            except OrrisError as error:
                exchange.refuse(error)
                return
        route.take(exchange)

    def _read(self, data: bytes) -> None:
        if self.deaf:
            self.ignore(len(data))
            return
        self._reader.feed(data)
        if len(self.pending) > MAX_PIPELINED:
            self.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more; what it has asked is answered first, if the transport can do that."""
        if not self.pending or not self._reader.whole or self.scheme == "https":
            return False
        self.deaf = True
        self.pending[-1].keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; what is being computed for it is dropped when it is done."""
        self.context.connections.discard(self)
        self.deaf = True
        self._reader.close(exc)
        for waiting in self.pending:
            if isinstance(waiting, Handover):
                waiting.lost(exc)
            self.context.receiving.free(waiting.n_received)
        self.pending.clear()

    # requests, from the reader

    def enter(self, exchange: HttpExchange, error: OrrisError | None) -> None:
        """A request of a predict route is whole; ``error`` says why it is refused."""
        if not exchange.keep_alive:
            self.deaf = True
        self.pending.append(exchange)
        if error is not None:
            exchange.refuse(error)
        elif not self._handed:
            exchange.route.take(exchange)

    def hand_over(self, handover: Handover) -> None:
        """A request is for uvicorn; its body may still come."""
        self.pending.append(handover)
        self._handed += 1
        if len(self.pending) == 1:
            handover.start(self.transport, last=self.stopping)

    def take_back(self, handover: Handover) -> bool:
        """Take a request back that is refused after all; ``False``: its answer has begun, and the connection ends."""
        if self.pending and self.pending[-1] is handover:
            if handover.answering:
                self.transport.close()
                return False
            handover.give_up()
            self.pending.pop()
            self._handed -= 1
        return True

    def handed_back(self, handover: Handover) -> None:
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
            if isinstance(waiting, HttpExchange) and waiting.answer is None:
                waiting.route.take(waiting)
        self.write_ready()
        if not handover.keep_alive and not self.pending:
            self.transport.close()

    def linger(self) -> None:
        """Read no further request; what comes is thrown away, for a while."""
        self.deaf = True
        self._reader.release()
        self._linger_until = perf_counter() + LINGER_SECONDS

    def close_if_lingering(self) -> None:
        """The rest of a refused request has come."""
        if self._linger_until and not self.pending:
            self.transport.close()

    def ignore(self, n_bytes: int) -> None:
        """Throw bytes away that belong to no request which will be answered."""
        self._n_ignored += n_bytes
        if self._n_ignored > LINGER_BYTES:
            self.transport.abort()

    # answers

    def says_last_answer(self, exchange: HttpExchange) -> bool:
        """Whether an answer says that it is the connection's last: the server stops, and nothing waits behind it."""
        return self.stopping and self._reader.whole and len(self.pending) == 1 and self.pending[0] is exchange

    def answered(self, exchange: HttpExchange) -> None:
        """Write an answer that is there, and those behind it that had to wait for it."""
        if self.pending and self.pending[0] is exchange:
            self.write_ready()

    def write_ready(self) -> None:
        """Write what is ready, in one piece and in order; then it is the turn of what waits behind it."""
        pending, ready, reader = self.pending, [], self._reader
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
            if reader.whole or not self._linger_until:
                self.transport.close()
            return
        if pending and isinstance(pending[0], Handover) and not pending[0].started:
            pending[0].start(self.transport, last=self.stopping and len(pending) == 1)
        if self._paused and len(pending) <= MAX_PIPELINED // 2 and not self._unread_since:
            self._resume_reading()
        if not pending and reader.expects_continue and not reader.whole:
            reader.incomplete(0)
        self.attention = self._paused or reader.expects_continue or reader.n_received > 0

    # a client that does not read its answers, or sends faster than it is answered

    def pause_writing(self) -> None:
        """More is to be written than the client reads: nothing further is read from it, and it is given a while."""
        self._unread_since = perf_counter()
        self._n_unread = self.transport.get_write_buffer_size()
        self.pause_reading()
        if self.pending and isinstance(self.pending[0], Handover):
            self.pending[0].pause_writing()

    def resume_writing(self) -> None:
        """The client has read."""
        self._unread_since = 0.0
        if self.pending and isinstance(self.pending[0], Handover):
            self.pending[0].resume_writing()
        if self._paused:
            self._resume_reading()

    def pause_reading(self) -> None:
        """Let the client wait with what it sends."""
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
        elif not self._reader.whole:
            self._reader.refuse_if_slow(now)
        elif self.pending:
            return
        elif self.active:
            self.active, self._served = False, True
            self._since = now
        elif now - self._since > (context.keep_alive_seconds if self._served else context.request_seconds):
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

    # the server stops

    @property
    def idle(self) -> bool:
        """Whether no request has begun that is not answered."""
        return self._reader.whole and not self.pending

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

"""A ``ModelInfer`` on its stream: the receiver of its message, and the exchange that its predict route answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING

from orris.errors import OrrisError, RequestTimeoutError
from orris.protocols.grpc.messages import MessageReader, framed, inflated
from orris.protocols.grpc.metadata import RESPONSE, CallHead, refused, trailers, usual_trailers
from orris.serving.exchange import FRESH_IDS, Exchange, Reply, id_of
from orris.telemetry.tracecontext import Arrival, TraceContext

if TYPE_CHECKING:
    from orris.protocols.grpc.service import InferenceService
    from orris.serving.http2.connection import Http2Connection
    from orris.serving.http2.stream import Stream

LATE = "the call took longer than its grpc-timeout"


class InferExchange(Exchange):
    """A call.

    Args:
        service: Knows the predict routes.
        stream: Where it comes, and is answered.
        head: What it began with.
    """

    __slots__ = ("_came", "_deadline", "_encoding", "_reader", "_service", "_stream")

    def __init__(  # not by way of ``super``: it is made for every call
        self, service: InferenceService, stream: Stream, head: CallHead, came: Arrival
    ) -> None:
        headers = head.metadata
        given = headers.get(b"x-request-id")
        self.id = FRESH_IDS.pop() if given is None and FRESH_IDS else id_of(given)
        self.body = b""
        self.headers = headers
        self.trace: TraceContext | None = None
        self.started = perf_counter()
        self._service = service
        self._stream = stream
        self._came = came
        self._encoding = head.encoding
        self._deadline = inf if head.timeout_seconds is inf else self.started + head.timeout_seconds
        self._reader: MessageReader | None = None

    # the receiver of the stream

    def data(self, data: bytes, ended: bool) -> None:
        """Bytes of the message; a message that comes in one piece is not copied together."""
        if ended and self._reader is None and data[:1] == b"\0" and int.from_bytes(data[1:5], "big") == len(data) - 5:
            self.body = data[5:]
            self._service.enter(self)
        else:
            self._read(data, ended)

    def _read(self, data: bytes, ended: bool) -> None:
        if self._reader is None:
            self._reader = self._service.reader(self._stream)
        try:
            message = self._reader.only(data, ended=ended)
        except OrrisError as error:
            self._service.refuse(self, error)
            return
        if message is None:
            return
        if not message.compressed:
            self.body = message.content
            self._service.enter(self)
            return
        inflating = asyncio.get_running_loop().run_in_executor(
            None, inflated, message, self._encoding, self._service.max_message_bytes
        )
        inflating.add_done_callback(self._inflated)

    def _inflated(self, inflating: asyncio.Future[bytes]) -> None:
        error = inflating.exception()
        if isinstance(error, Exception):
            self._service.refuse(self, error)
        elif error is None:
            self.body = inflating.result()
            self._service.enter(self)

    def cancelled(self) -> None:
        """The caller does not wait any more; an answer that is being computed goes nowhere."""
        self._free()

    def look(self, now: float) -> None:
        """End a call whose time is up."""
        if now > self._deadline:
            self._stream.send_headers(refused("DEADLINE_EXCEEDED", LATE, self._named()), end=True)
            self._free()
        elif not self._stream.ended and now - self.started > self._service.request_seconds:
            error = RequestTimeoutError(f"the call was not whole after {self._service.request_seconds:g} s")
            self._service.refuse(self, error)

    # the exchange of the predict route

    def finish(self, reply: Reply) -> None:
        """Send the answer, or the status that the call ends with."""
        self._free()
        stream = self._stream
        if not stream.open:
            return
        if reply.code == "OK":
            end = usual_trailers(self.id) if self.trace is None else trailers("OK", "", self._named())
            stream.answer(RESPONSE, framed(reply.body), end)
        else:
            text = reply.body.decode("utf-8", "replace")
            stream.send_headers(refused(reply.code, text, (*self._named(), *reply.headers)), end=True)
        stream.connection.put(b"")

    @staticmethod
    def succeed(exchanges: Sequence[InferExchange], bodies: Sequence[bytes], microseconds: int) -> None:
        """Send the usual answers of a tick: one write for each connection."""
        del microseconds
        connections: dict[Http2Connection, None] = {}
        for exchange, body in zip(exchanges, bodies, strict=True):
            stream = exchange._stream
            if exchange.trace is None and exchange._reader is None:
                stream.answer(RESPONSE, framed(body), usual_trailers(exchange.id))
                connections[stream.connection] = None
            else:
                exchange.finish(Reply(200, body, code="OK"))
        for connection in connections:
            connection.flush()

    def arrival(self) -> Arrival:
        """The name of the call."""
        return self._came

    def _named(self) -> list[tuple[bytes, bytes]]:
        """The trailers that name the call and its place in a trace."""
        named = [(b"x-request-id", self.id)]
        if self.trace is not None and self.trace.header:
            named.append((b"traceparent", self.trace.header))
        return named

    def _free(self) -> None:
        if self._reader is not None:
            self._reader.close()

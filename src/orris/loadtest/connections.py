"""Connections of the driver: HTTP/1.1 with one request at a time on each, and channels of gRPC."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from orris.errors import LoadTestError, MissingExtraError
from orris.loadtest.target import Target

RECONNECT_SECONDS = 0.1
"""Pause before a connection that was refused is tried again."""

N_OPENED_AT_ONCE = 128


class Outcomes(Protocol):
    """Receives what became of each request."""

    def answered(self, route: int, due: float, at: float, n_bytes: int) -> None:
        """It was answered as it should be."""

    def failed(self, route: int, due: float, at: float, kind: str, answer: bytes | str = "") -> None:
        """It failed, with this answer, if there was one."""


class HttpConnection(asyncio.Protocol):
    """One connection: sends a request, and reports its answer to the pool."""

    __slots__ = ("data", "due", "n_bytes", "parser", "pool", "route", "sent", "transport")

    def __init__(self, pool: HttpPool) -> None:
        self.pool = pool
        self.transport: Any = None
        self.parser = pool.new_parser(self)
        self.route = -1  # of the request that it waits for; -1: none
        self.due = self.sent = 0.0
        self.n_bytes = 0
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = transport

    def send(self, route: int, due: float, now: float, content: bytes) -> None:
        """Send a request; there is none under way."""
        self.route, self.due, self.sent, self.n_bytes = route, due, now, 0
        self.transport.write(content)

    def data_received(self, data: bytes) -> None:
        """Read a part of an answer."""
        self.n_bytes += len(data)
        self.data = data
        try:
            self.parser.feed_data(data)
        except self.pool.parser_errors:
            self.fail("malformed answer")

    def on_message_complete(self) -> None:
        """The answer is complete: httptools calls this."""
        if self.route < 0:
            return
        status, keep = self.parser.get_status_code(), self.parser.should_keep_alive()
        route, self.route = self.route, -1
        self.pool.complete(self, route, self.due, status, self.n_bytes, keep)

    def fail(self, kind: str) -> None:
        """End the request, and the connection, which may hold the rest of an answer."""
        if self.route >= 0:
            route, self.route = self.route, -1
            self.pool.outcomes.failed(route, self.due, time.monotonic(), kind)
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection ended, by whichever side."""
        del error
        if self.route >= 0:
            self.fail("connection closed")
        self.pool.lost(self)


class HttpPool:
    """A fixed number of connections, and the requests that wait for a free one, first come first served.

    Free connections are used in turn, so that all of a server's processes get their share.
    """

    def __init__(self, target: Target, outcomes: Outcomes, n_connections: int, timeout_seconds: float) -> None:
        self.outcomes = outcomes
        self.n_waited = 0
        self._place, self._context = target.place, target.context
        self._n_connections, self._timeout = n_connections, timeout_seconds
        self._idle: deque[HttpConnection] = deque()
        self._open: set[HttpConnection] = set()
        self._waiting: deque[tuple[int, float, bytes]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._refusal = ""
        self.new_parser, self.parser_errors = _parser()

    async def open(self) -> None:
        """Open all connections.

        Raises:
            LoadTestError: One could not be opened.
        """
        for first in range(0, self._n_connections, N_OPENED_AT_ONCE):
            n_now = min(N_OPENED_AT_ONCE, self._n_connections - first)
            await asyncio.gather(*(self._connect() for _ in range(n_now)))
            if self._refusal:
                host, port = self._place
                raise LoadTestError(
                    f"{host}:{port}: {self._refusal}, with {len(self._open)} of {self._n_connections} connections"
                    " open: is the server running, and may this process open as many files (ulimit -n)?"
                )

    def start(self, route: int, due: float, now: float, content: bytes) -> None:
        """Send a request, or keep it until a connection is free."""
        while self._idle:
            connection = self._idle.popleft()
            if not connection.transport.is_closing():  # a closed one is replaced as soon as the loop has reported it
                connection.send(route, due, now, content)
                return
        if self._open or not self._refusal:
            self.n_waited += 1
            self._waiting.append((route, due, content))
        else:
            self.outcomes.failed(route, due, now, self._refusal)

    def complete(
        self, connection: HttpConnection, route: int, due: float, status: int, n_bytes: int, keep: bool
    ) -> None:
        """An answer is there."""
        now = time.monotonic()
        if 200 <= status < 300:
            self.outcomes.answered(route, due, now, n_bytes)
        else:
            self.outcomes.failed(route, due, now, f"HTTP {status}", connection.data.partition(b"\r\n\r\n")[2])
        if keep:
            self._free(connection, now)
        else:
            connection.transport.close()

    def _free(self, connection: HttpConnection, now: float) -> None:
        if connection.transport.is_closing():
            return
        if self._waiting:
            route, due, content = self._waiting.popleft()
            connection.send(route, due, now, content)
        else:
            self._idle.append(connection)

    def lost(self, connection: HttpConnection) -> None:
        """A connection ended: open another."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if not self._closing:
            task = asyncio.ensure_future(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        """Open a connection; while it is refused, fail what waits and try again, unless it is the first time."""
        loop = asyncio.get_running_loop()
        first = not self._open and not self._refusal
        while not self._closing:
            try:
                _, connection = await asyncio.wait_for(
                    loop.create_connection(lambda: HttpConnection(self), *self._place, ssl=self._context), self._timeout
                )
            except (OSError, TimeoutError) as error:
                self._refusal = _connect_problem(error)
                if first and not self._open:
                    return
                self._fail_waiting()
                await asyncio.sleep(RECONNECT_SECONDS)
            else:
                self._refusal = ""
                self._open.add(connection)
                self._free(connection, time.monotonic())
                return

    def _fail_waiting(self) -> None:
        if self._open:
            return
        now = time.monotonic()
        while self._waiting:
            route, due, _ = self._waiting.popleft()
            self.outcomes.failed(route, due, now, self._refusal)

    def expire(self, now: float) -> None:
        """End the requests that have taken too long."""
        for connection in [each for each in self._open if each.route >= 0 and now - each.sent > self._timeout]:
            connection.fail("timeout")
        while self._waiting and now - self._waiting[0][1] > self._timeout:
            route, due, _ = self._waiting.popleft()
            self.outcomes.failed(route, due, now, "timeout before a connection was free")

    async def close(self) -> None:
        """End all connections."""
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self._open):
            connection.route = -1
            connection.transport.abort()
        await asyncio.sleep(0)


class GrpcPool:
    """Channels of gRPC, used in turn; each carries any number of calls at once."""

    def __init__(self, target: Target, outcomes: Outcomes, n_channels: int, timeout_seconds: float) -> None:
        try:
            import grpc.aio  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtraError("load", "a load test over gRPC") from error
        self._outcomes, self._timeout, self._metadata = outcomes, timeout_seconds, target.grpc_metadata
        # Without a pool of its own, channels to one address share a connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        secure = target.context is not None
        self._channels = [
            grpc.aio.secure_channel(target.grpc_address, target.grpc_credentials(), options)
            if secure
            else grpc.aio.insecure_channel(target.grpc_address, options)
            for _ in range(n_channels)
        ]
        self._methods = [route.grpc_method for route in target.routes]
        self._calls: dict[str, list[Any]] = {
            method: [channel.unary_unary(method) for channel in self._channels]
            for method in set(self._methods)
            if method
        }
        self._next = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._address = target.grpc_address
        self.n_waited = 0

    async def open(self) -> None:
        """Connect all channels.

        Raises:
            LoadTestError: The server does not answer.
        """
        try:
            await asyncio.wait_for(asyncio.gather(*(each.channel_ready() for each in self._channels)), self._timeout)
        except TimeoutError:
            raise LoadTestError(
                f"{self._address}: no gRPC server answers there within {self._timeout:g} s; --grpc HOST:PORT names"
                " another"
            ) from None

    def start(self, route: int, due: float, now: float, content: bytes) -> None:
        """Make a call."""
        del now
        self._next = (self._next + 1) % len(self._channels)
        call = self._calls[self._methods[route]][self._next]
        task = asyncio.ensure_future(self._make(call, route, due, content))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make(self, call: Any, route: int, due: float, content: bytes) -> None:
        import grpc.aio  # noqa: PLC0415

        try:
            answer = await call(content, timeout=self._timeout, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            kind = "timeout" if code == "DEADLINE_EXCEEDED" else f"gRPC {code}"
            self._outcomes.failed(route, due, time.monotonic(), kind, error.details() or "")
        else:
            self._outcomes.answered(route, due, time.monotonic(), len(answer))

    def expire(self, now: float) -> None:
        """Nothing: each call has a deadline."""

    async def close(self) -> None:
        """End all channels."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(channel.close() for channel in self._channels))


def _parser() -> tuple[Callable[[HttpConnection], Any], tuple[type[Exception], ...]]:
    try:
        import httptools  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("load", "a load test") from error
    return httptools.HttpResponseParser, (httptools.HttpParserError,)


def _connect_problem(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "connecting timed out"
    return f"cannot connect: {error.strerror or error}" if isinstance(error, OSError) else str(error)

"""Runs the application on uvicorn: listen, tell that it is ready, and stop in order, losing nothing.

The order: not ready any more, wait (``drain_seconds``), stop accepting, answer what is in flight, close, flush. A
client that keeps its connection open is told with its next answer that this was the last one; one that sends nothing
for ``IDLE_SECONDS`` is let go.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orris.errors import ServingError, SettingsError
from orris.serving.http.connection import Connection
from orris.serving.http.context import HttpContext
from orris.serving.http.handover import reporting
from orris.serving.http.intake import Intake
from orris.serving.http.options import Access, Ending, Hooks
from orris.serving.processes.board import DRAINING, READY, Board, LocalBoard
from orris.serving.processes.exit import exit_now
from orris.telemetry.server_log import tell

OVERRIDDEN = ("startup", "on_tick", "shutdown", "capture_signals", "handle_exit")
"""Methods of ``uvicorn.Server`` that ``Server`` replaces; ``check_uvicorn`` refuses a version that lacks one."""

CALLED = ("connection_made", "data_received", "shutdown", "pause_writing", "resume_writing", "connection_lost")
"""Methods of uvicorn's HTTP protocol that ``handover`` calls."""

IDLE_SECONDS = 1.0
"""While the server stops: how long a connection that is open, and waits for nothing, may still bring a request."""

STEP_SECONDS = 0.02


class _Threads(ThreadPoolExecutor):
    """The loop's threads, which are not waited for once they are abandoned.

    Attributes:
        abandoned: The server has ended, and what these threads still do is given up.
    """

    abandoned = False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for what is being done, unless it has been given up."""
        super().shutdown(wait=wait and not self.abandoned, cancel_futures=cancel_futures or self.abandoned)


class Server(uvicorn.Server):
    """uvicorn with heartbeats, companions, the sockets of other workers, and an end of its own.

    Attributes:
        cut_off: Connections that were cut off when the server ended.
        given_up: Requests that a thread was still answering then.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        http: HttpContext,
        access: Access,
        *,
        board: Board | LocalBoard,
        hooks: Hooks,
        ending: Ending,
    ) -> None:
        super().__init__(config)
        self._http = http
        self.cut_off = 0
        self.given_up = 0
        self._access = access
        self._board = board
        self._hooks = hooks
        self._ending = ending
        self._intake: Intake | None = None
        self._reason = ""
        self._alone = board.n_workers == 1
        self._who = "" if self._alone else f"worker {board.seat}: "

    # life

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start companions, listen, then tell that requests are accepted."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(1)
        self._threads = _Threads(thread_name_prefix="orris")
        asyncio.get_running_loop().set_default_executor(self._threads)
        self._http.bind(self.config, self.server_state, self.lifespan.state)
        for companion in self._hooks.companions:
            await companion.start()
        http = self._http
        self._intake = Intake(
            sockets or [],
            lambda: Connection(http),
            tls=self.config.ssl,
            relieve=http.close_idle,
            connections=http.connections,
            keeps=lambda: http.stopping,
            board=self._board,
            sharing=self._access.sharing,
        )
        self.started = True
        self._board.enter(READY)
        self._hooks.on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; each second time is a heartbeat."""
        if counter % 2 == 0:
            self._beat()
            if self._intake is not None:
                self._intake.adopt()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 (uvicorn's name)
        """Unready, wait, stop accepting, finish, flush."""
        self._board.enter(DRAINING)
        self._hooks.on_stop()
        self._http.stopping = True
        tell(f"{self._who}stopping: {self._reason or 'asked to'}; not ready any more")
        if self._ending.drain_seconds:
            tell(
                f"{self._who}still accepting requests for {self._ending.drain_seconds:g} s, until nothing is sent here"
                " any more"
            )
            await self._wait(self._ending.drain_seconds)
        if self._intake is not None:
            await self._intake.stop(lambda: self.force_exit)
        tell(f"{self._who}no longer accepting; {len(self._http.connections)} connections to finish")
        bound = self._ending.shutdown_seconds
        companions = [asyncio.ensure_future(companion.stop(bound)) for companion in self._hooks.companions]
        await self._finish(bound, companions)
        self._cut_off()
        self.given_up = self._hooks.in_flight()
        self._threads.abandoned = bool(self.cut_off or self.given_up or self.force_exit)
        for stopping in companions:
            stopping.cancel()
        await self.lifespan.shutdown()
        for beat in self._hooks.on_beat:
            beat()
        how = "everything in flight was answered"
        if self.cut_off or self.given_up:
            how = f"{self.cut_off} connections were cut off, {self.given_up} requests given up"
        tell(f"{self._who}stopped; {how}")

    def _beat(self) -> None:
        self._board.beat()
        for beat in self._hooks.on_beat:
            beat()
        for companion in self._hooks.companions:
            companion.on_beat()
        if self._board.orphaned and not self.should_exit:
            self._reason = "the supervisor is gone"
            self.should_exit = True

    # signals

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Alone: the first signal stops, the second ends at once.

        Under a supervisor: SIGTERM stops, the supervisor ends.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers: dict[int, Any] = {
            signal.SIGTERM: self.handle_exit,
            signal.SIGINT: self.handle_exit if self._alone else signal.SIG_IGN,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (uvicorn's name)
        """A signal."""
        name = signal.Signals(sig).name
        if not self.should_exit:
            self._reason = f"{name} received"
            self.should_exit = True
        elif self._alone and not self.force_exit:
            tell(f"{name} again: ending at once")
            self.force_exit = True

    # the end of connections

    async def _wait(self, seconds: float) -> None:
        """Let time pass, heart beating."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.force_exit:
            self._beat()
            await asyncio.sleep(min(0.1, seconds))

    async def _finish(self, seconds: float, companions: Sequence[asyncio.Future[None]]) -> None:
        """Wait until every connection has had its last answer, every task has ended and companions have stopped."""
        state = self.server_state
        start = time.monotonic()
        while (
            self._http.connections
            or state.tasks
            or self._hooks.in_flight()
            or not all(stopping.done() for stopping in companions)
        ):
            spent = time.monotonic() - start
            if spent > seconds or self.force_exit:
                return
            for connection in self._http.connections:
                if spent > IDLE_SECONDS and connection.idle:
                    connection.transport.close()
                elif not connection.stopping:
                    connection.shutdown()
            self._beat()
            await asyncio.sleep(STEP_SECONDS)

    def _cut_off(self) -> None:
        for connection in self._http.connections:
            self.cut_off += not connection.idle
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()


def serve(
    app: Any, *, http: HttpContext, access: Access, board: Board | LocalBoard, hooks: Hooks, ending: Ending
) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        app: The ASGI application.
        http: What the connections share.
        access: How clients reach the server.
        board: What this process and the other workers tell each other.
        hooks: What is called when.
        ending: How long stopping may take.

    Returns:
        The exit code: 0, or 1 if something was cut off.

    Raises:
        SettingsError: The TLS files cannot be used.
    """
    check_uvicorn()
    config = uvicorn.Config(
        reporting(_under(app, access.root_path) if access.root_path else app),
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,  # its loggers' records go where ours do
        log_level="warning",
        server_header=False,
        proxy_headers=bool(access.forwarded_allow_ips),
        forwarded_allow_ips=access.forwarded_allow_ips or None,
        ssl_certfile=access.tls_cert or None,
        ssl_keyfile=access.tls_key or None,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"--tls-cert {access.tls_cert} --tls-key {access.tls_key}: {error}") from None
    server = Server(config, http, access, board=board, hooks=hooks, ending=ending)
    server.run(sockets=list(access.listeners))
    if server.force_exit:
        # Asked twice: no library's threads (gRPC's, a model's) are waited for any more.
        exit_now(1)
    return int(server.cut_off > 0 or server.given_up > 0)


def check_uvicorn() -> None:
    """Raise ``ServingError`` if the installed uvicorn lacks a method that this package replaces or calls."""
    missing = [f"Server.{name}" for name in OVERRIDDEN if not hasattr(uvicorn.Server, name)]
    missing += [f"HttpToolsProtocol.{name}" for name in CALLED if not hasattr(HttpToolsProtocol, name)]
    if missing:
        raise ServingError(
            f"uvicorn {uvicorn.__version__} has no {', '.join(missing)}; install a version that pyproject.toml allows"
        )


def _under(app: Any, root_path: str) -> Any:
    """The application, told which path a proxy takes off: requests arrive without it, links are written with it."""

    async def mounted(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope["root_path"] = root_path
        await app(scope, receive, send)

    return mounted

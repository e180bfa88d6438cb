"""Accepting connections: as many as wait, up to a bound, in each turn of the loop.

libuv accepts one connection in each turn of its loop. A turn over 1,000 busy connections takes 15 ms and more, so that
of 2,000 clients that connect at once the last would wait for half a minute.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orris.serving.http.balance import Balance

MAX_ACCEPTED = 128
"""Connections that are accepted in one turn of the loop; then those that are open have their turn."""

PAUSE_SECONDS = 0.1
"""Time to the next try when there is no descriptor or memory for another connection."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

logger = logging.getLogger(__name__)


class Acceptor:
    """Accepts the connections of a socket.

    Args:
        listener: The socket; it listens, and is closed by ``close``.
        protocol: Makes a connection's protocol.
        tls: TLS' context; ``None``: no TLS.
        relieve: Called when there is no descriptor for another connection, to close idle ones.
        balance: Hands connections to other workers; ``None``: there are none.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None,
        relieve: Callable[[], None],
        balance: Balance | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._protocol = protocol
        self._tls = tls
        self._relieve = relieve
        self._balance = balance
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """Accept no more, and close the socket; connections that were accepted stay."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listener)
            self._listener.close()

    async def finish(self, seconds: float) -> None:
        """``close``, and wait for the connections that were accepted last, for a bounded time."""
        self.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def _accept(self) -> None:
        for _ in range(MAX_ACCEPTED):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(error)
                    return
                continue  # the client has gone already
            if self._listener.family != socket.AF_UNIX:
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._balance is None or not self._balance.give(accepted):
                self.adopt(accepted)

    def adopt(self, accepted: socket.socket) -> None:
        """Serve a connection that was accepted, here or by another worker."""
        task = self._loop.create_task(self._connect(accepted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, accepted, ssl=self._tls)
        except (OSError, ssl.SSLError):
            accepted.close()  # a handshake that failed, or a client that is gone
            if self._balance is not None:
                self._balance.connected()

    def _pause(self, error: OSError) -> None:
        """Let idle connections go, and try again soon: the socket stays readable, and the loop would spin."""
        logger.warning("connections wait: %s", error.strerror)
        self._relieve()
        self._loop.remove_reader(self._listener)
        self._loop.call_later(PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener, self._accept)

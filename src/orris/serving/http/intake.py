"""Taking connections in: from this worker's socket, from other workers, and for workers that do not answer.

HTTP and gRPC have one each, over sockets of their own.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

from orris.serving.http.accepting import Acceptor
from orris.serving.http.balance import Balance
from orris.serving.http.open_connections import OpenConnections
from orris.serving.processes.board import Board, LocalBoard
from orris.serving.processes.sharing import Sharing

QUEUED_SECONDS = 1.0
"""Longest time to accept the connections that wait when the server stops to listen."""


class Intake:
    """Takes connections in, on the loop that it is made on.

    Args:
        listeners: Sockets that listen: one, or one for each worker.
        protocol: Makes a connection's protocol.
        tls: TLS' context; ``None``: no TLS.
        relieve: Called when there is no descriptor for another connection, to close idle ones.
        connections: Those that are open in this worker.
        keeps: Says whether connections are not handed to other workers any more.
        board: What this process and the other workers tell each other.
        sharing: How workers share connections; ``None``: there is one worker.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        protocol: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None,
        relieve: Callable[[], None],
        connections: OpenConnections[Any],
        keeps: Callable[[], bool],
        board: Board | LocalBoard,
        sharing: Sharing | None,
    ) -> None:
        self._listeners = listeners
        self._protocol = protocol
        self._tls = tls
        self._relieve = relieve
        self._connections = connections
        self._board = board
        self._adopted: dict[int, Acceptor] = {}
        self._keeps = keeps
        self._balance = self._share(sharing)
        self._own = listeners[board.seat] if len(listeners) > 1 else listeners[0]
        self._acceptor = self._accept_from(self._own)

    def adopt(self) -> None:
        """Accept for workers that do not: their share of connections would wait until they are replaced."""
        board = self._board
        if board.n_workers == 1:
            return
        lost = board.lost()
        if self._balance is not None:
            for seat in range(board.n_workers):
                if seat in lost or seat == board.seat:
                    self._balance.open(seat)
                else:
                    self._balance.close(seat)
        if len(self._listeners) < board.n_workers:
            return
        for seat in lost - set(self._adopted):
            self._adopted[seat] = self._accept_from(self._listeners[seat].dup())
        for seat in set(self._adopted) - lost:
            self._adopted.pop(seat).close()

    async def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Accept what waits to be accepted, then close: the kernel resets connections that were not accepted.

        Other workers may have stopped before: whichever is last accepts what came for them.

        Args:
            hurry: Says whether what waits is left.
        """
        give_up = time.monotonic() + QUEUED_SECONDS
        poll = select.poll()
        if self._balance is not None:
            for seat in range(self._board.n_workers):
                poll.register(self._balance.open(seat), select.POLLIN)
        for seat, listener in enumerate(self._listeners):
            poll.register(listener.fileno(), select.POLLIN)
            if listener is not self._own and seat not in self._adopted:
                self._adopted[seat] = self._accept_from(listener.dup())
        while poll.poll(0) and time.monotonic() < give_up and not hurry():
            await asyncio.sleep(0)
        if self._balance is not None:
            for seat in range(self._board.n_workers):
                self._balance.close(seat)
        for acceptor in (self._acceptor, *self._adopted.values()):
            await acceptor.finish(QUEUED_SECONDS)
        for listener in self._listeners:
            listener.close()
        await asyncio.sleep(0)

    def _accept_from(self, listener: socket.socket) -> Acceptor:
        return Acceptor(listener, self._protocol, tls=self._tls, relieve=self._relieve, balance=self._balance)

    def _share(self, sharing: Sharing | None) -> Balance | None:
        """Share connections with the other workers."""
        board = self._board
        if sharing is None:
            return None
        sharing.sit(board.seat)
        balance = Balance(
            sharing,
            others=lambda: set() if self._keeps() else set(range(board.n_workers)) - board.lost() - {board.seat},
            n_open=lambda: len(self._connections),
            adopt=self._serve_here,
        )
        self._connections.opened, self._connections.closed = balance.connected, balance.tell
        balance.open(board.seat)
        return balance

    def _serve_here(self, accepted: socket.socket) -> None:
        """Serve a connection that another worker has accepted."""
        self._acceptor.adopt(accepted)

"""A worker's part in sharing connections: what it hands over, what it takes, and what it tells of."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection

from orris.serving.http.accepting import MAX_ACCEPTED
from orris.serving.processes.sharing import Sharing


class Balance:
    """A worker's part.

    Args:
        sharing: What all workers share.
        others: The seats of other workers that answer.
        n_open: This worker's open connections.
        adopt: Serves a connection that was handed over.
    """

    def __init__(
        self,
        sharing: Sharing,
        *,
        others: Callable[[], Collection[int]],
        n_open: Callable[[], int],
        adopt: Callable[[socket.socket], None],
    ) -> None:
        self._sharing = sharing
        self._others = others
        self._n_open = n_open
        self._adopt = adopt
        self._n_connecting = 0
        self._read: set[int] = set()

    def give(self, accepted: socket.socket) -> bool:
        """Hand a connection that was just accepted to a worker with fewer; ``False``: it is served here."""
        seat = self._sharing.lightest(self._n_open() + self._n_connecting, self._others())
        if seat is not None and self._sharing.give(seat, accepted):
            return True
        self.connecting()
        return False

    def connecting(self) -> None:
        """A connection is about to be served here."""
        self._n_connecting += 1
        self.tell()

    def connected(self) -> None:
        """It is open, or its handshake has failed."""
        self._n_connecting -= 1
        self.tell()

    def tell(self) -> None:
        """Tell the other workers how many connections this one has."""
        self._sharing.tell(self._n_open() + self._n_connecting)

    def open(self, seat: int) -> socket.socket:
        """Take what is handed to a worker: to this one, or to one that does not answer. Returns where it comes in."""
        inbox = self._sharing.inbox(seat)
        if seat not in self._read:
            self._read.add(seat)
            asyncio.get_running_loop().add_reader(inbox, self._take, seat)
        return inbox

    def close(self, seat: int) -> None:
        """Leave it to the worker again."""
        if seat in self._read:
            self._read.discard(seat)
            asyncio.get_running_loop().remove_reader(self._sharing.inbox(seat))

    def _take(self, seat: int) -> None:
        if seat in self._others():  # it answers again, before a heartbeat has noticed: these are its own
            self.close(seat)
            return
        for _ in range(MAX_ACCEPTED):
            accepted = self._sharing.take(seat)
            if accepted is None:
                return
            self.connecting()
            self._adopt(accepted)

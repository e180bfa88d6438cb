"""How the workers of a server share connections: counts of those that are open, and sockets to hand new ones over.

The kernel spreads connections over the workers' sockets by a hash, which gives few connections unevenly: of 40, one
worker of two once got 38. So a worker that has accepted a connection, and has more than another one, hands its
descriptor over. Descriptors on their way lie in the kernel: the death of either worker loses none of them.

Made before forking, as the board is; then each worker calls ``sit``. Every number has one writer at a time.
"""

from __future__ import annotations

import mmap
import socket
from collections.abc import Iterable

MAX_SHARING = 255
"""Workers that can share; a message is one byte, the sender's seat."""

SLACK = 8
"""A connection is handed over if this worker has more than the other one, and by more than one part in so many."""


class Sharing:
    """The counts and sockets.

    Args:
        n_workers: Workers of the server, at most ``MAX_SHARING``.
    """

    def __init__(self, n_workers: int) -> None:
        self._n_workers = n_workers
        numbers = memoryview(mmap.mmap(-1, 8 * n_workers * (n_workers + 1))).cast("Q")
        self._open = numbers[:n_workers]
        self._taken = numbers[n_workers:]  # by receiver, then by sender
        self._pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(n_workers)]
        for end in (end for pair in self._pairs for end in pair):
            end.setblocking(False)
        self._seat = 0
        self._sent = [0] * n_workers

    def sit(self, seat: int) -> None:
        """This process is the worker of a seat."""
        self._seat = seat
        self._open[seat] = 0
        self._sent = [self._taken[self._place(receiver, seat)] for receiver in range(self._n_workers)]

    def tell(self, n_open: int) -> None:
        """Tell the other workers how many connections this one has."""
        self._open[self._seat] = n_open

    def lightest(self, n_open: int, seats: Iterable[int]) -> int | None:
        """The worker that a new connection is handed to; ``None``: this one keeps it.

        Args:
            n_open: Connections of this worker, without the new one.
            seats: Other workers that answer.
        """
        loads = [(self._load(seat), seat) for seat in seats]
        if not loads:
            return None
        load, seat = min(loads)
        return seat if n_open > load + load // SLACK else None

    def give(self, seat: int, accepted: socket.socket) -> bool:
        """Hand a connection to another worker and close it here; ``False``: that is not possible now."""
        try:
            socket.send_fds(self._pairs[seat][1], [bytes([self._seat])], [accepted.fileno()])
        except OSError:  # it has not taken what it got before, or there are no descriptors left
            return False
        self._sent[seat] += 1
        accepted.close()
        return True

    def inbox(self, seat: int) -> socket.socket:
        """Readable when connections were handed to a worker."""
        return self._pairs[seat][0]

    def take(self, seat: int) -> socket.socket | None:
        """A connection that was handed to a worker: this one, or one that does not answer; ``None``: there is none."""
        try:
            sender, descriptors, _, _ = socket.recv_fds(self._pairs[seat][0], 1, 1)
        except (BlockingIOError, InterruptedError):
            return None
        self._taken[self._place(seat, sender[0])] += 1
        return socket.socket(fileno=descriptors[0]) if descriptors else self.take(seat)

    def close(self) -> None:
        """Close the sockets of this process."""
        for pair in self._pairs:
            for end in pair:
                end.close()

    def _load(self, seat: int) -> int:
        """Connections of another worker, with those that are on their way to it from here."""
        return self._open[seat] + max(0, self._sent[seat] - self._taken[self._place(seat, self._seat)])

    def _place(self, receiver: int, sender: int) -> int:
        return receiver * self._n_workers + sender

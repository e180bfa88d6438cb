"""How the workers of a server share connections: counts of those that are open, and sockets to hand new ones over.

The kernel spreads connections over the workers' sockets by a hash, which gives few connections unevenly: of 40, one
worker of two once got 38. So a worker that has accepted a connection, and has more than another one, hands its
descriptor over. Descriptors on their way lie in the kernel: the death of either worker loses none of them. They count
among those of the worker that they go to, for itself as well: it has not taken them while it accepts others.

Made before forking, as the board is; then each worker calls ``sit``. Every number has one writer at a time.
"""

from __future__ import annotations

import fcntl
import mmap
import socket
import termios
from array import array
from collections.abc import Iterable

SLACK = 8
"""A connection is handed over if this worker has more than the other one, and by more than one part in so many."""


class Sharing:
    """The counts and sockets.

    Args:
        n_workers: Workers of the server.
    """

    def __init__(self, n_workers: int) -> None:
        self._open = memoryview(mmap.mmap(-1, 8 * n_workers)).cast("Q")
        self._pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(n_workers)]
        for end in (end for pair in self._pairs for end in pair):
            end.setblocking(False)
        self._seat = 0

    def sit(self, seat: int) -> None:
        """This process is the worker of a seat."""
        self._seat = seat
        self._open[seat] = 0

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
        return seat if n_open + self._on_way(self._seat) > load + load // SLACK else None

    def give(self, seat: int, accepted: socket.socket) -> bool:
        """Hand a connection to another worker and close it here; ``False``: that is not possible now."""
        try:
            socket.send_fds(self._pairs[seat][1], [b"\0"], [accepted.fileno()])
        except OSError:  # it has not taken what it got before, or there are no descriptors left
            return False
        accepted.close()
        return True

    def inbox(self, seat: int) -> socket.socket:
        """Readable when connections were handed to a worker."""
        return self._pairs[seat][0]

    def take(self, seat: int) -> socket.socket | None:
        """A connection that was handed to a worker: this one, or one that does not answer; ``None``: there is none."""
        try:
            _, descriptors, _, _ = socket.recv_fds(self._pairs[seat][0], 1, 1)
        except (BlockingIOError, InterruptedError):
            return None
        return socket.socket(fileno=descriptors[0]) if descriptors else self.take(seat)

    def close(self) -> None:
        """Close the sockets of this process."""
        for pair in self._pairs:
            for end in pair:
                end.close()

    def _load(self, seat: int) -> int:
        """Connections of another worker, with those that are on their way to it."""
        return self._open[seat] + self._on_way(seat)

    def _on_way(self, seat: int) -> int:
        """Connections that were handed to a worker and that it has not taken: the kernel holds a byte for each."""
        found = array("i", [0])
        fcntl.ioctl(self._pairs[seat][0], termios.FIONREAD, found)
        return found[0]

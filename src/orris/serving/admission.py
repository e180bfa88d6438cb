"""Which requests are refused because they would wait too long: by the measured time in the queue.

A request waits in up to three places: in the kernel, while the loop is busy with the turn before; in its route, until a
tick takes it; and in front of a model that is slow, until a call takes its rows. ``LoopTurns`` measures the first, a
request's age is the second, and the batcher knows the third. Their sum is compared with ``max_queue_seconds``.

A queue is useful if it takes up a burst and empties; one that stands adds to every request's latency and to nothing
else. So requests are refused once the wait has been too long for ``STANDING_SECONDS`` without a break, which is CoDel's
distinction (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012; RFC 8289). CoDel then drops single
packets until the senders slow down. Clients of a server need not slow down, so here every request is refused that has
waited too long, or would.
"""

from __future__ import annotations

import asyncio
from math import inf

STANDING_SECONDS = 0.1
"""A wait that has been too long for so long is a standing queue, and no burst: CoDel's interval."""

ANSWERED_OF = 8
"""One in so many of the requests that have waited for the loop for too long is answered all the same.

Where even to refuse takes the loop longer than requests may wait, all would be refused, and none answered.
"""

SHORT_SECONDS = 0.001
"""A turn of the loop that is shorter makes no request wait for long enough to be measured."""


class LoopTurns:
    """How long the requests of a turn of the loop may have waited in the kernel: for as long as the turn before took.

    The requests of a turn that begins after the loop has rested have not waited. Whether the loop rests after a turn is
    found out by one more turn, which does not block.
    """

    __slots__ = ("_began", "_open", "_rested", "_wait_seconds")

    def __init__(self) -> None:
        self._wait_seconds = 0.0
        self._began = 0.0
        self._open = False
        self._rested = True

    def begin(self, now: float) -> float:
        """The first request of a turn is read, or its tick begins; ``now`` is ``perf_counter()``.

        Returns:
            The longest wait of the requests that this turn reads.
        """
        if not self._open:
            self._open = True
            self._wait_seconds = 0.0 if self._rested else now - self._began
            self._rested = False
            self._began = now
        return self._wait_seconds

    def end(self, now: float) -> None:
        """A tick has ended."""
        self._open = False
        if now - self._began < SHORT_SECONDS:
            self._rested = True
        else:
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """The loop has polled once since a tick: if nothing has come, it rests."""
        self._rested = not self._open


class StandingQueue:
    """Tells a standing queue from a burst.

    Attributes:
        refusing: The queue stands.
    """

    __slots__ = ("_last", "_n_late", "_since", "refusing")

    def __init__(self) -> None:
        self.refusing = False
        self._since = inf
        self._last = 0.0
        self._n_late = 0

    def answered(self, n_late: int) -> int:
        """How many of further requests that are to be refused are answered: one in ``ANSWERED_OF``."""
        before = self._n_late
        self._n_late += n_late
        return self._n_late // ANSWERED_OF - before // ANSWERED_OF

    def refuses(self, wait_seconds: float, max_seconds: float, now: float) -> bool:
        """Whether requests with this wait are to be refused.

        Args:
            wait_seconds: How long they have waited or will wait.
            max_seconds: How long they may.
            now: ``perf_counter()``.
        """
        if wait_seconds <= max_seconds:
            if self.refusing:
                self.refusing = now - self._last < STANDING_SECONDS
            else:
                self._since = inf
            return False
        self._last = now
        if not self.refusing:
            self._since = min(self._since, now)
            self.refusing = now - self._since >= STANDING_SECONDS
        if self.refusing:
            self._since = inf
        return self.refusing

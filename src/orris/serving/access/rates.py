"""Limits how many requests a caller may send: a token bucket per caller, stored as one number.

The generic cell rate algorithm: what is kept is the time at which the bucket will be full again. It is the token bucket
of ``burst`` tokens filled at ``rate`` a second, without a counter that has to be topped up; a bucket that is full need
not be kept at all.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from orris.errors import RateLimitError

MAX_CALLERS = 100_000
"""Buckets that are kept; beyond, the one that was used longest ago is forgotten, which fills it."""


class Rates:
    """The buckets of a process.

    Args:
        n_workers: Processes that share the traffic; each takes its part of a rate and of a burst.
    """

    def __init__(self, n_workers: int = 1) -> None:
        self._n_workers = n_workers
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """Buckets that are kept."""
        return len(self._full_at)

    def take(self, name: str, rate: float, burst: int | None, now: float) -> None:
        """Take a token from a caller's bucket.

        Args:
            name: The caller.
            rate: Requests per second of the whole server.
            burst: Requests at once of the whole server; ``None``: one second's worth.
            now: Seconds of the monotonic clock.

        Raises:
            RateLimitError: The bucket is empty; says when it no longer is.
        """
        seconds_each = self._n_workers / rate
        tokens = max(1.0, (rate if burst is None else burst) / self._n_workers)
        full_at = max(self._full_at.get(name, now), now)
        wait = full_at + seconds_each - now - tokens * seconds_each
        if wait > 1e-9 * seconds_each:
            raise RateLimitError(max(1, math.ceil(wait)))
        self._full_at[name] = full_at + seconds_each
        self._full_at.move_to_end(name)
        self._forget(now)

    def _forget(self, now: float) -> None:
        """Drop buckets that are full, a few at a time, and the oldest of too many."""
        for _ in range(2):
            name = next(iter(self._full_at))
            if self._full_at[name] > now and len(self._full_at) <= MAX_CALLERS:
                return
            del self._full_at[name]
            if not self._full_at:
                return

"""Waits for a state of the cluster, with a limit that is far beyond what it takes."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(reached: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Wait until something is true.

    Raises:
        AssertionError: It is not, after ``seconds``; the message is ``what``.
    """
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.4)

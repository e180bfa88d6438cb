"""Waiting for a condition, with an end that a slow and busy machine does not reach."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def eventually(holds: Callable[[], Value], seconds: float = 90) -> Value:
    """Wait until a condition is true, and return its value.

    Args:
        holds: The condition; it is called every 20 ms.
        seconds: When to give up.

    Raises:
        AssertionError: It did not come true in time; has its last value.
    """
    give_up = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < give_up, f"the condition did not come true within {seconds:g} s: {found!r}"
        time.sleep(0.02)
    return found

"""Waiting for a condition, with an end so late that a slow and busy machine does not reach it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 240.0
"""When a test gives up waiting. It bounds what hangs; no test may depend on its value."""

Value = TypeVar("Value")


def eventually(holds: Callable[[], Value], seconds: float = PATIENCE_SECONDS) -> Value:
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


def becomes(read: Callable[[], object], expected: object) -> None:
    """Wait until a reading equals what is expected; fail with the last reading.

    Args:
        read: The reading; it is taken every 100 ms.
        expected: What it is to become.
    """
    give_up = time.monotonic() + PATIENCE_SECONDS
    while (found := read()) != expected and time.monotonic() < give_up:
        time.sleep(0.1)
    assert found == expected

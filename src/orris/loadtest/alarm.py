"""Wakes the event loop at a time, to within about 50 µs.

The timers of uvloop and of asyncio count whole milliseconds, and requests that start up to a millisecond late would
show in every latency. Linux has timers of nanoseconds that are read like a file (timerfd_create(2)).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from typing import Protocol

_CLOCK_MONOTONIC, _ABSOLUTE, _FLAGS = 1, 1, os.O_NONBLOCK | os.O_CLOEXEC


class Alarm(Protocol):
    """Calls a function at a time of ``time.monotonic``."""

    def set(self, when: float) -> None:
        """Ring at this time, and not at the time set before."""

    def close(self) -> None:
        """Ring no more."""


def alarm(loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> Alarm:
    """The finest alarm that this system has; it is not set yet."""
    return FileAlarm(loop, ring) if sys.platform == "linux" else LoopAlarm(loop, ring)


class LoopAlarm:
    """The event loop's own timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop, self._ring = loop, ring
        self._handle: asyncio.TimerHandle | None = None

    def set(self, when: float) -> None:
        """Ring at this time, and not at the time set before."""
        self.close()
        # uvloop's clock and time.monotonic may differ by a constant.
        import time  # noqa: PLC0415

        self._handle = self._loop.call_later(max(0.0, when - time.monotonic()), self._ring)

    def close(self) -> None:
        """Ring no more."""
        if self._handle is not None:
            self._handle.cancel()


class _TimerSpec(ctypes.Structure):
    """``struct itimerspec``: the interval, and the first time, each in seconds and nanoseconds."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class FileAlarm:
    """A timer of Linux behind a file descriptor."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        self._file = self._library.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _TimerSpec()
        self._loop, self._ring = loop, ring
        loop.add_reader(self._file, self._read)

    def set(self, when: float) -> None:
        """Ring at this time, and not at the time set before."""
        whole = int(when)
        self._spec.seconds, self._spec.nanoseconds = whole, max(1, int((when - whole) * 1e9))
        if self._library.timerfd_settime(self._file, _ABSOLUTE, ctypes.byref(self._spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        """Ring no more."""
        self._loop.remove_reader(self._file)
        os.close(self._file)

    def _read(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:  # It was set again meanwhile.
            return
        self._ring()

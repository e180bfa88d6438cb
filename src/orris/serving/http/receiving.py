"""The bytes of request bodies that a process is receiving: bounded in total, and given back to the system.

A body counts from its headers on with the length that it announces, a chunked one with what has arrived, until its
request is answered or its connection is gone.
"""

from __future__ import annotations

import ctypes
import sys

from orris.errors import OverloadedError

RETURN_BYTES = 16 * 1024 * 1024
"""Freed bytes of bodies after which the memory allocator is asked to give memory back."""


class Receiving:
    """Counts the bytes of bodies.

    Args:
        max_bytes: Most bytes at once.

    Attributes:
        n_bytes: Bytes that are being received, or are held until their request is answered.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._n_freed = 0

    def take(self, n_bytes: int) -> None:
        """Count bytes that are about to come; raises ``OverloadedError`` if they would be too many."""
        if self.n_bytes + n_bytes > self.max_bytes:
            raise OverloadedError(f"{self.n_bytes} bytes of request bodies are being received already; try again")
        self.n_bytes += n_bytes

    def free(self, n_bytes: int) -> None:
        """Count bytes no longer."""
        self.n_bytes -= n_bytes
        self._n_freed += n_bytes

    def on_beat(self) -> None:
        """Give freed memory back to the system; called at each heartbeat.

        The allocator of glibc keeps what was freed below its highest block, for as long as the process lives.
        """
        if self._n_freed >= RETURN_BYTES and self.n_bytes < self._n_freed:
            self._n_freed = 0
            _trim()


def _trim() -> None:
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):  # glibc alone
            library.malloc_trim(0)

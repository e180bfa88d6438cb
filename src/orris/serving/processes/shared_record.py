"""Bytes in shared memory that are seen whole or not at all, even if their writer is killed half-way."""

from __future__ import annotations

import struct
import zlib

READ_ATTEMPTS = 100
"""Looks at a cell, each overtaken by two writes, after which it counts as never written."""

_HEAD = struct.Struct("QII")  # sequence, length, checksum


class SharedRecord:
    """Bytes in shared memory, replaced whole: one writer at a time, any number of readers, no lock.

    There are two copies, and the older one is overwritten: a writer that is killed half-way leaves the newer one as it
    was. The checksum covers the sequence number, so that a reader which two writes have overtaken notices, and looks
    again.

    Args:
        memory: ``SharedRecord.size(capacity)`` bytes, zero at first.
    """

    def __init__(self, memory: memoryview) -> None:
        half = len(memory) // 2
        self._halves = (memory[:half], memory[half:])
        self.capacity = half - _HEAD.size

    @staticmethod
    def size(capacity: int) -> int:
        """Bytes of memory for contents of up to ``capacity`` bytes."""
        return 2 * (_HEAD.size + capacity)

    def read(self) -> tuple[int, bytes]:
        """The sequence number of the last write, from 1, and what was written; ``(0, b"")`` before the first."""
        for _ in range(READ_ATTEMPTS):
            found = self._newest()
            if found is not None:
                return found[1:]
        return 0, b""

    def write(self, content: bytes) -> int:
        """Replace the content; returns the sequence number, or 0 if it is too long and the old content stays."""
        if len(content) > self.capacity:
            return 0
        found = self._newest()
        at, sequence = (1 - found[0], found[1] + 1) if found is not None else (0, 1)
        half = self._halves[at]
        half[_HEAD.size : _HEAD.size + len(content)] = content
        _HEAD.pack_into(half, 0, sequence, len(content), _checksum(sequence, content))
        return sequence

    def _newest(self) -> tuple[int, int, bytes] | None:
        """Which half is the newest whole one, its sequence number and its content."""
        heads = [_HEAD.unpack_from(half) for half in self._halves]
        for at in sorted((0, 1), key=lambda at: -heads[at][0]):
            sequence, length, checksum = heads[at]
            if sequence and length <= self.capacity:
                content = bytes(self._halves[at][_HEAD.size : _HEAD.size + length])
                if _checksum(sequence, content) == checksum:
                    return at, sequence, content
        return None


def _checksum(sequence: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(sequence.to_bytes(8, "little")))

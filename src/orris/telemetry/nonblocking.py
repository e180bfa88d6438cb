"""Writes lines to a descriptor without ever waiting for its reader.

The reader of standard output (a container's runtime, a pager, or none) may be slow or gone. Lines wait in memory for a
while, then they are dropped and counted; an answer never waits for them. Each write is one or more whole lines of
``LONGEST_LINE`` bytes at most, which a pipe takes in one piece or not at all: lines of several processes do not mix,
and a killed process leaves no half line.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator

from orris.telemetry.log_formats import LONGEST_LINE

MAX_WAITING_BYTES = 4 * 1024 * 1024
"""Most bytes that wait for a reader; what comes then is dropped."""

CLOSING_SECONDS = 2.0
"""How long the end of the process waits for a reader."""


class NonBlockingWriter:
    """Writes whole lines to a descriptor.

    Args:
        descriptor: Where they go; 1 is standard output.
        dropped: Told how many lines were dropped, whenever some are.
    """

    def __init__(self, descriptor: int, dropped: Callable[[int], None] = lambda _: None) -> None:
        self._dropped = dropped
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._busy = False
        self._closed = _was_closed(descriptor)
        self._release: Callable[[], None] = lambda: None
        self._write: Callable[[bytes], int] = (lambda _: 0) if self._closed else self._without_waiting(descriptor)

    @property
    def waiting(self) -> bool:
        """Whether something waits for the reader."""
        return bool(self._waiting)

    def put(self, lines: bytes) -> None:
        """Queue lines, each with its end, and write as much as goes out now."""
        for content in pieces(lines):
            if self._waiting_bytes + len(content) > MAX_WAITING_BYTES:
                self.push()
            if self._closed or self._waiting_bytes + len(content) > MAX_WAITING_BYTES:
                self._dropped(content.count(b"\n"))
                continue
            self._waiting.append(content)
            self._waiting_bytes += len(content)
        self.push()

    def push(self) -> bool:
        """Write as much of the queue as goes out now; returns whether anything did.

        A signal handler may interrupt it and call it again.
        """
        if self._busy:
            return False
        self._busy, moved = True, False
        try:
            while self._waiting:
                written = self._try(self._waiting[0])
                if not written:
                    break
                moved = True
                content = self._waiting.popleft()
                self._waiting_bytes -= len(content)
                if written < len(content):
                    self._waiting.appendleft(content[written:])
                    self._waiting_bytes += len(content) - written
        finally:
            self._busy = False
        return moved

    def close(self) -> None:
        """Close the descriptors that were opened; lines that are put from now on are dropped."""
        self._closed = True
        self._release()
        self._release = lambda: None

    def drain(self, seconds: float = CLOSING_SECONDS) -> None:
        """Write the queue; lines that the reader does not take within this time are dropped."""
        end = time.monotonic() + seconds
        while self._waiting and time.monotonic() < end:
            if not self.push():
                time.sleep(0.005)
        while self._waiting:
            self._dropped(self._waiting.popleft().count(b"\n"))
        self._waiting_bytes = 0

    def _without_waiting(self, descriptor: int) -> Callable[[bytes], int]:
        """A function that writes to the descriptor without waiting.

        It may write less, and raises ``BlockingIOError`` if nothing goes.

        ``O_NONBLOCK`` belongs to the open file, which other processes share, so it is not set: a pipe or terminal is
        opened anew, a socket takes it with each write. A file makes nobody wait. Where a pipe cannot be opened anew, it
        is asked whether there is room.
        """
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            return lambda content: os.write(descriptor, content)
        if stat.S_ISSOCK(mode):
            peer = socket.socket(fileno=os.dup(descriptor))
            self._release = peer.close
            return lambda content: peer.send(content, socket.MSG_DONTWAIT)
        if not stat.S_ISFIFO(mode) and not os.isatty(descriptor):
            return lambda content: os.write(descriptor, content)
        with contextlib.suppress(OSError):
            own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            self._release = lambda: os.close(own)
            return lambda content: os.write(own, content)
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        return lambda content: os.write(descriptor, content) if poll.poll(0) else 0

    def _try(self, content: bytes) -> int:
        """Bytes that are written, or are lost; 0 if the reader is not ready."""
        try:
            return self._write(content)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            # The reader is gone for good, or a disk is full and may not stay so.
            self._closed = error.errno in {errno.EPIPE, errno.EBADF, errno.ECONNRESET, errno.ENOTCONN}
            self._dropped(content.count(b"\n"))
            return len(content)


def pieces(lines: bytes) -> Iterator[bytes]:
    """As many whole lines together as ``LONGEST_LINE`` bytes hold; a longer one goes alone."""
    start = 0
    while len(lines) - start > LONGEST_LINE:
        end = lines.rfind(b"\n", start, start + LONGEST_LINE) + 1 or lines.find(b"\n", start) + 1 or len(lines)
        yield lines[start:end]
        start = end
    if start < len(lines):
        yield lines[start:]


def _was_closed(descriptor: int) -> bool:
    """Whether the descriptor is a standard one that was closed when Python started.

    Its number may belong to another file now.
    """
    return (descriptor == 1 and sys.__stdout__ is None) or (descriptor == 2 and sys.__stderr__ is None)

"""One JSON line per request, encoded and written in batches off the request path."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import datetime

import msgspec

FLUSH_SECONDS = 0.2
"""Longest time that a line waits to be written."""

FLUSH_LINES = 512
"""Lines after which they are written at once."""


class Line(msgspec.Struct, omit_defaults=True, gc=False):
    """One request.

    Attributes:
        time: Its end, in UTC; written as ISO 8601.
        milliseconds: From the first byte read to the last byte handed over.
        label: For a single row: the predicted class.
        code: The gRPC status' name, of a call over gRPC; ``status`` is what HTTP would have said.
    """

    time: datetime
    level: str
    request_id: str
    method: str
    route: str
    status: int
    milliseconds: float
    trace_id: str = ""
    model_version: str = ""
    rows: int = 0
    label: str = ""
    error: str = ""
    code: str = ""


class RequestLog:
    """Collects lines and writes them to a file descriptor.

    Args:
        descriptor: Where lines go; 1 is standard output.
        enabled: Whether requests are logged at all.
    """

    def __init__(self, descriptor: int = 1, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self._descriptor = descriptor
        self._lines: list[Line] = []
        self._encode: Callable[[Line], bytes] = msgspec.json.Encoder().encode
        self._scheduled = False

    def add(self, line: Line) -> None:
        """Queue a line; it is written within ``FLUSH_SECONDS``."""
        if not self.enabled:
            return
        self._lines.append(line)
        if len(self._lines) >= FLUSH_LINES:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what is queued; called once more when the server stops."""
        self._scheduled = False
        lines, self._lines = self._lines, []
        if not lines:
            return
        content = b"\n".join(map(self._encode, lines)) + b"\n"
        while content:
            content = content[os.write(self._descriptor, content) :]


def milliseconds(seconds: float) -> float:
    """Seconds as milliseconds, to the microsecond."""
    return int(seconds * 1e6) / 1e3

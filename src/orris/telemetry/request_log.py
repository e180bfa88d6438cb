"""One line per request, encoded and written in batches off the request path.

``wants`` decides whether a request is logged, ``add`` queues its line, and ``flush`` writes the queue in the configured
form (``log_formats``) without waiting for a reader (``nonblocking``). A process that is killed loses the lines of its
last ``FLUSH_SECONDS``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isnan
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from orris.schema.columns import Kind, Schema
from orris.telemetry.log_formats import LEVELS, Format, Identified, Level, Line, UsualLines, writer
from orris.telemetry.nonblocking import NonBlockingWriter

__all__ = ["FLUSH_LINES", "FLUSH_SECONDS", "Line", "LogStyle", "RequestLog", "input_values", "level_of", "milliseconds"]

FLUSH_SECONDS = 0.2
"""Longest time that a line waits to be written."""

FLUSH_LINES = 512
"""Lines after which they are written at once."""

RETRY_SECONDS = 0.005
"""Time to the next try when the reader is not ready; it doubles up to ``FLUSH_SECONDS`` while nothing goes."""

LOGGED_ROWS = 8
"""Rows of a request whose input values are logged."""

REDACTED = "[redacted]"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LogStyle:
    """Which requests and fields are logged, and in which form.

    Attributes:
        form: ``json``, ``gcp`` or ``console``.
        level: Requests of a lower level are not logged: ``info`` below status 400, ``warning`` below 500, ``error``
            from there.
        sample: Share of the successes that is logged; those with unusual input values, and all that is not a success,
            always are.
        values: Whether input values are logged.
        redact: Columns whose values are replaced.
        project: Google Cloud project that traces belong to.
        colour: Whether ``console`` has colours.
    """

    form: Format = "json"
    level: Level = "info"
    sample: float = 1.0
    values: bool = False
    redact: frozenset[str] = frozenset()
    project: str = ""
    colour: bool = False


class RequestLog:
    """Collects lines and writes them to a file descriptor.

    Args:
        descriptor: Where lines go; 1 is standard output.
        enabled: Whether requests are logged at all.
        style: What is logged, and how.
        dropped: Where lines that nobody took are counted, under ``requests``.

    Attributes:
        takes_usual_lines: Every success has a line, in ``json`` and without values: ``add_usual`` takes them.
    """

    def __init__(
        self,
        descriptor: int = 1,
        *,
        enabled: bool = True,
        style: LogStyle | None = None,
        dropped: Counter[str] | None = None,
    ) -> None:
        self.enabled = enabled
        self.style = style or LogStyle()
        self._descriptor = descriptor
        self._dropped = dropped if dropped is not None else Counter()
        self._outlet: NonBlockingWriter | None = None
        self._lines: list[Line] = []
        self._written: list[bytes] = []
        self._n_written = 0
        self._write = writer(self.style.form, project=self.style.project, colour=self.style.colour)
        self._timer: asyncio.TimerHandle | None = None
        self._retry_seconds = RETRY_SECONDS
        self._losing = 0
        self._from_status = (0, 0, 400, 500)[LEVELS.index(self.style.level)]
        self._sampling = self.style.sample < 1
        self._all = not self._sampling and not self._from_status
        self.takes_usual_lines = self._all and self.enabled and self.style.form == "json" and not self.style.values

    def wants(
        self, status: int, request_id: str, trace_id: str = "", *, usual: bool = True, routine: bool = False
    ) -> bool:
        """Whether a request is to be logged; call it before a line is made.

        Successes are chosen by the low 64 bits of the trace id, by the rule of OpenTelemetry's ``TraceIdRatioBased``:
        where the share of logs is at least that of traces, each trace that was sampled by this rule has its line.
        Without a trace the request id decides.

        Args:
            status: Its HTTP status.
            request_id: Its id.
            trace_id: Its trace's id, in hexadecimal; empty: none.
            usual: No input value was unusual.
            routine: It asked for a file of the playground or for metrics: a success is logged at level ``debug`` only.
        """
        if not self.enabled:
            return False
        if routine and status < 400 and self.style.level != "debug":
            return False
        if self._all:
            return True
        if status < self._from_status:
            return False
        if status >= 400 or not usual or not self._sampling:
            return True
        return _chosen(trace_id, request_id, self.style.sample)

    def add(self, line: Line) -> None:
        """Queue a line; it is written within ``FLUSH_SECONDS``."""
        if not self.enabled:
            return
        if self._sampling:
            line.weight = 1.0 if line.status >= 400 or line.warnings or not self.style.sample else 1 / self.style.sample
        self._lines.append(line)
        if len(self._lines) >= FLUSH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def add_usual(
        self,
        lines: UsualLines,
        requests: Sequence[Identified],
        microseconds: int,
        labels: Sequence[int] | None,
    ) -> None:
        """``add`` for requests that have just ended together; see ``UsualLines.write``."""
        if self._lines:
            self._written.append(self._write(self._lines))
            self._n_written += len(self._lines)
            self._lines = []
        self._written.append(lines.write(datetime.now(UTC), requests, microseconds, labels))
        self._n_written += len(requests)
        if self._n_written >= FLUSH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def values(self, schema: Schema, rows: npt.NDArray[np.float64]) -> tuple[dict[str, Any], ...]:
        """Input values for a line; empty unless they are configured."""
        return input_values(schema, rows[:LOGGED_ROWS], self.style.redact) if self.style.values else ()

    def flush(self) -> None:
        """Write the queue as far as the reader takes it, and try again soon if it does not."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        outlet, moved = self._put()
        if outlet.waiting:
            self._retry_seconds = RETRY_SECONDS if moved else min(2 * self._retry_seconds, FLUSH_SECONDS)
            self._timer = asyncio.get_running_loop().call_later(self._retry_seconds, self.flush)

    def close(self) -> None:
        """Write the whole queue; lines that are not read within ``CLOSING_SECONDS`` are dropped."""
        outlet, _ = self._put()
        outlet.drain()
        outlet.close()
        self._outlet = None

    def _put(self) -> tuple[NonBlockingWriter, bool]:
        """Pass the queue to the writer; returns it, and whether the reader takes anything."""
        outlet = self._outlet
        if outlet is None:
            outlet = self._outlet = NonBlockingWriter(self._descriptor, self._lost)
        content = b"".join([*self._written, self._write(self._lines)])
        self._lines, self._written, self._n_written = [], [], 0
        lost_before = self._losing
        had_waited = outlet.waiting
        moved = outlet.push()
        outlet.put(content)
        if self._losing and self._losing == lost_before and not outlet.waiting and (moved or content):
            logger.warning("%d lines of requests were dropped; standard output is read again", self._losing)
            self._losing = 0
        return outlet, moved or not had_waited

    def _lost(self, n_lines: int) -> None:
        if not self._losing:
            logger.warning(
                "standard output takes no more lines of requests: they are dropped, and counted in"
                " orris_log_lines_dropped_total"
            )
        self._losing += n_lines
        self._dropped["requests"] += n_lines


def _chosen(trace_id: str, request_id: str, share: float) -> bool:
    if len(trace_id) == 32:
        try:
            return int(trace_id[16:], 16) < share * 2**64
        except ValueError:
            pass
    return crc32(request_id.encode()) < share * 2**32


def input_values(schema: Schema, rows: npt.NDArray[np.float64], redact: frozenset[str]) -> tuple[dict[str, Any], ...]:
    """Encoded rows ``(n_rows, n_columns)`` by column, as a caller would write them.

    A level that training never saw is ``None``.
    """
    found = []
    for row in rows.tolist():
        values: dict[str, Any] = {}
        for column, value in zip(schema.columns, row, strict=True):
            if column.name in redact:
                values[column.name] = REDACTED
            elif isnan(value):
                values[column.name] = None
            elif column.kind is Kind.CATEGORY:
                values[column.name] = column.levels[int(value)] if value >= 0 else None
            elif column.kind is Kind.BOOLEAN:
                values[column.name] = bool(value)
            else:
                values[column.name] = int(value) if column.kind is Kind.INTEGER else value
        found.append(values)
    return tuple(found)


def level_of(status: int) -> str:
    """The level of a request with this HTTP status."""
    return "info" if status < 400 else "warning" if status < 500 else "error"


def milliseconds(seconds: float) -> float:
    """Seconds as milliseconds, to the microsecond."""
    return int(seconds * 1e6) / 1e3

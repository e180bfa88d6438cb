"""The server log on standard error: one line per step with its reason, and errors.

Lines have the form of the request log; on a terminal, and in the announcement, they are plain text. They are written
without waiting for a reader, each in one piece, so that lines of several processes do not mix; a missing reader is no
failure. Until ``open_server_log`` is called, lines are plain text, and the ``logging`` module is left alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import traceback
from collections import Counter
from datetime import UTC, datetime

from orris.telemetry.log_formats import LEVELS, Format, Level, Message, Writer, writer
from orris.telemetry.nonblocking import NonBlockingWriter

_LOWEST = dict(zip(LEVELS, (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR), strict=True))


class ServerLog(logging.Handler):
    """Writes messages of the server, and of the ``logging`` module, to standard error.

    Args:
        form: The form of the lines.
        level: Messages of a lower level are left out.
        project: As ``telemetry.lines.writer`` has it.
        dropped: Where messages that nobody took are counted, under ``messages``.
    """

    def __init__(self, form: Format, level: Level, project: str = "", dropped: Counter[str] | None = None) -> None:
        super().__init__(_LOWEST[level])
        self.form = form
        self._dropped = dropped if dropped is not None else Counter()
        self._write: Writer = writer(form, project=project, colour=form == "console" and coloured(2))
        # Taken again by a signal's handler of the same thread; ``NonBlockingWriter`` bears that.
        self._guard = threading.RLock()
        self._outlet = NonBlockingWriter(2, self._lost)

    def tell(self, message: Message) -> None:
        """Write a message."""
        with self._guard:
            self._outlet.put(self._write([message]))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record of the ``logging`` module."""
        try:
            exception = (
                "".join(traceback.format_exception(*record.exc_info)) if record.exc_info and record.exc_info[0] else ""
            )
            level = next((name for name in reversed(LEVELS) if record.levelno >= _LOWEST[name]), "debug")
            source = (record.pathname, record.lineno, record.funcName) if level == "error" else None
            when = datetime.fromtimestamp(record.created, UTC)
            self.tell(Message(when, level, record.getMessage(), record.name, exception, source))
        except Exception:  # noqa: BLE001 (what logging itself does: a message that cannot be written is no reason to fail)
            self.handleError(record)

    def push(self) -> None:
        """Write what waits for a reader; called at each heartbeat."""
        if self._outlet.waiting:
            with self._guard:
                self._outlet.push()

    def end(self) -> None:
        """Write what waits, for a bounded time."""
        with self._guard:
            self._outlet.drain()

    def close(self) -> None:
        """Write the queue, and close the descriptors that were opened."""
        self.end()
        self._outlet.close()
        super().close()

    def _lost(self, n_lines: int) -> None:
        self._dropped["messages"] += n_lines


_open: list[ServerLog] = []
"""The server log of this process, once it is open."""


def open_server_log(
    form: Format, level: Level = "info", project: str = "", dropped: Counter[str] | None = None
) -> ServerLog:
    """Write messages and log records in this form from now on; called in each worker.

    Libraries log warnings and errors only, whatever the level.
    """
    server_log = ServerLog("console" if os.isatty(2) else form, level, project, dropped)
    root = logging.getLogger()
    for before in _open:
        root.removeHandler(before)
        before.close()
    root.addHandler(server_log)
    root.setLevel(max(_LOWEST[level], logging.WARNING))
    logging.getLogger("orris").setLevel(_LOWEST[level])
    _open[:] = [server_log]
    return server_log


def tell(text: str, level: Level = "info") -> None:
    """Tell one step."""
    if not _open:
        with contextlib.suppress(OSError):
            os.write(2, f"{text}\n".encode())
    elif _LOWEST[level] >= _open[0].level:
        _open[0].tell(Message(datetime.now(UTC), level, text))


def announce(text: str) -> None:
    """Print the announcement that the server is ready, whatever level and form.

    It is plain text, with a command that can be copied.
    """
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())


def coloured(descriptor: int) -> bool:
    """Whether a person reads this descriptor and has nothing against colours (no-color.org)."""
    standard = {1: sys.__stdout__, 2: sys.__stderr__}[descriptor]
    return (
        standard is not None
        and os.isatty(descriptor)
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )

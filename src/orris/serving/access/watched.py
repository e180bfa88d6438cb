"""A file that may be replaced while the server runs: keys are rotated without a restart."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from time import time

from orris.errors import SettingsError

CHECK_SECONDS = 1.0
"""How often at most a file is looked at."""

MAX_FILE_BYTES = 1024 * 1024
"""Longest file of keys; it is read on the loop's thread."""

_SETTLED_SECONDS = 2.0
"""A file as young as this may change again without its time of change showing it."""

logger = logging.getLogger(__name__)


class WatchedFile:
    """A file, and whether its content has changed since it was read.

    Args:
        path: The file; a symbolic link is followed, as the volumes of Kubernetes need.
        what: What it holds, for messages.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._what = what
        self._seen: tuple[int, int, int] | None = None
        self._digest = b""
        self._next_check = 0.0
        self._missing = False

    def read(self) -> bytes:
        """The content; raises ``SettingsError`` if it cannot be read."""
        try:
            return self._read()
        except OSError as error:
            raise SettingsError(
                f"{self._what} {self.path}: {error.strerror or error}; give a file that this process may read"
            ) from None

    def changed(self, now: float) -> bytes | None:
        """The content if it differs from the last that was read, checked at most once in ``CHECK_SECONDS``.

        A file that is gone counts as unchanged, and is logged once.

        Args:
            now: Seconds of the monotonic clock.
        """
        if now < self._next_check:
            return None
        self._next_check = now + CHECK_SECONDS
        before = self._digest
        try:
            if _signature(self.path.stat()) == self._seen:
                return None
            content = self._read()
        except (OSError, SettingsError) as error:
            if not self._missing:
                logger.error("%s %s cannot be read, what it held stays in force: %s", self._what, self.path, error)
            self._missing = True
            return None
        self._missing = False
        return content if self._digest != before else None

    def _read(self) -> bytes:
        with self.path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise SettingsError(f"{self._what} {self.path} is longer than {MAX_FILE_BYTES} bytes")
        self._seen = _signature(status) if time() - status.st_mtime > _SETTLED_SECONDS else None
        self._digest = hashlib.sha256(content).digest()
        return content


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_ino, status.st_size

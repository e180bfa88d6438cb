"""What a server tells of its own life, on standard error: one line per step, with its reason."""

from __future__ import annotations

import contextlib
import os


def tell(text: str) -> None:
    """Write a line in one piece, so that lines of several processes do not mix; nobody listening is no reason to fail."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())

"""Stand-ins for controllers that run on a thread beside a test."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol


class Runs(Protocol):
    """What runs until it is stopped."""

    def run(self) -> None:
        """Run."""

    def stop(self) -> None:
        """End ``run``."""


@contextlib.contextmanager
def in_background(runs: Runs, name: str) -> Iterator[None]:
    """Run on a thread of this name until the end of the context."""
    thread = threading.Thread(target=runs.run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        runs.stop()
        thread.join(10)

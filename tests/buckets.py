"""Emulated buckets, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def emulator(kind: str) -> Iterator[str]:
    """Run ``tests/store/emulator.py``; yields the endpoint of the bucket service.

    Args:
        kind: ``gs``, ``gs-unconditional`` (ignores conditions on writes) or ``s3``.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "tests.store.emulator", kind],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), f"the {kind} emulator did not start"
        yield url
        process.terminate()

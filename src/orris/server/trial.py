"""Tries a version in a process of its own before a running server loads it.

A model runs in compiled code, so that a forged or broken one may kill the process that loads it, or never return from
it. ``try_bundle`` has a child process load the bundle, reproduce its golden rows and answer some others. What Python
reports (a changed file, other answers) is left to the load that follows, which names it better.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from orris.errors import ConflictError

TRIAL_SECONDS = 120.0
"""Longest trial; one that takes longer is ended, and the version refused."""


def try_bundle(folder: Path, *, threads: int, seconds: float = TRIAL_SECONDS) -> None:
    """Load a bundle in a child process.

    Args:
        folder: The bundle.
        threads: Threads for one call of the model.
        seconds: How long the child may take.

    Raises:
        ConflictError: The child was killed, or did not end in time.
    """
    command = [sys.executable, "-m", "orris.server.trial", str(folder), str(threads)]
    try:
        done = subprocess.run(  # noqa: S603 (this Python, with the path of a folder)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConflictError(f"{folder}: a process that tried it was not through within {seconds:g} s") from None
    if done.returncode < 0:
        raise ConflictError(f"{folder}: the process that tried it was killed by {_signal_name(-done.returncode)}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def main(folder: str, threads: str) -> None:
    """Load the bundle, and answer rows; runs in the child process."""
    import contextlib  # noqa: PLC0415 (the server itself needs none of these)

    import numpy as np  # noqa: PLC0415

    from orris.errors import OrrisError  # noqa: PLC0415
    from orris.serving.engine import Engine  # noqa: PLC0415

    with contextlib.suppress(OrrisError):
        engine = Engine.load(Path(folder), threads=int(threads))
        golden = engine.manifest.golden.array()
        for rows in (np.zeros((1, engine.schema.n_columns)), golden[:1], golden[::-1], np.repeat(golden, 8, axis=0)):
            with contextlib.suppress(OrrisError):
                engine.run(np.ascontiguousarray(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])

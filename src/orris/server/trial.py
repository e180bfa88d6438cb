"""Tries a version in a process of its own before a server loads it.

A model runs in compiled code, so that a forged or broken one may kill the process that loads it, or never return from
it. A child process loads the bundle, reproduces its golden rows and answers some others: ``try_bundle`` for a server
that runs, ``try_start`` for all that a server is about to load at its start. What Python reports (a changed file, other
answers) is left to the load that follows, which names it better.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from orris.errors import ConflictError, OrrisError

if TYPE_CHECKING:
    from orris.serving.engine import Engine
    from orris.settings import Settings

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


def try_start(references: Sequence[str], settings: Settings, seconds: float = TRIAL_SECONDS) -> None:
    """Load models in a forked child, before this process loads any; a system that is not Linux tries nothing.

    A fork is quicker than a new process, since nothing is imported twice. It needs a process without threads, which
    this is until the first model is loaded; macOS's own libraries do not work in a forked child.

    Args:
        references: References, folders or URLs of bundles; they are loaded one after the other.
        settings: The settings.
        seconds: How long the child may take for each.

    Raises:
        ConflictError: The child was killed, or did not end in time; the message names the reference.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(ImportError):
        import onnxruntime  # noqa: F401, PLC0415 (here, so that it is imported once)
    import orris.serving.engine  # noqa: F401, PLC0415

    receiver, sender = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which are those of NumPy's library
        pid = os.fork()
    if not pid:
        os.close(receiver)
        _load_and_end(references, settings, sender, seconds)
    os.close(sender)
    with os.fdopen(receiver, encoding="utf-8") as pipe:
        begun = pipe.read().splitlines()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return
    reference = begun[-1] if begun else ", ".join(references)
    if code == -signal.SIGALRM:
        raise ConflictError(f"{reference}: a process that tried it was not through within {seconds:g} s")
    raise ConflictError(
        f"{reference}: the process that tried it was killed by {_signal_name(-code)}; this server does not load it"
    )


def _load_and_end(references: Sequence[str], settings: Settings, pipe: int, seconds: float) -> NoReturn:
    """The child: load and answer, write to the pipe what is begun, and say nothing else."""
    from orris.server.loading import load_engine  # noqa: PLC0415

    try:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        for reference in references:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            os.write(pipe, f"{reference}\n".encode())
            _answer_rows(load_engine(reference, settings))
    except BaseException:  # noqa: BLE001, S110 (reported by the load that follows)
        pass
    finally:
        os._exit(0)


def _answer_rows(engine: Engine) -> None:
    """Have a model answer zeros, and its golden rows in several shapes."""
    import numpy as np  # noqa: PLC0415

    golden = engine.manifest.golden.array()
    for rows in (np.zeros((1, engine.schema.n_columns)), golden[:1], golden[::-1], np.repeat(golden, 8, axis=0)):
        with contextlib.suppress(OrrisError):
            engine.run(np.ascontiguousarray(rows))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def main(folder: str, threads: str) -> None:
    """Load the bundle, and answer rows; runs in the child process of ``try_bundle``."""
    from orris.serving.engine import Engine  # noqa: PLC0415 (the server itself needs it elsewhere)

    with contextlib.suppress(OrrisError):
        _answer_rows(Engine.load(Path(folder), threads=int(threads)))


if __name__ == "__main__":
    main(*sys.argv[1:])

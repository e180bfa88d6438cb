"""Starts and stops processes, and reads the CPU time that they have used."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO


def start(
    command: Sequence[str],
    *,
    stdout: int | IO[str] = subprocess.DEVNULL,
    stderr: int | IO[str] = subprocess.DEVNULL,
    environ: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[str]:
    """Start a program in a session of its own: Ctrl-C reaches this process alone, which then stops the program.

    Where ``setpriv`` (Debian's util-linux) is installed, the kernel kills the program when this process ends.

    Args:
        command: The program and its arguments.
        stdout: As of ``subprocess.Popen``.
        stderr: The same.
        environ: Environment variables in addition to those of this process.
        pass_fds: File descriptors that the program inherits.
    """
    setpriv = shutil.which("setpriv")
    before = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    return subprocess.Popen(  # noqa: S603 (our own command)
        [*before, *command],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
        env={**os.environ, **(environ or {})},
        pass_fds=pass_fds,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[str], seconds: float = 10, number: signal.Signals = signal.SIGTERM) -> None:
    """Send a signal, and SIGKILL if the process has not ended after so many seconds; close its streams."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def cpu_seconds(pid: int) -> float:
    """CPU time of the threads that a process has now, in seconds (``/proc/PID/task/*/schedstat``); 0 if it has ended.

    ``/proc/PID/stat`` counts in steps of 10 ms, which is a tenth of what a small quota allows in a second.
    """
    total = 0
    try:
        for task in os.scandir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += int(Path(task.path, "schedstat").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return total / 1e9

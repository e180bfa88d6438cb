"""Programs that the local experiment starts: found or named as missing, ended with it, and their CPU."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from orris.errors import ExperimentError

_TICKS = os.sysconf("SC_CLK_TCK")
_PACKAGES = {"haproxy": "haproxy", "wrk": "wrk"}


def find_program(name: str) -> str:
    """The path of a program; ``/usr/sbin``, where Debian has HAProxy, is searched as well.

    Raises:
        ExperimentError: It is not installed; says what to install.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        raise ExperimentError(f"{name} is not installed: install it with  apt-get install {_PACKAGES.get(name, name)}")
    return found


def start(
    command: Sequence[str],
    *,
    stdout: int | IO[str] = subprocess.DEVNULL,
    stderr: int | IO[str] = subprocess.DEVNULL,
    environ: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[str]:
    """Start a program that is killed when this process ends, however it ends, where ``setpriv`` is there to see to it.

    It is in a session of its own: Ctrl-C reaches this process alone, which then stops it in order.
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
    """Ask a process to end, and kill it if it does not end in time."""
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
    """CPU of the threads that a process has now, to the nanosecond (``/proc/PID/task/*/schedstat``); 0 if it has ended.

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


def machine_cpu_seconds() -> tuple[float, float]:
    """CPU of the whole machine that was used, and that was idle, since it started."""
    numbers = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    idle = numbers[3] + numbers[4]
    return (sum(numbers[:8]) - idle) / _TICKS, idle / _TICKS


def allow_open_files() -> None:
    """Raise the limit of open files to what this user may have: a proxy needs two for each connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

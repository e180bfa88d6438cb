"""The machine of the local experiment: its programs, its CPU time, its limit of open files."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

from orris.errors import ExperimentError

_TICKS = os.sysconf("SC_CLK_TCK")


def find_program(name: str) -> str:
    """The path of a program; ``/usr/sbin``, where Debian has HAProxy, is searched as well.

    Raises:
        ExperimentError: It is not installed; says what to install.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        raise ExperimentError(f"{name} is not installed: install it with  apt-get install {name}")
    return found


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

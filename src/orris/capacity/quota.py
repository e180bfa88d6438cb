"""Holds a process, and all that it starts, to a number of processors: by a control group, or else by ``taskset``.

A control group is what Kubernetes uses, and may be a fraction. Where none can be made, whole processors are what the
system lets everybody choose.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PERIOD_MICROSECONDS = 100_000


@dataclass(frozen=True)
class Held:
    """How a process is held.

    Attributes:
        cpus: Processors that it has.
        how: In words.
    """

    cpus: float
    how: str


@contextlib.contextmanager
def held_to(pid: int, cpus: float, cgroups: Path = CGROUPS) -> Iterator[Held]:
    """Hold a process, and those that it will start, to so many processors while the context lasts.

    Args:
        pid: The process; it must not have started others yet.
        cpus: Processors.
        cgroups: Where control groups are mounted.
    """
    for make in (_version_2, _version_1):
        group = make(cgroups, cpus, pid)
        if group is not None:
            folder, how = group
            try:
                yield Held(cpus, how)
            finally:
                _remove(folder)
            return
    yield _pinned(pid, cpus)


def _version_2(cgroups: Path, cpus: float, pid: int) -> tuple[Path, str] | None:
    """A group of cgroup v2 below our own, or below the root."""
    own = next((line[3:].strip() for line in _lines(Path("/proc/self/cgroup")) if line.startswith("0::")), "/")
    for parent in dict.fromkeys((cgroups / own.lstrip("/"), cgroups)):
        if "cpu" not in " ".join(_lines(parent / "cgroup.subtree_control")).split():
            continue
        folder = parent / f"orris-plan-{pid}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            if _written(folder / "cpu.max", f"{_quota(cpus)} {PERIOD_MICROSECONDS}") and _written(
                folder / "cgroup.procs", str(pid)
            ):
                return folder, f"held to {cpus:g} CPU by cpu.max of a control group (v2)"
            folder.rmdir()
    return None


def _version_1(cgroups: Path, cpus: float, pid: int) -> tuple[Path, str] | None:
    """A group of cgroup v1."""
    if not (cgroups / "cpu" / "cpu.cfs_quota_us").exists() and not (cgroups / "cpu" / "tasks").exists():
        return None
    folder = cgroups / "cpu" / f"orris-plan-{pid}"
    with contextlib.suppress(OSError):
        folder.mkdir()
        if (
            _written(folder / "cpu.cfs_period_us", str(PERIOD_MICROSECONDS))
            and _written(folder / "cpu.cfs_quota_us", str(_quota(cpus)))
            and _written(folder / "cgroup.procs", str(pid))
        ):
            return folder, f"held to {cpus:g} CPU by cpu.cfs_quota_us of a control group (v1)"
        folder.rmdir()
    return None


def _pinned(pid: int, cpus: float) -> Held:
    """As many whole processors as the quota needs, as ``taskset`` chooses them."""
    if not hasattr(os, "sched_setaffinity"):
        return Held(float(os.cpu_count() or 1), "not held to any number of processors: this system has no way to")
    allowed = sorted(os.sched_getaffinity(0))
    chosen = allowed[: max(1, ceil(cpus))]
    os.sched_setaffinity(pid, chosen)
    how = f"held to {len(chosen)} whole processors by its CPU set (as taskset does): no control group can be made here"
    return Held(float(len(chosen)), how)


def _quota(cpus: float) -> int:
    return max(1_000, round(cpus * PERIOD_MICROSECONDS))


def _written(file: Path, text: str) -> bool:
    try:
        file.write_text(text)
    except OSError:
        return False
    return True


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _remove(folder: Path) -> None:
    """Remove a group; a process that is still in it goes to the group above."""
    for pid in _lines(folder / "cgroup.procs"):
        _written(folder.parent / "cgroup.procs", pid)
    with contextlib.suppress(OSError):
        folder.rmdir()

"""CPU quotas of processes: control groups, version 2 or 1, or what works where none can be made.

A control group is what Kubernetes uses; making one usually takes root. Without one, ``SignalQuota`` allows fractions of
a CPU with periods that are not exact, and ``CpuSetQuota`` whole CPUs with undisturbed timing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from math import ceil
from pathlib import Path
from typing import Literal, Protocol

from orris.replicas.processes import cpu_seconds

PERIOD_SECONDS = 0.1
"""The period of a quota, as the kernel and Kubernetes have it."""

_numbers = count(1)


class Quota(Protocol):
    """Holds one process to a share of the machine's CPUs.

    Attributes:
        name: The means, for messages and reports.
        cores: CPUs that the process has, which may be more than were demanded where only whole ones can be given.
    """

    name: str
    cores: float

    def add(self, pid: int) -> None:
        """Hold this process, and those that it starts, from now on."""

    def throttled_seconds(self) -> float:
        """How long it has been held back so far, in seconds; 0 where the means cannot know it."""

    def close(self) -> None:
        """Remove the quota; the process has usually ended."""


class CgroupQuota:
    """A control group for one process.

    Args:
        parent: The folder of the group in which it is made.
        cores: CPUs that it allows.
        version: The version of control groups that ``parent`` belongs to.

    Raises:
        OSError: This process may not write to the folder, or the folder has no quotas.
    """

    def __init__(self, parent: Path, cores: float, version: Literal[1, 2]) -> None:
        period = round(PERIOD_SECONDS * 1e6)
        allowed = max(1_000, round(cores * period))  # the least that the kernel accepts
        self.cores = cores
        self.name = f"cgroup v{version}, {'cpu.max' if version == 2 else 'cpu.cfs_quota_us'}"
        self._throttled, self._unit = ("throttled_usec", 1e-6) if version == 2 else ("throttled_time", 1e-9)
        self._folder = parent / f"orris-{os.getpid()}-{next(_numbers)}"
        self._folder.mkdir()
        try:
            if version == 2:
                (self._folder / "cpu.max").write_text(f"{allowed} {period}")
            else:
                (self._folder / "cpu.cfs_period_us").write_text(str(period))
                (self._folder / "cpu.cfs_quota_us").write_text(str(allowed))
        except OSError:
            self._folder.rmdir()
            raise

    def add(self, pid: int) -> None:
        """Move the process into the group."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    def throttled_seconds(self) -> float:
        """The kernel's count."""
        for line in (self._folder / "cpu.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == self._throttled:
                return int(value) * self._unit
        return 0.0

    def close(self) -> None:
        """Remove the group; processes that are still in it go to the group above."""
        for _ in range(50):  # the kernel may need a moment to notice that a process has ended
            with contextlib.suppress(OSError):
                for pid in (self._folder / "cgroup.procs").read_text().split():
                    (self._folder.parent / "cgroup.procs").write_text(pid)
            try:
                self._folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.02)
            else:
                return


class SignalQuota:
    """SIGSTOP when a period's CPU is used up, SIGCONT when the next begins: needs no rights, overshoots a little.

    Args:
        cores: CPUs that the process may use.
    """

    name = "SIGSTOP and SIGCONT"
    _STEP_SECONDS = 0.002

    def __init__(self, cores: float) -> None:
        self.cores = cores
        self._allowed = cores * PERIOD_SECONDS
        self._stopped = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, pid: int) -> None:
        """Begin to watch the process, on a thread."""
        self._thread = threading.Thread(target=self._hold, args=(pid,), name=f"quota of {pid}", daemon=True)
        self._thread.start()

    def throttled_seconds(self) -> float:
        """How long it was stopped."""
        return self._stopped

    def close(self) -> None:
        """End the thread; the process is left running."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _hold(self, pid: int) -> None:
        debt = 0.0  # what was used beyond one period's share is taken from the next
        with contextlib.suppress(ProcessLookupError):
            while not self._ended.is_set():
                until, before = time.monotonic() + PERIOD_SECONDS, cpu_seconds(pid)
                allowed = self._allowed - debt
                while time.monotonic() < until and cpu_seconds(pid) - before < allowed:
                    time.sleep(self._STEP_SECONDS)
                rest = until - time.monotonic()
                if rest > 0 and not self._ended.is_set():
                    os.kill(pid, signal.SIGSTOP)
                    self._ended.wait(rest)
                    self._stopped += rest
                    os.kill(pid, signal.SIGCONT)
                debt = max(0.0, cpu_seconds(pid) - before - allowed)


class CpuSetQuota:
    """As many whole CPUs as the quota needs, chosen as ``taskset`` does: needs no rights, allows no fractions.

    Args:
        cores: CPUs that the process may use, rounded up.
    """

    def __init__(self, cores: float) -> None:
        if hasattr(os, "sched_setaffinity"):
            self.name = "a set of whole CPUs (as by taskset; no control group can be made here)"
            self._cpus = sorted(os.sched_getaffinity(0))[: max(1, ceil(cores))]
        else:
            self.name = "the size of the machine (this system has no quotas)"
            self._cpus = list(range(os.cpu_count() or 1))
        self.cores = float(len(self._cpus))

    def add(self, pid: int) -> None:
        """Give the process these CPUs."""
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(pid, self._cpus)

    def throttled_seconds(self) -> float:
        """0: a process that has a CPU is never held back."""
        return 0.0

    def close(self) -> None:
        """Do nothing: the set ends with its process."""


def hold(pid: int, cores: float, otherwise: Callable[[float], Quota]) -> Quota:
    """Hold a process, and those that it will start, to so many CPUs, by a control group if one can be made.

    Args:
        pid: The process, which has not started others yet.
        cores: CPUs that it may use, for instance 0.25.
        otherwise: Makes the quota where no control group can be made.
    """
    for parent, version in control_groups():
        with contextlib.suppress(OSError):
            group = CgroupQuota(parent, cores, version)
            try:
                group.add(pid)
            except OSError:
                group.close()
                raise
            return group
    quota = otherwise(cores)
    quota.add(pid)
    return quota


def control_groups() -> Iterator[tuple[Path, Literal[1, 2]]]:
    """Folders in which a control group may be made, each with its version; the likeliest first."""
    for folder in _v2_parents():
        yield folder, 2
    for folder in _v1_parents():
        yield folder, 1


def _v2_parents() -> Iterator[Path]:
    """Folders of version 2 whose groups may have a quota: this process' own, those above it, the root."""
    for mount in _mounts("cgroup2"):
        own = next((line[3:] for line in _own_groups() if line.startswith("0::")), "/")
        folder = mount / own.strip("/")
        while True:
            with contextlib.suppress(OSError):
                if "cpu" in (folder / "cgroup.subtree_control").read_text().split():
                    yield folder
            if folder == mount or mount not in folder.parents:
                break
            folder = folder.parent


def _v1_parents() -> Iterator[Path]:
    """Folders of version 1: this process' own group, then the root."""
    for mount in _mounts("cgroup", "cpu"):
        own = next((line.split(":", 2)[2] for line in _own_groups() if "cpu" in line.split(":")[1].split(",")), "/")
        yield from dict.fromkeys((mount / own.strip("/"), mount))


def _own_groups() -> list[str]:
    return Path("/proc/self/cgroup").read_text().splitlines()


def _mounts(kind: str, option: str | None = None) -> Iterator[Path]:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, folder, file_system, options, *_ = line.split()
        if file_system == kind and (option is None or option in options.split(",")):
            yield Path(folder)

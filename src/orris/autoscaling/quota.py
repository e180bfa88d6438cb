"""CPU quotas of processes: control groups, version 2 or 1, and where neither is writable, stops and starts."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Literal, Protocol

from orris.autoscaling.processes import cpu_seconds

PERIOD_SECONDS = 0.1
"""The period of a quota, as the kernel and Kubernetes have it."""

_numbers = count(1)


class Quota(Protocol):
    """Holds one process to a share of a CPU; ``name`` says by which means."""

    name: str

    def add(self, pid: int) -> None:
        """Hold this process, and what it starts, from now on."""

    def throttled_seconds(self) -> float:
        """How long it has been held back so far."""

    def close(self) -> None:
        """Let go; the process has ended."""


class CgroupQuota:
    """A control group of its own, in a folder of version 2 or 1 that this process may write to.

    Raises:
        OSError: It may not, or the folder knows no quotas.
    """

    def __init__(self, parent: Path, cores: float, version: Literal[1, 2]) -> None:
        period = round(PERIOD_SECONDS * 1e6)
        allowed = round(cores * period)
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
        """Remove the group; the kernel may need a moment to notice that the process has ended."""
        for _ in range(50):
            try:
                self._folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.02)
            else:
                return


class SignalQuota:
    """SIGSTOP when a period's CPU is used up, SIGCONT when the next begins: needs no rights, overshoots a little."""

    name = "SIGSTOP and SIGCONT"
    _STEP_SECONDS = 0.002

    def __init__(self, cores: float) -> None:
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


def make_quota(cores: float) -> Quota:
    """A quota by the first means that works here.

    Args:
        cores: CPUs that the process may use, for instance 0.25.
    """
    for parent in _v2_parents():
        with contextlib.suppress(OSError):
            return CgroupQuota(parent, cores, 2)
    for parent in _v1_parents():
        with contextlib.suppress(OSError):
            return CgroupQuota(parent, cores, 1)
    return SignalQuota(cores)


def _v2_parents() -> Iterator[Path]:
    """Folders of version 2 in which a group may be limited: this process' own group, those above it, the root."""
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
    """The same of version 1: this process' own group, then the root."""
    for mount in _mounts("cgroup", "cpu"):
        own = next((line.split(":", 2)[2] for line in _own_groups() if "cpu" in line.split(":")[1].split(",")), "/")
        yield from dict.fromkeys((mount / own.strip("/"), mount))


def _own_groups() -> list[str]:
    return Path("/proc/self/cgroup").read_text().splitlines()


def _mounts(kind: str, option: str | None = None) -> Iterator[Path]:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, what, options, *_ = line.split()
        if what == kind and (option is None or option in options.split(",")):
            yield Path(where)

"""Control groups of a container: its CPU quota, its memory limit, what it uses, and all its processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PERIOD_MICROSECONDS = 100_000
"""Of the CPU quota: Kubernetes' default."""


@dataclass(frozen=True)
class Hierarchy:
    """Where groups are made: version 2, or the three controllers of version 1.

    Attributes:
        version: 1 or 2.
        folders: By controller (``cpu``, ``cpuacct``, ``memory``); in version 2 one for all.
    """

    version: int
    folders: dict[str, Path]

    @classmethod
    def found(cls, mount: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Hierarchy:
        """Those of this machine. In version 1, groups are made below this process's own.

        Raises:
            OSError: Neither version is mounted, or this process may not make groups.
        """
        if (mount / "cgroup.controllers").exists():
            (mount / "cgroup.subtree_control").write_text("+cpu +memory")
            return cls(2, {"": mount})
        lines = [line.split(":", 2) for line in own.read_text("utf-8").splitlines()]
        paths = {name: path for _, names, path in lines for name in names.split(",")}
        folders: dict[str, Path] = {
            name: mount / name / paths[name].strip("/") for name in ("cpu", "cpuacct", "memory") if name in paths
        }
        if len(folders) < 3 or not all(os.access(folder, os.W_OK) for folder in folders.values()):
            raise OSError(f"no control groups below {mount} that this process may write: run as root")
        return cls(1, folders)

    def group(self, name: str) -> Group:
        """Make a group; ``name`` may be a path."""
        folders = {controller: folder / name for controller, folder in self.folders.items()}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
            if self.version == 2:
                for parent in list(folder.relative_to(self.folders[""]).parents)[:-1]:
                    (self.folders[""] / parent / "cgroup.subtree_control").write_text("+cpu +memory")
        return Group(self.version, folders)


@dataclass(frozen=True)
class Group:
    """One group."""

    version: int
    folders: dict[str, Path]

    def limit(self, processors: float | None, memory_bytes: float | None) -> None:
        """Set its CPU quota and its memory limit; ``None``: none."""
        if processors:
            quota = round(processors * PERIOD_MICROSECONDS)
            if self.version == 2:
                self._file("cpu", "cpu.max").write_text(f"{quota} {PERIOD_MICROSECONDS}")
            else:
                self._file("cpu", "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS))
                self._file("cpu", "cpu.cfs_quota_us").write_text(str(quota))
        if memory_bytes:
            name = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
            self._file("memory", name).write_text(str(round(memory_bytes)))

    @property
    def member_files(self) -> list[Path]:
        """The files to which a process writes ``0`` to become a member."""
        return [folder / "cgroup.procs" for folder in self.folders.values()]

    @property
    def used_cpu_seconds(self) -> float:
        """CPU time of its processes, those that have ended included."""
        if self.version == 2:
            return int(self._fields("cpu", "cpu.stat")["usage_usec"]) / 1e6
        return int(self._file("cpuacct", "cpuacct.usage").read_text()) / 1e9

    @property
    def used_memory_bytes(self) -> int:
        """Memory of its processes, files that could be dropped left out: what ``kubectl top`` calls the working set."""
        name = "memory.current" if self.version == 2 else "memory.usage_in_bytes"
        key = "inactive_file" if self.version == 2 else "total_inactive_file"
        used = int(self._file("memory", name).read_text())
        return max(0, used - int(self._fields("memory", "memory.stat").get(key, 0)))

    @property
    def killed_for_memory(self) -> bool:
        """Whether the kernel ended a process of it because its memory was used up."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return int(self._fields("memory", name).get("oom_kill", 0)) > 0

    @property
    def throttled_periods(self) -> int:
        """Periods in which its CPU quota was used up."""
        return int(self._fields("cpu", "cpu.stat").get("nr_throttled", 0))

    def processes(self) -> Iterator[int]:
        """The ids of its processes."""
        yield from map(int, self.member_files[0].read_text().split())

    def kill(self) -> None:
        """End all its processes at once."""
        for process in self.processes():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def remove(self, patience_seconds: float = 2.0) -> None:
        """Remove it; its processes have to be gone, which the kernel may take a moment to notice."""
        until = time.monotonic() + patience_seconds
        for folder in self.folders.values():
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.01)

    def _file(self, controller: str, name: str) -> Path:
        return self.folders["" if self.version == 2 else controller] / name

    def _fields(self, controller: str, name: str) -> dict[str, str]:
        lines = self._file(controller, name).read_text("utf-8").splitlines()
        return dict(line.split(" ", 1) for line in lines)

"""The number of processors that this process may use; in a container its quota, not the node's count."""

from __future__ import annotations

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")

ALMOST = 0.25
"""A quota that lacks no more than this to the next whole number counts as that number."""


def available_cpus(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP, n_allowed: int | None = None) -> float:
    """Processors that this process may use at once: the least of its CPU sets and of the quotas of its control groups.

    Args:
        cgroups: Where control groups are mounted.
        membership: Says which groups this process is in (``/proc/self/cgroup``).
        n_allowed: Processors of its CPU set; by default what the system says.

    Returns:
        At least 0.01; with a fraction if the quota has one.
    """
    if n_allowed is None:
        n_allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _folders(cgroups, membership) if (quota := _quota(folder)) is not None]
    return max(0.01, min([float(n_allowed), *quotas]))


def auto_workers(cpus: float) -> int:
    """Workers for this many processors: one for each whole one, as a worker keeps one busy.

    One more than the quota covers would have all of them stopped for the rest of each scheduling period (100 ms) under
    load: a quota of 1.5 is one worker, of 1.75 two. There is always one.
    """
    return max(1, int(cpus + ALMOST))


def auto_threads(cpus: float, n_workers: int) -> int:
    """Threads per model call, so that all workers together keep to the processors; at least 1."""
    return max(1, int(cpus + ALMOST) // n_workers)


def _folders(cgroups: Path, membership: Path) -> list[Path]:
    """The folders of this process's groups and of all groups above them, as far as they are visible here."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    folders = []
    for line in [*lines, "0::/"]:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        names = controllers.split(",")
        if controllers and "cpu" not in names:
            continue
        # v2 is mounted at the root (or, beside v1, in "unified"); v1 in a folder named by its controllers. A container
        # sees its own group
        # as the root, while v1's membership may still tell the path on the node: folders that do not exist are passed
        # over.
        roots = (
            [cgroups / controllers, cgroups / "cpu"] if controllers else [cgroups, cgroups / "unified", cgroups / "cpu"]
        )
        steps = [part for part in path.split("/") if part]
        folders += [root.joinpath(*steps[:n]) for root in roots for n in range(len(steps), -1, -1)]
    return folders


def _quota(folder: Path) -> float | None:
    """The quota of one control group in processors, or ``None`` if it has none."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (*(folder / "cpu.max").read_text().split(), "100000")[:2]
        else:
            quota, period = (
                (folder / "cpu.cfs_quota_us").read_text().strip(),
                (folder / "cpu.cfs_period_us").read_text().strip(),
            )
        return int(quota) / int(period) if quota not in {"max", "-1"} and int(period) > 0 else None
    except (OSError, ValueError):
        return None

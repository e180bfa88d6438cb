"""Tests of the means that hold a process to a share of the CPUs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from orris.replicas import processes
from orris.replicas.quota import CgroupQuota, CpuSetQuota, Quota, SignalQuota, control_groups, hold
from tests.waiting import eventually


@pytest.fixture
def waiting() -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that waits until its input ends."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def fractional_quotas(cores: float) -> list[Quota]:
    """One quota of each kind that allows fractions of a CPU and works on this machine."""
    made: dict[str, Quota] = {SignalQuota.name: SignalQuota(cores)}
    for parent, version in control_groups():
        try:
            group = CgroupQuota(parent, cores, version)
        except OSError:
            continue
        if group.name in made:
            group.close()
        else:
            made[group.name] = group
    return list(made.values())


def test_every_fractional_quota_holds_a_busy_process() -> None:
    """A process that would use a whole CPU gets no more than a quarter under a quota of a fifth, and is throttled."""
    for quota in fractional_quotas(0.2):
        process = processes.start(["sh", "-c", "while :; do :; done"])
        try:
            quota.add(process.pid)
            before, began = processes.cpu_seconds(process.pid), time.monotonic()
            used = eventually(partial(used_after_throttling, process.pid, before, quota))
            assert used is not None
            assert used / (time.monotonic() - began) < 0.25, quota.name
        finally:
            process.kill()
            process.wait()
            quota.close()


def used_after_throttling(pid: int, before: float, quota: Quota) -> float | None:
    """CPU seconds that a process has used since a reading, once they are 0.2 and it has been throttled."""
    used = processes.cpu_seconds(pid) - before
    return used if used >= 0.2 and quota.throttled_seconds() > 0 else None


def test_a_group_of_version_2_gets_the_quota(waiting: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """In a group of version 2 ``cpu.max`` holds quota and period, and ``cgroup.procs`` names the process."""
    quota = CgroupQuota(tmp_path, 0.5, 2)
    quota.add(waiting.pid)
    (group,) = tmp_path.iterdir()
    assert (group / "cpu.max").read_text() == "50000 100000"
    assert (group / "cgroup.procs").read_text() == str(waiting.pid)
    assert (quota.cores, quota.name) == (0.5, "cgroup v2, cpu.max")


def test_a_group_of_version_1_gets_the_quota(waiting: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """In a group of version 1 the quota and the period have a file each."""
    quota = CgroupQuota(tmp_path, 1.5, 1)
    quota.add(waiting.pid)
    (group,) = tmp_path.iterdir()
    assert (group / "cpu.cfs_quota_us").read_text() == "150000"
    assert (group / "cpu.cfs_period_us").read_text() == "100000"
    assert quota.name == "cgroup v1, cpu.cfs_quota_us"


def test_without_groups_the_other_means_is_used(
    waiting: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where no control group can be made, half a CPU becomes a whole one of the machine's, and the name says so."""
    monkeypatch.setattr("orris.replicas.quota.control_groups", lambda: iter([(tmp_path / "absent", 2)]))
    quota = hold(waiting.pid, 0.5, CpuSetQuota)
    assert os.sched_getaffinity(waiting.pid) == {min(os.sched_getaffinity(0))}
    assert quota.cores == 1.0
    assert "as by taskset" in quota.name


def test_a_closed_group_is_gone(waiting: subprocess.Popen[bytes]) -> None:
    """After ``close`` no control group of this process is left, even if the process in it still runs."""
    hold(waiting.pid, 0.5, SignalQuota).close()
    assert waiting.poll() is None
    assert not [group for parent, _ in control_groups() for group in parent.glob(f"orris-{os.getpid()}-*")]

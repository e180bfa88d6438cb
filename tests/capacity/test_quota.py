"""Tests of the ways to hold a process to a number of processors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orris.capacity.quota import held_to


@pytest.fixture
def waiting() -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that waits until its input ends."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def test_a_group_of_version_2_gets_the_quota(waiting: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Where a group of cgroup v2 can be made, ``cpu.max`` holds the quota and the process is in the group."""
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory\n")
    with held_to(waiting.pid, 0.5, tmp_path) as held:
        (group,) = tmp_path.glob("orris-plan-*")
        assert (group / "cpu.max").read_text() == "50000 100000"
        assert (group / "cgroup.procs").read_text() == str(waiting.pid)
    assert (held.cpus, held.how) == (0.5, "held to 0.5 CPU by cpu.max of a control group (v2)")


def test_a_group_of_version_1_gets_the_quota(waiting: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Where there is only cgroup v1, its quota is written."""
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "tasks").touch()
    with held_to(waiting.pid, 1.5, tmp_path) as held:
        (group,) = (tmp_path / "cpu").glob("orris-plan-*")
        assert (group / "cpu.cfs_quota_us").read_text() == "150000"
    assert held.how == "held to 1.5 CPU by cpu.cfs_quota_us of a control group (v1)"


def test_without_groups_whole_processors_are_chosen(waiting: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Where no group can be made, the process gets whole processors of its own, and the plan says so."""
    with held_to(waiting.pid, 0.5, tmp_path) as held:
        assert os.sched_getaffinity(waiting.pid) == {min(os.sched_getaffinity(0))}
    assert held.cpus == 1.0
    assert "as taskset does" in held.how

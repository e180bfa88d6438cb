"""Tests of the processors that a container grants, read from control groups of all kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from orris.serving.processes.cpus import auto_threads, auto_workers, available_cpus


def granted(root: Path, membership: str, files: dict[str, str], n_allowed: int = 64) -> float:
    """Return what is read from these files of a control group file system, on a node of 64 processors."""
    for name, content in files.items():
        (root / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "cgroup" / name).write_text(content)
    (root / "membership").write_text(membership)
    return available_cpus(root / "cgroup", root / "membership", n_allowed)


V1 = "5:cpu,cpuacct:/kubepods/pod1/abc\n3:memory:/kubepods/pod1/abc\n"


@pytest.mark.parametrize(
    ("membership", "files", "cpus"),
    [
        pytest.param("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0, id="v2, in a container"),
        pytest.param("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5, id="v2, a fraction"),
        pytest.param("0::/\n", {"cpu.max": "max 100000\n"}, 64.0, id="v2, no quota"),
        pytest.param(
            "0::/a/b\n",
            {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"},
            3.0,
            id="v2, the group above has one",
        ),
        pytest.param(
            "0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "50000 100000"}, 0.5, id="v2, the least counts"
        ),
        pytest.param(
            V1,
            {
                "cpu,cpuacct/kubepods/pod1/abc/cpu.cfs_quota_us": "400000",
                "cpu,cpuacct/kubepods/pod1/abc/cpu.cfs_period_us": "100000",
            },
            4.0,
            id="v1, on the node",
        ),
        pytest.param(
            V1, {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.5, id="v1, in a container"
        ),
        pytest.param(
            V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64.0, id="v1, no quota"
        ),
        pytest.param("0::/\n", {}, 64.0, id="no control groups"),
        pytest.param("0::/\n", {"cpu.max": "what\n"}, 64.0, id="unreadable"),
    ],
)
def test_the_quota_is_read(tmp_path: Path, membership: str, files: dict[str, str], cpus: float) -> None:
    """The quota is read in both versions of control groups, on a node and inside a container."""
    assert granted(tmp_path, membership, files) == cpus


def test_a_cpu_set_counts_where_it_is_less(tmp_path: Path) -> None:
    """A quota of 4 on a set of 2 processors is 2."""
    assert granted(tmp_path, "0::/\n", {"cpu.max": "400000 100000"}, n_allowed=2) == 2.0


def test_this_machine_grants_something() -> None:
    """On the machine of the test at least a part of a processor is granted."""
    assert available_cpus() > 0


@pytest.mark.parametrize(
    ("cpus", "workers"), [(0.25, 1), (1.0, 1), (1.5, 1), (1.75, 2), (2.0, 2), (3.9, 4), (64.0, 64)]
)
def test_there_is_a_worker_for_each_whole_processor(cpus: float, workers: int) -> None:
    """There is at least one worker, and no more than the quota can keep running."""
    assert auto_workers(cpus) == workers


@pytest.mark.parametrize(("cpus", "workers", "threads"), [(8.0, 2, 4), (8.0, 8, 1), (2.0, 4, 1), (7.9, 1, 8)])
def test_threads_keep_to_the_quota(cpus: float, workers: int, threads: int) -> None:
    """All workers' threads together keep to the quota."""
    assert auto_threads(cpus, workers) == threads

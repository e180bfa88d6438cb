"""Tests of quantities, addresses and CPU metrics."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from tests.cluster.kubelet.addresses import PodNetwork, loopback
from tests.cluster.kubelet.cgroups import Group
from tests.cluster.kubelet.metrics import Sample, selected, usage
from tests.cluster.kubelet.quantities import number


@pytest.mark.parametrize(
    ("quantity", "value"),
    [("250m", 0.25), ("2", 2), (1, 1), ("0.5", 0.5), ("512Mi", 536870912), ("1Gi", 1073741824), ("1k", 1000)],
)
def test_quantities_are_read(quantity: str | float, value: float) -> None:
    """CPU is in processors and memory in bytes."""
    assert number(quantity) == value


def test_what_is_no_quantity_is_refused() -> None:
    """A suffix that Kubernetes does not have is an error."""
    with pytest.raises(ValueError, match="mi"):
        number("512mi")


def test_a_cluster_address_stands_for_a_loopback_address() -> None:
    """Addresses of 10.0.0.0/8 have a loopback address, others do not."""
    assert loopback("10.244.0.7") == "127.244.0.7"
    with pytest.raises(ValueError, match="192"):
        loopback("192.168.0.1")


def test_pods_have_addresses_of_their_own() -> None:
    """An address is given once, and again only when all others were."""
    network = PodNetwork("10.244.0.0/30")
    first, second = network.take(), network.take()
    assert (first, second) == ("10.244.0.1", "10.244.0.2")
    network.free(first)
    assert network.take() == first


def test_usage_is_the_difference_of_two_samples() -> None:
    """CPU is what was used between two samples for each second, in billionths of a processor."""
    begun = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    before = Sample(begun, 10.0, 1024)
    after = Sample(begun + datetime.timedelta(seconds=10), 12.5, 2048)
    assert usage(before, after) == {"cpu": "250000000n", "memory": "2Ki"}


def test_pods_are_selected_by_labels() -> None:
    """A selector of equal signs chooses pods that have all its labels."""
    assert selected("a=1,b=2", {"a": "1", "b": "2", "c": "3"})
    assert not selected("a=1,b=2", {"a": "1"})
    assert selected("", {})


@pytest.mark.parametrize("version", [1, 2])
def test_limits_and_usage_are_those_of_the_control_group(version: int, tmp_path: Path) -> None:
    """Quota, memory limit, CPU time and memory are read and written in the files of either version."""
    names = ("cpu", "cpuacct", "memory") if version == 1 else ("",)
    folders = {name: tmp_path / name for name in names}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    written = {
        1: {
            "cpuacct/cpuacct.usage": "2500000000",
            "memory/memory.usage_in_bytes": "3000",
            "memory/memory.stat": "total_inactive_file 1000\n",
            "memory/memory.oom_control": "oom_kill_disable 0\noom_kill 1\n",
            "cpu/cpu.stat": "nr_periods 9\nnr_throttled 4\n",
        },
        2: {
            "cpu.stat": "usage_usec 2500000\nnr_throttled 4\n",
            "memory.current": "3000",
            "memory.stat": "inactive_file 1000\n",
            "memory.events": "oom 1\noom_kill 1\n",
        },
    }[version]
    for name, text in written.items():
        (tmp_path / name).write_text(text, "utf-8")
    group = Group(version, folders)
    assert (group.used_cpu_seconds, group.used_memory_bytes, group.killed_for_memory) == (2.5, 2000, True)
    assert group.throttled_periods == 4
    group.limit(0.25, 1 << 20)
    quota = tmp_path / ("cpu/cpu.cfs_quota_us" if version == 1 else "cpu.max")
    limit = tmp_path / ("memory/memory.limit_in_bytes" if version == 1 else "memory.max")
    assert (quota.read_text("utf-8").split()[0], limit.read_text("utf-8")) == ("25000", "1048576")

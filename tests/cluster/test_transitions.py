"""Tests of the table of transitions in docs/upgrades.md: each is walked on a real control plane."""

from __future__ import annotations

import os

import pytest

from tests.cluster.controlplane import Cluster
from tests.cluster.metrics import Load
from tests.cluster.transitions import every, walk_all

WORKERS = int(os.environ.get("ORRIS_TEST_WORKERS", "4"))


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("version", [4, 3], ids=["helm4", "helm3"])
@pytest.mark.parametrize("chart", ["present", "before"])
def test_no_transition_leaves_fewer_ready_endpoints_than_its_smaller_target(
    chart: str, version: int, cluster: Cluster, load: Load
) -> None:
    """From each combination to each other, from this chart and the one before: no gap, no failure, no leftovers."""
    transitions = every((version,), (chart,))
    walk_all(cluster, load, transitions, WORKERS)
    assert [transition for transition in transitions if not transition.kept] == []

"""Tests of ``orris experiment autoscaling --context`` with real servers and a real wrk in the pods."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cluster.api import Object
from tests.cluster.controlplane import Cluster
from tests.cluster.helm import Helm
from tests.cluster.live.workloads import settled, values
from tests.cluster.test_experiment import limits

HPA = {"type": "hpa", "minReplicas": 1, "maxReplicas": 1, "hpa": {"cpuPercent": 60}}
"""Held to one pod before, as the CPU of its start would add another; the experiment sets limits of its own."""


def test_the_experiment_measures_real_pods(cluster: Cluster, namespace: str, helm: Helm, tmp_path: Path) -> None:
    """Both loads have wrk's numbers, the HPA adds pods in the first alone, and its limits are put back."""
    resources = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "100m", "memory": "256Mi"}}
    helm.upgrade(values("1.0.0", autoscaling=HPA) | {"resources": resources}, "--wait", "--timeout=5m")
    settled(cluster.api, namespace, 1, "1.0.0")
    before = limits(cluster, namespace)
    context = cluster.kubectl("config", "current-context").strip()
    command = [sys.executable, "-m", "orris", "experiment", "autoscaling", "--context", context]
    command += ["--namespace", namespace, "--load-seconds", "40", "--output", str(tmp_path)]
    done = subprocess.run(command, env=cluster.environ, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    first, second = json.loads((tmp_path / "autoscaling.json").read_text("utf-8"))["scenarios"]
    assert first["load"]["requests"] > 0
    assert second["load"]["requests"] > 0
    assert max(_wanted(first)) > 1
    assert max(_wanted(second)) == 1
    assert limits(cluster, namespace) == before


def _wanted(scenario: Object) -> list[int]:
    """The replicas that the HPA wanted during the load."""
    return [point["wanted"] for point in scenario["points"] if point["phase"] == "load"]

"""Tests of hand-overs under a constant load: none loses a request."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.cluster.api import Api
from tests.cluster.controlplane import Cluster
from tests.cluster.helm import ROOT, Helm
from tests.cluster.live.workloads import ROW, load, server_pods, service_url, settled, values
from tests.cluster.waiting import until

RATE = 25.0
"""Requests a second of each of two loads."""
AUTOSCALED = {
    "type": "hpa",
    "minReplicas": 1,
    "maxReplicas": 3,
    "behavior": {
        "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 2, "periodSeconds": 15}]},
        "scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 2, "periodSeconds": 15}]},
    },
}


@contextmanager
def lossless(api: Api, namespace: str) -> Iterator[None]:
    """Send a constant load by connections and by requests; each request has to be answered."""
    with (
        load(service_url(api, namespace), RATE) as connections,
        load(service_url(api, namespace, gateway=True), RATE) as requests,
    ):
        yield
    for spread, sent in (("connections", connections.run.whole), ("requests", requests.run.whole)):
        quantiles = ", ".join(
            f"{share:.0%} {1000 * sent.latency.quantile_seconds(share):.1f} ms" for share in (0.5, 0.99)
        )
        longest = f"longest {1000 * sent.latency.max_seconds:.1f} ms"
        print(f"{spread}: {sent.answered:,} answered, lost: {sent.errors}; {quantiles}, {longest}")  # noqa: T201
        assert sent.errors == {}
        assert sent.answered > 10 * RATE


def versions(api: Api, namespace: str) -> set[str]:
    """The versions that answer a few requests."""
    url = f"{service_url(api, namespace, gateway=True)}/predict"
    return {httpx.post(url, content=ROW, trust_env=False).json()["model_version"] for _ in range(10)}


def test_a_rolling_update_loses_no_request(cluster: Cluster, helm: Helm) -> None:
    """An upgrade to another version and the way back lose no request."""
    helm.upgrade(values("1.0.0"), "--wait", "--timeout=3m")
    settled(cluster.api, helm.namespace, 2, "1.0.0")
    with lossless(cluster.api, helm.namespace):
        helm.upgrade(values("2.0.0"), "--wait", "--timeout=3m")
        settled(cluster.api, helm.namespace, 2, "2.0.0")
        assert versions(cluster.api, helm.namespace) == {"2.0.0"}
        helm.rollback(1, "--wait", "--timeout=3m")
        settled(cluster.api, helm.namespace, 2, "1.0.0")
    assert versions(cluster.api, helm.namespace) == {"1.0.0"}


@pytest.mark.usefixtures("rollouts")
def test_a_canary_loses_no_request(cluster: Cluster, helm: Helm) -> None:
    """A canary that stops half-way answers from both versions, and its promotion and an abort lose no request."""
    steps = [{"setWeight": 50}, {"pause": {}}]
    canary = {"strategy": {"type": "canary", "canary": {"steps": steps}, "analysis": {"enabled": False}}}
    helm.upgrade(values("1.0.0", **canary))
    settled(cluster.api, helm.namespace, 2, "1.0.0")

    def paused() -> bool:
        found = cluster.api.get("Rollout", helm.namespace, "orris")
        return found is not None and bool(found["status"].get("pauseConditions"))

    def change(status: dict[str, object]) -> None:
        cluster.api.patch("Rollout", helm.namespace, "orris", {"status": status}, "status")

    with lossless(cluster.api, helm.namespace):
        helm.upgrade(values("2.0.0", **canary))
        until(paused, "the canary waits for its promotion")
        until(lambda: versions(cluster.api, helm.namespace) == {"1.0.0", "2.0.0"}, "both versions answer")
        change({"abort": True})
        settled(cluster.api, helm.namespace, 2, "1.0.0")
        change({"abort": False})
        until(paused, "the canary waits again")
        change({"promoteFull": True})
        settled(cluster.api, helm.namespace, 2, "2.0.0")


def test_a_drained_node_loses_no_request(cluster: Cluster, helm: Helm) -> None:
    """``kubectl drain`` of a node with all pods keeps to the disruption budget, and no request is lost."""
    others = ["node-1", "node-2", "node-3"]
    helm.upgrade(values("1.0.0"), "--wait", "--timeout=3m")
    try:
        cluster.kubectl("cordon", *others)
        cluster.kubectl("delete", "pod", "--selector=app.kubernetes.io/component=server", "--namespace", helm.namespace)
        settled(cluster.api, helm.namespace, 2, "1.0.0")
        assert {pod["spec"]["nodeName"] for pod in server_pods(cluster.api, helm.namespace)} == {"node-0"}
        cluster.kubectl("uncordon", *others)
        with lossless(cluster.api, helm.namespace):
            cluster.kubectl("drain", "node-0", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=100s")
            settled(cluster.api, helm.namespace, 2, "1.0.0")
        assert "node-0" not in {pod["spec"]["nodeName"] for pod in server_pods(cluster.api, helm.namespace)}
    finally:
        cluster.kubectl("uncordon", "node-0", *others)


def test_scaling_up_and_down_loses_no_request(cluster: Cluster, helm: Helm) -> None:
    """The HPA adds pods when the load grows and takes them away when it falls; no request is lost."""
    small = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "200m", "memory": "256Mi"}}
    helm.upgrade(values("1.0.0", autoscaling=AUTOSCALED, resources=small), "--wait", "--timeout=3m")

    def pods(count: int) -> None:
        until(lambda: len(server_pods(cluster.api, helm.namespace)) == count, f"{count} pods", seconds=180)
        settled(cluster.api, helm.namespace, count, "1.0.0")

    pods(1)
    script, url = ROOT / "loadtests" / "wrk" / "predict.lua", service_url(cluster.api, helm.namespace)
    command = ["wrk", "-t1", "-c8", "-d600s", "-s", str(script), f"{url}/predict"]
    with lossless(cluster.api, helm.namespace):
        surge = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            pods(3)
        finally:
            surge.send_signal(signal.SIGINT)
            printed, _ = surge.communicate()
        assert surge.returncode == 0, printed
        pods(1)

"""Tests of ``orris experiment autoscaling --context`` on a real API server, and of the algorithm beside Kubernetes'."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orris.autoscaling.hpa import Autoscaler, Policy, ScalingRules, Spec, Totals
from tests.cluster.api import Object
from tests.cluster.controlplane import Cluster
from tests.cluster.helm import ROOT, Helm
from tests.cluster.metrics import Load
from tests.cluster.waiting import until

REQUEST_MILLICORES = 100
BEHAVIOR = {
    "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 2, "periodSeconds": 5}]},
    "scaleDown": {"stabilizationWindowSeconds": 15, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 5}]},
}
AUTOSCALING: Object = {
    "type": "hpa",
    "minReplicas": 2,
    "maxReplicas": 6,
    "behavior": BEHAVIOR,
    "hpa": {"cpuPercent": 60},
}
KEDA: Object = {"type": "keda", "minReplicas": 2, "maxReplicas": 6, "behavior": BEHAVIOR}


def values(autoscaling: Object, **more: object) -> Object:
    """Values of a small release, and others."""
    return {
        "image": {"repository": "registry.example/orris", "tag": "1.0.0"},
        "replicas": 2,
        "autoscaling": autoscaling,
        "resources": {
            "requests": {"cpu": f"{REQUEST_MILLICORES}m", "memory": "64Mi"},
            "limits": {"memory": "64Mi"},
        },
        "serviceMonitor": {"enabled": True},
        **more,
    }


def ready(cluster: Cluster, namespace: str) -> int:
    """The ready replicas of the release."""
    found = cluster.api.get("Deployment", namespace, "orris") or cluster.api.get("Rollout", namespace, "orris")
    return int((found or {}).get("status", {}).get("readyReplicas") or 0)


def limits(cluster: Cluster, namespace: str) -> list[object]:
    """What scales the release, and between which numbers."""
    found: list[object] = [
        [each["metadata"]["name"], each["spec"]["minReplicas"], each["spec"]["maxReplicas"]]
        for each in cluster.api.list("HorizontalPodAutoscaler", namespace)
    ]
    for each in cluster.api.list("ScaledObject", namespace):
        spec = each["spec"]
        found.append([spec["minReplicaCount"], spec["maxReplicaCount"], spec["fallback"]["replicas"]])
    workloads = cluster.api.list("Deployment", namespace) + cluster.api.list("Rollout", namespace)
    return found or [each["spec"]["replicas"] for each in workloads]


def left(cluster: Cluster, namespace: str) -> list[str]:
    """Jobs and ConfigMaps of the load test that are still there."""
    names = [each["metadata"]["name"] for kind in ("Job", "ConfigMap") for each in cluster.api.list(kind, namespace)]
    return [name for name in names if "loadtest" in name]


def command(cluster: Cluster, namespace: str, *arguments: str) -> list[str]:
    """The command of the experiment."""
    context = cluster.kubectl("config", "current-context").strip()
    start = [sys.executable, "-m", "orris", "experiment", "autoscaling", "--context", context, "--namespace", namespace]
    return [*start, "--load-seconds", "3", *arguments]


def restored(cluster: Cluster, namespace: str, before: list[object]) -> None:
    """Wait until what scales the release is as it was; KEDA's own HPA follows its ScaledObject a little later."""
    until(lambda: limits(cluster, namespace) == before, f"{before}, and not {limits(cluster, namespace)}", 60)
    until(lambda: not left(cluster, namespace), f"nothing left: {left(cluster, namespace)}", 60)


def install(cluster: Cluster, namespace: str, load: Load, autoscaling: Object, **more: object) -> None:
    """Install a release and wait for its replicas."""
    load.total = 0
    load.millicores = REQUEST_MILLICORES * 6 // 10
    Helm(cluster, 4, namespace).upgrade(values(autoscaling, **more))
    until(lambda: ready(cluster, namespace) == 2, "two ready replicas", 120)


@pytest.mark.parametrize(
    ("autoscaling", "strategy"),
    [
        (AUTOSCALING, "rolling"),
        (KEDA, "rolling"),
        (KEDA, "canary"),
        ({"type": "none"}, "rolling"),
        ({"type": "none"}, "canary"),
    ],
    ids=["hpa", "keda", "keda-rollout", "none", "none-rollout"],
)
def test_the_experiment_runs_and_puts_everything_back(
    autoscaling: Object, strategy: str, cluster: Cluster, namespace: str, load: Load, tmp_path: Path
) -> None:
    """Both loads run as Jobs within the limits of their scenario, and afterwards everything is as it was."""
    rollout = {"type": strategy, "analysis": {"enabled": False}}
    install(cluster, namespace, load, autoscaling, strategy=rollout)
    before = limits(cluster, namespace)
    done = subprocess.run(
        command(cluster, namespace, "--output", str(tmp_path)),
        env=cluster.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    restored(cluster, namespace, before)
    found = json.loads((tmp_path / "autoscaling.json").read_text("utf-8"))
    assert [scenario["max_replicas"] for scenario in found["scenarios"]] == [3, 1]
    for scenario in found["scenarios"]:
        assert {point["phase"] for point in scenario["points"]} >= {"load"}
        assert scenario["cores"] == pytest.approx(REQUEST_MILLICORES / 1000)
        # Nothing runs in the pods of this cluster, so wrk has no numbers, which is said.
        assert "The Job of wrk gave no numbers." in scenario["observations"] or scenario["load"] is not None


@pytest.mark.parametrize("autoscaling", [AUTOSCALING, KEDA], ids=["hpa", "keda"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_experiment_is_put_back(
    number: signal.Signals, autoscaling: Object, cluster: Cluster, namespace: str, load: Load, tmp_path: Path
) -> None:
    """After SIGTERM the command puts things back itself; after SIGKILL ``--restore`` does, at whatever step it was."""
    install(cluster, namespace, load, autoscaling)
    before = limits(cluster, namespace)
    steps = [
        lambda: "orris-loadtest-state" in left(cluster, namespace),
        lambda: "orris-loadtest" in left(cluster, namespace),
        lambda: limits(cluster, namespace) != before,
        lambda: any(name.startswith("orris-loadtest-1000") for name in left(cluster, namespace)),
        lambda: any(name.startswith("orris-loadtest-2000") for name in left(cluster, namespace)),
    ]
    for index, step in enumerate(steps):
        run = command(cluster, namespace, "--output", str(tmp_path))
        with subprocess.Popen(
            run, env=cluster.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            until(step, "the step", 120)
            process.send_signal(number)
            process.wait(120)
        if number == signal.SIGKILL:
            restore = command(cluster, namespace, "--restore")
            if index == 2:  # the script of loadtests/k8s reads the same state
                restore = ["bash", str(ROOT / "loadtests" / "k8s" / "run.sh"), "--restore", namespace]
            done = subprocess.run(
                restore, env=cluster.environ, check=False, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, done.stderr
        restored(cluster, namespace, before)


def test_a_namespace_of_production_is_refused(cluster: Cluster, namespace: str) -> None:
    """The label ``orris/environment=prod`` ends the command before anything is changed."""
    cluster.kubectl("label", "namespace", namespace, "orris/environment=prod")
    done = subprocess.run(
        command(cluster, namespace), env=cluster.environ, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert "is production" in done.stderr
    assert left(cluster, namespace) == []


def changes(series: list[int]) -> list[int]:
    """A series without repetitions."""
    return [each for index, each in enumerate(series) if index == 0 or each != series[index - 1]]


def test_the_algorithm_follows_the_real_controller(cluster: Cluster, namespace: str, load: Load) -> None:
    """On the same CPU the algorithm wants the replicas that Kubernetes' controller wants, within one step.

    The CPU of all pods together rises, falls and rises again; after each change both settle before the next. Each
    replica count that the controller writes is answered by the algorithm from the same CPU at the same time.
    """
    install(cluster, namespace, load, AUTOSCALING)
    spec = Spec(
        2,
        6,
        60,
        scale_up=ScalingRules(0, (Policy("Pods", 2, 5),)),
        scale_down=ScalingRules(15, (Policy("Pods", 1, 5),)),
        sync_seconds=5,
    )
    scaler, mine = Autoscaler(spec), 2
    real_series, my_series = [2], [2]
    for total, settled in ((120, 2), (200, 4), (330, 6), (110, 2), (280, 5)):
        load.total = total
        end = time.monotonic() + 120
        next_sync = time.monotonic()
        while time.monotonic() < end:
            now = time.monotonic()
            found = cluster.api.get("Deployment", namespace, "orris")
            assert found is not None
            real_series.append(int(found["spec"]["replicas"]))
            if now >= next_sync:
                next_sync = now + spec.sync_seconds
                share = total // mine
                mine = scaler.decide(now, mine, Totals(mine, mine * share, mine * REQUEST_MILLICORES)).replicas
                my_series.append(mine)
            if real_series[-1] == settled == mine and ready(cluster, namespace) == settled:
                break
            time.sleep(0.2)
        assert (real_series[-1], mine) == (settled, settled), (changes(real_series), changes(my_series))
    real, simulated = changes(real_series), changes(my_series)
    turns = [
        real[0],
        *(b for a, b, c in zip(real, real[1:], real[2:], strict=False) if (b - a) * (c - b) < 0),
        real[-1],
    ]
    my_turns = [
        simulated[0],
        *(b for a, b, c in zip(simulated, simulated[1:], simulated[2:], strict=False) if (b - a) * (c - b) < 0),
        simulated[-1],
    ]
    assert turns == my_turns, (real, simulated)
    assert abs(len(real) - len(simulated)) <= 1, (real, simulated)
    for theirs, ours in zip(real, simulated, strict=False):
        assert abs(theirs - ours) <= 1, (real, simulated)

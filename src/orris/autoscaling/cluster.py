"""The experiment on a cluster: Kubernetes' own autoscaler, the Jobs of ``loadtests/k8s``, and everything put back.

What scales the release is written down in the ConfigMap ``RELEASE-loadtest-state`` before anything is changed, in the
form of ``loadtests/k8s/run.sh``, so that either can put back what the other left. The ConfigMap goes last: whatever
kills the experiment, the next run or ``restore_cluster`` finds it and puts back what it says.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml

from orris.autoscaling.bottleneck import observe
from orris.autoscaling.driver import read_load
from orris.autoscaling.kube import Kube
from orris.autoscaling.results import Experiment, Point, Scenario, Step
from orris.errors import ExperimentError
from orris.loadtest.engines import wrk

Object = dict[str, Any]
LABEL = "app.kubernetes.io/name=orris-loadtest"
SCRIPT = "orris-loadtest"
JOB = Path(__file__).with_name("job-1000.yaml")
"""A copy of the file in ``loadtests/k8s``, which ``python -m tools.loadtest_files`` writes."""


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How the experiment runs on a cluster.

    Attributes:
        context: Context of the kubeconfig; ``None``: the current one.
        namespace: Where the release is.
        release: Its name.
        scenarios: Most replicas and connections of each.
        target_url: What is asked; empty: the release's service.
        load_seconds: How long each load runs.
        sample_seconds: Between two points.
        patience_seconds: Longest time of a Job beyond its load, with the pull of its image.
    """

    context: str | None = None
    namespace: str = "orris"
    release: str = "orris"
    scenarios: Sequence[tuple[int, int]] = ((3, 1000), (1, 2000))
    target_url: str = ""
    load_seconds: float = 60
    sample_seconds: float = 2
    patience_seconds: float = 300


def run_cluster(settings: ClusterSettings, tell: Callable[[str], None] = lambda _: None) -> Experiment:
    """Run all scenarios on a cluster and put back what they changed, however it ends.

    Raises:
        ExperimentError: The namespace is production, the cluster refuses, or something that is needed is not there.
    """
    kube = Kube(settings.context, settings.namespace)
    refuse_production(kube)
    release = _Release(kube, settings.release)
    if release.restore():
        tell("put back what an earlier run left")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    experiment = Experiment("cluster", at, _conditions(kube, settings))
    with _put_back(release, tell):
        release.write_down()
        kube.apply_config_map(SCRIPT, {"predict.lua": wrk.SCRIPT.read_text("utf-8")}, LABEL)
        for max_replicas, connections in settings.scenarios:
            plural = "s" if max_replicas > 1 else ""
            name = f"at most {max_replicas} replica{plural}, {connections:,} connections"
            request = release.requested_millicores()
            scenario = Scenario(name, connections, max_replicas, request / 1000, release.target_percent())
            experiment.scenarios.append(scenario)
            tell(name)
            try:
                _Load(kube, release, settings, scenario, tell).run()
            except KeyboardInterrupt:
                experiment.interrupted = True
            scenario.observations = observe(scenario)
            if scenario.load is None:
                scenario.observations.append("The Job of wrk gave no numbers.")
            if experiment.interrupted:
                break
    return experiment


def restore_cluster(settings: ClusterSettings) -> bool:
    """Put back what a run left that was killed; whether there was anything.

    Raises:
        ExperimentError: The cluster refuses.
    """
    return _Release(Kube(settings.context, settings.namespace), settings.release).restore()


def refuse_production(kube: Kube) -> None:
    """Raise for a namespace that is production, by its label ``orris/environment`` or its name.

    Raises:
        ExperimentError: It is, or the namespace is not there.
    """
    labels = kube.namespace_labels()
    if labels.get("orris/environment", "") in ("prod", "production") or "prod" in kube.namespace:
        raise ExperimentError(f"the namespace {kube.namespace} is production: no load test runs there")


def _conditions(kube: Kube, settings: ClusterSettings) -> dict[str, str]:
    return {
        "cluster": f"context {settings.context or 'of the kubeconfig'}, Kubernetes {kube.version()}",
        "release": f"{settings.release} in {settings.namespace}",
        "autoscaler": "Kubernetes' own, with the release's policies",
        "load": f"Jobs of wrk in the cluster, {settings.load_seconds:g} s each, against {_target(settings)}",
    }


def _target(settings: ClusterSettings) -> str:
    return settings.target_url or f"http://{settings.release}/predict"


@contextmanager
def _put_back(release: _Release, tell: Callable[[str], None]) -> Iterator[None]:
    """Put everything back at the end; what would interrupt that is ignored until it is done."""
    try:
        yield
    finally:
        main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if main else ()
        before = [(number, signal.signal(number, signal.SIG_IGN)) for number in numbers]
        try:
            release.restore()
            tell("put back what was there before")
        finally:
            for number, handler in before:
                signal.signal(number, handler)


class _Release:
    """The autoscaler of a release: an HPA, a ScaledObject of KEDA, or nothing."""

    def __init__(self, kube: Kube, name: str) -> None:
        self.kube = kube
        self.name = name
        self.state_name = f"{name}-loadtest-state"

    def write_down(self) -> None:
        """Write down what scales the release, before anything is changed."""
        scaled, scaler = self.kube.scaled_object(self.name), self.kube.autoscaler(self.name)
        if scaled is not None:
            spec = scaled["spec"]
            limits: Object = {key: spec.get(key) for key in ("minReplicaCount", "maxReplicaCount")}
            if "fallback" in spec:
                limits["fallback"] = {"replicas": spec["fallback"]["replicas"]}
            data = {"kind": "scaledobject", "patch": json.dumps({"spec": limits})}
        elif scaler is not None:
            limits = {key: scaler["spec"].get(key) for key in ("minReplicas", "maxReplicas")}
            data = {"kind": "hpa", "patch": json.dumps({"spec": limits})}
        else:
            workload = self.kube.workload(self.name)
            kind = "deployment" if workload["kind"] == "Deployment" else "rollout.argoproj.io"
            data = {"kind": "none", "workload": f"{kind}/{self.name}", "replicas": str(workload["spec"]["replicas"])}
        self.kube.create_config_map(self.state_name, data)

    def limit(self, max_replicas: int) -> None:
        """Let the autoscaler go from one replica to that many."""
        state = self._state()
        if state["kind"] == "scaledobject":
            spec: Object = {"minReplicaCount": 1, "maxReplicaCount": max_replicas}
            if "fallback" in json.loads(state["patch"])["spec"]:
                spec["fallback"] = {"replicas": max_replicas}
            self.kube.patch_scaled_object(self.name, {"spec": spec})
        elif state["kind"] == "hpa":
            self.kube.patch_autoscaler(self.name, {"spec": {"minReplicas": 1, "maxReplicas": max_replicas}})
        else:
            self.kube.apply_autoscaler(own_autoscaler(self.name, state["workload"], max_replicas))

    def restore(self) -> bool:
        """Put back what is written down; may be repeated. The state goes last."""
        self.kube.delete_labelled(LABEL)
        state = self._state()
        if not state:
            return False
        if state["kind"] == "hpa":
            self.kube.patch_autoscaler(self.name, json.loads(state["patch"]))
        elif state["kind"] == "scaledobject":
            self.kube.patch_scaled_object(self.name, json.loads(state["patch"]))
        else:
            self.kube.delete_autoscaler(f"{self.name}-loadtest")
            self.kube.scale(state["workload"], int(state["replicas"]))
        self.kube.delete_config_map(self.state_name)
        return True

    def autoscaler(self) -> Object | None:
        """The HPA that is at work, KEDA's own or that of the experiment included."""
        for name in (self.name, f"keda-hpa-{self.name}", f"{self.name}-loadtest"):
            found = self.kube.autoscaler(name)
            if found is not None:
                return found
        return None

    def target_percent(self) -> float:
        """The CPU that the autoscaler aims at; 60 where it is not known yet."""
        found = self.autoscaler()
        for metric in found["spec"].get("metrics", []) if found else []:
            source = metric.get("containerResource") or metric.get("resource")
            if source and source["name"] == "cpu" and "averageUtilization" in source["target"]:
                return float(source["target"]["averageUtilization"])
        return 60

    def requested_millicores(self) -> float:
        """The CPU that a pod's server requests; 0: none."""
        containers = self.kube.workload(self.name)["spec"].get("template", {}).get("spec", {}).get("containers", [])
        for container in containers:
            if container["name"] == "orris":
                quantity = str(container.get("resources", {}).get("requests", {}).get("cpu", "0"))
                return float(quantity[:-1]) if quantity.endswith("m") else float(quantity) * 1000
        return 0

    def ready(self) -> int:
        """Its pods that answer."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component=server"
        return sum(is_ready(pod) for pod in self.kube.pods(selector))

    def _state(self) -> dict[str, str]:
        return self.kube.config_map(self.state_name) or {}


def is_ready(pod: Object) -> bool:
    """Whether a pod answers and is not being ended."""
    conditions = pod.get("status", {}).get("conditions") or []
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def own_autoscaler(release: str, workload: str, max_replicas: int) -> Object:
    """An HPA for a release that has none, for the time of the experiment."""
    rollout = workload.startswith("rollout")
    version, kind = ("argoproj.io/v1alpha1", "Rollout") if rollout else ("apps/v1", "Deployment")
    target = {"type": "Utilization", "averageUtilization": 60}
    metric = {"type": "ContainerResource", "containerResource": {"container": "orris", "name": "cpu", "target": target}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": f"{release}-loadtest", "labels": dict([LABEL.split("=")])},
        "spec": {
            "scaleTargetRef": {"apiVersion": version, "kind": kind, "name": release},
            "minReplicas": 1,
            "maxReplicas": max_replicas,
            "metrics": [metric],
        },
    }


def job(connections: int, seconds: float, target: str, name: str) -> Object:
    """The Job of a load: that of ``loadtests/k8s/job-1000.yaml`` with other numbers."""
    document: Object = yaml.safe_load(JOB.read_text("utf-8"))
    document["metadata"]["name"] = name
    document["spec"]["activeDeadlineSeconds"] = round(seconds) + 240
    container = document["spec"]["template"]["spec"]["containers"][0]
    changed = {"-c1000": f"-c{connections}", "-d60s": f"-d{max(1, round(seconds))}s"}
    container["args"] = [changed.get(argument, argument) for argument in container["args"]]
    for variable in container["env"]:
        if variable["name"] == "TARGET":
            variable["value"] = target
        if variable["name"] == "LOADTEST_MAX_FAILURES":
            variable["value"] = str(2**53)  # failures are counted here, not judged
    return document


@dataclass(slots=True)
class _Load:
    """One scenario while it runs."""

    kube: Kube
    release: _Release
    settings: ClusterSettings
    scenario: Scenario
    tell: Callable[[str], None]
    began: float = 0

    def run(self) -> None:
        """Limit the autoscaler, start the Job, record until it has ended, and read its numbers."""
        settings, scenario = self.settings, self.scenario
        self.began = time.monotonic()
        self.release.limit(scenario.max_replicas)
        self._wait_for_limit()
        name = f"{SCRIPT}-{scenario.connections}-{datetime.now(UTC):%Y%m%d%H%M%S}"
        self.kube.create_job(job(scenario.connections, settings.load_seconds, _target(settings), name))
        until = time.monotonic() + settings.load_seconds + settings.patience_seconds
        ended = False
        while not ended and time.monotonic() < until:
            began = time.monotonic()
            pods = self.kube.pods(f"job-name={name}")
            self._record(running=any(pod["status"].get("phase") == "Running" for pod in pods))
            status = self.kube.job_status(name)
            ended = bool(status.get("succeeded") or status.get("failed"))
            if not ended:
                time.sleep(max(0.0, settings.sample_seconds - (time.monotonic() - began)))
        if not ended:
            self.tell(f"the Job {name} has not ended in time")
        with suppress(ExperimentError):
            scenario.load = read_load(self.kube.log(f"job-name={name}"), scenario.connections, None)

    def _wait_for_limit(self) -> None:
        """Record until the replicas of the scenario before have gone, which the autoscaler takes some seconds for."""
        until = self.began + self.settings.patience_seconds
        self._record(running=False)
        while max(self.scenario.points[-1].wanted, self.scenario.points[-1].ready) > self.scenario.max_replicas:
            if time.monotonic() > until:
                self.tell(
                    f"there are still more than {self.scenario.max_replicas} replicas; the load begins all the same"
                )
                return
            time.sleep(self.settings.sample_seconds)
            self._record(running=False)

    def _record(self, *, running: bool) -> None:
        found = self.release.autoscaler()
        status = (found or {}).get("status", {})
        ready = self.release.ready()
        wanted = status.get("desiredReplicas") or ready
        seconds = round(time.monotonic() - self.began, 2)
        usage = cpu_percent(status)
        before = self.scenario.points[-1].wanted if self.scenario.points else wanted
        if wanted != before:
            reason = next(
                (each["reason"] for each in status.get("conditions", []) if each["type"] == "ScalingLimited"), ""
            )
            self.scenario.steps.append(Step(seconds, before, wanted, reason, None, usage))
            self.tell(f"{seconds:5.0f} s: {before} → {wanted} replicas")
        after = any(point.phase == "load" for point in self.scenario.points)
        phase: Literal["before", "load", "after"] = "load" if running else "after" if after else "before"
        millicores = None if usage is None else usage / 100 * self.scenario.cores * 1000 * ready
        self.scenario.points.append(
            Point(seconds, phase, wanted, ready, cpu_millicores=millicores, usage_percent=usage)
        )


def cpu_percent(status: Object) -> float | None:
    """The CPU that an HPA's status reports, in percent of what the pods request."""
    for metric in status.get("currentMetrics") or []:
        source = metric.get("containerResource") or metric.get("resource")
        if source and source["name"] == "cpu" and source["current"].get("averageUtilization") is not None:
            return float(source["current"]["averageUtilization"])
    return None

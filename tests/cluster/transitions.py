"""Walks a release from each combination of autoscaler and strategy to each other, and counts ready endpoints meanwhile.

``test_transitions.py`` asserts what docs/upgrades.md promises of them, ``transition_table.py`` writes the table there.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.api import Object
from tests.cluster.controlplane import Cluster
from tests.cluster.endpoints import Watch, ready, watching
from tests.cluster.helm import CHART, ROOT, Helm, HelmFailedError
from tests.cluster.metrics import Load
from tests.cluster.waiting import until

# The chart that upgrades start from: the last one before the hand-overs were written.
CHART_BEFORE = "4a19a5d"
AUTOSCALERS = ("none", "hpa", "keda")
STRATEGIES = ("rolling", "canary", "blueGreen")
# Pods without an autoscaler, and those that an autoscaler arrives at: the pods share CPU for which it wants four.
STATED, SCALED = 3, 4
REQUEST_MILLICORES = 100
TOTAL_MILLICORES = 230


@dataclass(frozen=True)
class State:
    """What a release is set to."""

    autoscaler: str
    strategy: str

    def __str__(self) -> str:
        """The name in the table."""
        return f"{self.strategy}, {self.autoscaler}"

    @property
    def pods(self) -> int:
        """The ready pods that it comes to."""
        return STATED if self.autoscaler == "none" else SCALED

    def values(self, version: str = "one", **strategy: object) -> Object:
        """Values of the chart, with a version that pods are recognised by; further ones of ``strategy`` by name."""
        quick = {"policies": [{"type": "Pods", "value": 10, "periodSeconds": 5}]}
        return {
            "image": {"repository": "registry.example/orris", "tag": "1.0.0"},
            "podAnnotations": {"version": version},
            "replicas": STATED,
            "autoscaling": {
                "type": self.autoscaler,
                "minReplicas": 2,
                "maxReplicas": 6,
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0} | quick},
            },
            "strategy": {
                "type": self.strategy,
                "analysis": {"enabled": False},
                "canary": {"steps": [{"setWeight": 50}, {"pause": {"duration": "2s"}}]},
                "blueGreen": {"autoPromotion": True},
                **strategy,
            },
            "serviceMonitor": {"enabled": True},
            "resources": {
                "requests": {"cpu": f"{REQUEST_MILLICORES}m", "memory": "64Mi"},
                "limits": {"memory": "64Mi"},
            },
        }


STATES = [State(*each) for each in itertools.product(AUTOSCALERS, STRATEGIES)]


@dataclass
class Transition:
    """One way from a state to another, with a version of Helm and of the chart, and what was seen on it."""

    source: State
    target: State
    helm: int
    chart: str
    upgrades: int = 0
    flags: list[str] = field(default_factory=list)
    repeated: bool = False
    least: int = -1
    leftovers: list[str] = field(default_factory=list)
    seconds: float = 0.0
    problem: str = ""

    @property
    def bound(self) -> int:
        """The fewest ready endpoints that are allowed: the smaller target."""
        return min(self.source.pods, self.target.pods)

    @property
    def kept(self) -> bool:
        """Whether it went as promised."""
        return not self.problem and not self.leftovers and self.least >= self.bound > 0


def steps(source: State, target: State, helm: int) -> list[tuple[Object, list[str]]]:
    """The upgrades that docs/upgrades.md gives for a transition: values and flags of each, in their order.

    Each brings a new version of the pods as well.
    """
    leaves_blue_green = source.strategy == "blueGreen" != target.strategy
    takes_number = target.autoscaler == "none" != source.autoscaler
    number = ["--force-conflicts"] if helm == 4 and takes_number else []
    flags = ["--force-conflicts"] if helm == 4 and leaves_blue_green else number
    if source.strategy == target.strategy:
        return [(target.values("two"), flags)]
    return [(target.values("two", previous=source.strategy), flags), (target.values("two"), number)]


def stands(cluster: Cluster, namespace: str, state: State) -> bool:
    """Whether a release has arrived: its workload is as it should be, and its endpoints are the pods of it alone."""
    kind, other = ("Deployment", "Rollout") if state.strategy == "rolling" else ("Rollout", "Deployment")
    live = cluster.api.get(kind, namespace, "orris")
    if live is None or cluster.api.get(other, namespace, "orris") is not None:
        return False
    return settled(cluster, namespace, kind) and len(ready(cluster.api, namespace, "orris")) == state.pods


def settled(cluster: Cluster, namespace: str, kind: str) -> bool:
    """Whether a workload has brought out what it was given."""
    live = cluster.api.get(kind, namespace, "orris")
    if live is None:
        return False
    status, wanted = live.get("status", {}), live["spec"].get("replicas", 1)
    seen = str(status.get("observedGeneration")) == str(live["metadata"]["generation"])
    counts = status.get("updatedReplicas", 0) == wanted <= status.get("readyReplicas", 0)
    # A blue-green Rollout keeps the pods of before for a while.
    done = status.get("phase") == "Healthy" if kind == "Rollout" else status.get("replicas", 0) == wanted
    return seen and counts and done


def replaced(cluster: Cluster, namespace: str, state: State, pods: int) -> bool:
    """Whether the pods of the new strategy stand, and Argo Rollouts has the service's selector if it is to have it."""
    kind = "Deployment" if state.strategy == "rolling" else "Rollout"
    live, service = cluster.api.get(kind, namespace, "orris"), cluster.api.get("Service", namespace, "orris")
    if live is None or service is None or not settled(cluster, namespace, kind):
        return False
    held = "rollouts-pod-template-hash" in service["spec"].get("selector", {})
    return live["spec"]["replicas"] >= pods and held == (state.strategy == "blueGreen")


def walk(cluster: Cluster, transition: Transition, namespace: str, before: Path) -> None:
    """Install the source, upgrade to the target as documented, uninstall; notes what was seen in the transition."""
    began = time.monotonic()
    cluster.kubectl("create", "namespace", namespace)
    release = Helm(cluster, transition.helm, namespace)
    try:
        release.upgrade(transition.source.values(), chart=before if transition.chart == "before" else CHART)
        until(lambda: stands(cluster, namespace, transition.source), f"{transition.source} stands", 180)
        with watching(cluster.api, namespace, "orris") as watch:
            _upgrade(cluster, transition, release, watch)
        transition.least = watch.least
        release.uninstall()
        transition.leftovers = leftovers(cluster, namespace)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        transition.problem = str(error)[-1500:]
    transition.seconds = round(time.monotonic() - began, 1)
    with contextlib.suppress(AssertionError):
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def _upgrade(cluster: Cluster, transition: Transition, release: Helm, watch: Watch) -> None:
    upgrades = steps(transition.source, transition.target, transition.helm)
    for number, (values, flags) in enumerate(upgrades, 1):
        try:
            release.upgrade(values, *flags)
        except HelmFailedError as error:
            # An autoscaler that was just turned on changed the number between Helm's look at it and its upgrade.
            if "kube-controller-manager" not in str(error) or transition.target.autoscaler == "none":
                raise
            release.upgrade(values, *flags)
            transition.repeated = True
        transition.upgrades = number
        transition.flags += flags
        if number < len(upgrades):
            until(
                lambda: replaced(cluster, release.namespace, transition.target, transition.bound),
                "the new pods stand",
                180,
            )
    try:
        if transition.target.autoscaler == "none" != transition.source.autoscaler:
            until(lambda: not cluster.api.list("HorizontalPodAutoscaler", release.namespace), "the HPA is gone", 60)
            # It may act once more after the upgrade of the workload, and its controller even after its deletion, by
            # what it had read before.
            until(
                lambda: stands(cluster, release.namespace, transition.target) or overtaken(cluster, release.namespace),
                "the stated number or another",
                180,
            )
            if overtaken(cluster, release.namespace):
                release.upgrade(*upgrades[-1][:1], *upgrades[-1][1])
                transition.repeated = True
        until(lambda: stands(cluster, release.namespace, transition.target), f"{transition.target} stands", 180)
    except AssertionError as error:
        raise AssertionError(f"{error}; ready endpoints were {watch.changes}") from None


def overtaken(cluster: Cluster, namespace: str) -> bool:
    """Whether an autoscaler has set another number of pods than the release states."""
    live = cluster.api.list("Deployment", namespace) + cluster.api.list("Rollout", namespace)
    return any(each["spec"]["replicas"] != STATED for each in live)


def leftovers(cluster: Cluster, namespace: str) -> list[str]:
    """What is left of a release after it was uninstalled, but for what Kubernetes itself puts into a namespace."""
    kinds = (
        "deployments,replicasets,pods,services,endpointslices,configmaps,secrets,serviceaccounts,jobs,networkpolicies,"
        "poddisruptionbudgets,horizontalpodautoscalers,rollouts,analysistemplates,analysisruns,scaledobjects,"
        "servicemonitors,prometheusrules"
    )
    ours = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
    # Names such as jobs.batch; on kind, KEDA's kinds may be absent.
    known = {name.split(".")[0] for name in cluster.kubectl("api-resources", "--output", "name").split()}
    wanted = ",".join(kind for kind in kinds.split(",") if kind in known)

    def found() -> list[str]:
        names = cluster.kubectl("get", wanted, "--namespace", namespace, "--output", "name", "--ignore-not-found")
        return sorted(set(names.split()) - ours)

    with contextlib.suppress(AssertionError):
        until(lambda: not found(), "nothing is left", 30)
    return found()


@contextlib.contextmanager
def chart_before() -> Iterator[Path]:
    """The chart that upgrades start from, out of the history of the repository."""
    archive = subprocess.run(
        ["git", "archive", CHART_BEFORE, "charts/orris"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as file:
        file.write(archive)
        file.seek(0)
        with tarfile.open(fileobj=file) as tar:
            tar.extractall(folder, filter="data")
        yield Path(folder) / "charts" / "orris"


def walk_all(
    cluster: Cluster,
    load: Load,
    transitions: list[Transition],
    workers: int = 4,
    walked: Callable[[], None] = lambda: None,
) -> None:
    """Walk transitions, some at a time, each in a namespace of its own; ``walked`` is called after each."""
    load.total = TOTAL_MILLICORES
    lock, done = threading.Lock(), itertools.count(1)
    with chart_before() as before, ThreadPoolExecutor(workers) as pool:

        def one(numbered: tuple[int, Transition]) -> None:
            number, transition = numbered
            walk(cluster, transition, f"walk-{transition.helm}-{transition.chart}-{number}", before)
            with lock:
                seen = f"{next(done)}/{len(transitions)} Helm {transition.helm}, {transition.chart}"
                ways = f"{transition.source} -> {transition.target}: {transition.least} of {transition.bound}"
                said = "" if transition.kept else f" FAILED {transition.leftovers} {transition.problem}"
                sys.stderr.write(f"{seen}: {ways} in {transition.seconds} s{said}\n")
                walked()

        list(pool.map(one, enumerate(transitions)))


def every(helms: tuple[int, ...] = (4, 3), charts: tuple[str, ...] = ("present", "before")) -> list[Transition]:
    """All transitions."""
    ways = itertools.product(helms, charts, STATES, STATES)
    return [Transition(source, target, helm, chart) for helm, chart, source, target in ways]

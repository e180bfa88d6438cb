"""Tests of loadtests/k8s/run.sh: it limits what scales, and puts it back, also when it is killed at any step."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cluster.api import Object
from tests.cluster.controlplane import Cluster
from tests.cluster.helm import ROOT, Helm
from tests.cluster.metrics import Load
from tests.cluster.programs import program
from tests.cluster.releases import values, wait_for
from tests.cluster.transitions import TOTAL_MILLICORES, State
from tests.cluster.waiting import until

RUN = ROOT / "loadtests" / "k8s" / "run.sh"
STATES = [State("hpa", "rolling"), State("keda", "rolling"), State("none", "rolling"), State("none", "canary")]
# Notes each change that the script makes, carries it out, and kills the script after the one with the wanted number.
KUBECTL = """#!/bin/bash
folder=$(dirname "$0")
changes=" patch create apply delete scale "
for word in "$@"; do
  if [[ $changes == *" $word "* ]]; then
    echo "$*" >> "$folder/changes"
    "$folder/real" "$@"
    status=$?
    if [[ $(wc -l < "$folder/changes") == $(cat "$folder/step") ]]; then
      kill -s $(cat "$folder/signal") $(cat "$folder/pid")
      sleep 0.3
    fi
    exit $status
  fi
done
exec "$folder/real" "$@"
"""


class Script:
    """The load test's script, with a kubectl that kills it."""

    def __init__(self, folder: Path, cluster: Cluster, namespace: str) -> None:
        self.folder, self.cluster, self.namespace = folder, cluster, namespace
        (folder / "kubectl").write_text(KUBECTL, "utf-8")
        (folder / "kubectl").chmod(0o755)
        shutil.copy2(program("kubectl"), folder / "real")

    def run(self, *arguments: str, step: int = 0, kill: signal.Signals = signal.SIGTERM) -> tuple[int, list[str]]:
        """Its exit code and the changes that it made; killed after change number ``step``, if that is not 0."""
        (self.folder / "changes").write_text("", "utf-8")
        (self.folder / "step").write_text(str(step), "utf-8")
        (self.folder / "signal").write_text(kill.name.removeprefix("SIG"), "utf-8")
        environ = self.cluster.environ
        environ |= {"PATH": f"{self.folder}:{environ['PATH']}", "LOADTEST_RESULTS": str(self.folder / "results")}
        command = ["bash", "-c", f"echo $$ > {self.folder}/pid; exec {RUN} {' '.join(arguments)} {self.namespace}"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=300)
        changes = (self.folder / "changes").read_text("utf-8").splitlines()
        (self.folder / "said").write_text(done.stdout + done.stderr, "utf-8")
        return done.returncode, changes


def limits(cluster: Cluster, namespace: str) -> list[object]:
    """What scales a release, and between which numbers; without an autoscaler its number."""
    found: list[object] = []
    for scaler in cluster.api.list("HorizontalPodAutoscaler", namespace):
        found.append([scaler["metadata"]["name"], scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]])
    for scaled in cluster.api.list("ScaledObject", namespace):
        spec = scaled["spec"]
        found.append([spec["minReplicaCount"], spec["maxReplicaCount"], spec["fallback"]["replicas"]])
    if not found:
        workloads: list[Object] = cluster.api.list("Deployment", namespace) + cluster.api.list("Rollout", namespace)
        found = [each["spec"]["replicas"] for each in workloads]
    return found


def left(cluster: Cluster, namespace: str) -> list[str]:
    """Jobs and ConfigMaps of the load test."""
    names = [each["metadata"]["name"] for kind in ("Job", "ConfigMap") for each in cluster.api.list(kind, namespace)]
    return [name for name in names if "loadtest" in name]


def restored(cluster: Cluster, namespace: str, before: list[object]) -> None:
    """Wait until everything is as it was."""
    until(
        lambda: limits(cluster, namespace) == before and not left(cluster, namespace),
        f"as before: {before}, and not {limits(cluster, namespace)}, {left(cluster, namespace)}",
        60,
    )


@pytest.fixture(params=STATES, ids=str)
def state(request: pytest.FixtureRequest) -> State:
    """What the release is set to that is tested."""
    chosen: State = request.param
    return chosen


@pytest.mark.timeout(3600)
def test_the_load_test_puts_back_what_it_changed_wherever_it_is_killed(
    state: State, cluster: Cluster, namespace: str, load: Load, tmp_path: Path
) -> None:
    """After SIGTERM at each step the limits are the old ones; after SIGKILL they are after ``--restore``."""
    load.total = TOTAL_MILLICORES
    helm = Helm(cluster, 4, namespace)
    helm.upgrade(values(state))
    wait_for(cluster, namespace, state)
    before = limits(cluster, namespace)
    script = Script(tmp_path, cluster, namespace)
    code, changes = script.run()
    assert code == 0, (tmp_path / "said").read_text("utf-8")
    restored(cluster, namespace, before)
    assert len([change for change in changes if "create --filename" in change]) == 2, "two jobs"
    for step in range(1, len(changes)):
        code, _ = script.run(step=step)
        # Before its first change it just ends; while it puts things back it finishes that first.
        assert code in {128 + signal.SIGTERM, -signal.SIGTERM, 0}, (step, (tmp_path / "said").read_text("utf-8"))
        restored(cluster, namespace, before)
        assert script.run(step=step, kill=signal.SIGKILL)[0] == -signal.SIGKILL
        assert script.run("--restore")[0] == 0
        restored(cluster, namespace, before)
    assert helm.status() == "deployed"
    helm.upgrade(values(state))


def test_the_result_of_an_old_job_is_not_taken_for_this_runs(
    cluster: Cluster, namespace: str, load: Load, tmp_path: Path
) -> None:
    """With a finished job of an earlier run in the way, the script runs jobs of its own, and a failed one fails it."""
    load.total = TOTAL_MILLICORES
    state = State("hpa", "rolling")
    Helm(cluster, 4, namespace).upgrade(values(state))
    wait_for(cluster, namespace, state)
    old = (ROOT / "loadtests" / "k8s" / "job-1000.yaml").read_text("utf-8")
    cluster.kubectl("apply", "--namespace", namespace, "--filename", "-", given=old)
    cluster.kubectl(
        "wait", "--namespace", namespace, "--for=condition=complete", "job/orris-loadtest-1000", "--timeout=60s"
    )
    broken = tmp_path / "k8s"
    shutil.copytree(ROOT / "loadtests" / "k8s", broken)
    for job in broken.glob("job-*.yaml"):
        job.write_text(job.read_text("utf-8").replace("orris-wrk:4.1.0", "orris-wrk:broken"), "utf-8")
    environ = cluster.environ | {"LOADTEST_RESULTS": str(tmp_path / "results")}
    done = subprocess.run(
        ["bash", broken / "run.sh", namespace], env=environ, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 1
    assert "orris-loadtest-1000-" in done.stderr


def test_production_is_refused(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """A namespace with the label of production is left as it is."""
    cluster.kubectl("label", "namespace", namespace, "orris/environment=prod")
    assert Script(tmp_path, cluster, namespace).run() == (2, [])

"""Tests of what the experiment on a cluster writes and reads, without a cluster; tests/cluster has those with one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orris.autoscaling.cluster import JOB, cpu_percent, is_ready, job, own_autoscaler, refuse_production
from orris.autoscaling.kube import Kube
from orris.errors import ExperimentError

LOADTESTS = Path(__file__).parents[2] / "loadtests"


def kubeconfig(folder: Path, port: int = 9) -> Path:
    """A kubeconfig of a cluster that is not there."""
    file = folder / "config"
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "here",
    }
    file.write_text(yaml.safe_dump(config), "utf-8")
    return file


def test_the_package_has_the_job_of_loadtests() -> None:
    """The copy in the package equals the file that ``python -m tools.loadtest_files`` copies."""
    assert JOB.read_bytes() == (LOADTESTS / "k8s" / "job-1000.yaml").read_bytes()


@pytest.mark.parametrize("connections", [1000, 2000])
def test_the_jobs_are_those_of_loadtests(connections: int) -> None:
    """Without other numbers the Job has the pod of ``job-1000.yaml`` or ``job-2000.yaml``, failures counted."""
    made = job(connections, 60, "http://orris/predict", "x")["spec"]["template"]
    wanted = yaml.safe_load((LOADTESTS / "k8s" / f"job-{connections}.yaml").read_text("utf-8"))["spec"]["template"]
    wanted["spec"]["containers"][0]["env"][1]["value"] = str(2**53)
    assert made == wanted


def test_a_job_has_the_numbers_of_its_scenario() -> None:
    """Connections, seconds and address replace those of the file, and the deadline follows."""
    made = job(50, 7, "http://other/v2", "orris-loadtest-50-1")
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert "-c50" in container["args"]
    assert "-d7s" in container["args"]
    assert container["env"][0] == {"name": "TARGET", "value": "http://other/v2"}
    assert made["metadata"]["name"] == "orris-loadtest-50-1"
    assert made["spec"]["activeDeadlineSeconds"] == 247


def test_cpu_is_read_from_an_autoscalers_status() -> None:
    """The percentage of a container's and of a pod's CPU is found; other metrics and none give nothing."""
    current = {"averageUtilization": 73}
    of_container = {"type": "ContainerResource", "containerResource": {"name": "cpu", "current": current}}
    of_pod = {"type": "Resource", "resource": {"name": "cpu", "current": current}}
    other = {"type": "External", "external": {"metric": {}, "current": {}}}
    assert cpu_percent({"currentMetrics": [other, of_container]}) == 73
    assert cpu_percent({"currentMetrics": [of_pod]}) == 73
    assert cpu_percent({"currentMetrics": None}) is None
    assert cpu_percent({}) is None


def test_pods_that_end_are_not_ready() -> None:
    """A pod counts while its condition Ready is true and nothing deletes it."""
    ready = {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert is_ready(ready)
    assert not is_ready(ready | {"metadata": {"deletionTimestamp": "now"}})
    assert not is_ready({"metadata": {}, "status": {}})


@pytest.mark.parametrize(("workload", "kind"), [("deployment/a", "Deployment"), ("rollout.argoproj.io/a", "Rollout")])
def test_a_release_without_an_autoscaler_gets_one_for_its_workload(workload: str, kind: str) -> None:
    """The autoscaler of the experiment aims at the Deployment or the Rollout of the release."""
    made = own_autoscaler("a", workload, 3)
    assert made["spec"]["scaleTargetRef"]["kind"] == kind
    assert made["spec"]["maxReplicas"] == 3
    assert made["metadata"]["labels"] == {"app.kubernetes.io/name": "orris-loadtest"}


@pytest.mark.parametrize(
    ("namespace", "labels", "refused"),
    [
        ("orris", {"orris/environment": "prod"}, True),
        ("orris", {"orris/environment": "production"}, True),
        ("orris-prod", {}, True),
        ("orris", {"orris/environment": "stage"}, False),
    ],
)
def test_production_is_refused(
    namespace: str, labels: dict[str, str], refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A namespace that is labelled or called production takes no load test."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path)))
    kube = Kube("here", namespace)
    monkeypatch.setattr(Kube, "namespace_labels", lambda _: labels)
    if refused:
        with pytest.raises(ExperimentError, match="is production"):
            refuse_production(kube)
    else:
        refuse_production(kube)


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    """An unknown context is an error of the command that says where contexts are listed."""
    import os

    command = [sys.executable, "-m", "orris", "experiment", "autoscaling", "--context", "elsewhere"]
    environ = {**os.environ, "KUBECONFIG": str(kubeconfig(tmp_path))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environ)
    assert done.returncode == 1
    assert "elsewhere" in done.stderr
    assert "kubectl config get-contexts" in done.stderr

"""Tests of single pods: the chart's tests, privileges, credentials that change, digests, images that are not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from orris.api import Bundle
from tests.cluster.controlplane import Cluster
from tests.cluster.helm import CHART, Helm, HelmFailedError
from tests.cluster.kubelet.addresses import loopback
from tests.cluster.live.workloads import ROW, TOOLS, server_pods, service_url, settled, values
from tests.cluster.waiting import until


def test_the_tests_of_the_chart_get_real_answers(cluster: Cluster, helm: Helm) -> None:
    """``helm test`` passes against real pods, which log its requests, and fails for a model that they do not have."""
    helm.upgrade(values("1.0.0"), "--wait", "--timeout=3m")
    settled(cluster.api, helm.namespace, 2, "1.0.0")
    assert helm.run("test", "orris", "--timeout=2m").count("Phase:          Succeeded") == 3
    logs = "".join(
        cluster.kubectl("logs", pod["metadata"]["name"], "--namespace", helm.namespace)
        for pod in server_pods(cluster.api, helm.namespace)
    )
    assert '"/v2/models/' in logs
    answer = httpx.post(f"{service_url(cluster.api, helm.namespace)}/predict", content=ROW, trust_env=False).json()
    assert (answer["prediction_label"], answer["model_version"]) == ("setosa", "1.0.0")
    helm.upgrade(values("1.0.0", model={"name": "other"}), "--wait", "--timeout=3m")
    settled(cluster.api, helm.namespace, 2, "1.0.0")
    with pytest.raises(HelmFailedError):
        helm.run("test", "orris", "--timeout=2m")


def tool(name: str, program: str, **spec: Any) -> dict[str, Any]:
    """A pod that runs a shell program once, as restricted as the chart's."""
    context = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}}
    alone = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "tool", "image": TOOLS, "args": [program], "securityContext": alone}
    container |= spec.pop("container", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": context,
            "containers": [container],
            **spec,
        },
    }


def run_tool(cluster: Cluster, namespace: str, pod: dict[str, Any]) -> tuple[str, str]:
    """Run a pod to its end; returns its phase and its log."""
    name = pod["metadata"]["name"]
    pod["metadata"]["namespace"] = namespace
    cluster.apply([pod])

    def phase() -> str:
        found = cluster.api.get("Pod", namespace, name)
        return found["status"]["phase"] if found else ""

    until(lambda: phase() in {"Succeeded", "Failed"}, f"{name} has ended")
    return phase(), cluster.kubectl("logs", name, "--namespace", namespace)


def test_a_pod_has_its_user_no_privileges_and_a_read_only_root(cluster: Cluster, namespace: str) -> None:
    """A process of a pod is process 1 of its user, without capabilities, and may write to its mounts only."""
    program = """
        echo "user $(id -u) $(id -g) pid $$$$ host $(hostname)"
        grep CapBnd /proc/self/status; grep NoNewPrivs /proc/self/status
        touch /here 2>/dev/null || echo refused
        touch /scratch/here && echo written
        cat /etc/config/greeting; ls /proc | grep -c '^[0-9]'
    """
    cluster.kubectl("create", "configmap", "greetings", "--from-literal=greeting=hello", "--namespace", namespace)
    mounts = [{"name": "scratch", "mountPath": "/scratch"}, {"name": "greetings", "mountPath": "/etc/config"}]
    volumes = [{"name": "scratch", "emptyDir": {}}, {"name": "greetings", "configMap": {"name": "greetings"}}]
    pod = tool("look", program, volumes=volumes, container={"volumeMounts": mounts})
    phase, log = run_tool(cluster, namespace, pod)
    assert phase == "Succeeded"
    lines = log.split("\n")
    assert lines[0] == "user 10001 0 pid 1 host look"
    assert lines[1].split()[1] == "0" * 16
    assert lines[2].split()[1] == "1"
    assert lines[3:5] == ["refused", "written"]
    assert lines[5].startswith("hello")


def test_a_pod_that_takes_too_long_or_uses_too_much_memory_is_ended(cluster: Cluster, namespace: str) -> None:
    """A deadline ends a pod, and so does the kernel when its memory limit is passed."""
    slow = tool("slow", "exec sleep 600", activeDeadlineSeconds=1, terminationGracePeriodSeconds=1)
    assert run_tool(cluster, namespace, slow)[0] == "Failed"
    large = tool("large", "exec head -c 200M /dev/zero | tail", container={"resources": {"limits": {"memory": "32Mi"}}})
    assert run_tool(cluster, namespace, large)[0] == "Failed"
    found = cluster.api.get("Pod", namespace, "large")
    assert found is not None
    assert found["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "OOMKilled"


def test_the_server_runs_as_any_user_of_group_0(cluster: Cluster, helm: Helm) -> None:
    """The server's pod is ready as a user that the image does not know, as OpenShift's restricted-v2 makes it."""
    rendered = helm.run("template", "orris", str(CHART), "--values", "-", given=yaml.safe_dump(values("1.0.0")))
    [deployment] = [each for each in yaml.safe_load_all(rendered) if each and each["kind"] == "Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    user = 1000680000
    spec["securityContext"] |= {"runAsUser": user, "runAsGroup": 0, "fsGroup": user}
    spec["serviceAccountName"] = "default"
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    metadata = {"name": "any-user", "namespace": helm.namespace, "labels": labels}
    cluster.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}])
    cluster.kubectl("wait", "--for=condition=Ready", "pod/any-user", "--namespace", helm.namespace, "--timeout=100s")
    pod = cluster.api.get("Pod", helm.namespace, "any-user")
    assert pod is not None
    url = f"http://{loopback(pod['status']['podIP'])}:8000/predict"
    assert httpx.post(url, content=ROW, trust_env=False).json()["prediction_label"] == "setosa"


def test_a_key_that_is_added_to_a_mounted_secret_is_accepted(cluster: Cluster, helm: Helm, tmp_path: Path) -> None:
    """A server reads API keys from a mounted secret, and again after the secret has changed."""
    keys = tmp_path / "keys.toml"

    def new_key(name: str) -> str:
        command = [sys.executable, "-m", "orris", "keys", "new", "--name", name, "--file", str(keys)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]

    def publish() -> None:
        creating = ["create", "secret", "generic", "keys", f"--from-file={keys}", "--namespace", helm.namespace]
        cluster.kubectl("apply", "--filename", "-", given=cluster.kubectl(*creating, "--dry-run=client", "-o", "yaml"))

    first = new_key("first")
    publish()
    helm.upgrade(values("1.0.0", auth={"apiKeys": {"existingSecret": "keys"}}, replicas=1), "--wait", "--timeout=3m")
    settled(cluster.api, helm.namespace, 1, "1.0.0")
    url = f"{service_url(cluster.api, helm.namespace)}/predict"

    def status(key: str) -> int:
        return httpx.post(url, content=ROW, headers={"authorization": f"Bearer {key}"}, trust_env=False).status_code

    assert (status(first), status("wrong")) == (200, 401)
    second = new_key("second")
    assert status(second) == 401
    publish()
    until(lambda: status(second) == 200, "the server has read the second key")
    assert status(first) == 200


def test_another_digest_stops_a_pod_before_its_server_starts(cluster: Cluster, helm: Helm, iris: Bundle) -> None:
    """The init container lets the right digest pass, and no other."""
    model = {"name": "iris", "digest": iris.manifest.digest}
    helm.upgrade(values("1.0.0", model=model, replicas=1), "--wait", "--timeout=3m")
    settled(cluster.api, helm.namespace, 1, "1.0.0")
    helm.upgrade(values("2.0.0", model=model, replicas=1))

    def failed() -> bool:
        statuses = [
            status
            for pod in server_pods(cluster.api, helm.namespace)
            for status in pod["status"].get("initContainerStatuses", [])
        ]
        return any(
            status["restartCount"] > 0 and status["lastState"]["terminated"]["exitCode"] == 1 for status in statuses
        )

    until(failed, "the init container has refused the digest")
    answer = httpx.post(f"{service_url(cluster.api, helm.namespace)}/predict", content=ROW, trust_env=False).json()
    assert answer["model_version"] == "1.0.0"


def test_an_image_that_is_not_there_replaces_nothing(cluster: Cluster, helm: Helm) -> None:
    """A version whose image cannot be pulled never becomes ready, and the old pods go on."""
    helm.upgrade(values("1.0.0"), "--wait", "--timeout=3m")
    settled(cluster.api, helm.namespace, 2, "1.0.0")
    helm.upgrade(values("9.9.9"))

    def waits() -> bool:
        states = [
            status["state"].get("waiting", {}).get("reason")
            for pod in server_pods(cluster.api, helm.namespace)
            for status in pod["status"].get("containerStatuses", [])
        ]
        return "ImagePullBackOff" in states

    until(waits, "a pod waits for its image")
    answer = httpx.post(f"{service_url(cluster.api, helm.namespace)}/predict", content=ROW, trust_env=False).json()
    assert answer["model_version"] == "1.0.0"

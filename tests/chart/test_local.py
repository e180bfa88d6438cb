"""Tests of a cluster on a laptop, with stand-ins for its programs: plain manifests, the script, the targets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import orris
from tests.chart.rendering import ROOT, Object, of_kind, one, processors, selects
from tests.chart.rendering import objects as made
from tests.chart.validation import VERSIONS, problems
from tests.waiting import PATIENCE_SECONDS

MANIFESTS = sorted((ROOT / "k8s").glob("*.yaml"))
KIND = ROOT / "scripts" / "kind.sh"


def plain() -> list[Object]:
    """What ``kubectl apply -f k8s/`` is given, in its order."""
    return [found for file in MANIFESTS for found in yaml.safe_load_all(file.read_text("utf-8"))]


def in_kind() -> list[Object]:
    """What the chart makes of the values that ``scripts/kind.sh`` gives."""
    values = [
        yaml.safe_load((ROOT / "k8s" / folder / "values.yaml").read_text("utf-8")) for folder in ("local", "kind")
    ]
    return made(values[0] | values[1], namespace="orris")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with docker, kind, kubectl and helm that record their calls, and the other programs a script needs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "cat", "dirname", "env", "grep", "head", "make", "sed"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    script = (
        f'#!/bin/bash\necho "${{0##*/}} $*" >> {tmp_path / "calls"}\n[[ "$*" != *current-context* ]] || echo laptop\n'
    )
    for name in ("docker", "kind", "kubectl", "helm"):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    return folder


def called(programs: Path, *command: str | Path, expect: int = 0) -> list[str]:
    """How the programs were called by a command."""
    environ = {"PATH": str(programs), "HOME": str(programs)}
    done = subprocess.run(
        list(command), cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == expect, done.stdout + done.stderr
    calls = programs.parent / "calls"
    return calls.read_text("utf-8").splitlines() if calls.exists() else []


@pytest.mark.parametrize("version", VERSIONS)
def test_the_plain_manifests_fit_kubernetes(version: str) -> None:
    """The manifests fit Kubernetes' schemas strictly, and the namespace comes before its objects."""
    found = plain()
    assert [each["kind"] for each in found] == ["Namespace", "Service", "Deployment", "HorizontalPodAutoscaler"]
    assert [problem for each in found for problem in problems(each, version)] == []
    assert {each["metadata"]["namespace"] for each in found[1:]} == {found[0]["metadata"]["name"]}


def test_the_plain_manifests_are_whole() -> None:
    """The service finds the pods, every reference resolves, and the image is the one that ``make build`` makes."""
    found = plain()
    template = one(found, "Deployment")["spec"]["template"]
    assert selects(one(found, "Service")["spec"]["selector"], template["metadata"]["labels"])
    assert template["spec"]["serviceAccountName"] == "default"
    [container] = template["spec"]["containers"]
    assert (container["image"], container["imagePullPolicy"]) == (f"orris:{orris.__version__}", "IfNotPresent")
    assert processors(container["resources"]["requests"]["cpu"]) <= 0.5
    assert {name for volume in template["spec"]["volumes"] for name in volume if name != "name"} == {"emptyDir"}
    assert (
        one(found, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"]
        == one(found, "Deployment")["metadata"]["name"]
    )
    assert {key for each in found for key in each["metadata"].get("labels", {})} & {
        "helm.sh/chart",
        "app.kubernetes.io/managed-by",
    } == set()


@pytest.mark.parametrize("version", VERSIONS)
def test_plain_manifests_of_a_cloud_have_a_load_balancer_and_up_to_five_pods(version: str, tmp_path: Path) -> None:
    """The command of k8s/cloud/values.yaml writes manifests that fit Kubernetes, and leaves k8s/ as it is."""
    command = [sys.executable, "-m", "tools.chart_manifests", "--values", "k8s/cloud/values.yaml"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path), "--set", "image.repository=registry.example/orris"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    found = [each for file in sorted(tmp_path.glob("*.yaml")) for each in yaml.safe_load_all(file.read_text("utf-8"))]
    assert [problem for each in found for problem in problems(each, version)] == []
    assert one(found, "Service")["spec"]["type"] == "LoadBalancer"
    scaler = one(found, "HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (1, 5)
    [container] = one(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"registry.example/orris:{orris.__version__}"
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert (refused.returncode, "--output" in refused.stderr) == (2, True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("stage", "pods"), [("staging", (2, 3)), ("production", (3, 10))])
def test_the_values_beside_the_chart_fit_it(stage: str, pods: tuple[int, int], version: str) -> None:
    """The chart takes the values of staging and production, and makes objects that fit Kubernetes."""
    values = yaml.safe_load((ROOT / "charts" / f"{stage}.yaml").read_text("utf-8"))
    found = made(values | {"image": {"digest": f"sha256:{'1' * 64}"}}, namespace="orris")
    assert [problem for each in found for problem in problems(each, version)] == []
    scaler = one(found, "HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == pods
    assert of_kind(found, "ServiceMonitor", "PrometheusRule")


@pytest.mark.parametrize("version", VERSIONS)
def test_grafana_and_prometheus_of_kind_have_hosts(version: str) -> None:
    """Their routes name the Gateway, which takes routes of their namespace, and services of the stack's release."""
    [gateway] = of_kind(list(yaml.safe_load_all((ROOT / "k8s/kind/gateway.yaml").read_text("utf-8"))), "Gateway")
    routes = list(yaml.safe_load_all((ROOT / "k8s/kind/routes.yaml").read_text("utf-8")))
    assert [problem for each in routes for problem in problems(each, version)] == []
    [listener] = gateway["spec"]["listeners"]
    [allowed] = listener["allowedRoutes"]["namespaces"]["selector"]["matchExpressions"]
    hosts = {host for each in routes for host in each["spec"]["hostnames"]}
    assert hosts == {"grafana.localhost", "prometheus.localhost"}
    script = KIND.read_text("utf-8")
    for route in routes:
        assert route["metadata"]["namespace"] in allowed["values"]
        assert route["spec"]["parentRefs"] == [{"name": gateway["metadata"]["name"], "namespace": "orris"}]
    assert all(f"http://{host}:8080" in script for host in hosts)
    assert f"127.0.0.1 orris.localhost {' '.join(sorted(hosts))}" in script


@pytest.mark.parametrize("version", VERSIONS)
def test_the_gateway_of_kind_leads_to_the_chart(version: str) -> None:
    """Both fit their schemas; the route names the Gateway, and its host is one of the listener's."""
    gateway_objects = list(yaml.safe_load_all((ROOT / "k8s" / "kind" / "gateway.yaml").read_text("utf-8")))
    found = in_kind()
    assert [problem for each in [*gateway_objects, *found] for problem in problems(each, version)] == []
    gateway, route = one(gateway_objects, "Gateway"), one(found, "HTTPRoute")
    assert route["spec"]["parentRefs"] == [
        {"name": gateway["metadata"]["name"], "namespace": gateway["metadata"]["namespace"]}
    ]
    [listener] = gateway["spec"]["listeners"]
    assert all(host.endswith(listener["hostname"].removeprefix("*")) for host in route["spec"]["hostnames"])
    assert gateway["spec"]["gatewayClassName"] == one(gateway_objects, "GatewayClass")["metadata"]["name"]
    assert len(of_kind(found, "ConfigMap")) >= 3


@pytest.mark.parametrize("script", [KIND, ROOT / "loadtests" / "k8s" / "run.sh"], ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    """ShellCheck finds nothing at the lowest severity."""
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([shellcheck, "--severity", "style", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_kind_is_filled_in_order(programs: Path) -> None:
    """The script installs cluster, image, gateway, metrics, Prometheus, chart and tests, each version pinned."""
    calls = called(programs, KIND, "up")
    chart = "helm --kube-context kind-orris upgrade --install orris"
    order = [
        "kind create",
        "kind load",
        "envoy-gateway",
        "metrics-server",
        "kube-prometheus-stack",
        "kubectl",
        chart,
        "test orris",
    ]
    places = [next(number for number, call in enumerate(calls) if part in call) for part in order]
    assert places == sorted(places)
    assert all("kind-orris" in call for call in calls if call.startswith(("helm", "kubectl")))
    installs = [call.split() for call in calls if "upgrade --install" in call]
    pinned = {call[5]: call[call.index("--version") + 1] for call in installs if "--version" in call}
    assert pinned.keys() == {"envoy-gateway", "metrics-server", "kube-prometheus-stack"}
    for name, file in (
        ("kube-prometheus-stack", "kube-prometheus-stack"),
        ("metrics-server", "components/metrics-server"),
    ):
        assert f" {pinned[name]}\n" in (ROOT / "deploy" / "infrastructure" / file / "release.yaml").read_text("utf-8")
    for word in (word for call in installs for word in call if word.endswith(".yaml")):
        assert (ROOT / word).exists()
    assert not [call for call in calls if "delete" in call or "uninstall" in call]


def test_kind_is_deleted_on_request(programs: Path) -> None:
    """The script deletes its own cluster and no other, and a wrong argument changes nothing."""
    assert called(programs, KIND, "down") == ["kind delete cluster --name orris"]
    called(programs, KIND, expect=2)
    assert len(called(programs, KIND, "wipe", expect=2)) == 1


def test_missing_programs_are_named(programs: Path) -> None:
    """The script names a missing program before it makes anything."""
    (programs / "kind").unlink()
    assert called(programs, KIND, "up", expect=1) == []


@pytest.mark.parametrize(
    ("target", "verbs"),
    [("install", ["upgrade --install"]), ("uninstall", ["uninstall"]), ("reset", ["uninstall", "upgrade --install"])],
)
def test_installing_deletes_nothing(target: str, verbs: list[str], programs: Path) -> None:
    """Only ``uninstall`` and ``reset`` take the release away, and none the namespace."""
    calls = [call for call in called(programs, "make", target) if call.startswith("helm") and " version" not in call]
    assert len(calls) == len(verbs)
    assert all(
        call.startswith(f"helm {verb} orris") and "--namespace orris" in call
        for call, verb in zip(calls, verbs, strict=True)
    )
    assert not [call for call in calls if "delete" in call]


def test_the_values_of_install_are_there() -> None:
    """The values file that ``make install`` uses by default exists."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "VALUES ?= k8s/local/values.yaml\n" in makefile
    assert (ROOT / "k8s" / "local" / "values.yaml").exists()
    assert os.access(KIND, os.X_OK)

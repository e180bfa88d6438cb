"""Tests of what keeps upgrades without conflicts and gaps, as far as rendering shows it; tests/cluster has the rest."""

from __future__ import annotations

import re
from typing import Any

import helm_python
import pytest
import yaml

from tests.chart.rendering import NAMESPACE, RELEASE, ROOT, Object, chart, containers, objects, of_kind, one, pods
from tests.chart.test_values import nested
from tests.chart.validation import VERSIONS, problems

WORKLOADS = ("Deployment", "Rollout")
MONITORED: Object = {"serviceMonitor": {"enabled": True}}


def notes(values: Object) -> str:
    """What Helm prints after the installation."""
    rendered = chart().render(values, name=RELEASE, namespace=NAMESPACE)
    [text] = [text for path, text in rendered.items() if path.endswith("NOTES.txt")]
    found: str = text
    return found


def test_the_selectors_of_blue_green_services_are_left_to_argo_rollouts() -> None:
    """Neither the live service nor the preview states a selector."""
    services = of_kind(objects(MONITORED | {"strategy": {"type": "blueGreen"}}), "Service")
    assert {each["metadata"]["name"] for each in services} == {"orris", "orris-preview"}
    assert not [each for each in services if "selector" in each["spec"]]


@pytest.mark.parametrize("scaler", ["hpa", "keda"])
@pytest.mark.parametrize("strategy", ["rolling", "canary", "blueGreen"])
def test_the_number_of_pods_is_left_to_an_autoscaler(strategy: str, scaler: str) -> None:
    """With an autoscaler the workload states no replicas where no cluster is seen."""
    found = objects(MONITORED | {"strategy": {"type": strategy}, "autoscaling": {"type": scaler}})
    [workload] = of_kind(found, *WORKLOADS)
    assert "replicas" not in workload["spec"]


@pytest.mark.parametrize("strategy", ["rolling", "canary", "blueGreen"])
@pytest.mark.parametrize(("start", "number"), [("auto", None), ("never", None), ("always", 3)])
def test_without_a_cluster_the_minimum_is_stated_only_if_it_is_always_to_be(
    start: str, number: int | None, strategy: str
) -> None:
    """A renderer that sees no cluster cannot know a first installation; Argo CD ignores the number in later syncs."""
    scaling = {"type": "hpa", "minReplicas": 3, "startAtMinimum": start}
    [workload] = of_kind(objects(MONITORED | {"strategy": {"type": strategy}, "autoscaling": scaling}), *WORKLOADS)
    assert workload["spec"].get("replicas") == number


def test_the_webhook_of_keda_admits_a_scaled_object_beside_the_hpa() -> None:
    """The HPA has the annotation by which KEDA leaves it out of its check, and the ScaledObject's HPA another name."""
    hpa = one(objects({"autoscaling": {"type": "hpa"}}), "HorizontalPodAutoscaler")
    assert hpa["metadata"]["annotations"] == {"validations.keda.sh/hpa-ownership": "false"}
    scaled = one(objects(MONITORED | {"autoscaling": {"type": "keda"}}), "ScaledObject")
    assert "name" not in scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]


def test_the_interval_of_keda_counts() -> None:
    """Every trigger caches its metric: otherwise the HPA asks by itself, and the interval means nothing."""
    keda = {"predictionsPerMinute": 1, "latencyMilliseconds": 1, "failuresPerMinute": 1, "pollingSeconds": 7}
    spec = one(objects(MONITORED | {"autoscaling": {"type": "keda", "keda": keda}}), "ScaledObject")["spec"]
    assert spec["pollingInterval"] == 7
    assert [trigger["useCachedMetrics"] for trigger in spec["triggers"]] == [True, True, True]


@pytest.mark.parametrize(
    ("type_", "previous", "kinds"),
    [
        ("canary", "rolling", ["Deployment", "Rollout"]),
        ("blueGreen", "rolling", ["Deployment", "Rollout"]),
        ("rolling", "canary", ["Deployment", "Rollout"]),
        ("rolling", "blueGreen", ["Deployment", "Rollout"]),
        ("canary", "blueGreen", ["Rollout"]),
        ("canary", "canary", ["Rollout"]),
        ("rolling", "rolling", ["Deployment"]),
    ],
)
def test_a_switch_of_the_strategy_keeps_the_workload_of_before(type_: str, previous: str, kinds: list[str]) -> None:
    """With ``strategy.previous`` both workloads are there, and the autoscaler owns the new one."""
    values = MONITORED | {"strategy": {"type": type_, "previous": previous}, "autoscaling": {"type": "hpa"}}
    found = objects(values)
    assert sorted(each["kind"] for each in of_kind(found, "Deployment", "Rollout")) == kinds
    assert [problem for each in found for version in VERSIONS for problem in problems(each, version)] == []
    target = one(found, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["kind"]
    assert target == ("Deployment" if type_ == "rolling" else "Rollout")
    for each in of_kind(found, "Deployment", "Rollout"):
        spread = each["spec"]["template"]["spec"]["topologySpreadConstraints"][0]["matchLabelKeys"]
        assert spread == [{"Deployment": "pod-template-hash"}.get(each["kind"], "rollouts-pod-template-hash")]
    if type_ == "rolling" and previous != "rolling":
        strategy = one(found, "Rollout")["spec"]["strategy"]
        assert strategy == {"canary": {"maxSurge": 1, "maxUnavailable": 0}}, "it must not hold a service"


def test_test_pods_do_not_outlive_a_failure() -> None:
    """Test pods are deleted whether they succeed or fail, and Helm prints the log of one that failed."""
    for pod in of_kind(objects({}), "Pod"):
        annotations = pod["metadata"]["annotations"]
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded,hook-failed"
        assert annotations["helm.sh/hook-output-log-policy"] == "hook-failed"


@pytest.mark.parametrize(
    "label",
    [
        "app.kubernetes.io/name",
        "app.kubernetes.io/instance",
        "app.kubernetes.io/component",
        "orris.ml/model",
        "pod-template-hash",
        "rollouts-pod-template-hash",
    ],
)
def test_labels_that_pods_are_found_by_cannot_be_overridden(label: str) -> None:
    """The schema refuses such a label in ``podLabels``, and takes others."""
    with pytest.raises(helm_python.HelmError, match=re.escape(f"invalid propertyName '{label}'")):
        objects({"podLabels": {label: "other"}})
    template = one(objects({"podLabels": {"team": "flowers"}}), "Deployment")["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "flowers"


def test_a_platform_may_assign_the_user() -> None:
    """With ``arbitraryUser`` no pod states a user or a group, and none may run as root."""
    for values, users in (({}, {10001}), ({"arbitraryUser": True}, {None})):
        for _, _, spec in pods(objects(values)):
            security = spec["securityContext"]
            assert {security.get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")} == users
            assert security["runAsNonRoot"] is True
            assert not [each for each in containers(spec) if "runAsUser" in each["securityContext"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cloud", ["gke", "eks", "aks", "openshift"])
def test_the_values_of_a_cloud_fit_the_chart(cloud: str, version: str) -> None:
    """The chart takes them, lints clean, and makes objects that fit Kubernetes."""
    values = yaml.safe_load((ROOT / "charts" / f"{cloud}.yaml").read_text("utf-8"))
    digest = {"image": {"digest": f"sha256:{'1' * 64}"}}
    found = objects(values | digest, namespace="orris")
    assert [problem for each in found for problem in problems(each, version)] == []
    report = helm_python.lint(ROOT / "charts" / "orris", values | digest, strict=True, namespace="orris")
    assert report["errors"] == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "kubectl port-forward service/orris 8000:80 -n serving &\n  curl http://localhost:8000/ready"),
        (
            {"service": {"type": "LoadBalancer", "port": 8080}},
            'hostname}\')\n  curl "http://$address:8080/ready"',
        ),
        ({"service": {"type": "NodePort"}}, 'curl "http://$node:$port/ready"'),
        ({"ingress": {"enabled": True, "hosts": ["a.example.org"]}}, "  curl http://a.example.org/ready"),
        (
            {"ingress": {"enabled": True, "hosts": ["a.example.org"], "tlsSecret": "tls"}},
            "  curl https://a.example.org/ready",
        ),
        (
            {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g", "namespace": "n"}], "hostnames": ["b.org"]}},
            "kubectl get gateway g -n n -o jsonpath='{.status.addresses[0].value}')\n"
            "  curl -H 'host: b.org' \"http://$address/ready\"",
        ),
        (
            {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}], "paths": ["/predict"]}},
            "kubectl get gateway g -n serving -o jsonpath='{.status.addresses[0].value}')\n"
            '  curl "http://$address/predict"',
        ),
        (nested("auth.apiKeys.existingSecret", "keys"), "curl -H 'authorization: Bearer …'"),
        (
            MONITORED | {"strategy": {"type": "canary", "previous": "rolling"}},
            "upgrade again without strategy.previous",
        ),
    ],
)
def test_the_notes_name_the_way_in(values: Object, said: str) -> None:
    """After an installation Helm prints the command that reaches this release's Service, Ingress or Gateway."""
    assert said in notes(values)


def test_a_switch_waits_for_nobody_without_a_cluster() -> None:
    """Where nothing can be looked up, as in Argo CD, no combination is refused for what runs."""
    kinds: list[Any] = [
        [each["kind"] for each in objects(MONITORED | {"strategy": {"type": strategy}})]
        for strategy in ("canary", "blueGreen")
    ]
    assert all("Rollout" in found for found in kinds)


@pytest.mark.parametrize("strategy", ["rolling", "canary", "blueGreen"])
def test_an_old_pod_goes_only_when_the_endpoints_have_the_new_one(strategy: str) -> None:
    """A new pod has to be ready for some seconds before it counts: an endpoint is later than the pod that it is of."""
    [workload] = of_kind(objects(MONITORED | {"strategy": {"type": strategy}}), "Deployment", "Rollout")
    assert workload["spec"]["minReadySeconds"] > 0

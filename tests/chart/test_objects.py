"""Tests of every values file: it is linted and rendered, and its objects fit their schemas."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable

import helm_python
import pytest

from tests.chart.rendering import CHART, VALUES, Object, one, rendered, values_of
from tests.chart.validation import CRDS, VERSIONS, problems
from tests.deploy.overlays import place

OF_THE_CHART = {
    "ConfigMap",
    "Deployment",
    "HorizontalPodAutoscaler",
    "Ingress",
    "NetworkPolicy",
    "Pod",
    "PodDisruptionBudget",
    "Service",
    "ServiceAccount",
} | CRDS.keys() - {"Gateway", "GatewayClass"}


@pytest.mark.parametrize("case", VALUES)
def test_helm_finds_nothing_wrong(case: str) -> None:
    """Helm's strict lint remarks only that there is no icon."""
    report = helm_python.lint(CHART, values_of(case), strict=True, namespace="serving")
    assert report["errors"] == []
    assert [each["error"] for each in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", VALUES)
def test_every_object_fits_its_schema(case: str, version: str) -> None:
    """Every object fits the strict schema of Kubernetes or its operator, with no unknown key."""
    found = rendered(case)
    assert len(found) >= 3
    assert [problem for each in found for problem in problems(each, version)] == []


@pytest.mark.parametrize("case", VALUES)
def test_names_and_labels_are_in_order(case: str) -> None:
    """No two objects of a kind share a name, and all have the release's namespace and labels."""
    found = rendered(case)
    names = Counter((each["kind"], each["metadata"]["name"]) for each in found)
    assert names.most_common(1)[0][1] == 1
    assert {each["metadata"]["namespace"] for each in found} == {"serving"}
    assert {each["metadata"]["labels"]["app.kubernetes.io/instance"] for each in found} == {"orris"}
    assert all(len(name) <= 63 for _, name in names)


def test_the_matrix_makes_every_kind_that_the_chart_has(record_property: Callable[[str, object], None]) -> None:
    """The values files together make every kind of object, and the run reports how many were validated."""
    kinds = Counter(each["kind"] for case in VALUES for each in rendered(case))
    assert kinds.keys() == OF_THE_CHART
    own = sum(count for kind, count in kinds.items() if kind not in CRDS)
    custom = sum(count for kind, count in kinds.items() if kind in CRDS)
    known = (
        f"{own} objects by the schemas of Kubernetes {', '.join(VERSIONS)}, {custom} custom resources by those of their"
        " operators"
    )
    record_property("validated", f"chart: {len(VALUES)} values files make {len(kinds)} kinds: {known}")


@pytest.mark.parametrize(
    ("case", "kind", "path", "value"),
    [
        ("default", "Deployment", "spec.template.spec.containres", []),
        ("default", "Deployment", "spec.replicas", "two"),
        ("default", "Service", "spec.ports.0.targetport", "http"),
        ("default", "NetworkPolicy", "spec.ingress.0.port", 80),
        ("canary", "Rollout", "spec.strategy.canary.maxUnavailible", 0),
        ("canary", "Rollout", "spec.template.spec.containers.0.live", {}),
        ("canary", "AnalysisTemplate", "spec.metrics.0.provider.prometheus.url", "http://prometheus"),
        ("keda", "ScaledObject", "spec.triggers.0.threshold", "1"),
        ("gateway", "HTTPRoute", "spec.rules.0.timeouts.requests", "1s"),
        ("gateway", "GRPCRoute", "spec.rules.0.backendRefs.0.port", "grpc"),
        ("monitoring", "ServiceMonitor", "spec.endpoints.0.ports", "http"),
        ("monitoring", "PrometheusRule", "spec.groups.0.rules.0.fore", "1m"),
        ("ingress", "Certificate", "spec.dnsName", "example.org"),
        ("istio", "PeerAuthentication", "spec.mtls.mode", "STRIKT"),
        ("istio", "AuthorizationPolicy", "spec.rules.0.form", []),
        ("istio", "DestinationRule", "spec.trafficPolicy.loadBalancer.simple", "FAIR"),
    ],
)
def test_the_schemas_refuse_mistakes(case: str, kind: str, path: str, value: object) -> None:
    """The schemas refuse objects with an unknown key or a wrong value."""
    broken: Object = copy.deepcopy(one(rendered(case), kind))
    holder, last = place(broken, path)
    holder[last] = value
    assert problems(broken, VERSIONS[-1]) != []

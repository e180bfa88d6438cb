"""Tests of the values that the chart refuses before installation, and of its messages."""

from __future__ import annotations

from typing import Any

import helm_python
import pytest

from tests.chart.rendering import ROOT, Object, environment, objects, of_kind, selects, server, workload


def nested(path: str, value: Any) -> Object:
    """``a.b`` and a value as a mapping of mappings."""
    for key in reversed(path.split(".")):
        value = {key: value}
    found: Object = value
    return found


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("replcias", 3, "replcias"),
        ("image.tga", "1.0.0", "tga"),
        ("autoscaling.keda.fallback.replica", 1, "replica"),
        ("autoscaling.type", "vpa", "/autoscaling/type"),
        ("strategy.type", "Canary", "/strategy/type"),
        ("model.source", "bucket", "/model/source"),
        ("model.store", "/mnt/models", "/model/store"),
        ("model.version", "latest", "/model/version"),
        ("model.reference", "ghcr.io/models/iris:latest", "/model/reference"),
        ("image.digest", "sha256:123", "/image/digest"),
        ("replicas", "2", "/replicas"),
        ("server.workers", 0, "/server/workers"),
        ("server.env", {"orris-log": "x"}, "orris-log"),
        ("server.env", {"ORRIS_MAX_ROWS": 10}, "/server/env/ORRIS_MAX_ROWS"),
        ("auth.apiKeys.value", "orris_secret", "value"),
        ("service.type", "Ingress", "/service/type"),
        ("istio.mtls", "DISABLE", "/istio/mtls"),
        ("strategy.analysis.interval", "1 minute", "/strategy/analysis/interval"),
    ],
)
def test_a_typo_or_a_value_of_another_form_is_refused(path: str, value: object, said: str) -> None:
    """The schema refuses a misspelt key or a value of another type, and names its path."""
    with pytest.raises(helm_python.HelmError, match=said):
        objects(nested(path, value))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": {"source": "store", "name": "iris"}}, "model.version and model.store"),
        ({"model": {"source": "oci"}}, "set model.reference"),
        ({"auth": {"jwt": {"jwks": "https://issuer.example.org/keys"}}}, "set issuer and audience"),
        (
            {"auth": {"jwt": {"jwks": "https://a.example.org", "existingSecret": "b", "issuer": "c", "audience": "d"}}},
            "not both",
        ),
        ({"auth": {"metrics": {"required": True}}}, "there is no credential"),
        (
            {
                "auth": {"metrics": {"required": True}, "apiKeys": {"existingSecret": "keys"}},
                "serviceMonitor": {"enabled": True},
            },
            "Prometheus would be refused",
        ),
        (
            {name: {"enabled": True, "parentRefs": [{"name": "g"}]} for name in ("httpRoute", "grpcRoute")},
            "set hostnames of both",
        ),
        ({"autoscaling": {"type": "hpa", "minReplicas": 6}}, "minReplicas is more than maxReplicas"),
        ({"autoscaling": {"type": "keda", "keda": {"predictionsPerMinute": 0}}}, "set predictionsPerMinute"),
        (
            {"autoscaling": {"type": "keda", "keda": {"fallback": {"replicas": 9}}}},
            "fallback.replicas is more than maxReplicas",
        ),
        ({"autoscaling": {"type": "keda"}}, "set serviceMonitor.enabled"),
        ({"strategy": {"type": "canary"}}, "set serviceMonitor.enabled"),
        ({"httpRoute": {"enabled": True}}, "httpRoute: set parentRefs"),
        (
            {"grpcRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}, "server": {"grpc": False}},
            "server.grpc is false",
        ),
        (
            {
                name: {"enabled": True, "parentRefs": [{"name": "g"}], "hostnames": ["a.example.org"]}
                for name in ("httpRoute", "grpcRoute")
            },
            "share the host name a.example.org",
        ),
        ({"ingress": {"enabled": True}}, "ingress: set hosts"),
        ({"certificate": {"enabled": True}}, "annotate the Gateway"),
        ({"server": {"threads": 2}}, "server.workers × server.threads is 2, but the pod asks for 1 CPU"),
        (
            {"server": {"workers": 3}, "resources": {"requests": {"cpu": "2500m"}}},
            "is 3, but the pod asks for 2500m CPU",
        ),
        ({"server": {"workers": 2}, "resources": {"requests": {"cpu": 1}}}, "is 2, but the pod asks for 1 CPU"),
    ],
)
def test_values_that_contradict_each_other_are_refused(values: Object, said: str) -> None:
    """Values that contradict each other are refused with advice."""
    with pytest.raises(helm_python.HelmError, match=said):
        objects(values)


def test_more_threads_go_with_more_processors() -> None:
    """The threads of server and libraries follow the processor limit, or else the request."""
    values: Object = {
        "server": {"workers": 2, "threads": 2},
        "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "3900m"}},
    }
    with pytest.raises(helm_python.HelmError, match="is 4, but the pod asks for 3900m"):
        objects(values)
    values["resources"]["limits"]["cpu"] = 4
    found = environment(server(objects(values)))
    assert (found["ORRIS_WORKERS"], found["ORRIS_THREADS"], found["OMP_NUM_THREADS"]) == ("2", "2", "2")


def test_further_settings_reach_the_server() -> None:
    """Further settings are variables named as in docs/settings.md and by OpenTelemetry."""
    found = environment(server(objects({"server": {"env": {"ORRIS_MAX_ROWS": "500", "OTEL_SERVICE_NAME": "scorer"}}})))
    assert (found["ORRIS_MAX_ROWS"], found["OTEL_SERVICE_NAME"]) == ("500", "scorer")


def test_the_jobs_of_the_load_test_ask_the_service() -> None:
    """The address in the jobs of ``loadtests/k8s`` is that of the chart's service."""
    folder = ROOT / "loadtests" / "k8s"
    [service] = of_kind(objects({}), "Service")
    address = f"http://{service['metadata']['name']}/predict"
    assert all(address in (folder / f"job-{connections}.yaml").read_text("utf-8") for connections in (1000, 2000))
    http = {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}
    assert http in service["spec"]["ports"]


def test_two_releases_do_not_meet() -> None:
    """Names and selectors differ by release."""
    a, b = objects({}, release="a"), objects({}, release="b")
    names = [{(each["kind"], each["metadata"]["name"]) for each in found} for found in (a, b)]
    assert not names[0] & names[1]
    labels = workload(b)["spec"]["template"]["metadata"]["labels"]
    assert not [each for each in of_kind(a, "Service") if selects(each["spec"]["selector"], labels)]

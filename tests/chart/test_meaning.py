"""Tests of what no schema checks: that the objects of a release find each other and agree."""

from __future__ import annotations

import re

import pytest

from orris.protocols.grpc.health import HEALTH
from orris.settings import read_settings
from tests.chart.rendering import (
    VALUES,
    Object,
    containers,
    environment,
    jobs,
    of_kind,
    one,
    pods,
    processors,
    rendered,
    selects,
    server,
    values_of,
    workload,
)

AUTOSCALED = [case for case in VALUES if values_of(case).get("autoscaling")]
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN(?!_FILE)|KEY(?!S_FILE)")

every = pytest.mark.parametrize("case", VALUES)


def spec_of(case: str) -> Object:
    """The spec of the server's pods."""
    found: Object = workload(rendered(case))["spec"]["template"]["spec"]
    return found


@every
def test_selectors_find_the_servers_pods(case: str) -> None:
    """Services, policies and budgets select each of the server's pods, and no pod of ``helm test``."""
    found = rendered(case)
    labels = workload(found)["spec"]["template"]["metadata"]["labels"]
    selectors = [workload(found)["spec"]["selector"]["matchLabels"]]
    # Argo Rollouts writes the selectors of blue-green services.
    selectors += [each["spec"]["selector"] for each in of_kind(found, "Service") if case != "bluegreen"]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in of_kind(found, "NetworkPolicy")]
    selectors += [
        each["spec"]["selector"]["matchLabels"]
        for each in of_kind(found, "PodDisruptionBudget", "PeerAuthentication", "AuthorizationPolicy")
    ]
    selectors += [each["labelSelector"]["matchLabels"] for each in spec_of(case).get("topologySpreadConstraints", [])]
    assert len(selectors) >= 2
    assert all(selects(selector, labels) for selector in selectors)
    assert not [
        pod["metadata"]["name"]
        for pod in of_kind(found, "Pod")
        for selector in selectors
        if selects(selector, pod["metadata"]["labels"])
    ]


@every
def test_ports_are_found_by_name(case: str) -> None:
    """Targets, probes, policies and monitors name ports of the pods, and routes a port of the service."""
    found = rendered(case)
    container, service = server(found), one(found, "Service", workload(found)["metadata"]["name"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["http"] == 8000
    assert {port["targetPort"] for each in of_kind(found, "Service") for port in each["spec"]["ports"]} == ports.keys()
    assert {
        container[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "readiness", "liveness")
    } <= ports.keys()
    named = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    for policy in of_kind(found, "NetworkPolicy"):
        allowed = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        assert {port for port in allowed if isinstance(port, str)} == ports.keys()
    for monitor in of_kind(found, "ServiceMonitor"):
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= named.keys()
    for route in of_kind(found, "HTTPRoute", "GRPCRoute"):
        [backend] = route["spec"]["rules"][0]["backendRefs"]
        assert backend == {
            "name": service["metadata"]["name"],
            "port": named["http" if route["kind"] == "HTTPRoute" else "grpc"],
        }
    for ingress in of_kind(found, "Ingress"):
        backends = [path["backend"]["service"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
        assert all(each["name"] == service["metadata"]["name"] and each["port"]["name"] in named for each in backends)


@every
def test_the_server_listens_where_the_ports_are(case: str) -> None:
    """The variables of the pods are settings that Orris knows, with the ports and the threads of the values."""
    container = server(rendered(case))
    settings = read_settings(environment(container))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (settings.port, settings.grpc_port) == (ports["http"], ports.get("grpc", "off"))
    asked = processors(str((container["resources"]["requests"] | container["resources"]["limits"])["cpu"]))
    assert int(settings.workers) * int(settings.threads) <= max(asked, 1)
    assert environment(container)["OMP_NUM_THREADS"] == str(settings.threads)
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]


@every
def test_a_pod_has_time_to_end(case: str) -> None:
    """The grace period covers the pause before SIGTERM and all that the server does after it (docs/operations.md)."""
    settings = read_settings(environment(server(rendered(case))))
    hook = server(rendered(case)).get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})
    paused = hook["preStop"]["sleep"]["seconds"]
    assert (
        spec_of(case)["terminationGracePeriodSeconds"] > paused + settings.drain_seconds + settings.shutdown_seconds + 6
    )


@every
def test_the_probes_use_different_routes(case: str) -> None:
    """The three probes use three routes; a slow start is waited for, and liveness depends on nothing."""
    container = server(rendered(case))
    paths = [container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "readiness", "liveness")]
    assert paths == ["/api/v1/health", "/ready", "/health"]
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 300


@every
def test_an_overloaded_pod_has_time_to_say_that_it_is_ready(case: str) -> None:
    """Readiness waits for an answer as long as liveness does, and not beyond its own period."""
    container = server(rendered(case))
    readiness = container["readinessProbe"]
    assert container["livenessProbe"]["timeoutSeconds"] <= readiness["timeoutSeconds"] <= readiness["periodSeconds"]


@pytest.mark.parametrize("case", AUTOSCALED)
def test_an_autoscaler_owns_the_replicas(case: str) -> None:
    """An autoscaler's target exists and sets no replicas, and there is one autoscaler with valid bounds."""
    found = rendered(case)
    [scaler] = of_kind(found, "HorizontalPodAutoscaler", "ScaledObject")
    target, scaled = scaler["spec"]["scaleTargetRef"], workload(found)
    assert (target["apiVersion"], target["kind"], target["name"]) == (
        scaled["apiVersion"],
        scaled["kind"],
        scaled["metadata"]["name"],
    )
    assert "replicas" not in scaled["spec"]
    keda = scaler["kind"] == "ScaledObject"
    least, most = (
        scaler["spec"][key]
        for key in (("minReplicaCount", "maxReplicaCount") if keda else ("minReplicas", "maxReplicas"))
    )
    assert 1 <= least <= most
    if keda:
        assert least <= scaler["spec"]["fallback"]["replicas"] <= most
        assert {trigger["metadata"]["ignoreNullValues"] for trigger in scaler["spec"]["triggers"]} == {"false"}
    else:
        names = [
            each["containerResource"]["container"]
            for each in scaler["spec"]["metrics"]
            if each["type"] == "ContainerResource"
        ]
        assert names == [server(found)["name"]]


@pytest.mark.parametrize("case", sorted(VALUES.keys() - AUTOSCALED))
def test_without_an_autoscaler_replicas_come_from_the_values(case: str) -> None:
    """Without an autoscaler there are as many replicas as the values set."""
    found = rendered(case)
    assert of_kind(found, "HorizontalPodAutoscaler", "ScaledObject") == []
    assert workload(found)["spec"]["replicas"] == values_of(case).get("replicas", 2)


@every
def test_every_mount_has_a_volume(case: str) -> None:
    """Every mount has its volume, every volume is mounted, and the variables name paths below a mount."""
    for _, _, spec in pods(rendered(case)):
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        mounted = {mount["name"] for container in containers(spec) for mount in container.get("volumeMounts", [])}
        assert volumes == mounted
    container = server(rendered(case))
    paths = [mount["mountPath"] for mount in container["volumeMounts"]]
    files = [value for value in environment(container).values() if value.startswith("/etc/orris/")]
    assert [file for file in files if not any(file.startswith(f"{path}/") for path in paths)] == []


@every
def test_secrets_are_referred_to_and_never_made(case: str) -> None:
    """The chart makes no Secret and no variable that holds one; mounts are folders, which Kubernetes updates."""
    found = rendered(case)
    assert of_kind(found, "Secret") == []
    assert [
        name
        for _, _, spec in pods(found)
        for container in containers(spec)
        for name in environment(container)
        if SECRET.search(name)
    ] == []
    assert [mount for mount in server(found)["volumeMounts"] if "subPath" in mount] == []


def test_all_credentials_come_from_secrets() -> None:
    """Keys, the admin token, the JWKS and Prometheus' credential come from the Secret keys that the values name."""
    found = rendered("secrets")
    settings = read_settings(environment(server(found)))
    assert settings.api_keys_file == "/etc/orris/api-keys/keys.toml"
    assert settings.admin_token_file == "/etc/orris/admin-token/token"
    assert (settings.jwt_jwks, settings.jwt_audience) == ("/etc/orris/jwks/jwks.json", "orris")
    assert settings.metrics_auth
    names = {volume["secret"]["secretName"] for volume in spec_of("secrets")["volumes"] if "secret" in volume}
    assert names == {"orris-keys", "orris-admin", "orris-jwks"}
    [endpoint] = one(found, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "orris-scrape", "key": "key"}


def test_a_model_from_a_store_is_pulled_checked_and_served() -> None:
    """All three containers use the same version; only the first may write, and only it needs the bucket."""
    spec = spec_of("store")
    pull, verify = spec["initContainers"]
    assert pull["args"] == ["models", "pull", "iris@1.2.3", "gs://models/prod"]
    assert verify["args"] == ["models", "verify", "iris@1.2.3", "--digest", "3" * 64]
    assert environment(server(rendered("store")))["ORRIS_MODEL"] == "iris@1.2.3"
    mounts = {
        each["name"]: mount
        for each in containers(spec)
        for mount in each["volumeMounts"]
        if mount["mountPath"] == "/models"
    }
    assert {name: mount.get("readOnly", False) for name, mount in mounts.items()} == {
        "pull-model": False,
        "verify-model": True,
        "orris": True,
    }
    assert {each["image"] for each in containers(spec)} == {f"ghcr.io/orris-ml/orris@sha256:{'2' * 64}"}


def test_a_model_from_an_image_volume_is_checked_and_served() -> None:
    """A model from an image volume is checked by digest and mounted where a baked-in model would be."""
    spec = spec_of("oci")
    [volume] = [each for each in spec["volumes"] if "image" in each]
    assert volume["image"]["reference"].endswith("@sha256:" + "4" * 64)
    assert spec["initContainers"][0]["args"] == ["models", "verify", "/opt/model", "--digest", "3" * 64]
    assert environment(server(rendered("oci")))["ORRIS_MODEL"] == "/opt/model"


def test_the_network_policy_allows_only_needed_connections() -> None:
    """The network policy allows DNS always, HTTPS and the metadata server for a store, and the chart's own tests."""
    plain = one(rendered("default"), "NetworkPolicy")["spec"]
    assert [port["port"] for rule in plain["egress"] for port in rule["ports"]] == [53, 53]
    store = one(rendered("store"), "NetworkPolicy")["spec"]
    assert {443, 988, 4317} <= {port["port"] for rule in store["egress"] for port in rule["ports"]}
    [rule] = store["ingress"]
    peers = [peer["podSelector"]["matchLabels"] for peer in rule["from"] if "podSelector" in peer]
    assert all(selects(peers[0], pod["metadata"]["labels"]) for pod in of_kind(rendered("store"), "Pod"))
    assert 443 in {
        port["port"] for rule in one(rendered("jwks-url"), "NetworkPolicy")["spec"]["egress"] for port in rule["ports"]
    }


def test_blue_green_has_two_services_of_which_one_is_scraped() -> None:
    """Both services of a blue-green Rollout select the same pods between roll-outs, and one is scraped."""
    found = rendered("bluegreen")
    strategy = one(found, "Rollout")["spec"]["strategy"]["blueGreen"]
    services = {each["metadata"]["name"]: each["metadata"]["labels"] for each in of_kind(found, "Service")}
    assert services.keys() == {strategy["activeService"], strategy["previewService"]}
    wanted = one(found, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert [name for name, labels in services.items() if selects(wanted, labels)] == [strategy["activeService"]]


@pytest.mark.parametrize("case", ["canary", "bluegreen"])
def test_a_rollout_names_its_analysis(case: str) -> None:
    """A Rollout's analysis template exists, takes its argument, and queries the new version's pods."""
    found = rendered(case)
    template = one(found, "AnalysisTemplate", "orris")
    strategy = one(found, "Rollout")["spec"]["strategy"]
    analysis = strategy["canary"]["analysis"] if case == "canary" else strategy["blueGreen"]["postPromotionAnalysis"]
    assert [each["templateName"] for each in analysis["templates"]] == [template["metadata"]["name"]]
    assert (
        [each["name"] for each in analysis["args"]] == [each["name"] for each in template["spec"]["args"]] == ["pods"]
    )
    metrics = template["spec"]["metrics"]
    assert {metric["name"] for metric in metrics} == {"error-rate", "latency", "prediction-drift"}
    assert all(
        'rollouts_pod_template_hash="{{args.pods}}"' in metric["provider"]["prometheus"]["query"] for metric in metrics
    )
    assert one(found, "ServiceMonitor")["spec"]["podTargetLabels"] == ["rollouts-pod-template-hash"]
    # Without an end of its own an analysis after a promotion would never end.
    assert all(("count" in metric) == (case == "bluegreen") for metric in metrics)


def test_a_preview_is_tested_before_promotion() -> None:
    """A job tests the preview's service over every protocol, and network policies admit it."""
    found = rendered("bluegreen")
    [named] = one(found, "Rollout")["spec"]["strategy"]["blueGreen"]["prePromotionAnalysis"]["templates"]
    assert jobs([one(found, "AnalysisTemplate", named["templateName"])]) == jobs(found)
    [job] = jobs(found)
    assert [each["args"][1] for each in job["template"]["spec"]["containers"]] == [
        "http://orris-preview:80/ready",
        "http://orris-preview:80/v2/health/ready",
        "grpc://orris-preview:8001",
    ]
    assert job["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "test"


def test_the_tests_use_every_protocol() -> None:
    """``helm test`` uses HTTP, V2 and gRPC at the service's addresses, with the server's own image."""
    found = rendered("store")
    hooks = {each["metadata"]["name"]: each for each in of_kind(found, "Pod")}
    assert hooks.keys() == {"orris-test-http", "orris-test-v2", "orris-test-grpc"}
    urls = {name: [each["args"][1] for each in hook["spec"]["containers"]] for name, hook in hooks.items()}
    assert urls["orris-test-v2"] == ["http://orris:80/v2/health/live", "http://orris:80/v2/models/iris/ready"]
    assert urls["orris-test-grpc"] == ["grpc://orris:8001/iris"]
    assert {each["metadata"]["annotations"]["helm.sh/hook"] for each in hooks.values()} == {"test"}
    assert {each["image"] for hook in hooks.values() for each in hook["spec"]["containers"]} == {server(found)["image"]}
    assert "orris-test-grpc" not in {each["metadata"]["name"] for each in of_kind(rendered("minimal"), "Pod")}


def test_a_gateway_routes_the_served_grpc_services() -> None:
    """The gRPC services in the route are those of the server."""
    [rule] = one(rendered("gateway"), "GRPCRoute")["spec"]["rules"]
    assert {match["method"]["service"] for match in rule["matches"]} == {"inference.GRPCInferenceService", HEALTH}


def test_a_certificate_is_for_the_hosts_of_the_ingress() -> None:
    """The certificate is for the Ingress' hosts and goes into the secret that the Ingress reads."""
    found = rendered("ingress")
    certificate, [tls] = one(found, "Certificate")["spec"], one(found, "Ingress")["spec"]["tls"]
    assert (certificate["secretName"], certificate["dnsNames"]) == (tls["secretName"], tls["hosts"])
    assert one(rendered("ingress-secret"), "Ingress")["spec"]["tls"][0]["secretName"] == "wildcard"


def test_a_mesh_admits_the_named_identities() -> None:
    """The server's pods demand mTLS, and Prometheus is admitted to the metrics page alone."""
    found = rendered("istio")
    assert one(found, "PeerAuthentication")["spec"]["mtls"] == {"mode": "STRICT"}
    callers, prometheus = one(found, "AuthorizationPolicy")["spec"]["rules"]
    assert [each["source"] for each in callers["from"]] == [
        {"namespaces": ["serving", "gateway"]},
        {"principals": ["cluster.local/ns/shop/sa/checkout"]},
    ]
    assert prometheus["to"] == [{"operation": {"ports": ["8000"], "methods": ["GET"], "paths": ["/metrics"]}}]
    assert one(found, "DestinationRule")["spec"]["host"] == "orris.serving.svc.cluster.local"


def test_no_service_links_break_the_settings() -> None:
    """A service named orris does not set ``ORRIS_PORT`` to an address in the pods of the server or of the tests."""
    for case in VALUES:
        assert {spec["enableServiceLinks"] for _, _, spec in pods(rendered(case))} == {False}

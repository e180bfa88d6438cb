"""Starts the controllers that the chart works with: Argo Rollouts and KEDA's webhooks are real, KEDA's operator is not.

The operator would take three thousand packages to build. What stands in for it (``ScaledObjects``) makes, changes and
deletes the HPA of a ScaledObject as ``controllers/keda/hpa.go`` of KEDA does; the HPA has CPU in place of its metrics.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import threading
from collections.abc import Iterator

import httpx

from tests.cluster.api import Api, Object, collection
from tests.cluster.background import in_background
from tests.cluster.controlplane import Cluster, free_ports
from tests.cluster.programs import MODULES, definitions, program
from tests.cluster.waiting import until

FINALIZER = "finalizer.keda.sh"


def install_definitions(cluster: Cluster) -> None:
    """Install the custom resource definitions of all modules that have been built, and wait until they are served."""
    for name in MODULES:
        if definitions(name).is_dir():
            cluster.kubectl("apply", "--server-side", "--filename", str(definitions(name)))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")


def start_rollouts(cluster: Cluster) -> None:
    """Start the controller of Argo Rollouts."""
    metrics_port, health_port = free_ports(2)
    cluster.kubectl("create", "namespace", "argo-rollouts")
    cluster.start(
        "rollouts-controller",
        program("rollouts-controller"),
        f"--kubeconfig={cluster.kubeconfig}",
        f"--metricsPort={metrics_port}",
        f"--healthzPort={health_port}",
        "--leader-elect=false",
    )


def start_keda_webhooks(cluster: Cluster) -> None:
    """Start KEDA's admission webhooks, and register the one of ScaledObjects with failures refused."""
    port, metrics_port, probe_port = free_ports(3)
    certificates = cluster.home / "keda-certs"
    certificates.mkdir()
    pki = cluster.home / "pki"
    for source, target in (("server.crt", "tls.crt"), ("server.key", "tls.key"), ("ca.crt", "ca.crt")):
        shutil.copyfile(pki / source, certificates / target)
    cluster.start(
        "keda-webhooks",
        program("keda-webhooks"),
        f"--kubeconfig={cluster.kubeconfig}",
        f"--cert-dir={certificates}",
        f"--port={port}",
        f"--metrics-bind-address=127.0.0.1:{metrics_port}",
        f"--health-probe-bind-address=127.0.0.1:{probe_port}",
        "--cache-miss-to-direct-client=true",
        environ={"WATCH_NAMESPACE": ""},
    )
    authority = (pki / "ca.crt").read_bytes()
    rule = {"apiGroups": ["keda.sh"], "apiVersions": ["v1alpha1"], "operations": ["CREATE", "UPDATE"]}
    webhook = {
        "name": "vscaledobject.kb.io",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "rules": [rule | {"resources": ["scaledobjects"]}],
        "clientConfig": {
            "url": f"https://127.0.0.1:{port}/validate-keda-sh-v1alpha1-scaledobject",
            "caBundle": base64.b64encode(authority).decode(),
        },
    }
    until(lambda: _answers(probe_port), "KEDA's webhooks are ready", seconds=60)
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    cluster.apply([kind | {"metadata": {"name": "keda-admission"}, "webhooks": [webhook]}])


def _answers(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == httpx.codes.OK
    return False


class ScaledObjects:
    """Stands in for KEDA's operator: every ScaledObject has an HPA of its own, which ends with it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._end = threading.Event()

    def run(self) -> None:
        """Look after ScaledObjects until the end."""
        while not self._end.wait(0.3):
            with contextlib.suppress(httpx.HTTPError):
                for found in self.api.list("ScaledObject"):
                    self._reconcile(found)

    def stop(self) -> None:
        """End the loop."""
        self._end.set()

    def _reconcile(self, found: Object) -> None:
        metadata = found["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        finalizers = metadata.get("finalizers", [])
        if metadata.get("deletionTimestamp"):
            if FINALIZER in finalizers:
                self.api.patch("ScaledObject", namespace, name, {"metadata": {"finalizers": []}})
            return
        if FINALIZER not in finalizers:
            self.api.patch("ScaledObject", namespace, name, {"metadata": {"finalizers": [*finalizers, FINALIZER]}})
        wanted = _hpa(found)
        live = self.api.get("HorizontalPodAutoscaler", namespace, wanted["metadata"]["name"])
        if live is None:
            self.api.call("POST", collection("HorizontalPodAutoscaler", namespace), wanted)
        elif any(
            live["spec"].get(key) != wanted["spec"][key] for key in ("minReplicas", "maxReplicas", "scaleTargetRef")
        ):
            self.api.patch("HorizontalPodAutoscaler", namespace, wanted["metadata"]["name"], {"spec": wanted["spec"]})


def _hpa(found: Object) -> Object:
    metadata, spec = found["metadata"], found["spec"]
    config = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {})
    owner = {
        "apiVersion": found["apiVersion"],
        "kind": "ScaledObject",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    target = spec["scaleTargetRef"]
    cpu = {"container": "orris", "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": config.get("name", f"keda-hpa-{metadata['name']}"),
            "namespace": metadata["namespace"],
            "labels": metadata.get("labels", {}),
            "annotations": metadata.get("annotations", {}),
            "ownerReferences": [owner],
        },
        "spec": {
            "minReplicas": spec.get("minReplicaCount") or 1,
            "maxReplicas": spec.get("maxReplicaCount", 100),
            "scaleTargetRef": {key: target[key] for key in ("apiVersion", "kind", "name")},
            "metrics": [{"type": "ContainerResource", "containerResource": cpu}],
            "behavior": config.get("behavior"),
        },
    }


@contextlib.contextmanager
def scaled_objects(api: Api) -> Iterator[None]:
    """A stand-in for KEDA's operator until the end of the context."""
    operator = ScaledObjects(api)
    with in_background(operator, "scaled-objects"):
        yield

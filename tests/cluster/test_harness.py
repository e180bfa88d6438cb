"""Tests of the cluster that the other tests stand on: the controllers act, and Pod Security is enforced."""

from __future__ import annotations

import pytest

from tests.cluster.api import Object
from tests.cluster.controlplane import Cluster
from tests.cluster.endpoints import ready, watching
from tests.cluster.releases import IMAGE
from tests.cluster.waiting import until

SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def deployment(namespace: str, replicas: int = 3) -> list[Object]:
    """A Deployment that fits the restricted profile, and a Service of it."""
    labels, metadata = {"app": "web"}, {"name": "web", "namespace": namespace}
    container = {"name": "web", "image": IMAGE, "securityContext": SECURITY}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    service = {"selector": labels, "ports": [{"port": 80}]}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
    ]


def test_endpoints_follow_a_deployment(cluster: Cluster, namespace: str) -> None:
    """The pods of a Deployment become ready endpoints, and a watch sees the least number of them."""
    cluster.apply(deployment(namespace))
    until(lambda: len(ready(cluster.api, namespace, "web")) == 3, "three endpoints")
    with watching(cluster.api, namespace, "web") as watch:
        cluster.apply(deployment(namespace, replicas=1))
        until(lambda: len(ready(cluster.api, namespace, "web")) == 1, "one endpoint")
    assert (watch.changes[0], watch.changes[-1], watch.least) == (3, 1, 1)


def test_pod_security_is_enforced(cluster: Cluster, namespace: str) -> None:
    """A pod that may run as root is refused in a namespace with the restricted profile."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": namespace},
        "spec": {"containers": [{"name": "root", "image": "registry.example/web:1"}]},
    }
    with pytest.raises(AssertionError, match='violates PodSecurity "restricted'):
        cluster.apply([pod])

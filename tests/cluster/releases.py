"""What the tests of a release share: values that make small pods, and looks at what runs."""

from __future__ import annotations

import os

from tests.cluster.api import Object
from tests.cluster.controlplane import Cluster
from tests.cluster.endpoints import ready
from tests.cluster.transitions import State, settled
from tests.cluster.waiting import until

# On kind a real image that it has, whose server needs memory; elsewhere nothing runs, and any name will do.
IMAGE = os.environ.get("ORRIS_TEST_IMAGE", "registry.example/orris:1.0.0")
RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "256Mi"}}


def values(state: State, **changes: object) -> Object:
    """Values of a state with the test's image; further ones by their top-level names."""
    repository, _, tag = IMAGE.rpartition(":")
    return state.values() | {"image": {"repository": repository, "tag": tag}, "resources": RESOURCES} | changes


def kind_of(state: State) -> str:
    """The kind of a state's workload."""
    return "Deployment" if state.strategy == "rolling" else "Rollout"


def wait_for(cluster: Cluster, namespace: str, state: State, pods: int | None = None) -> None:
    """Wait until a release's workload is as it should be, with that many ready endpoints."""
    wanted = state.pods if pods is None else pods

    def stands() -> bool:
        return settled(cluster, namespace, kind_of(state)) and len(ready(cluster.api, namespace, "orris")) == wanted

    until(stands, f"{state} with {wanted} ready endpoints", 180)


def versions(cluster: Cluster, namespace: str, service: str = "orris") -> set[str]:
    """The values of the annotation ``version`` of the pods that a service sends requests to."""
    names = ready(cluster.api, namespace, service)
    pods = [pod for pod in cluster.api.list("Pod", namespace) if pod["metadata"]["name"] in names]
    return {pod["metadata"].get("annotations", {}).get("version", "") for pod in pods}


def selector(cluster: Cluster, namespace: str, service: str = "orris") -> Object:
    """The selector of a service."""
    found = cluster.api.get("Service", namespace, service)
    assert found is not None
    chosen: Object = found["spec"].get("selector", {})
    return chosen


def wait_for_version(cluster: Cluster, namespace: str, name: str, service: str = "orris") -> None:
    """Wait until a service sends requests to pods of one version, and to no others."""
    until(lambda: versions(cluster, namespace, service) == {name}, f"{service} is {name}", 180)

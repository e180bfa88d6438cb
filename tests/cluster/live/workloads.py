"""What the tests of real pods share: values of a small release, its addresses, its state."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx

from orris.loadtest import Arrivals, Run, drive, target_of
from tests.cluster.api import Api, Object
from tests.cluster.kubelet.addresses import loopback
from tests.cluster.kubelet.proxy import GATEWAY_OFFSET
from tests.cluster.waiting import until

REPOSITORY = "registry.example/orris"
TOOLS = "registry.example/tools:1"
WRK = "ghcr.io/orris-ml/orris-wrk:4.1.0"
"""The image of the Jobs in ``loadtests/k8s``."""
LONGEST_SECONDS = 1200
ROW = json.dumps({"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}).encode()


def values(tag: str, **more: Any) -> Object:
    """The chart's values for two small pods of a version, and others."""
    return {
        "image": {"repository": REPOSITORY, "tag": tag},
        "model": {"name": "iris"},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "256Mi"}},
        **more,
    }


def service_url(api: Api, namespace: str, *, gateway: bool = False, name: str = "orris") -> str:
    """Where a Service is reached from this machine; ``gateway``: by requests rather than by connections."""
    service = api.get("Service", namespace, name)
    assert service is not None
    [port] = [int(each["port"]) for each in service["spec"]["ports"] if each["name"] == "http"]
    return f"http://{loopback(service['spec']['clusterIP'])}:{port + (GATEWAY_OFFSET if gateway else 0)}"


def nodes_are_ready(api: Api) -> bool:
    """Whether all nodes are."""
    return all(
        any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"].get("conditions", []))
        and "node.kubernetes.io/not-ready" not in [each["key"] for each in node["spec"].get("taints", [])]
        for node in api.list("Node")
    )


def server_pods(api: Api, namespace: str) -> list[Object]:
    """The server's pods that are not being deleted."""
    found = api.list("Pod", namespace, "app.kubernetes.io/component=server")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def is_ready(pod: Object) -> bool:
    """Whether a pod is ready."""
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def answers(api: Api, namespace: str) -> bool:
    """Whether the Service leads to a pod that answers, by connections and by requests."""
    try:
        return all(
            httpx.get(f"{service_url(api, namespace, gateway=gateway)}/health", trust_env=False).is_success
            for gateway in (False, True)
        )
    except httpx.TransportError:
        return False


def settled(api: Api, namespace: str, pods: int, tag: str) -> None:
    """Wait until there are exactly so many pods, all ready and of a version, none ends any more, and they answer."""

    def reached() -> bool:
        found = api.list("Pod", namespace, "app.kubernetes.io/component=server")
        images = {pod["spec"]["containers"][0]["image"] for pod in found}
        return len(found) == pods and all(map(is_ready, found)) and images == {f"{REPOSITORY}:{tag}"}

    until(reached, f"{pods} ready pods of {tag} in {namespace}", seconds=180)
    until(lambda: answers(api, namespace), f"the Service of {namespace} leads to its pods")


class Load:
    """A constant load that is being sent.

    Attributes:
        run: What became of it; set when the context of ``load`` ends.
    """

    run: Run


@contextlib.contextmanager
def load(url: str, per_second: float) -> Iterator[Load]:
    """Send predictions at a constant rate while the context lasts, over 20 connections; nothing is repeated."""
    sent, stop = Load(), threading.Event()

    def send() -> None:
        arrivals = Arrivals.constant(per_second, LONGEST_SECONDS)
        target = target_of(url, [ROW], path="/predict")
        sent.run = drive(target, arrivals, connections=20, warm_up_seconds=0, timeout_seconds=30, stop=stop)

    thread = threading.Thread(target=send, name="load")
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()

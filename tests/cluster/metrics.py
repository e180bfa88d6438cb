"""Serves ``metrics.k8s.io/v1beta1``, which the HPA controller asks for the CPU of pods, and registers it as an API."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from http import HTTPStatus

from tests.cluster.api import Api, Object
from tests.cluster.controlplane import Cluster

GROUP_VERSION = "metrics.k8s.io/v1beta1"
Usage = Callable[[Object], int]


class Load:
    """CPU that pods are said to use: each ``millicores``, or a share of ``total`` if that is set."""

    def __init__(self, api: Api, millicores: int = 100) -> None:
        self.api = api
        self.millicores = millicores
        self.total = 0

    def __call__(self, pod: Object) -> int:
        """Millicores of a pod's containers, each."""
        if not self.total:
            return self.millicores
        namespace, labels = pod["metadata"]["namespace"], pod["metadata"]["labels"]
        selector = ",".join(f"{key}={labels[key]}" for key in labels if key.startswith("app.kubernetes.io/instance"))
        return self.total // max(1, len(_running(self.api, namespace, selector)))


def _running(api: Api, namespace: str, selector: str) -> list[Object]:
    return [
        pod
        for pod in api.list("Pod", namespace, selector)
        if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]


def _metrics(pod: Object, millicores: int) -> Object:
    metadata = {key: pod["metadata"].get(key) for key in ("name", "namespace", "labels")}
    used = {"cpu": f"{millicores}m", "memory": "100Mi"}
    return {
        "metadata": metadata,
        "timestamp": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "window": "15s",
        "containers": [{"name": each["name"], "usage": used} for each in pod["spec"]["containers"]],
    }


def _discovery(parts: list[str]) -> Object | None:
    version = {"groupVersion": GROUP_VERSION, "version": "v1beta1"}
    group = {"name": "metrics.k8s.io", "versions": [version], "preferredVersion": version}
    if parts == ["apis"]:
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}
    if parts == ["apis", "metrics.k8s.io"]:
        return {"kind": "APIGroup", "apiVersion": "v1", **group}
    if parts == ["apis", "metrics.k8s.io", "v1beta1"]:
        pods = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": [pods]}
    return None


def _handler(api: Api, usage: Usage) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            """Print nothing."""

        def do_GET(self) -> None:
            url = urllib.parse.urlparse(self.path)
            parts = [part for part in url.path.split("/") if part]
            found = _discovery(parts)
            if found is None and len(parts) >= 6 and parts[5] == "pods":
                selector = urllib.parse.parse_qs(url.query).get("labelSelector", [""])[0]
                items = [_metrics(pod, usage(pod)) for pod in _running(api, parts[4], selector)]
                found = {"kind": "PodMetricsList", "apiVersion": GROUP_VERSION, "metadata": {}, "items": items}
            self._answer(found or {"kind": "Status", "apiVersion": "v1", "status": "Failure"}, found is not None)

        def _answer(self, found: Object, known: bool) -> None:
            body = json.dumps(found).encode()
            self.send_response(HTTPStatus.OK if known else HTTPStatus.NOT_FOUND)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


@contextlib.contextmanager
def metrics(cluster: Cluster, usage: Usage) -> Iterator[None]:
    """Serve the API of pod metrics: each container of a pod uses the millicores that ``usage`` gives for the pod."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(cluster.api, usage))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cluster.home / "pki" / "server.crt", cluster.home / "pki" / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    port = server.server_address[1]
    name = {"name": "metrics", "namespace": "kube-system"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": name,
        # The API server follows the name of an ExternalName service itself.
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    }
    registered = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": name | {"port": port},
        },
    }
    try:
        cluster.apply([service, registered])
        yield
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()

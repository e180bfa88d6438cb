"""What the API server asks nodes and metrics-server for: ``metrics.k8s.io`` from control groups, and logs.

Samples are taken every ``resolution_seconds``; usage is the difference of the last two, with the window between them,
as metrics-server computes it.
"""

from __future__ import annotations

import asyncio
import datetime
import http.server
import json
import ssl
import threading
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import self_signed
from tests.cluster.kubelet.api import MERGE, Api, Object
from tests.cluster.kubelet.container import Container
from tests.cluster.kubelet.pod import Pod

GROUP = "metrics.k8s.io"
VERSION = f"{GROUP}/v1beta1"
SERVICE: Object = {"name": "pod-metrics", "namespace": "kube-system"}


@dataclass(frozen=True)
class Sample:
    """What a container had used at a time."""

    time: datetime.datetime
    cpu_seconds: float
    memory_bytes: int


class Metrics:
    """Samples of all running containers, as a document of ``metrics.k8s.io``."""

    def __init__(self, pods: dict[str, Pod], resolution_seconds: float) -> None:
        self._pods = pods
        self._resolution_seconds = resolution_seconds
        self._samples: dict[tuple[str, str, int], list[Sample]] = {}

    async def run(self) -> None:
        """Take samples, for ever."""
        while True:
            self.sample()
            await asyncio.sleep(self._resolution_seconds)

    def sample(self) -> None:
        """Take one sample of each container that runs."""
        taken = {}
        for uid, pod in list(self._pods.items()):
            for container in pod.containers:
                group, key = container.group, _key(uid, container)
                if group is None:
                    continue
                now = datetime.datetime.now(datetime.UTC)
                fresh = Sample(now, group.used_cpu_seconds, group.used_memory_bytes)
                taken[key] = [*self._samples.get(key, []), fresh][-2:]
        self._samples = taken

    def documents(self, namespace: str, selector: str) -> list[Object]:
        """The PodMetrics of a namespace (``""``: of all) that have two samples of each container."""
        found = []
        for uid, pod in list(self._pods.items()):
            metadata = pod.document["metadata"]
            if namespace not in {"", metadata["namespace"]} or not selected(selector, metadata.get("labels", {})):
                continue
            samples = {each.spec["name"]: self._samples.get(_key(uid, each), []) for each in pod.containers}
            if not samples or any(len(pair) < 2 for pair in samples.values()):
                continue
            before, after = next(iter(samples.values()))
            found.append(
                {
                    "metadata": {key: metadata.get(key) for key in ("name", "namespace", "labels")},
                    "timestamp": after.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "window": f"{(after.time - before.time).total_seconds():.3f}s",
                    "containers": [{"name": name, "usage": usage(*pair)} for name, pair in samples.items()],
                }
            )
        return found


def usage(before: Sample, after: Sample) -> dict[str, str]:
    """CPU of the time between two samples and memory at the second."""
    seconds = (after.time - before.time).total_seconds()
    return {
        "cpu": f"{round((after.cpu_seconds - before.cpu_seconds) / seconds * 1e9)}n",
        "memory": f"{after.memory_bytes // 1024}Ki",
    }


def selected(selector: str, labels: dict[str, str]) -> bool:
    """Whether labels fit a selector of the form ``a=b,c=d``, which is all that autoscalers send for the chart."""
    pairs = [pair.partition("=") for pair in selector.split(",") if pair]
    return all(labels.get(key) == value.lstrip("=") for key, _, value in pairs)


def _key(uid: str, container: Container) -> tuple[str, str, int]:
    return uid, container.spec["name"], container.status.restarts


class Endpoint:
    """An HTTPS server on a free port of 127.0.0.1 with metrics and logs, in a thread."""

    def __init__(self, metrics: Metrics, pods: dict[str, Pod], folder: Path) -> None:
        answer = self._answer
        self._metrics = metrics
        self._logs: dict[str, Path] = {}
        self._pods = pods

        class Handler(http.server.BaseHTTPRequestHandler):
            """Answers with JSON, or a log as text."""

            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Log nothing."""

            def do_GET(self) -> None:
                status, content, kind = answer(self.path)
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self_signed(folder))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    async def register(self, api: Api) -> None:
        """Tell the API server where ``metrics.k8s.io`` is: at a Service whose external name is this machine."""
        service: Object = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": SERVICE,
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": self.port}]},
        }
        group: Object = {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"v1beta1.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {**SERVICE, "port": self.port},
            },
        }
        for path, body in (
            ("/api/v1/namespaces/kube-system/services", service),
            ("/apis/apiregistration.k8s.io/v1/apiservices", group),
        ):
            if await api.request("POST", path, body) is None:
                await api.request("PATCH", f"{path}/{body['metadata']['name']}", body, MERGE)

    def _answer(self, target: str) -> tuple[int, bytes, str]:
        url = urllib.parse.urlsplit(target)
        parts = [part for part in url.path.split("/") if part]
        if parts[:1] == ["containerLogs"] and len(parts) == 4:
            return self._log(*parts[1:])
        document = self._discovery(parts) or self._measured(parts, urllib.parse.parse_qs(url.query))
        if document is None:
            document = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound"}
        return int(document.get("code", 200)), json.dumps(document).encode(), "application/json"

    @staticmethod
    def _discovery(parts: list[str]) -> Object | None:
        version = {"groupVersion": VERSION, "version": "v1beta1"}
        group = {"name": GROUP, "versions": [version], "preferredVersion": version}
        pods = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}
        documents: dict[tuple[str, ...], Object] = {
            ("apis",): {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]},
            ("apis", GROUP): {"kind": "APIGroup", "apiVersion": "v1", **group},
            ("apis", GROUP, "v1beta1"): {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": VERSION,
                "resources": [pods],
            },
        }
        return documents.get(tuple(parts))

    def _measured(self, parts: list[str], query: dict[str, list[str]]) -> Object | None:
        if parts[:3] != ["apis", GROUP, "v1beta1"]:
            return None
        selector = query.get("labelSelector", [""])[0]
        match parts[3:]:
            case ["pods"]:
                items = self._metrics.documents("", selector)
            case ["namespaces", namespace, "pods"]:
                items = self._metrics.documents(namespace, selector)
            case _:
                return None
        return {"kind": "PodMetricsList", "apiVersion": VERSION, "metadata": {}, "items": items}

    def _log(self, namespace: str, name: str, container: str) -> tuple[int, bytes, str]:
        for pod in list(self._pods.values()):
            metadata = pod.document["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, name):
                return 200, pod.log(container), "text/plain"
        return 404, f"{namespace}/{name} does not run here".encode(), "text/plain"

"""The agent: follows the API server, runs the pods of all nodes, and keeps the nodes' heartbeats."""

from __future__ import annotations

import asyncio
import datetime
import shutil
import sys
from pathlib import Path

import httpx

from tests.cluster.kubelet.addresses import PodNetwork, loopback
from tests.cluster.kubelet.api import MERGE, STRATEGIC, Api, Object
from tests.cluster.kubelet.cgroups import Hierarchy
from tests.cluster.kubelet.environment import Lookup
from tests.cluster.kubelet.images import Images
from tests.cluster.kubelet.pod import Pod
from tests.cluster.kubelet.proxy import Proxy
from tests.cluster.kubelet.status import now

HEARTBEAT_SECONDS = 10.0
REFRESH_SECONDS = 5.0
"""How often mounted ConfigMaps and Secrets are renewed; kubelet takes up to a minute and a half."""
NODE_SYSTEM = {
    "kubeletVersion": "v1.36.3",
    "operatingSystem": "linux",
    "architecture": "amd64",
    "containerRuntimeVersion": "processes://1",
    **dict.fromkeys(("bootID", "kernelVersion", "kubeProxyVersion", "machineID", "osImage", "systemUUID"), ""),
}


class Agent:
    """The kubelets of all nodes in one process; attributes are those that a pod needs.

    Attributes:
        pods: The pods that have not ended, by uid.
        port: Where logs are served, which nodes announce; set before ``run``.
    """

    def __init__(
        self, api: Api, home: Path, images: Images, network: PodNetwork, proxy_delay_seconds: float = 0.0
    ) -> None:
        self.api = api
        self.images = images
        self.hierarchy = Hierarchy.found()
        self.hosts_file = home / "hosts"
        self.pods: dict[str, Pod] = {}
        self.port = 0
        self._home = home
        self._network = network
        self._proxy = Proxy(home / "proxy", self.hosts_file, proxy_delay_seconds)
        self._files: dict[tuple[str, str, str], Object] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def lookup(self, namespace: str) -> Lookup:
        """Find ConfigMaps and Secrets of a namespace."""
        return lambda kind, name: self._files.get((kind, namespace, name))

    def defaults(self) -> dict[str, str]:
        """The variables that every container has."""
        return {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}

    async def run(self) -> None:
        """Run until cancelled; then end everything that was started."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._heartbeats())
                group.create_task(self._follow_files("ConfigMap", "/api/v1/configmaps"))
                group.create_task(self._follow_files("Secret", "/api/v1/secrets"))
                group.create_task(self._refreshes())
                group.create_task(self._follow_pods())
                group.create_task(self._proxy.follow_services(self.api))
                group.create_task(self._proxy.follow_endpoints(self.api))
        finally:
            for pod in self.pods.values():
                pod.removed()
            self._proxy.stop()
            for task in self._tasks:
                task.cancel()

    async def _follow_pods(self) -> None:
        async for change, document in self.api.follow("/api/v1/pods"):
            uid = document["metadata"]["uid"]
            pod = self.pods.get(uid)
            if change == "DELETED":
                if pod:
                    pod.removed()
            elif pod:
                if "deletionTimestamp" in document["metadata"]:
                    pod.deleted(document)
            elif document["spec"].get("nodeName"):
                await self._adopt(document)

    async def _adopt(self, document: Object) -> None:
        """Start a pod that is new here, or finish one that an earlier kubelet has left."""
        if document["status"].get("phase", "Pending") != "Pending" or document["status"].get("podIP"):
            if "deletionTimestamp" in document["metadata"]:
                metadata = document["metadata"]
                path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
                await self.api.request("DELETE", path, {"gracePeriodSeconds": 0})
            return
        address = self._network.take()
        uid = document["metadata"]["uid"]
        pod = self.pods[uid] = Pod(document, loopback(address), address, self._home / "pods" / uid, self)
        if "deletionTimestamp" in document["metadata"]:
            pod.deleted(document)
        task = asyncio.create_task(self._live(uid, pod, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _live(self, uid: str, pod: Pod, address: str) -> None:
        try:
            await pod.run()
        except (httpx.HTTPError, OSError) as error:
            print(f"pod {uid}: {error!r}", file=sys.stderr, flush=True)  # noqa: T201
        finally:
            del self.pods[uid]
            self._network.free(address)

    async def _follow_files(self, kind: str, path: str) -> None:
        async for change, found in self.api.follow(path):
            key = (kind, found["metadata"]["namespace"], found["metadata"]["name"])
            if change == "DELETED":
                self._files.pop(key, None)
            else:
                self._files[key] = found

    async def _refreshes(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            for pod in list(self.pods.values()):
                pod.refresh()

    async def _heartbeats(self) -> None:
        while True:
            try:
                for node in (await self.api.get("/api/v1/nodes") or {"items": []})["items"]:
                    await self._heartbeat(node["metadata"]["name"], node["metadata"]["creationTimestamp"])
            except httpx.HTTPError as error:
                print(f"heartbeat: {error!r}", file=sys.stderr, flush=True)  # noqa: T201
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _heartbeat(self, name: str, since: str) -> None:
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now()}
        status = {
            "conditions": [{**ready, "message": "runs pods as processes", "lastTransitionTime": since}],
            "nodeInfo": NODE_SYSTEM,
            # No host name: the API server would prefer it, and nothing resolves it.
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}},
        }
        await self.api.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, STRATEGIC)
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        renewed = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if await self.api.request("PATCH", f"{leases}/{name}", {"spec": {"renewTime": renewed}}, MERGE) is None:
            spec = {"holderIdentity": name, "leaseDurationSeconds": 60, "renewTime": renewed}
            kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
            metadata = {"name": name, "namespace": "kube-node-lease"}
            await self.api.request("POST", leases, {**kind, "metadata": metadata, "spec": spec})


def fresh(home: Path) -> Path:
    """Make the folder of a kubelet, empty."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    return home

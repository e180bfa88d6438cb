"""A pod, from its scheduling to its end: volumes, init containers, containers, probes, restarts, termination."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

import httpx

from tests.cluster.kubelet import probes
from tests.cluster.kubelet.api import STRATEGIC, Api, Object
from tests.cluster.kubelet.cgroups import Hierarchy
from tests.cluster.kubelet.container import Container
from tests.cluster.kubelet.environment import Lookup, MissingError, UnsupportedError, expanded, variables
from tests.cluster.kubelet.images import Images
from tests.cluster.kubelet.launch import Mount
from tests.cluster.kubelet.status import ContainerStatus, PodStatus, now
from tests.cluster.kubelet.volumes import Volumes

RETRY_SECONDS = 1.0
POLL_SECONDS = 0.05
FIRST_BACKOFF_SECONDS = 10.0
LONGEST_BACKOFF_SECONDS = 300.0
DEFAULT_GRACE_SECONDS = 30

Result = TypeVar("Result")


class Node(Protocol):
    """What a pod needs of the kubelet."""

    api: Api
    images: Images
    hierarchy: Hierarchy
    hosts_file: Path

    def lookup(self, namespace: str) -> Lookup:
        """Find ConfigMaps and Secrets of a namespace."""

    def defaults(self) -> dict[str, str]:
        """Variables of every container: the API server's address."""


class Pod:
    """One pod that was scheduled to a node of this kubelet.

    Attributes:
        document: The pod, as the API server had it at first.
        address: Its address in the cluster; ``listening`` is the loopback address that stands for it.
        containers: Those that have been started and not replaced: the init container, then the others.
    """

    def __init__(self, pod: Object, listening: str, address: str, folder: Path, node: Node) -> None:
        self.document = pod
        self.address = address
        self._listening = listening
        self.status = PodStatus(pod)
        self.containers: list[Container] = []
        self._node = node
        self._folder = folder
        metadata = pod["metadata"]
        self._path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        self._volumes = Volumes(pod, folder / "volumes", node.lookup(metadata["namespace"]), node.images.get)
        self._deletion = asyncio.Event()
        self._stopping = asyncio.Event()
        self._asking: dict[str, list[asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()
        self._grace_seconds: float = DEFAULT_GRACE_SECONDS

    def deleted(self, pod: Object) -> None:
        """Begin its termination: the API server has noted its deletion."""
        self._grace_seconds = pod["metadata"].get("deletionGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
        self._deletion.set()
        self._stopping.set()

    def removed(self) -> None:
        """End it at once: the API server has forgotten it."""
        self._grace_seconds = 0
        self._deletion.set()
        self._stopping.set()
        for container in self.containers:
            if container.group:
                container.group.kill()

    def log(self, container: str) -> bytes:
        """What a container has written, the last of its processes."""
        files = sorted((self._folder / container).glob("*.log"), key=lambda path: int(path.stem))
        return files[-1].read_bytes() if files else b""

    def refresh(self) -> None:
        """Renew its ConfigMaps and Secrets."""
        try:
            self._volumes.refresh()
        except MissingError:
            return  # what was mounted stays, as Kubernetes has it

    async def run(self) -> None:
        """All of its life; its object is deleted at the end if that was wished for."""
        self._changed.set()
        reporting = asyncio.create_task(self._report())
        living = asyncio.create_task(self._live())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            deadline = self.document["spec"].get("activeDeadlineSeconds")
            await asyncio.wait({living, stopping}, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
            if not living.done():
                await self._end(expired=not self._stopping.is_set())
            await living
        finally:
            reporting.cancel()
            stopping.cancel()
        await self._send()
        await self._deletion.wait()
        gone = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.document["metadata"]["uid"]}}
        await self._node.api.request("DELETE", self._path, gone)
        shutil.rmtree(self._folder / "volumes", ignore_errors=True)

    async def _end(self, expired: bool) -> None:
        if expired:
            self.status.failure = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            self._grace_seconds = self._own_grace_seconds
        self._stopping.set()
        await self._terminate()
        self.status.terminated = True

    async def _live(self) -> None:
        volumes = await self._patiently(self.status.main, self._prepared)
        if volumes is None:
            return
        self.status.address = self.address
        self._changed.set()
        spec = self.document["spec"]
        for each, status in zip(spec.get("initContainers", []), self.status.init, strict=True):
            await self._initialize(self._container(each, status), volumes)
            if status.exit_code != 0:
                return
        self.containers = [
            self._container(each, status) for each, status in zip(spec["containers"], self.status.main, strict=True)
        ]
        await asyncio.gather(*(self._keep(container, volumes) for container in self.containers))

    async def _prepared(self) -> dict[str, Path]:
        sidecars = [each["name"] for each in self.document["spec"].get("initContainers", []) if "restartPolicy" in each]
        if sidecars:
            raise UnsupportedError(f"the init container {sidecars[0]} has a restartPolicy")
        return self._volumes.prepare()

    def _container(self, spec: Object, status: ContainerStatus) -> Container:
        return Container(self.document, spec, self._listening, self._folder / spec["name"], status)

    async def _initialize(self, container: Container, volumes: dict[str, Path]) -> None:
        """Run an init container until it succeeds, or fails for good."""
        self.containers = [container]
        backoff = FIRST_BACKOFF_SECONDS
        while await self._started(container, volumes):
            code = await container.ended()
            self._changed.set()
            if code == 0 or self.status.restarts == "Never" or not await self._pause(container, backoff):
                return
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    async def _keep(self, container: Container, volumes: dict[str, Path]) -> None:
        """Run a container again and again, as the pod's restart policy says."""
        backoff = 0.0
        while await self._started(container, volumes):
            code = await self._watched(container)
            policy = self.status.restarts
            if self._stopping.is_set() or policy == "Never" or (policy == "OnFailure" and code == 0):
                return
            if not await self._pause(container, backoff):
                return
            backoff = min(max(FIRST_BACKOFF_SECONDS, 2 * backoff), LONGEST_BACKOFF_SECONDS)

    async def _started(self, container: Container, volumes: dict[str, Path]) -> bool:
        """Start a container; false if the pod has to end before everything that it needs is there."""

        async def attempt() -> bool:
            reference = container.spec["image"]
            image = self._node.images.get(reference)
            if image is None:
                raise MissingError(f'Back-off pulling image "{reference}"', "ImagePullBackOff")
            mounts = [Mount(self._node.hosts_file, "/etc/hosts", read_only=True), *self._mounts(container, volumes)]
            own = {key: expanded(value, {"POD_IP": self._listening}) for key, value in image.environ.items()}
            seen = {**self.document, "status": self.status.document()}
            lookup = self._node.lookup(self.document["metadata"]["namespace"])
            environ = variables(container.spec, seen, self._node.defaults() | own, lookup)
            await container.start(image, environ, mounts, self._node.hierarchy)
            self._changed.set()
            if self._stopping.is_set():  # the order to end came while it was started
                await container.stop(self._grace_seconds)
            return True

        return await self._patiently([container.status], attempt) is not None

    @staticmethod
    def _mounts(container: Container, volumes: dict[str, Path]) -> list[Mount]:
        mounts = []
        for each in container.spec.get("volumeMounts", []):
            if "subPathExpr" in each:
                raise UnsupportedError(f"the mount of {each['name']} has a subPathExpr")
            source = volumes[each["name"]] / each.get("subPath", "")
            mounts.append(Mount(source, each["mountPath"], each.get("readOnly", False)))
        return mounts

    async def _patiently(
        self, concerned: list[ContainerStatus], attempt: Callable[[], Awaitable[Result]]
    ) -> Result | None:
        """Try until nothing is missing; ``None`` if the pod has to end before that."""
        while not self._stopping.is_set():
            try:
                return await attempt()
            except MissingError as missing:
                for status in concerned:
                    status.state = {"waiting": {"reason": missing.reason, "message": str(missing)}}
                self._changed.set()
            await self._sleep(RETRY_SECONDS)
        return None

    async def _watched(self, container: Container) -> int:
        """Wait for the end of a running container, under its probes."""
        asking = [
            asyncio.create_task(each) for each in (self._startup_then_liveness(container), self._ready(container))
        ]
        self._asking[container.spec["name"]] = asking
        try:
            return await container.ended()
        finally:
            for task in asking:
                task.cancel()
            self._changed.set()

    async def _startup_then_liveness(self, container: Container) -> None:
        async def has_started(passed: bool) -> bool:
            if passed:
                container.status.started = True
                self._changed.set()
            else:
                await container.stop(self._own_grace_seconds)
            return True

        async def is_alive(passed: bool) -> bool:
            if not passed:
                self._note(f"{container.status.name} is not alive")
                await container.stop(self._own_grace_seconds)
            return not passed

        if "startupProbe" in container.spec:
            await probes.watch(container.spec["startupProbe"], container.probe, has_started)
        else:
            await has_started(True)
        if container.status.started and "livenessProbe" in container.spec:
            await probes.watch(container.spec["livenessProbe"], container.probe, is_alive)

    async def _ready(self, container: Container) -> None:
        async def is_ready(passed: bool) -> bool:
            if container.status.ready != passed:
                container.status.ready = passed
                self._changed.set()
                self._note(f"{container.status.name} is {'ready' if passed else 'not ready any more'}")
            return False

        while not container.status.started:
            await asyncio.sleep(POLL_SECONDS)
        if "readinessProbe" in container.spec:
            await probes.watch(container.spec["readinessProbe"], container.probe, is_ready)
        else:
            await is_ready(True)

    async def _pause(self, container: Container, seconds: float) -> bool:
        """Wait before a restart; false if the pod has to end meanwhile."""
        status = container.status
        status.last, status.restarts = status.state, status.restarts + 1
        if seconds:
            message = f"back-off {seconds:.0f}s restarting failed container={status.name}"
            status.state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        self._changed.set()
        await self._sleep(seconds)
        return not self._stopping.is_set()

    async def _terminate(self) -> None:
        """Startup and liveness probes end first; readiness is asked until the end, as kubelet does it."""
        for live, *_ in self._asking.values():
            live.cancel()
        await asyncio.gather(*(container.stop(self._grace_seconds) for container in self.containers))

    @property
    def _own_grace_seconds(self) -> float:
        seconds: float = self.document["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
        return seconds

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not longer than until the pod has to end."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _report(self) -> None:
        """Send the status whenever it has changed."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._send()
            except httpx.HTTPError as error:
                self._note(repr(error))
                self._changed.set()
                await asyncio.sleep(RETRY_SECONDS)

    def _note(self, text: str) -> None:
        print(f"{now()} {self._path}: {text}", file=sys.stderr, flush=True)  # noqa: T201

    async def _send(self) -> None:
        document = {"metadata": {"uid": self.document["metadata"]["uid"]}, "status": self.status.document()}
        await self._node.api.request("PATCH", f"{self._path}/status", document, STRATEGIC)

"""Services: an HAProxy for each, which follows its EndpointSlices.

It stands for kube-proxy: connections are spread over the ready endpoints by chance, those that exist stay where they
are, and none is tried twice. Where no endpoint is ready, those that end but still serve are taken, as kube-proxy takes
them. For each port whose protocol is HTTP there is a second port, ``GATEWAY_OFFSET`` higher, that spreads requests
rather than connections, as gateways and meshes do.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.kubelet.addresses import loopback
from tests.cluster.kubelet.api import Api, Object
from tests.cluster.kubelet.launch import WITH_PARENT

GATEWAY_OFFSET = 10_000
SLOTS = 32
"""Most endpoints of a port."""
HAPROXY = "/usr/sbin/haproxy"

Endpoint = tuple[str, int]
"""Where a port of a Service leads: a loopback address and a port."""


def endpoints(slices: list[Object]) -> dict[str, set[Endpoint]]:
    """Where new connections to each port of a Service may go, by the port's name."""
    ready: dict[str, set[Endpoint]] = {}
    ending: dict[str, set[Endpoint]] = {}
    for each in slices:
        for port in each.get("ports") or []:
            for endpoint in each.get("endpoints") or []:
                conditions = endpoint.get("conditions") or {}
                where = {(loopback(address), int(port["port"])) for address in endpoint["addresses"]}
                # Absent means true, for clients that do not know better.
                if conditions.get("ready", True):
                    ready.setdefault(port.get("name", ""), set()).update(where)
                elif conditions.get("serving") and conditions.get("terminating"):
                    ending.setdefault(port.get("name", ""), set()).update(where)
    return ending | ready


def configuration(service: Object, socket: Path) -> str:
    """HAProxy's configuration for a Service, with empty slots for endpoints."""
    address = loopback(service["spec"]["clusterIP"])
    lines = [
        "global",
        f"    stats socket {socket} mode 600 level admin",
        "    maxconn 8000",
        "defaults",
        "    timeout connect 5s",
        "    timeout client 1h",
        "    timeout server 1h",
        "    timeout queue 1s",
    ]
    for port in service["spec"]["ports"]:
        name, number = port.get("name", "port"), int(port["port"])
        lines += _port(f"{name}_connections", "tcp", f"{address}:{number}", ["retries 0", "balance random(1)"])
        if port.get("appProtocol") == "http":
            options = ["balance leastconn", "http-reuse safe", "option redispatch", "retries 3"]
            lines += _port(f"{name}_requests", "http", f"{address}:{number + GATEWAY_OFFSET}", options)
    return "\n".join(lines) + "\n"


def _port(name: str, mode: str, address: str, options: list[str]) -> list[str]:
    return [
        f"frontend {name}_in",
        f"    mode {mode}",
        f"    bind {address}",
        f"    default_backend {name}",
        f"backend {name}",
        f"    mode {mode}",
        *(f"    {option}" for option in options),
        f"    server-template slot 1-{SLOTS} 127.0.0.1:1 disabled",
    ]


@dataclass
class Running:
    """The HAProxy of a Service.

    Attributes:
        ports: Of the Service; a change of them needs another HAProxy.
        slots: Which endpoint is in which slot, by backend.
    """

    process: subprocess.Popen[bytes]
    socket: Path
    ports: list[Object]
    slots: dict[str, dict[Endpoint, int]] = field(default_factory=dict)

    async def update(self, wanted: dict[str, set[Endpoint]]) -> None:
        """Let new connections go to these endpoints and no others."""
        for port in self.ports:
            name = port.get("name", "port")
            backends = [f"{name}_connections"]
            if port.get("appProtocol") == "http":
                backends.append(f"{name}_requests")
            for backend in backends:
                await self._update_backend(backend, wanted.get(port.get("name", ""), set()))

    async def _update_backend(self, backend: str, wanted: set[Endpoint]) -> None:
        slots = self.slots.setdefault(backend, {})
        commands = []
        for endpoint in slots.keys() - wanted:
            commands.append(f"set server {backend}/slot{slots.pop(endpoint)} state maint")
        for endpoint in sorted(wanted - slots.keys()):
            # The lowest that is free for longest does not matter: connections keep the address that they began with.
            slot = min(set(range(1, SLOTS + 1)) - set(slots.values()))
            slots[endpoint] = slot
            commands.append(f"set server {backend}/slot{slot} addr {endpoint[0]} port {endpoint[1]}")
            commands.append(f"set server {backend}/slot{slot} state ready")
        if commands:
            reader, writer = await asyncio.open_unix_connection(self.socket)
            writer.write(("; ".join(commands) + "\n").encode())
            await reader.read()
            writer.close()


class Proxy:
    """The HAProxies of all Services with a cluster address, and the names that lead to them."""

    def __init__(self, folder: Path, hosts_file: Path, delay_seconds: float = 0.0) -> None:
        folder.mkdir(parents=True)
        self._delay_seconds = delay_seconds
        self._delayed: set[asyncio.Task[None]] = set()
        self._folder = folder
        # A socket's path may have 97 characters; folders of tests are longer.
        self._sockets = Path(tempfile.mkdtemp(prefix="haproxy-"))
        self._hosts_file = hosts_file
        self._services: dict[str, Object] = {}
        self._slices: dict[str, dict[str, Object]] = {}
        self._running: dict[str, Running] = {}
        self._lock = asyncio.Lock()
        self._write_hosts()

    async def follow_services(self, api: Api) -> None:
        """Start and stop an HAProxy with each Service."""
        async for change, service in api.follow("/api/v1/services"):
            key = _key(service["metadata"]["namespace"], service["metadata"]["name"])
            headless = service["spec"].get("clusterIP", "None") == "None"
            if service["spec"].get("type") == "ExternalName" or headless or not service["spec"].get("selector"):
                continue
            async with self._lock:
                before = self._services.pop(key, None)
                if change == "DELETED" or (before and before["spec"]["ports"] != service["spec"]["ports"]):
                    self._end(key)
                if change != "DELETED":
                    self._services[key] = service
                    if key not in self._running:
                        await self._begin(key, service)
                self._write_hosts()

    async def follow_endpoints(self, api: Api) -> None:
        """Lead each Service to the endpoints of its slices."""
        async for change, found in api.follow("/apis/discovery.k8s.io/v1/endpointslices"):
            name = found["metadata"].get("labels", {}).get("kubernetes.io/service-name", "")
            key = _key(found["metadata"]["namespace"], name)
            async with self._lock:
                slices = self._slices.setdefault(key, {})
                slices.pop(found["metadata"]["name"], None)
                if change != "DELETED":
                    slices[found["metadata"]["name"]] = found
                wanted = endpoints(list(slices.values()))
            if self._delay_seconds:
                task = asyncio.create_task(self._update_later(key, wanted))
                self._delayed.add(task)
                task.add_done_callback(self._delayed.discard)
            else:
                await self._update(key, wanted)

    def stop(self) -> None:
        """End all HAProxies."""
        for key in list(self._running):
            self._end(key)
        shutil.rmtree(self._sockets, ignore_errors=True)

    async def _begin(self, key: str, service: Object) -> None:
        folder = self._folder / key
        folder.mkdir(exist_ok=True)
        socket = self._sockets / key
        socket.unlink(missing_ok=True)
        (folder / "haproxy.cfg").write_text(configuration(service, socket), "utf-8")
        with (folder / "haproxy.log").open("ab") as log:
            command = [*WITH_PARENT, HAPROXY, "-db", "-f", str(folder / "haproxy.cfg")]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._running[key] = Running(process, socket, service["spec"]["ports"])
        while not socket.exists() and process.poll() is None:
            await asyncio.sleep(0.01)
        if process.poll() is not None:
            raise RuntimeError(f"HAProxy did not start: {(folder / 'haproxy.log').read_text('utf-8')}")
        await self._update(key, endpoints(list(self._slices.get(key, {}).values())))

    def _end(self, key: str) -> None:
        running = self._running.pop(key, None)
        if running:
            running.process.kill()
            running.process.wait()

    async def _update_later(self, key: str, wanted: dict[str, set[Endpoint]]) -> None:
        await asyncio.sleep(self._delay_seconds)
        async with self._lock:
            await self._update(key, wanted)

    async def _update(self, key: str, wanted: dict[str, set[Endpoint]]) -> None:
        running = self._running.get(key)
        if running and running.process.poll() is None:
            await running.update(wanted)

    def _write_hosts(self) -> None:
        """Write the names of all Services in place: containers have the file itself mounted."""
        lines = ["127.0.0.1 localhost"]
        for service in self._services.values():
            name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
            names = [name, f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.cluster.local"]
            lines.append(" ".join([loopback(service["spec"]["clusterIP"]), *names]))
        with self._hosts_file.open("w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


def _key(namespace: str, name: str) -> str:
    return f"{namespace}.{name}"

"""Tests of Services: endpoints of slices, and a real HAProxy that follows them."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.kubelet.api import Object
from tests.cluster.kubelet.proxy import GATEWAY_OFFSET, Proxy, endpoints

ADDRESSES = ("10.250.77.1", "10.250.77.2")


def a_slice(conditions: dict[str, dict[str, bool]], port: int = 8000) -> Object:
    """A slice with an endpoint for each address."""
    return {
        "metadata": {"namespace": "serving", "name": "orris-1", "labels": {"kubernetes.io/service-name": "orris"}},
        "ports": [{"name": "http", "port": port}],
        "endpoints": [{"addresses": [address], "conditions": each} for address, each in conditions.items()],
    }


def test_ready_endpoints_are_taken() -> None:
    """New connections go to ready endpoints; what ends or is not ready yet gets none."""
    found = a_slice(
        {
            "10.0.0.1": {"ready": True, "serving": True, "terminating": False},
            "10.0.0.2": {"ready": False, "serving": False, "terminating": False},
            "10.0.0.3": {"ready": False, "serving": True, "terminating": True},
        }
    )
    assert endpoints([found]) == {"http": {("127.0.0.1", 8000)}}


def test_endpoints_that_end_are_taken_where_none_is_ready() -> None:
    """Where no endpoint is ready, those that end and still serve are taken, as kube-proxy does since 1.28."""
    found = a_slice(
        {
            "10.0.0.2": {"ready": False, "serving": False, "terminating": True},
            "10.0.0.3": {"ready": False, "serving": True, "terminating": True},
        }
    )
    assert endpoints([found]) == {"http": {("127.0.0.3", 8000)}}
    assert endpoints([]) == {}


class Named(http.server.BaseHTTPRequestHandler):
    """Answers with the address that was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        text = str(self.connection.getsockname()[0]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """The port on which two addresses answer."""
    servers = [http.server.ThreadingHTTPServer((f"127{ADDRESSES[0][2:]}", 0), Named)]
    number = int(servers[0].server_address[1])
    servers.append(http.server.ThreadingHTTPServer((f"127{ADDRESSES[1][2:]}", number), Named))
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield number
    for server in servers:
        server.shutdown()
        server.server_close()


class Followed:
    """An API server that has one Service, and then slices that the test sends."""

    def __init__(self) -> None:
        self.slices: asyncio.Queue[tuple[str, Object]] = asyncio.Queue()

    async def follow(self, path: str) -> Any:
        """Yield the Service, or what the test sends."""
        if path.endswith("/services"):
            spec = {
                "clusterIP": "10.250.77.9",
                "selector": {"app": "orris"},
                "ports": [{"name": "http", "port": 18080, "appProtocol": "http"}],
            }
            yield "ADDED", {"metadata": {"namespace": "serving", "name": "orris"}, "spec": spec}
            return
        while True:
            yield await self.slices.get()
            self.slices.task_done()


def test_haproxy_follows_the_slices(port: int, tmp_path: Path) -> None:
    """A connection stays where it was; new ones, and requests at the gateway's port, go where the slice leads."""
    url, gateway = "http://127.250.77.9:18080/", f"http://127.250.77.9:{18080 + GATEWAY_OFFSET}/"

    async def follow() -> None:
        api: Any = Followed()
        proxy = Proxy(tmp_path / "proxy", tmp_path / "hosts")
        await proxy.follow_services(api)
        following = asyncio.create_task(proxy.follow_endpoints(api))
        try:
            for old, new in ((0, 1), (1, 0)):
                async with httpx.AsyncClient(trust_env=False) as kept:
                    await api.slices.put(("ADDED", a_slice({ADDRESSES[old]: {"ready": True}}, port)))
                    await api.slices.join()
                    assert (await kept.get(url)).text == f"127{ADDRESSES[old][2:]}"
                    await api.slices.put(("MODIFIED", a_slice({ADDRESSES[new]: {"ready": True}}, port)))
                    await api.slices.join()
                    assert (await kept.get(url)).text == f"127{ADDRESSES[old][2:]}"
                    async with httpx.AsyncClient(trust_env=False) as fresh:
                        assert (await fresh.get(url)).text == f"127{ADDRESSES[new][2:]}"
                        assert (await fresh.get(gateway)).text == f"127{ADDRESSES[new][2:]}"
        finally:
            following.cancel()
            proxy.stop()

    asyncio.run(follow())
    assert "127.250.77.9 orris orris.serving orris.serving.svc" in (tmp_path / "hosts").read_text("utf-8")

"""Debian's nginx and HAProxy in front of real servers, and clients of HTTP/1.0 as ``ab`` is one."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from orris.api import Bundle
from tests.servers import Server, serving
from tests.waiting import PATIENCE_SECONDS, eventually

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream http {{ {http} keepalive 16; }}
  upstream grpc {{ {grpc} keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://http;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_next_upstream error timeout http_503 non_idempotent;
    }}
  }}
  server {{
    listen 127.0.0.1:{grpc_port} http2;
    location / {{ grpc_pass grpc://grpc; }}
  }}
}}
"""

HAPROXY = """
global
  maxconn 256
defaults
  mode http
  timeout connect 240s
  timeout client 240s
  timeout server 240s
  retries 3
  option redispatch
  retry-on all-retryable-errors
  http-reuse always
frontend http
  bind 127.0.0.1:{port}
  default_backend http
frontend grpc
  bind 127.0.0.1:{grpc_port} proto h2
  default_backend grpc
backend http
  balance roundrobin
  {http}
backend grpc
  {grpc}
"""


class Proxy(NamedTuple):
    """A running proxy: where it listens, for HTTP and for gRPC."""

    url: str
    grpc: str


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(n)]
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def nginx(ports: list[int], grpc_port: int, folder: Path) -> Iterator[Proxy]:
    """An nginx with connections that it keeps, which asks another server where one fails."""
    http = " ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
    with started(
        NGINX, ["nginx", "-p", str(folder), "-c"], http, f"server 127.0.0.1:{grpc_port};", folder=folder
    ) as proxy:
        yield proxy


@contextmanager
def haproxy(ports: list[int], grpc_port: int, folder: Path) -> Iterator[Proxy]:
    """A HAProxy with connections that it shares, which asks again where a server fails."""
    http = "\n  ".join(f"server s{i} 127.0.0.1:{port}" for i, port in enumerate(ports))
    with started(
        HAPROXY, ["haproxy", "-db", "-f"], http, f"server s0 127.0.0.1:{grpc_port} proto h2", folder=folder
    ) as proxy:
        yield proxy


@contextmanager
def started(template: str, command: list[str], http: str, grpc_server: str, *, folder: Path) -> Iterator[Proxy]:
    """A proxy of a configuration, from its first answer on."""
    program = shutil.which(command[0], path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip(f"{command[0]} is not installed (apt-get install nginx-light haproxy)")
    folder.mkdir(exist_ok=True)
    configuration = folder / f"{command[0]}.conf"

    def started_on(port: int, grpc_port: int) -> subprocess.Popen[bytes]:
        configuration.write_text(
            template.format(folder=folder, port=port, grpc_port=grpc_port, http=http, grpc=grpc_server)
        )
        with (folder / "proxy.log").open("wb") as log:
            return subprocess.Popen(
                [program, *command[1:], str(configuration)], stdout=log, stderr=subprocess.STDOUT, cwd=folder
            )

    for _ in range(5):  # another program may take a free port before the proxy does
        port, grpc_port = free_ports(2)
        process = started_on(port, grpc_port)
        eventually(lambda: process.poll() is not None or _accepts(port))  # noqa: B023
        if process.poll() is None:
            break
    try:
        assert process.poll() is None, (folder / "proxy.log").read_text()
        yield Proxy(f"http://127.0.0.1:{port}", f"127.0.0.1:{grpc_port}")
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def _accepts(port: int) -> bool:
    """Return whether a connection is accepted."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS):
        return True
    return False


Start = Callable[[list[int], int, Path], contextlib.AbstractContextManager[Proxy]]
"""``(ports of servers, gRPC port of the first, folder)`` -> a running proxy."""

of_each_proxy = pytest.mark.parametrize("proxied", [nginx, haproxy], ids=["nginx", "haproxy"])


@pytest.fixture(scope="module")
def pair(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The iris model behind HTTP and gRPC."""
    with serving(str(iris.folder), "--grpc-port", "0", folder=tmp_path_factory.mktemp("proxies")) as server:
        yield server


def connections(server: Server, proxy: Proxy, n: int) -> set[str]:
    """The answers' labels of ``n`` requests through a proxy, each on a connection of its own."""
    labels = set()
    for _ in range(n):
        answer = httpx.post(f"{proxy.url}/predict", json=ROW, trust_env=False, timeout=PATIENCE_SECONDS)
        assert answer.status_code == 200, (server.url, answer.text)
        labels.add(answer.json()["prediction_label"])
    return labels


@of_each_proxy
def test_a_proxy_keeps_its_connections(proxied: Start, pair: Server, tmp_path: Path) -> None:
    """Requests of many clients reach the server on a few connections, which stay open between them."""
    with proxied([pair.port], pair.grpc_port, tmp_path) as proxy:
        assert connections(pair, proxy, 20) == {"setosa"}
        established = open_connections(pair.port)
        assert connections(pair, proxy, 20) == {"setosa"}
        assert 1 <= len(open_connections(pair.port) & established) <= 2


def open_connections(port: int) -> set[str]:
    """The other ends of the established connections of a port of this machine, as the kernel lists them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[2] for row in rows if int(row[1].rpartition(":")[2], 16) == port and row[3] == "01"}


@of_each_proxy
def test_a_proxy_tries_another_server_where_one_is_gone(proxied: Start, pair: Server, tmp_path: Path) -> None:
    """With one address of two that nobody listens on, every request is answered."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but it does not listen: the port refuses
        with proxied([taken.getsockname()[1], pair.port], pair.grpc_port, tmp_path) as proxy:
            assert connections(pair, proxy, 20) == {"setosa"}


@of_each_proxy
def test_grpc_passes_a_proxy(proxied: Start, pair: Server, tmp_path: Path) -> None:
    """Over HTTP/2 without TLS on both sides, answers and refusals alike."""
    with proxied([pair.port], pair.grpc_port, tmp_path) as proxy, grpc.insecure_channel(proxy.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = pb.ModelInferRequest(model_name="iris")
        rows = request.inputs.add(name="rows", datatype="FP64", shape=[1, 4])
        rows.contents.fp64_contents.extend(ROW.values())
        for _ in range(10):
            answer = stub.ModelInfer(request, timeout=PATIENCE_SECONDS)
            assert answer.outputs[0].contents.bytes_contents[:] == [b"setosa"]
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(pb.ModelInferRequest(model_name="none"), timeout=PATIENCE_SECONDS)
        status: grpc.Call = refused.value  # type: ignore[assignment]
        assert (status.code(), "no model 'none'" in (status.details() or "")) == (grpc.StatusCode.NOT_FOUND, True)


@of_each_proxy
def test_a_server_that_stops_behind_a_proxy_loses_no_request(
    proxied: Start, iris: Bundle, pair: Server, tmp_path: Path
) -> None:
    """SIGTERM to one server of two under load: it ends with 0, and every request is answered with 200."""
    statuses: list[int] = []
    over = threading.Event()

    def ask(url: str) -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_SECONDS) as client:
            while not over.is_set():
                statuses.append(client.post("/predict", json=ROW).status_code)

    with (
        serving(str(iris.folder), folder=tmp_path) as second,
        proxied([pair.port, second.port], pair.grpc_port, tmp_path / "proxy") as proxy,
    ):
        threads = [threading.Thread(target=ask, args=(proxy.url,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            eventually(lambda: len(statuses) >= 100)
            assert second.stop() == 0
            n_before = len(statuses)
            eventually(lambda: len(statuses) >= n_before + 100)
        finally:
            over.set()
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
    assert set(statuses) == {200}


@pytest.mark.parametrize("kept", [b"Connection: Keep-Alive\r\n", b""], ids=["ab -k", "ab"])
def test_a_client_of_http_1_0_is_answered(pair: Server, kept: bytes) -> None:
    """A client of HTTP/1.0, such as ``ab``, gets a length, no chunks, and the end of the connection."""
    body = b'{"features": [5.1, 3.5, 1.4, 0.2]}'
    head = b"POST /predict HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    with (
        socket.create_connection(("127.0.0.1", pair.port), PATIENCE_SECONDS) as connection,
        connection.makefile("rb") as answers,
    ):
        connection.sendall(head % len(body) + kept + b"\r\n" + body)
        answer, _, content = answers.read().partition(b"\r\n\r\n")
    status, *lines = answer.decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert status.split()[1] == "200"
    assert (headers["connection"], "transfer-encoding" in headers) == ("close", False)
    assert len(content) == int(headers["content-length"])
    assert b"setosa" in content

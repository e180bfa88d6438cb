"""Tests of a server of one process from its start to its end: how it is reached, and how it stops."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from orris.api import Bundle
from tests.certificates import self_signed
from tests.servers import Server, client, patient, serving, serving_patiently
from tests.serving.clients import REQUEST, load
from tests.waiting import PATIENCE_SECONDS, eventually

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


def messages_of(server: Server) -> str:
    """Return the remaining messages of a server that has ended."""
    assert server.process.stderr is not None
    return server.process.stderr.read()


def refuses(port: int) -> bool:
    """Return whether connections are refused; one that meets the closing of the socket may be reset instead."""
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_nothing(iris: Bundle, tmp_path: Path, number: signal.Signals) -> None:
    """A signal loses no request, each connection is announced its end, each step is logged, and the exit code is 0."""
    with serving_patiently(str(iris.folder), folder=tmp_path) as server:
        with load(server.port, n_clients=16, reconnect=False) as tally:
            eventually(lambda: tally.answered > 300)
            server.process.send_signal(number)
            assert server.process.wait(PATIENCE_SECONDS) == 0
        assert (tally.lost, tally.failed, tally.announced) == (0, 0, 16)
        lines = messages_of(server).splitlines()
    steps = [
        f"stopping: {number.name} received; not ready any more",
        "no longer accepting",
        "stopped; everything in flight was answered",
    ]
    found = [next(i for i, line in enumerate(lines) if step in line) for step in steps]
    assert found == sorted(found)
    assert len((tmp_path / "requests.log").read_text().splitlines()) == tally.answered


def test_pipelined_requests_are_answered_up_to_the_announced_end(iris: Bundle, tmp_path: Path) -> None:
    """No connection ends before the answer that announces it."""
    with serving_patiently(str(iris.folder), folder=tmp_path) as server:
        with load(server.port, n_clients=8, pipelined=6, reconnect=False) as tally:
            eventually(lambda: tally.answered > 300)
            assert server.stop() == 0
        assert (tally.lost, tally.failed, tally.announced) == (0, 0, 8)


def test_a_request_that_is_still_coming_in_is_answered(iris: Bundle, tmp_path: Path) -> None:
    """A request that is still arriving at shutdown is answered, while new connections are refused."""
    with (
        serving(str(iris.folder), folder=tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        connection.sendall(REQUEST[:-10])
        eventually(lambda: _answers(server))
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(server.port))
        connection.sendall(REQUEST[-10:])
        answer = connection.makefile("rb").read()
        assert server.process.wait(PATIENCE_SECONDS) == 0
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer


def test_an_idle_connection_may_still_bring_a_request(iris: Bundle, tmp_path: Path) -> None:
    """A request that was on its way when the server began to stop is answered."""
    with (
        serving_patiently(str(iris.folder), folder=tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        connection.sendall(REQUEST)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(server.port))
        connection.sendall(REQUEST)
        answer = connection.makefile("rb").read()
        assert server.process.wait(PATIENCE_SECONDS) == 0
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer


def test_the_wait_keeps_serving_while_it_is_not_ready(iris: Bundle, tmp_path: Path) -> None:
    """During the wait the server is not ready but answers, so that a load balancer can take it out."""
    with serving(str(iris.folder), "--drain-seconds", "600", folder=tmp_path) as server:
        server.process.send_signal(signal.SIGTERM)
        with client(server) as asking:
            eventually(lambda: asking.get("/ready").status_code == 503)
            assert asking.get("/health").status_code == 200
            assert asking.post("/predict", json=ROW).status_code == 200


def test_the_wait_ends(iris: Bundle, tmp_path: Path) -> None:
    """After the wait the server ends with exit code 0."""
    with serving(str(iris.folder), "--drain-seconds", "0.5", folder=tmp_path) as server:
        assert server.stop() == 0
        assert "still accepting requests for 0.5 s" in messages_of(server)


def test_an_unfinished_request_is_cut_off_in_time(iris: Bundle, tmp_path: Path) -> None:
    """A request that does not finish is cut off after the limit, and the exit code reports the loss."""
    environ = {"ORRIS_SHUTDOWN_SECONDS": "0.5"}
    with serving(str(iris.folder), folder=tmp_path, environ=environ) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(REQUEST[:-10])
            eventually(lambda: _answers(server))
            assert server.stop() == 1
        assert "1 connections were cut off" in messages_of(server)


def test_a_second_signal_ends_at_once(iris: Bundle, tmp_path: Path) -> None:
    """A second signal ends the process at once although a request is in flight."""
    with serving(str(iris.folder), folder=tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(REQUEST[:-10])
            eventually(lambda: _answers(server))
            server.process.send_signal(signal.SIGINT)
            eventually(lambda: refuses(server.port))
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(PATIENCE_SECONDS) == 1
        assert "SIGINT again: ending at once" in messages_of(server)


def _answers(server: Server) -> bool:
    """Return whether a request on another connection is answered, after which earlier bytes have been read."""
    with client(server) as asking:
        return asking.get("/health").status_code == 200


@contextmanager
def started(*arguments: str, program: tuple[str, ...] = ("-m", "orris")) -> Iterator[subprocess.Popen[str]]:
    """Run ``orris serve`` with these arguments, from its announcement on."""
    command = [sys.executable, *program, "serve", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "Ready after" in line:
                break
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_unix_socket_is_listened_on(iris: Bundle, tmp_path: Path, workers: str) -> None:
    """The server replaces the socket of a dead server, and removes its own at the end."""
    path = tmp_path / "orris.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with started(str(iris.folder), "--uds", str(path), "--workers", workers) as process:
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost", timeout=PATIENCE_SECONDS
        ) as asking:
            assert asking.post("/predict", json=ROW).json()["prediction_label"] == "setosa"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert not path.exists()


def test_a_file_that_is_no_socket_is_not_replaced(iris: Bundle, tmp_path: Path) -> None:
    """A path that is a file and no socket stops the server and is left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    command = [sys.executable, "-m", "orris", "serve", str(iris.folder), "--uds", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 2
    assert "no socket" in done.stderr
    assert path.read_text() == "mine"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a certificate for this machine and its key, as PEM files."""
    return self_signed(tmp_path_factory.mktemp("tls"))


def free_port() -> int:
    """Return a port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_https_serves_all_routes(iris: Bundle, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """Over HTTPS the predict routes and the pages answer, connections are kept, and their end is announced."""
    chain, key = map(str, certificate)
    port = free_port()
    arguments = (str(iris.folder), "--tls-cert", chain, "--tls-key", key, "--port", str(port), "--grpc-port", "off")
    with started(*arguments, program=(str(patient(tmp_path)),)) as process:
        context = ssl.create_default_context(cafile=chain)
        with httpx.Client(
            base_url=f"https://localhost:{port}", verify=context, trust_env=False, timeout=PATIENCE_SECONDS
        ) as asking:
            for _ in range(3):
                assert asking.post("/predict", json=ROW).json()["prediction_label"] == "setosa"
            assert asking.get("/openapi.json").status_code == 200
            process.send_signal(signal.SIGTERM)
            eventually(lambda: refuses(port))
            assert asking.post("/predict", json=ROW).headers["connection"] == "close"
        assert process.wait(PATIENCE_SECONDS) == 0


def test_a_malformed_certificate_is_named(iris: Bundle, tmp_path: Path) -> None:
    """A malformed certificate stops the server before it serves, and the error names the file."""
    (tmp_path / "cert.pem").write_text("no certificate")
    for cert in (tmp_path / "cert.pem", tmp_path / "missing.pem"):
        command = [sys.executable, "-m", "orris", "serve", str(iris.folder), "--port", "0", "--tls-cert", str(cert)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
        assert done.returncode == 2
        assert f"--tls-cert {cert}" in done.stderr


def test_links_include_the_proxys_path(iris: Bundle, tmp_path: Path) -> None:
    """Links include the path that a proxy removes from requests."""
    with serving(str(iris.folder), "--root-path", "/models", folder=tmp_path) as server, client(server) as asking:
        assert asking.post("/predict", json=ROW).status_code == 200
        assert asking.get("/ready").status_code == 200
        assert asking.get("/openapi.json").json()["servers"] == [{"url": "/models"}]

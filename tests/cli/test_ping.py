"""Tests of ``orris ping``: its exit codes, its time limit and its imports."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orris.api import Bundle
from tests.certificates import self_signed
from tests.servers import Server, serving
from tests.waiting import PATIENCE_SECONDS

PATIENTLY = ("--timeout", "120")


def ping(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a health check does: in a process of its own."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ORRIS_")}
    command = [sys.executable, "-m", "orris", "ping", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=clean | environ, timeout=PATIENCE_SECONDS
    )


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Serve one fixed answer to the first client; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)
                connection.recv(1)  # until the client has gone

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(PATIENCE_SECONDS)


def test_a_ready_server_is_exit_code_0(server: Server) -> None:
    """A ready server is found by its URL, by the URL of one of its pages, and by its own settings."""
    for done in (
        ping(server.url, *PATIENTLY),
        ping(f"{server.url}/health", *PATIENTLY),
        ping(*PATIENTLY, ORRIS_PORT=str(server.port), ORRIS_HOST="0.0.0.0"),  # noqa: S104
    ):
        assert (done.returncode, done.stderr) == (0, "")
        assert "200 OK" in done.stdout


def test_the_health_service_of_grpc_is_called(iris: Bundle, tmp_path: Path) -> None:
    """Over gRPC the exit code tells a ready server or model from an unknown model, a missing server and a bad port."""
    with serving(str(iris.folder), "--grpc-port", "0", folder=tmp_path) as server:
        for path in ("", "/iris"):
            done = ping(f"grpc://127.0.0.1:{server.grpc_port}{path}", *PATIENTLY)
            assert (done.returncode, done.stderr) == (0, "")
            assert "SERVING" in done.stdout
        unknown = ping(f"grpc://127.0.0.1:{server.grpc_port}/nobody", *PATIENTLY)
    assert unknown.returncode == 1
    assert "NOT_FOUND" in unknown.stderr
    assert "a URL such as grpc://localhost:8001" in ping("grpc://localhost").stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = ping(f"grpc://127.0.0.1:{taken.getsockname()[1]}", "--timeout", "0.5")
    assert done.returncode == 1
    assert "does not answer" in done.stderr


def test_a_missing_server_is_exit_code_1() -> None:
    """If no server listens, one line names the server that did not answer, and the exit code is 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but it does not listen: the port refuses
        done = ping(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "503 Service Unavailable"),
        (b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", "307"),
        (b"220 mail ready\r\n", "does not answer"),
        (b"", "does not answer"),
    ],
    ids=["not ready", "elsewhere", "not HTTP", "silent"],
)
def test_anything_but_success_is_exit_code_1(answer: bytes, words: str) -> None:
    """An answer that is not ready, redirects, is not HTTP, or comes too late ends with exit code 1."""
    with answering(answer) as port:
        done = ping(f"http://127.0.0.1:{port}", *(PATIENTLY if answer else ("--timeout", "0.5")))
    assert done.returncode == 1
    assert words in done.stderr


def test_a_server_on_a_unix_socket_is_found_by_its_settings(tmp_path: Path) -> None:
    """The command reads the path of a Unix socket from ORRIS_UDS, as the server does."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(65_536).startswith(b"GET /ready HTTP/1.1\r\n")
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        done = ping(*PATIENTLY, ORRIS_UDS=str(path))
        thread.join(PATIENCE_SECONDS)
    assert done.returncode == 0


def test_a_server_with_tls_is_found_by_its_settings(iris: Bundle, tmp_path: Path) -> None:
    """The server's own check does not verify its certificate; a URL on the command line is verified."""
    cert, key = self_signed(tmp_path)
    with serving(str(iris.folder), "--tls-cert", str(cert), "--tls-key", str(key), folder=tmp_path) as running:
        own = ping(*PATIENTLY, ORRIS_PORT=str(running.port), ORRIS_TLS_CERT=str(cert))
        named = ping(f"https://127.0.0.1:{running.port}", *PATIENTLY)
    assert own.returncode == 0
    assert named.returncode == 1
    assert "certificate" in named.stderr.lower()


def test_a_wrong_address_is_exit_code_2() -> None:
    """A malformed address is wrong usage and ends with exit code 2."""
    for address in ("localhost:8000", "ftp://localhost", "http://localhost:port"):
        done = ping(address)
        assert done.returncode == 2
        assert address in done.stderr


def test_nothing_heavy_is_imported() -> None:
    """The command imports no NumPy, ONNX Runtime, uvicorn, FastAPI or Rich, because it runs every few seconds."""
    program = (
        "import sys\n"
        "from orris.cli import main\n"
        "sys.argv = ['orris', 'ping', 'http://127.0.0.1:9']\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert ended.code == 1\n"
        "print(*sorted({'numpy', 'onnxruntime', 'uvicorn', 'fastapi', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

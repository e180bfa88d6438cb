"""Tests of several workers as one server: real processes that are killed, stopped and replaced under load."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from orris.api import Bundle
from tests.holders import children_of, held_by_each
from tests.servers import Server, client, serving, serving_patiently
from tests.serving.clients import REQUEST, load
from tests.waiting import PATIENCE_SECONDS, eventually

LISTENING = "0A"
"""State of a socket in ``/proc/net/tcp``."""


def workers_of(server: Server) -> list[int]:
    """Return the process ids of a server's workers."""
    return children_of(server.process.pid)


def gone(pid: int) -> bool:
    """Return whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def all_read(connection: socket.socket) -> bool:
    """Return whether the other end of a local TCP connection has accepted it and read all bytes that were sent."""
    port, own = connection.getpeername()[1], connection.getsockname()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, _, _, _, _, inode, *_ = line.split()
        if (int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16)) == (port, own):
            return inode != "0" and int(queues.rpartition(":")[2], 16) == 0
    return False


def status(server: Server, path: str) -> int:
    """Return the status of a GET on a connection of its own; 0 if there was no answer."""
    with suppress(httpx.TransportError):
        return httpx.get(server.url + path, trust_env=False, timeout=PATIENCE_SECONDS).status_code
    return 0


def metric(server: Server, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples with these labels."""
    text = httpx.get(f"{server.url}/metrics", trust_env=False, timeout=PATIENCE_SECONDS).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def predicted(server: Server) -> float:
    """Return the number of predictions that were counted."""
    return metric(server, "http_requests_total", route="/predict", status="200")


@pytest.fixture(scope="module")
def pair(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server of two workers."""
    folder = tmp_path_factory.mktemp("pair")
    with serving_patiently(str(iris.folder), "--workers", "2", folder=folder) as running:
        eventually(lambda: status(running, "/ready") == 200)
        yield running


def test_the_supervisor_is_small_and_has_no_threads(pair: Server) -> None:
    """The supervisor has one thread and no NumPy or ONNX Runtime, because forking is safe only so."""
    proc = Path(f"/proc/{pair.process.pid}")
    maps = (proc / "maps").read_text()
    assert "onnxruntime" not in maps
    assert "numpy" not in maps
    assert "Threads:\t1\n" in (proc / "status").read_text()


def test_every_worker_answers_for_all(pair: Server) -> None:
    """Requests on many connections are counted once, whichever worker is scraped."""
    before = predicted(pair)
    for _ in range(40):
        with client(pair) as asking:
            assert asking.post("/predict", content=REQUEST.partition(b"\r\n\r\n")[2]).status_code == 200
    eventually(lambda: {predicted(pair) - before for _ in range(10)} == {40})
    eventually(lambda: metric(pair, "orris_workers_ready") == 2)


def test_connections_are_shared_evenly_whatever_the_kernel_does(pair: Server) -> None:
    """Of 40 connections that are open at once, no worker has more than 1.5 times the mean, and each is answered.

    The kernel chooses the listening socket by a hash, so that one worker may get nearly all of them.
    """
    eventually(lambda: metric(pair, "orris_workers_ready") == 2)
    workers = workers_of(pair)
    connections: list[socket.socket] = []
    for _ in range(40):
        connections.append(socket.create_connection(("127.0.0.1", pair.port)))
        connections[-1].sendall(REQUEST)
        assert connections[-1].recv(65_536).startswith(b"HTTP/1.1 200")
    assert max(held_by_each(workers, connections)) <= 30
    for connection in connections:
        connection.sendall(REQUEST)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        connection.close()


def test_a_killed_worker_takes_only_its_own_requests_with_it(pair: Server) -> None:
    """A killed worker under load is replaced, the other one keeps answering, and no count decreases."""
    victim = workers_of(pair)[0]
    restarts = metric(pair, "orris_worker_restarts_total")
    counts, unready = [predicted(pair)], False
    with load(pair.port, n_clients=8) as tally:
        eventually(lambda: tally.answered > 200)
        os.kill(victim, signal.SIGKILL)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while status(pair, "/ready") != 200 or not unready:
            unready = unready or status(pair, "/ready") == 503
            counts.append(predicted(pair))
            assert time.monotonic() < give_up
        answered = tally.answered
        eventually(lambda: tally.answered > answered + 200)
    counts += [predicted(pair) for _ in range(10)]
    assert counts == sorted(counts)
    # Each client had one request in flight at most; and what the dead worker had not told yet is at most its last 50
    # ms.
    assert tally.lost <= 8
    assert (tally.failed, tally.refused) == (0, 0)
    assert counts[-1] - counts[0] <= tally.answered + tally.lost
    assert metric(pair, "orris_worker_restarts_total") == restarts + 1
    assert victim not in workers_of(pair)
    assert len(workers_of(pair)) == 2


def test_a_hung_worker_is_replaced(iris: Bundle, tmp_path: Path) -> None:
    """A worker without a heartbeat is killed after the limit, and meanwhile the other accepts its connections."""
    environ = {"ORRIS_HANG_SECONDS": "5"}
    with serving(str(iris.folder), "--workers", "2", folder=tmp_path, environ=environ) as server:
        eventually(lambda: status(server, "/ready") == 200)
        victim = workers_of(server)[0]
        os.kill(victim, signal.SIGSTOP)
        eventually(lambda: gone(victim))
        eventually(lambda: status(server, "/ready") == 200)
        assert victim not in workers_of(server)
        assert {status(server, "/health") for _ in range(20)} == {200}


def test_a_worker_that_gets_sigterm_is_replaced(pair: Server) -> None:
    """A worker that gets SIGTERM answers its requests in flight before it is replaced."""
    victim = workers_of(pair)[0]
    with load(pair.port, n_clients=8) as tally:
        eventually(lambda: tally.answered > 200)
        os.kill(victim, signal.SIGTERM)
        eventually(lambda: gone(victim))
        eventually(lambda: status(pair, "/ready") == 200)
    assert (tally.lost, tally.failed, tally.refused) == (0, 0, 0)
    assert len(workers_of(pair)) == 2


def test_a_port_in_use_is_an_error(pair: Server, iris: Bundle) -> None:
    """A port in use stops the server although sockets of one user could share it."""
    command = [sys.executable, "-m", "orris", "serve", str(iris.folder), "--workers", "2", "--port", str(pair.port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 2
    assert "Address already in use" in done.stderr


def test_sigterm_under_load_loses_nothing(iris: Bundle, tmp_path: Path) -> None:
    """The supervisor passes SIGTERM on; every worker answers its requests and announces the end of each connection."""
    with serving_patiently(str(iris.folder), "--workers", "2", folder=tmp_path) as server:
        with load(server.port, n_clients=16, reconnect=False) as tally:
            eventually(lambda: tally.answered > 500)
            assert server.stop() == 0
        assert (tally.lost, tally.failed) == (0, 0)
        assert tally.announced >= 16
        assert server.process.stderr is not None
        told = server.process.stderr.read()
    assert "stopping 2 workers: SIGTERM received" in told
    assert told.count("everything in flight was answered") == 2
    assert len((tmp_path / "requests.log").read_text().splitlines()) >= tally.answered


def test_workers_do_not_outlive_their_supervisor(iris: Bundle, tmp_path: Path) -> None:
    """When the supervisor is killed, its workers stop in order by themselves."""
    with serving(str(iris.folder), "--workers", "2", folder=tmp_path) as server:
        workers = workers_of(server)
        server.process.kill()
        server.process.wait()
        eventually(lambda: all(gone(pid) for pid in workers))


def test_a_second_signal_ends_at_once(iris: Bundle, tmp_path: Path) -> None:
    """A second signal ends the server at once although a request is in flight."""
    with serving(str(iris.folder), "--workers", "2", folder=tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(REQUEST[:-10])
            eventually(lambda: all_read(connection))
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: status(server, "/health") == 0)
            assert server.process.poll() is None
            assert server.stop() == 1
        eventually(lambda: not Path(f"/proc/{server.process.pid}").exists())


def test_a_model_that_cannot_be_served_ends_the_server(tmp_path: Path) -> None:
    """A model that cannot be served ends the server at once, with the reason and without restarts."""
    command = [
        sys.executable,
        "-m",
        "orris",
        "serve",
        "nobody",
        "--workers",
        "2",
        "--port",
        "0",
        "--store",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 1
    assert "nobody" in done.stderr
    assert "no worker can serve the requested models" in done.stderr


def test_workers_that_keep_dying_at_their_start_end_the_server() -> None:
    """After five deaths of workers at their start the server ends with exit code 1."""
    script = (
        "import os, sys\n"
        "from orris.serving.processes.board import Board\n"
        "from orris.serving.processes.supervisor import Supervisor\n"
        "sys.exit(Supervisor(Board(2), lambda: os._exit(7), [], hang_seconds=5, stop_seconds=1).run())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 1
    assert done.stderr.count("ended with exit code 7") >= 5
    assert "5 workers died at their start" in done.stderr or "6 workers died at their start" in done.stderr

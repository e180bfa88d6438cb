"""Tests of clients that take what a server has little of: memory for bodies, connections and descriptors."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orris.api import Bundle
from tests.faults.test_hostile_clients import BODY, HEAD, ROW, connect, everything, request
from tests.servers import Server, client, serving
from tests.waiting import PATIENCE_SECONDS, eventually

MEGABYTE = 1_000_000
PATIENT = {"ORRIS_REQUEST_SECONDS": "600"}
"""A request that is to hang does so for as long as a busy machine takes for a test."""


@pytest.fixture(scope="module")
def small(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that takes a megabyte for a body, and ten for all of them."""
    environ = {"ORRIS_MAX_BODY_BYTES": str(MEGABYTE), "ORRIS_MAX_RECEIVING_BYTES": str(10 * MEGABYTE)} | PATIENT
    folder = tmp_path_factory.mktemp("exhaustion")
    with serving(str(iris.folder), "--no-access-log", folder=folder, environ=environ) as running:
        yield running


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"content-length: 1000\r\n\r\n",
        HEAD + b"content-length: 1000\r\nexpect: 100-continue\r\n\r\n",
        HEAD.replace(b"/predict", b"/predict?x=1") + b"content-length: 1000\r\n\r\n",
        HEAD.replace(b"/predict", b"/v2/models/iris/infer") + b"content-length: 1000\r\n\r\n",
        HEAD.replace(b"/predict", b"/api/v1/model/reload") + b"content-length: 1000\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n3e8\r\n" + b" " * 1_000,
        HEAD.replace(b"/predict", b"/api/v1/model/reload") + b"transfer-encoding: chunked\r\n\r\n",
    ],
    ids=["predict", "expects 100", "query", "V2", "asks no model", "chunked", "chunked, asks no model"],
)
def test_bodies_beyond_what_a_process_receives_are_refused_at_their_headers(small: Server, head: bytes) -> None:
    """While ten bodies of a megabyte hang, another gets 503, and is answered when they are gone."""
    with ExitStack() as stack:
        for _ in range(10):
            hanging = stack.enter_context(connect(small))
            hanging.sendall(HEAD + b"content-length: %d\r\n\r\n" % MEGABYTE + b"[")
        with client(small) as ask:
            assert eventually(lambda: ask.post("/predict", json=ROW).status_code == 503)
            assert ask.get("/health").status_code == 200
        with connect(small) as late:
            late.sendall(head)
            answer = everything(late)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: " in answer.lower()
    with client(small) as ask:
        assert eventually(lambda: ask.post("/predict", json=ROW).status_code == 200)


def test_a_body_in_chunks_is_refused_when_its_next_chunk_is_one_too_many(small: Server) -> None:
    """A route that asks no model has begun to read chunks when others fill what is received: the next one gets 503."""
    chunk = b"186a0\r\n" + b" " * 100_000 + b"\r\n"
    with ExitStack() as stack:
        late = stack.enter_context(connect(small))
        late.sendall(HEAD.replace(b"/predict", b"/api/v1/model/reload") + b"transfer-encoding: chunked\r\n\r\n" + chunk)
        for _ in range(10):
            hanging = stack.enter_context(connect(small))
            hanging.sendall(HEAD + b"content-length: %d\r\n\r\n" % (MEGABYTE - 20_000) + b"[")
        with client(small) as ask:
            heavy = b" " * 900_000
            assert eventually(lambda: ask.post("/predict", content=heavy).status_code == 503)
        for _ in range(3):
            late.sendall(chunk)
        answer = everything(late)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: " in answer.lower()
    with client(small) as ask:
        assert eventually(lambda: ask.post("/predict", json=ROW).status_code == 200)


def test_a_chunk_that_is_none_is_refused_on_a_route_that_asks_no_model(small: Server) -> None:
    """A route that asks no model has begun to read a body when a malformed chunk comes: the request gets 400."""
    with connect(small) as late:
        late.sendall(
            HEAD.replace(b"/predict", b"/api/v1/model/reload") + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"
        )
        with client(small) as ask:
            assert ask.get("/health").status_code == 200
        late.sendall(b"no chunk\r\n")
        assert everything(late).startswith(b"HTTP/1.1 400")
    with client(small) as ask:
        assert ask.get("/health").status_code == 200


def test_a_body_that_no_process_receives_is_413_on_a_route_that_asks_no_model(small: Server) -> None:
    """A length beyond what all bodies may have together is refused as too long, not as too many."""
    with connect(small) as late:
        late.sendall(HEAD.replace(b"/predict", b"/api/v1/model/reload") + b"content-length: 10000001\r\n\r\n")
        assert everything(late).startswith(b"HTTP/1.1 413")


def test_memory_of_bodies_that_hang_is_given_back(iris: Bundle, tmp_path: Path) -> None:
    """Sixty bodies of 4 MB hang, each one byte short; when their connections have closed, the memory is free again."""
    n_bytes = 4 * MEGABYTE
    with (
        serving(str(iris.folder), "--no-access-log", folder=tmp_path, environ=PATIENT) as server,
        client(server) as ask,
        ExitStack() as stack,
    ):
        ask.post("/predict", json=ROW)
        before = server.resident_bytes
        for _ in range(60):
            hanging = stack.enter_context(connect(server))
            hanging.sendall(HEAD + b"content-length: %d\r\n\r\n" % n_bytes + b" " * (n_bytes - 1))
        assert eventually(lambda: server.resident_bytes - before > 200 * MEGABYTE)
        assert server.resident_bytes - before < 2 * 60 * n_bytes
        stack.close()
        assert eventually(lambda: server.resident_bytes - before < 40 * MEGABYTE)
        assert ask.post("/predict", json=ROW).status_code == 200


@pytest.fixture(scope="module")
def hurried(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that gives a request one second to arrive."""
    folder = tmp_path_factory.mktemp("hurried")
    environ = {"ORRIS_REQUEST_SECONDS": "1"}
    with serving(str(iris.folder), "--no-access-log", folder=folder, environ=environ) as running:
        yield running


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"\r\n\r\n\r\n", b"\n"], ids=["nothing", "CRLF", "CRLFs", "LF"])
@pytest.mark.parametrize("again", [False, True], ids=["once", "again and again"])
def test_a_connection_that_brings_no_request_is_closed(hurried: Server, sent: bytes, again: bool) -> None:
    """A connection without a request is closed after the time of a request, whatever line breaks it sends."""
    with connect(hurried) as silent:
        silent.settimeout(0.2)
        silent.sendall(sent)
        deadline = time.monotonic() + PATIENCE_SECONDS
        ended = False
        while not ended and time.monotonic() < deadline:
            try:
                received = silent.recv(65_536)
                ended = not received
                assert b"HTTP/1.1 2" not in received
            except TimeoutError:
                if again and sent:
                    try:
                        silent.sendall(sent)
                    except OSError:
                        ended = True
            except OSError:
                ended = True
    assert ended


FEW = """
import resource

resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from orris.cli import main

main()
"""


def test_idle_connections_make_room_for_new_clients(iris: Bundle, tmp_path: Path) -> None:
    """A server with few descriptors closes idle connections, answers new clients, and keeps a request that arrives."""
    program = tmp_path / "few.py"
    program.write_text(FEW)
    arguments = ("serve", str(iris.folder), "--port", "0", "--grpc-port", "off", "--no-access-log")
    with serving(*arguments, folder=tmp_path, program=program, environ=PATIENT) as server, ExitStack() as stack:
        busy = stack.enter_context(connect(server))
        busy.sendall(request()[:-10])
        idle = [stack.enter_context(connect(server)) for _ in range(300)]
        for _ in range(20):
            with connect(server) as fresh:
                fresh.sendall(HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY)
                assert everything(fresh).startswith(b"HTTP/1.1 200")
        busy.sendall(request()[-10:])
        assert json.loads(busy.recv(65_536).partition(b"\r\n\r\n")[2])["prediction_label"] == "setosa"
        assert eventually(lambda: any(closed(each) for each in idle[:150]))


def closed(connection: socket.socket) -> bool:
    """Whether the server has closed a connection that it sent nothing on."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True

"""Tests of clients that misbehave: they are cut off or refused, and other clients are not affected."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from orris.api import Bundle
from tests.servers import Server, client, serving, serving_patiently
from tests.waiting import PATIENCE_SECONDS, eventually

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
BODY = json.dumps(ROW).encode()
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
ONLY_THE_SCRAPE = "orris_requests_in_flight 1.0"
LIMITS = {"ORRIS_KEEP_ALIVE_SECONDS": "5", "ORRIS_MAX_BODY_BYTES": "1000000"}


@pytest.fixture(scope="module")
def strict(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that takes a megabyte."""
    environ = LIMITS | {"ORRIS_REQUEST_SECONDS": "600"}
    folder = tmp_path_factory.mktemp("strict")
    with serving(str(iris.folder), "--no-access-log", folder=folder, environ=environ) as running:
        yield running


@pytest.fixture(scope="module")
def hurried(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that takes a megabyte, and gives a request two seconds to arrive."""
    environ = LIMITS | {"ORRIS_REQUEST_SECONDS": "2"}
    folder = tmp_path_factory.mktemp("hurried")
    with serving(str(iris.folder), "--no-access-log", folder=folder, environ=environ) as running:
        yield running


@pytest.fixture(autouse=True)
def unharmed(strict: Server, hurried: Server) -> Iterator[None]:
    """Check after every test that the servers answer, are ready, and have nothing left in flight."""
    yield
    for server in (strict, hurried):
        with client(server) as ask:
            assert ask.post("/predict", json=ROW).json()["prediction_label"] == "setosa"
            assert ask.get("/ready").status_code == 200
            eventually(lambda ask=ask: ONLY_THE_SCRAPE in ask.get("/metrics").text)  # type: ignore[misc]


def connect(server: Server) -> socket.socket:
    """Open a connection that gives up after a while."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def everything(connection: socket.socket) -> bytes:
    """Return all bytes until the server closes."""
    received = []
    try:
        while part := connection.recv(65_536):
            received.append(part)
    except ConnectionResetError:
        pass
    return b"".join(received)


def request(body: bytes = BODY, length: int | None = None) -> bytes:
    """Return a predict request; ``length`` is its declared length."""
    return HEAD + b"content-length: %d\r\n\r\n" % (len(body) if length is None else length) + body


@pytest.mark.parametrize(
    "start", [HEAD[:20], HEAD, request()[:-5]], ids=["in the request line", "in the headers", "in the body"]
)
def test_a_client_that_trickles_bytes_is_cut_off(hurried: Server, start: bytes) -> None:
    """A client that trickles bytes is cut off, while others are answered."""
    with connect(hurried) as slow, client(hurried) as ask:
        slow.sendall(start)
        slow.settimeout(0.2)
        ended = False
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up:
            try:
                slow.sendall(b" " if start is not HEAD else b"x: y\r\n")
                if slow.recv(65_536) in (b"",) or ended:
                    ended = True
                    break
            except TimeoutError:
                assert ask.post("/predict", json=ROW).status_code == 200
            except OSError:
                ended = True
                break
        assert ended


def test_a_body_that_does_not_arrive_in_time_is_answered_with_408(hurried: Server) -> None:
    """A body that arrives too slowly gets 408."""
    with connect(hurried) as slow:
        slow.sendall(request()[:-5])
        answer = everything(slow)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in answer


def test_a_client_that_vanishes_in_the_middle_of_a_body_leaves_nothing(strict: Server) -> None:
    """A hundred clients that disconnect in the middle of a body leave nothing in flight."""
    for _ in range(100):
        with connect(strict) as connection:
            connection.sendall(request()[:-10])


def test_a_client_that_vanishes_before_its_answer_leaves_nothing(strict: Server) -> None:
    """A client that disconnects before its answer leaves nothing in flight."""
    for _ in range(100):
        with connect(strict) as connection:
            connection.sendall(request())


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
def test_a_gigabyte_is_refused_without_being_read(strict: Server, chunked: bool) -> None:
    """A body of a gigabyte gets 413, and the connection ends long before all of it is sent."""
    with connect(strict) as connection:
        connection.sendall(
            HEAD + (b"transfer-encoding: chunked\r\n\r\n" if chunked else b"content-length: 1073741824\r\n\r\n")
        )
        part = b"x" * 100_000
        piece = b"%x\r\n%b\r\n" % (len(part), part) if chunked else part
        sent = 0
        try:
            while sent < 1024**3:
                connection.sendall(piece)
                sent += len(part)
        except OSError:
            pass
        assert sent < 200_000_000
        answer = everything(connection)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413")


def test_a_hundred_requests_in_one_write_are_answered_in_order(strict: Server) -> None:
    """A hundred requests in one write are answered in order, each with its own id."""
    ids = [b"r%03d" % number for number in range(100)]
    tagged = [HEAD + b"x-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (one, len(BODY)) + BODY for one in ids]
    tagged[-1] = tagged[-1].replace(b"host: x\r\n", b"host: x\r\nconnection: close\r\n")
    with connect(strict) as connection:
        connection.sendall(b"".join(tagged))
        answers = everything(connection)
    assert answers.count(b"HTTP/1.1 200") == 100
    found = [line.split(b": ")[1] for line in answers.split(b"\r\n") if line.lower().startswith(b"x-request-id")]
    assert found == ids


@pytest.mark.parametrize(
    ("sent", "starts"),
    [
        (request(length=len(BODY) - 20), b"HTTP/1.1 4"),
        (request() + b"garbage\r\n\r\n", b"HTTP/1.1 200"),
        (HEAD + b"content-length: -1\r\n\r\n" + BODY, b"HTTP/1.1 400"),
        (HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 400"),
        (HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n123456", b"HTTP/1.1 400"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 400"),
        (b"\x16\x03\x01\x02\x00", b"HTTP/1.1 400"),
        (b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n", b"HTTP/1.1 431"),
        (b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\n\r\n", b"HTTP/1.1 431"),
    ],
    ids=[
        "too short",
        "garbage behind",
        "negative",
        "both",
        "two lengths",
        "bad chunk",
        "TLS",
        "long header",
        "long path",
    ],
)
def test_contradictory_framing_is_refused(strict: Server, sent: bytes, starts: bytes) -> None:
    """Requests with contradictory framing are refused with 4xx and never get another client's answer."""
    with connect(strict) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = everything(connection)
    assert answer.startswith(starts)
    assert b"HTTP/1.1 5" not in answer


def test_a_thousand_idle_connections_delay_no_client(strict: Server) -> None:
    """A client beside a thousand idle connections is answered."""
    with ExitStack() as stack, client(strict) as ask:
        for _ in range(900):
            stack.enter_context(connect(strict))
        assert all(ask.post("/predict", json=ROW).status_code == 200 for _ in range(50))


def test_two_hundred_slow_headers_delay_no_client(strict: Server) -> None:
    """With two hundred connections that send headers slowly (Slowloris), every normal request is answered."""
    with ExitStack() as stack, client(strict) as ask:
        for _ in range(200):
            stack.enter_context(connect(strict)).sendall(HEAD)
        assert all(ask.post("/predict", json=ROW).status_code == 200 for _ in range(50))


def test_more_than_can_be_in_flight_is_refused_at_once(tmp_path: Path, iris: Bundle) -> None:
    """Requests beyond the limit get 503 with Retry-After; accepted ones and probes are answered."""
    with (
        serving(str(iris.folder), folder=tmp_path, environ={"ORRIS_MAX_IN_FLIGHT": "4"}) as server,
        ExitStack() as stack,
    ):
        connections = [stack.enter_context(connect(server)) for _ in range(64)]
        for _ in range(5):
            big = request(json.dumps([ROW] * 20_000).encode())
            for connection in connections[:8]:
                connection.sendall(big)
            answers = [httpx.get(f"{server.url}/health", trust_env=False, timeout=PATIENCE_SECONDS).status_code]
            for connection in connections[:8]:
                head = connection.recv(200)
                answers.append(int(head.split(b" ")[1]))
                assert answers[-1] == 200 or b"503" in head
                _drain(connection, head)
            assert answers[0] == 200
        text = httpx.get(f"{server.url}/metrics", trust_env=False, timeout=PATIENCE_SECONDS).text
        assert 'orris_rejected_total{reason="overloaded"}' in text
        assert 'status="500"' not in text


def _drain(connection: socket.socket, seen: bytes) -> None:
    """Read the rest of one answer."""
    while b"\r\n\r\n" not in seen:
        seen += connection.recv(65_536)
    head, _, body = seen.partition(b"\r\n\r\n")
    left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) - len(body)
    while left > 0:
        left -= len(connection.recv(min(left, 1 << 20)))


def test_idle_connections_are_closed_after_a_while(strict: Server) -> None:
    """An idle keep-alive connection is closed after its limit."""
    with connect(strict) as connection:
        connection.sendall(request())
        assert b"200" in everything(connection)


def test_a_long_body_is_refused_by_the_length_that_it_announces(strict: Server) -> None:
    """A declared length over the limit is refused before any of the body is sent."""
    for target in (b"/predict", b"/predict?x=1"):
        with connect(strict) as connection:
            head = (
                HEAD.replace(b"/predict", target)
                + b"expect: 100-continue\r\nconnection: close\r\ncontent-length: 1000001\r\n\r\n"
            )
            connection.sendall(head)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 413")


def test_a_client_that_sends_too_much_can_read_the_answer(iris: Bundle, tmp_path: Path) -> None:
    """The rest of a body over the limit is discarded, so that the client can read the refusal."""
    with serving_patiently(str(iris.folder), folder=tmp_path, environ=LIMITS) as server, client(server) as ask:
        answer = ask.post(
            "/predict", content=b"[" + b" " * 20_000_000 + b"]", headers={"content-type": "application/json"}
        )
    assert answer.status_code == 413
    assert "1000000 bytes" in answer.json()["detail"]


@pytest.mark.parametrize("target", [b"/predict", b"/predict?x=1"], ids=["straight", "through ASGI"])
@pytest.mark.parametrize("pipelined", [False, True], ids=["one at a time", "pipelined"])
def test_a_client_that_never_reads_its_answers_is_cut_off(hurried: Server, target: bytes, pipelined: bool) -> None:
    """If a client does not read its answers, the server stops reading from it and closes the connection later."""
    before = hurried.resident_bytes
    one = request().replace(b"/predict", target, 1)
    with connect(hurried) as deaf:
        sent, ended = 0, False
        while not ended and sent < 1024**3:
            try:
                sent += deaf.send(one * 100 if pipelined else one)
            except (ConnectionResetError, BrokenPipeError):
                ended = True
    assert ended
    assert sent < 64 * 1024**2
    assert hurried.resident_bytes - before < 64 * 1024**2

"""Tests of a connection: a stream of requests in any segments is answered as each of its requests alone."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orris.api import Bundle
from tests.servers import Server, client, serving
from tests.serving.http.streams import BODY, LAST, Answer, Client, exchange, get, post

LIST = b"[" + b",".join([BODY] * 3) + b"]"
INSTANCES = b'{"instances":[[5.1,3.5,1.4,0.2]]}'
TENSOR = b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1,4],"data":[5.1,3.5,1.4,0.2]}]}'

KINDS: dict[str, Callable[[str], bytes]] = {
    "a row": post,
    "a list of rows": lambda name: post(name, LIST),
    "instances": lambda name: post(name, INSTANCES),
    "V1": lambda name: post(name, INSTANCES, b"/v1/models/iris:predict"),
    "V2": lambda name: post(name, TENSOR, b"/v2/models/iris/infer"),
    "a query": lambda name: post(name, target=b"/predict?x=1"),
    "another spelling": lambda name: post(name, target=b"/pr%65dict"),
    "chunks": lambda name: post(name, chunks=7),
    "a long body": lambda name: post(name, b"[" + BODY + b" " * 70_000 + b"]"),
    "a traceparent": lambda name: post(
        name, headers=b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
    ),
    "an upgrade": lambda name: post(name, headers=b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    "an upgrade elsewhere": lambda name: post(
        name, b"{}", b"/nothing", headers=b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    ),
    "no JSON": lambda name: post(name, b"{"),
    "a row that does not fit": lambda name: post(name, BODY.replace(b"5.1", b"-1")),
    "an unusual row": lambda name: post(name, BODY.replace(b"0.2", b"9")),
    "another content type": lambda name: post(name, headers=b"").replace(b"application/json", b"text/plain"),
    "an empty body": lambda name: post(name, b""),
    "health": get,
    "readiness": lambda name: get(name, b"/v2/health/ready"),
    "the wrong method": lambda name: get(name, b"/predict"),
    "an unknown path": lambda name: get(name, b"/nothing"),
    "a body for an unknown path": lambda name: post(name, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"/nothing"),
    "chunks for an unknown path": lambda name: post(name, LAST, b"/nothing", chunks=11),
}
"""Requests by name, each made with its id: on the fast path, handed over, and refused."""


def usual(body: bytes, target: bytes = b"/predict", headers: bytes = b"") -> Callable[[str], bytes]:
    """Return what makes a request without an id: its head comes again and again, so that it is recognised."""
    return lambda _name: (
        b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b"
        % (target, headers, len(body), body)
    )


RECOGNISED = {
    "a recognised row": usual(BODY),
    "a recognised row of other numbers": usual(BODY.replace(b"5.1", b"6.4")),
    "a recognised row that does not fit": usual(BODY.replace(b"5.1", b"-.1")),
    "a recognised head with text behind it": usual(b" " * len(BODY)),
    "a recognised row of V2": usual(TENSOR, b"/v2/models/iris/infer"),
    "a recognised row of V1": usual(INSTANCES, b"/v1/models/iris:predict", b"X-Other: 1\r\n"),
    "a recognised head whose body is a request": usual(get("r").ljust(len(BODY), b"\n")),
}
"""Requests whose heads the table of heads holds once the server has had them twice."""

KINDS |= RECOGNISED

GARBAGE = {
    "no HTTP": b"\x16\x03\x01\x02\x00",
    "no Host": b"POST /predict HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "two Hosts": b"POST /predict HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2.0": b"POST /predict HTTP/2.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "length and chunks": (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
}
"""What is no request; each is answered with 400, and ends the connection."""


@pytest.fixture(scope="module")
def quiet(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the iris model without a log."""
    with serving(str(iris.folder), "--no-access-log", folder=tmp_path_factory.mktemp("quiet")) as running:
        yield running


def anonymous(answer: Answer) -> Answer:
    """Return the answer without an id that the server has made up."""
    made = re.fullmatch(rb"[0-9a-f]{32}", answer.request_id)
    if made is None:
        return answer
    return answer._replace(request_id=b"", body=answer.body.replace(made[0], b""))


@pytest.fixture(scope="module")
def alone(quiet: Server) -> dict[str, Answer]:
    """Return the answer to each kind of request on a connection of its own, in one segment."""
    found = {}
    for name, make in KINDS.items():
        answers = list(map(anonymous, exchange(quiet.port, [make("r")])))
        assert [answer.request_id for answer in answers] == [b"" if name in RECOGNISED else b"r", b"last"], name
        found[name] = answers[0]
    for make in RECOGNISED.values():
        for _ in range(2):
            connection = Client(quiet.port)
            connection.send([make("r")])
            connection.socket.shutdown(socket.SHUT_WR)
            assert len(connection.answers()) == 1
    return found


def as_if_alone(answer: Answer, name: bytes, number: int) -> Answer:
    """Return the answer to a request alone, with the id that it has in a stream."""
    if not answer.request_id:
        return answer
    own = b"%b%d" % (name, number)
    return answer._replace(request_id=own, body=answer.body.replace(b'"r"', b'"%b"' % own))


def cut(stream: bytes, places: list[float]) -> list[bytes]:
    """Return a stream in segments, cut at shares of its length."""
    at = sorted({round(place * len(stream)) for place in places})
    return [stream[a:b] for a, b in zip([0, *at], [*at, len(stream)], strict=True)]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=8),
    places=st.lists(st.floats(0, 1), max_size=6),
    ends=st.lists(st.booleans(), min_size=8, max_size=8),
    garbage=st.sampled_from([None, *sorted(GARBAGE)]),
)
def test_any_stream_cut_anywhere_is_answered_as_each_request_alone(
    quiet: Server,
    alone: dict[str, Answer],
    names: list[str],
    places: list[float],
    ends: list[bool],
    garbage: str | None,
) -> None:
    """The answers come in the order of the requests, those in front of malformed bytes included.

    The stream is cut anywhere, and at some ends of requests.
    """
    requests = [KINDS[name](f"n{number}") for number, name in enumerate(names)]
    stream = b"".join(requests) + (GARBAGE[garbage] if garbage else b"")
    expected = [as_if_alone(alone[name], b"n", number) for number, name in enumerate(names)]
    at_ends = [sum(map(len, requests[: number + 1])) / len(stream) for number in range(len(requests)) if ends[number]]
    answers = list(map(anonymous, exchange(quiet.port, cut(stream, [*places, *at_ends]))))
    assert [answer._replace(closes=False) for answer in answers[: len(names)]] == expected
    assert [answer.status for answer in answers[len(names) :]] == ([400] if garbage else [200])


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_request_split_at_each_byte_is_one_request(quiet: Server, alone: dict[str, Answer], name: str) -> None:
    """A request split at any byte, and the one behind it, are each read and counted once."""
    request = KINDS[name]("r")
    places = [place for place in range(1, len(request)) if place < 400 or place > len(request) - 20]
    connections = [Client(quiet.port) for _ in places]
    for connection, place in zip(connections, places, strict=True):
        connection.send([request[:place]])
    with client(quiet) as ask:
        assert ask.get("/health").status_code == 200  # the server has had the first segments
    for connection, place in zip(connections, places, strict=True):
        connection.send([request[place:] + LAST])
    for connection, place in zip(connections, places, strict=True):
        answers = list(map(anonymous, connection.answers()))
        assert [answer.request_id for answer in answers] == [b"" if name in RECOGNISED else b"r", b"last"], place
        assert answers[0] == alone[name], place


@pytest.mark.parametrize("name", sorted(GARBAGE))
def test_good_requests_in_front_of_garbage_are_answered(quiet: Server, alone: dict[str, Answer], name: str) -> None:
    """Requests in one segment with malformed bytes are answered; then come a 400 and the end of the connection."""
    answers = exchange(quiet.port, [post("g0") + get("g1") + post("g2") + GARBAGE[name]])
    assert [answer.status for answer in answers] == [200, 200, 200, 400]
    assert answers[2] == as_if_alone(alone["a row"], b"g", 2)
    assert answers[-1].closes


@pytest.mark.parametrize("before", [b"P", b"POST /predict HTTP/1.1\r\n", b"\x00", b"POST /predict HTTP/1.1\r\nX: "])
@pytest.mark.usefixtures("alone")
def test_a_head_is_not_recognised_behind_the_beginning_of_another(quiet: Server, before: bytes) -> None:
    """The bytes of a head that is known belong to the request that has begun, whatever that makes of it."""
    known = RECOGNISED["a recognised row"]("r")
    together = Client(quiet.port)
    together.send([before + known])
    together.socket.shutdown(socket.SHUT_WR)
    expected = list(map(anonymous, together.answers()))
    apart = Client(quiet.port)
    apart.send([before])
    with client(quiet) as ask:
        assert ask.get("/health").status_code == 200  # the server has had the first segment
    apart.send([known])
    apart.socket.shutdown(socket.SHUT_WR)
    assert list(map(anonymous, apart.answers())) == expected


def test_connect_is_refused(quiet: Server) -> None:
    """CONNECT is refused, and the bytes behind it are not read as a request."""
    answers = exchange(quiet.port, [b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n" + get("hidden")])
    assert [answer.status for answer in answers] == [405]


def test_100_continue_follows_earlier_answers(quiet: Server) -> None:
    """``100 Continue`` is sent only after the answers to the requests before it."""
    connection = Client(quiet.port)
    head, _, body = post("second", headers=b"Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    connection.send([post("first") + head + b"\r\n\r\n"])
    received = b""
    while not received.endswith(b"HTTP/1.1 100 Continue\r\n\r\n"):
        part = connection.socket.recv(65_536)
        assert part
        received += part
    assert received.startswith(b"HTTP/1.1 200")
    connection.send([body + LAST])
    assert [answer.request_id for answer in connection.answers()] == [b"second", b"last"]


@pytest.mark.parametrize(
    "request_of",
    [post, lambda name: get(name, b"/api/v1/model/info"), lambda name: post(name, target=b"/pr%65dict")],
    ids=["a row", "a page", "another spelling"],
)
def test_a_client_that_sends_no_more_gets_its_answer(quiet: Server, request_of: Callable[[str], bytes]) -> None:
    """A client that closes its half of the connection behind its requests is answered, and the connection ends."""
    connection = Client(quiet.port)
    connection.send([post("before") + request_of("r")])
    connection.socket.shutdown(socket.SHUT_WR)
    assert [answer.status for answer in connection.answers()] == [200, 200]


@pytest.mark.parametrize("target", [b"/predict", b"/pr%65dict"], ids=["straight", "handed over"])
def test_trailers_are_not_headers(quiet: Server, target: bytes) -> None:
    """Trailers behind a body in chunks change nothing, and are not kept, however many there are."""
    before = quiet.resident_bytes
    chunked = post("r", target=target, chunks=7)
    assert chunked.endswith(b"0\r\n\r\n")
    trailers = b"content-type: text/plain\r\nx-request-id: other\r\n" + b"x: y\r\n" * 1_000_000
    answers = exchange(quiet.port, [chunked[:-2] + trailers + b"\r\n" + LAST])
    assert [(answer.status, answer.request_id) for answer in answers] == [(200, b"r"), (200, b"last")]
    assert quiet.resident_bytes - before < 50_000_000


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"Transfer-Encoding: gzip, chunked\r\n", 501),
        (b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Content-Length: " + b"0" * 6_000 + b"2\r\n", 413),
    ],
    ids=["another coding", "two codings", "a length of many digits"],
)
@pytest.mark.parametrize("target", [b"/predict", b"/nothing"], ids=["a predict route", "an unknown path"])
def test_framing_that_is_not_read_is_refused(quiet: Server, target: bytes, lines: bytes, status: int) -> None:
    """Transfer codings other than chunked, and lengths of thousands of digits, are refused, and the connection ends."""
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%b\r\n" % (target, lines)
    answers = exchange(quiet.port, [head + b"2\r\n{}\r\n0\r\n\r\n"])
    assert [answer.status for answer in answers] == [status]
    assert answers[0].closes

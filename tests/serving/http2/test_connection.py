"""Tests of HTTP/2 as gRPC's port speaks it: frames in any pieces, in any order, and against any rule."""

from __future__ import annotations

import hashlib
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from orris.api import Bundle
from orris.serving.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    ErrorCode,
    frame,
    window_update,
)
from orris.serving.http2.frames import settings as settings_frame
from tests.certificates import self_signed
from tests.holders import children_of, held_by_each
from tests.http2_peer import INFER, ROW, START, WATCH, Peer, message
from tests.servers import Server, client, serving
from tests.waiting import eventually

CALM = int(ErrorCode.ENHANCE_YOUR_CALM)
KEY = "orris_of_a_test"
BROKEN = message()[:5] + b"\xff" * 40


@pytest.fixture(scope="module")
def server(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server of iris over HTTP and gRPC."""
    folder = tmp_path_factory.mktemp("http2")
    limits = {"ORRIS_MAX_BODY_BYTES": "3000000", "ORRIS_MAX_HEADER_BYTES": "16384"}
    with serving(str(iris.folder), "--grpc-port", "0", folder=folder, environ=limits) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that wants a key."""
    folder = tmp_path_factory.mktemp("guarded")
    keys = folder / "keys.toml"
    keys.write_text(f'test = {{ sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}" }}\n')
    token = {"ORRIS_ADMIN_TOKEN_SHA256": hashlib.sha256(b"an administrator").hexdigest()}
    arguments = ("--grpc-port", "0", "--api-keys", str(keys))
    with serving(str(iris.folder), *arguments, folder=folder, environ=token) as running:
        yield running


@pytest.fixture
def port(server: Server) -> int:
    """Return the port for gRPC."""
    return server.grpc_port


def labels(data: bytes) -> list[bytes]:
    """The first output of the responses on a stream, raw."""
    found = []
    while data:
        stop = 5 + int.from_bytes(data[1:5], "big")
        found.append(pb.ModelInferResponse.FromString(data[5:stop]).raw_output_contents[0][4:])
        data = data[stop:]
    return found


# frames in pieces


def test_a_call_split_at_each_byte_gets_the_same_answer(port: int) -> None:
    """A connection's bytes cut in two at any place give the answer that they give in one piece."""
    with Peer(port, b"") as peer:
        whole = START + peer.call(1, x_request_id="split")
        peer.send(whole)
        expected = peer.answer(1)
    assert labels(expected.data) == [b"setosa"]
    for at in range(1, len(whole)):
        with Peer(port, whole[:at]) as peer:
            peer.send(whole[at:])
            assert peer.answer(1) == expected, f"cut at byte {at}"


def test_a_call_in_single_bytes_gets_its_answer(port: int) -> None:
    """A connection's bytes that arrive one by one are a call."""
    with Peer(port, b"") as peer:
        for byte in START + peer.call(1):
            peer.send(bytes((byte,)))
        assert labels(peer.answer(1).data) == [b"setosa"]


KINDS = ("raw", "other", "named", "model", "broken", "twice", "long", "method", "compressed", "none")


def _frames(peer: Peer, stream: int, kind: str, padding: int, pieces: int) -> list[bytes]:
    """The frames of a call of a kind, its message in pieces."""
    content = {
        "raw": message(),
        "other": message((6.3, 3.3, 6.0, 2.5)),
        "named": message(id="mine"),
        "model": message(model="none"),
        "broken": BROKEN,
        "twice": message() * 2,
        "long": b"\0\xff\xff\xff\xff",
        "method": message(),
        "compressed": b"\1" + message()[1:],
        "none": b"",
    }[kind]
    path = "/inference.GRPCInferenceService/None" if kind == "method" else INFER
    frames = [frame(HEADERS, END_HEADERS, stream, peer.head(path, x_request_id=f"{kind}"))]
    size = max(1, len(content) // pieces)
    parts = [content[i : i + size] for i in range(0, len(content), size)]
    for part in parts:
        if padding:
            frames.append(frame(DATA, PADDED, stream, bytes((padding,)) + part + bytes(padding)))
        else:
            frames.append(frame(DATA, 0, stream, part))
    return [*frames, frame(DATA, END_STREAM, stream)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(
        st.tuples(st.sampled_from(KINDS), st.sampled_from([0, 1, 200]), st.integers(1, 4)), min_size=1, max_size=8
    ),
    order=st.randoms(use_true_random=False),
    cuts=st.lists(st.integers(1, 400), max_size=12),
)
def test_calls_interleaved_and_cut_anywhere_are_answered_as_each_alone(
    port: int, calls: list[tuple[str, int, int]], order: object, cuts: list[int]
) -> None:
    """Frames of several calls in any order of streams, cut anywhere, give each call the answer that it has alone."""
    alone = {}
    for kind in {kind for kind, _, _ in calls}:
        with Peer(port) as peer:
            peer.send(b"".join(_frames(peer, 1, kind, 0, 1)))
            alone[kind] = peer.answer(1)
    with Peer(port) as peer:
        queues = {2 * i + 1: _frames(peer, 2 * i + 1, *call) for i, call in enumerate(calls)}
        sent = b"".join(frames.pop(0) for frames in queues.values())  # streams open in the order of their numbers
        while waiting := [stream for stream, frames in queues.items() if frames]:
            sent += queues[order.choice(waiting)].pop(0)  # type: ignore[attr-defined]
        for cut in cuts:
            peer.send(sent[:cut])
            sent = sent[cut:]
        peer.send(sent)
        answers = peer.answers(*queues)
    for stream, (kind, _, _) in zip(answers, calls, strict=True):
        assert answers[stream] == alone[kind], kind


# the rules of HTTP/2


FAULTS: dict[str, Callable[[Peer], bytes]] = {
    "no preface": lambda _: b"",
    "a frame that is too long": lambda _: b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    "data on no stream": lambda _: frame(DATA, 0, 0, b"x"),
    "data on an idle stream": lambda _: frame(DATA, 0, 7, b"x"),
    "an even stream": lambda peer: frame(HEADERS, END_HEADERS, 2, peer.head()),
    "a block on no stream": lambda peer: frame(HEADERS, END_HEADERS, 0, peer.head()),
    "padding that is too long": lambda peer: frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + peer.head()),
    "a stream that depends on itself": lambda peer: frame(
        HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"\0\0\0\1\0" + peer.head()
    ),
    "a block that is no HPACK": lambda _: frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
    "a block with an index of nothing": lambda _: frame(HEADERS, END_HEADERS, 1, b"\xfe"),
    "a block that is interrupted": lambda peer: frame(HEADERS, 0, 1, peer.head()) + frame(PING, 0, 0, bytes(8)),
    "a continuation of nothing": lambda peer: frame(CONTINUATION, END_HEADERS, 1, peer.head()),
    "a promise": lambda peer: frame(5, END_HEADERS, 1, b"\0\0\0\2" + peer.head()),
    "a reset of no stream": lambda _: frame(RST_STREAM, 0, 0, bytes(4)),
    "a reset of an idle stream": lambda _: frame(RST_STREAM, 0, 5, bytes(4)),
    "a reset of another length": lambda _: frame(RST_STREAM, 0, 1, bytes(5)),
    "settings on a stream": lambda _: frame(SETTINGS, 0, 1, b""),
    "settings of another length": lambda _: frame(SETTINGS, 0, 0, bytes(5)),
    "an acknowledgement that says more": lambda _: frame(SETTINGS, ACK, 0, bytes(6)),
    "a push that is neither 0 nor 1": lambda _: settings_frame({2: 2}),
    "a window that is too wide": lambda _: settings_frame({INITIAL_WINDOW_SIZE: 2**31}),
    "a frame size that is too small": lambda _: settings_frame({5: 100}),
    "a ping on a stream": lambda _: frame(PING, 0, 1, bytes(8)),
    "a ping of another length": lambda _: frame(PING, 0, 0, bytes(7)),
    "a farewell on a stream": lambda _: frame(GOAWAY, 0, 1, bytes(8)),
    "a farewell that is short": lambda _: frame(GOAWAY, 0, 0, bytes(7)),
    "a window widened by nothing": lambda _: window_update(0, 0),
    "a window widened too far": lambda _: window_update(0, 2**31 - 1),
    "a window of an idle stream": lambda _: window_update(9, 1),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_connection_that_breaks_a_rule_is_ended(port: int, fault: str) -> None:
    """A connection that breaks a rule of RFC 9113 gets GOAWAY with an error, and is closed."""
    with Peer(port, b"no preface at all\r\n\r\n" if fault == "no preface" else START) as peer:
        peer.send(FAULTS[fault](peer))
        assert peer.end() > 0


STREAM_FAULTS: dict[str, tuple[tuple[str, str], ...]] = {
    "no path": ((":method", "POST"), (":scheme", "http")),
    "no method": ((":scheme", "http"), (":path", INFER)),
    "a pseudo-header that is unknown": ((":method", "POST"), (":scheme", "http"), (":path", "/"), (":x", "y")),
    "a pseudo-header twice": ((":method", "POST"), (":method", "POST"), (":scheme", "http"), (":path", "/")),
    "a pseudo-header behind others": ((":method", "POST"), (":scheme", "http"), ("a", "b"), (":path", "/")),
    "a name in upper case": ((":method", "POST"), (":scheme", "http"), (":path", "/"), ("Accept", "x")),
    "a header of connections": ((":method", "POST"), (":scheme", "http"), (":path", "/"), ("connection", "close")),
    "te that is no trailers": ((":method", "POST"), (":scheme", "http"), (":path", "/"), ("te", "gzip")),
    "a line end in a value": ((":method", "POST"), (":scheme", "http"), (":path", "/"), ("a", "b\r\nc: d")),
    "a length that is no number": ((":method", "POST"), (":scheme", "http"), (":path", "/"), ("content-length", "x")),
}


@pytest.mark.parametrize("fault", STREAM_FAULTS)
def test_a_request_that_is_malformed_is_reset_alone(port: int, fault: str) -> None:
    """A malformed request is reset, and the next call of its connection is answered."""
    with Peer(port) as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.encoder.encode(STREAM_FAULTS[fault])) + peer.call(3))
        answers = peer.answers(1, 3)
    assert answers[1].reset == ErrorCode.PROTOCOL_ERROR
    assert labels(answers[3].data) == [b"setosa"]


def test_a_body_of_another_length_than_announced_is_reset(port: int) -> None:
    """Data that are longer or shorter than ``content-length`` reset the stream."""
    with Peer(port) as peer:
        peer.send(peer.call(1, content_length="7") + peer.call(3, content_length="7000"))
        answers = peer.answers(1, 3)
    assert {answer.reset for answer in answers.values()} == {ErrorCode.PROTOCOL_ERROR}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=60), at=st.integers(0, 300), cut=st.integers(0, 60), start=st.booleans())
def test_no_bytes_fail_the_server(server: Server, port: int, noise: bytes, at: int, cut: int, start: bool) -> None:
    """Random bytes, and a connection with some of its bytes exchanged, are answered or ended; the next is answered."""
    with Peer(port, b"") as peer:
        true = START + peer.call(1) + peer.call(3)
        at = len(PREFACE) + at if start else at
        peer.send(true[:at] + noise + true[at + cut :])
        peer.socket.shutdown(socket.SHUT_WR)
        peer.end()
    with Peer(port) as peer:
        peer.send(peer.call(1))
        assert labels(peer.answer(1).data) == [b"setosa"]
    assert server.process.poll() is None


def test_a_client_that_speaks_no_http2_is_told_so(port: int) -> None:
    """HTTP/1.1 gets a sentence, and so does a request of HTTP/2 that is no call."""
    with socket.create_connection(("127.0.0.1", port), 60) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"This port speaks gRPC" in plain.makefile("rb").read()
    with Peer(port) as peer:
        fields = [(":method", "GET"), (":scheme", "http"), (":path", "/")]
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, peer.encoder.encode(fields)))
        fields[0] = (":method", "POST")
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, peer.encoder.encode(fields)))
        answers = peer.answers(1, 3)
    assert [answer.fields[":status"] for answer in answers.values()] == ["405", "415"]
    assert b"a call is a POST" in answers[1].data


# windows


def test_an_answer_waits_for_the_client_s_windows(port: int) -> None:
    """With a window of nothing the answer's data wait, and come in as many pieces as the client grants."""
    with Peer(port, PREFACE + settings_frame({INITIAL_WINDOW_SIZE: 0})) as peer:
        peer.send(peer.call(1, x_request_id="w"))
        assert peer.outcome() == "open"
        peer.send(b"".join(window_update(1, 10) for _ in range(6)) + settings_frame({INITIAL_WINDOW_SIZE: 50_000}))
        answer = peer.answer(1)
    assert labels(answer.data) == [b"setosa"]


def test_a_message_longer_than_the_window_is_granted_what_it_needs(port: int) -> None:
    """A message of two megabytes arrives, though a stream may send one megabyte at first."""
    asked = pb.ModelInferRequest(model_name="iris", id="x" * 2_000_000)
    asked.inputs.add(name="rows", datatype="FP64", shape=[1, 4]).contents.fp64_contents.extend(ROW)
    content = asked.SerializeToString()
    data = b"\0" + len(content).to_bytes(4, "big") + content
    with Peer(port) as peer:
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.head()))
        sent, window = 0, 65_535  # of the connection at first, and less than that of the stream
        granted = {0: 65_535, 1: 65_535}
        while sent < len(data):
            window = min(granted.values())
            part = data[sent : sent + min(16_384, window)]
            if part:
                peer.send(frame(DATA, 0, 1, part))
                sent += len(part)
                granted = {stream: left - len(part) for stream, left in granted.items()}
                continue
            found = peer.frame()
            assert found is not None
            if found.kind == WINDOW_UPDATE:
                granted[found.stream] += int.from_bytes(found.payload, "big")
            elif found.kind == SETTINGS and not found.flags & ACK:
                granted[1] += 1_048_576 - 65_535
        peer.send(frame(DATA, END_STREAM, 1) + settings_frame({INITIAL_WINDOW_SIZE: 2**30}) + window_update(0, 2**30))
        answer = peer.answer(1)
    assert pb.ModelInferResponse.FromString(answer.data[5:]).id == asked.id


def test_more_data_than_the_window_ends_the_stream(port: int) -> None:
    """A client that sends beyond its stream's window is reset."""
    with Peer(port) as peer:
        block = peer.encoder.encode([(":method", "POST"), (":scheme", "http"), (":path", "/")])
        peer.send(frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, 0, 1, bytes(16_384)) * 65)
        assert peer.answer(1).reset == ErrorCode.FLOW_CONTROL_ERROR


def test_a_stream_of_many_empty_messages_holds_nobody_up(port: int) -> None:
    """Messages without content are refused one by one, in turn with other calls."""
    with Peer(port) as peer, Peer(port) as other:
        path = "/inference.GRPCInferenceService/ModelStreamInfer"
        peer.send(frame(HEADERS, END_HEADERS, 1, peer.head(path)) + frame(DATA, 0, 1, bytes(16_380)) * 3)
        for stream in range(1, 20, 2):
            other.send(other.call(stream))
            assert labels(other.answer(stream).data) == [b"setosa"]
        assert peer.outcome() == "open"


# floods


FLOODS: dict[str, Callable[[Peer], bytes]] = {
    "pings": lambda _: frame(PING, 0, 0, bytes(8)) * 3_000,
    "settings": lambda _: settings_frame({}) * 3_000,
    "priorities": lambda _: frame(PRIORITY, 0, 1, b"\0\0\0\3\0") * 3_000,
    "windows": lambda _: window_update(0, 1) * 3_000,
    "frames of an unknown type": lambda _: frame(99, 0, 0, b"") * 3_000,
    "data of nothing": lambda peer: frame(HEADERS, END_HEADERS, 1, peer.head()) + frame(DATA, 0, 1, b"") * 3_000,
    "requests taken back": lambda peer: b"".join(
        frame(HEADERS, END_HEADERS, stream, peer.head()) + frame(RST_STREAM, 0, stream, bytes(4))
        for stream in range(1, 4_000, 2)
    ),
    "continuations of nothing": lambda peer: frame(HEADERS, 0, 1, peer.head()) + frame(CONTINUATION, 0, 1, b"") * 3_000,
    "continuations": lambda peer: (
        frame(HEADERS, 0, 1, peer.head()) + frame(CONTINUATION, 0, 1, b"\0\1a\1b" * 3_000) * 10
    ),
    "a bomb of HPACK": lambda peer: frame(
        HEADERS, END_HEADERS, 1, peer.encoder.encode([("a", "b" * 3_900)], huffman=False) + b"\xbe" * 8_000
    ),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_ends_its_connection_alone(port: int, flood: str) -> None:
    """A client that sends frames without end is told to be calm, while another one is answered."""
    with Peer(port) as peer, Peer(port) as other:
        peer.send(FLOODS[flood](peer))
        code = peer.end()
        other.send(other.call(1))
        assert labels(other.answer(1).data) == [b"setosa"]
    assert code == CALM or peer.closed


def test_streams_beyond_the_limit_are_refused_unread(port: int) -> None:
    """Of more streams at once than are allowed, those beyond get REFUSED_STREAM, after which a client may try again."""
    with Peer(port) as peer:
        streams = range(1, 2 * 300, 2)
        peer.send(b"".join(frame(HEADERS, END_HEADERS, stream, peer.head()) for stream in streams))
        refused = peer.answers(*streams[256:])
        peer.send(b"".join(frame(DATA, END_STREAM, stream, message()) for stream in streams[:256]))
        answered = peer.answers(*streams[:256])
    assert {answer.reset for answer in refused.values()} == {ErrorCode.REFUSED_STREAM}
    assert {answer.fields["grpc-status"] for answer in answered.values()} == {"0"}


def test_metadata_beyond_the_limit_are_refused(port: int) -> None:
    """Metadata longer than ``ORRIS_MAX_HEADER_BYTES`` are RESOURCE_EXHAUSTED, and the connection stays."""
    with Peer(port) as peer:
        block = peer.head(**{f"field_{i}": "x" * 1_000 for i in range(20)})
        peer.send(
            frame(HEADERS, 0, 1, block[:16_000])
            + frame(CONTINUATION, END_HEADERS, 1, block[16_000:])
            + frame(DATA, END_STREAM, 1, message())
            + peer.call(3)
        )
        answers = peer.answers(1, 3)
    assert (answers[1].fields["grpc-status"], answers[3].fields["grpc-status"]) == ("8", "0")


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer", "ModelMetadata", "RepositoryModelLoad"])
def test_a_caller_without_a_credential_is_refused_at_the_headers(guarded: Server, method: str) -> None:
    """A call that needs a key is UNAUTHENTICATED before its message, in half a message as well, and others go on."""
    with Peer(guarded.grpc_port) as peer:
        path = f"/inference.GRPCInferenceService/{method}"
        for stream, key in ((1, {}), (3, {"x_api_key": "wrong"})):
            peer.send(frame(HEADERS, END_HEADERS, stream, peer.head(path, **key)))
            assert peer.answer(stream).fields["grpc-status"] == str(grpc.StatusCode.UNAUTHENTICATED.value[0])
        half = frame(HEADERS, END_HEADERS, 5, peer.head(path)) + frame(DATA, 0, 5, message()[:20])
        peer.send(half + peer.call(7, x_api_key=KEY))
        answers = peer.answers(5, 7)
    assert answers[5].fields["grpc-status"] == str(grpc.StatusCode.UNAUTHENTICATED.value[0])
    assert answers[7].fields["grpc-status"] == "0"


# time


@pytest.fixture(scope="module")
def hasty(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with short times."""
    folder = tmp_path_factory.mktemp("hasty")
    times = {"ORRIS_REQUEST_SECONDS": "1", "ORRIS_KEEP_ALIVE_SECONDS": "1"}
    with serving(str(iris.folder), "--grpc-port", "0", folder=folder, environ=times) as running:
        yield running


def test_what_is_half_sent_does_not_stay(hasty: Server) -> None:
    """A connection without a preface, a frame, a header block and a call that are not whole are ended in time."""
    port = hasty.grpc_port
    with (
        Peer(port, PREFACE[:10]) as half,
        Peer(port, START + frame(PING, 0, 0, bytes(8))[:12]) as cut,
        Peer(port) as begun,
        Peer(port) as waiting,
    ):
        begun.send(frame(HEADERS, 0, 1, begun.head()))
        waiting.send(frame(HEADERS, END_HEADERS, 1, waiting.head()) + frame(DATA, 0, 1, message()[:20]))
        assert waiting.answer(1).fields["grpc-status"] == "4"
        assert [peer.end() for peer in (half, cut, begun)] == [CALM] * 3


def test_an_idle_connection_is_closed_after_it_was_told(hasty: Server) -> None:
    """A connection without calls for ``ORRIS_KEEP_ALIVE_SECONDS`` gets GOAWAY without an error, and is closed."""
    with Peer(hasty.grpc_port) as peer:
        peer.send(peer.call(1))
        assert peer.answer(1).fields["grpc-status"] == "0"
        assert peer.end() == ErrorCode.NO_ERROR


def test_a_client_that_has_gone_leaves_no_watch(hasty: Server) -> None:
    """A client that ends its side gets its answers; a watch, which has no last one, ends in ORRIS_REQUEST_SECONDS."""
    with Peer(hasty.grpc_port) as calling, Peer(hasty.grpc_port) as watching:
        calling.send(calling.call(1))
        watching.send(watching.call(1, bytes(5), WATCH))
        while (found := watching.frame()) is not None and found.kind != DATA:
            pass
        for peer in (calling, watching):
            peer.socket.shutdown(socket.SHUT_WR)
        assert calling.answer(1).fields["grpc-status"] == "0"
        while watching.frame() is not None:
            pass
        assert watching.closed


def test_the_caller_s_deadline_ends_a_call(port: int) -> None:
    """A stream that is still open at its ``grpc-timeout`` ends with DEADLINE_EXCEEDED."""
    with Peer(port) as peer:
        peer.send(peer.call(1, bytes(5), WATCH, grpc_timeout="50m"))
        answer = peer.answer(1)
    assert (answer.data[:5], answer.fields["grpc-status"]) == (b"\0\0\0\0\2", "4")


# calls


def test_a_call_that_is_taken_back_leaves_the_others_alone(port: int) -> None:
    """A call that is reset behind its message is forgotten; those before and behind it are answered."""
    with Peer(port) as peer:
        peer.send(peer.call(1) + peer.call(3) + frame(RST_STREAM, 0, 3, bytes(4)) + peer.call(5))
        answers = peer.answers(1, 5)
    assert [labels(answer.data) for answer in answers.values()] == [[b"setosa"]] * 2


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"grpc_timeout": "1x"}, "3"), ({"grpc_encoding": "br"}, "12"), ({"a_bin": "%"}, "3"), ({"a_bin": "YQ"}, "0")],
)
def test_fields_of_the_protocol_are_checked(port: int, fields: dict[str, str], status: str) -> None:
    """A time, a compression or binary metadata that are none are refused; the padding of base64 may be left out."""
    with Peer(port) as peer:
        peer.send(peer.call(1, message(), INFER, **fields))
        assert peer.answer(1).fields["grpc-status"] == status


def test_a_stopping_server_takes_what_is_on_its_way(iris: Bundle, tmp_path: Path) -> None:
    """After SIGTERM the client is told of the end; a call that it sends before it has seen that is answered."""
    with serving(str(iris.folder), "--grpc-port", "0", folder=tmp_path) as running:
        with Peer(running.grpc_port) as peer:
            peer.send(peer.call(1))
            assert peer.answer(1).fields["grpc-status"] == "0"
            running.process.send_signal(signal.SIGTERM)
            while (told := peer.frame()) is not None and told.kind != GOAWAY:
                pass
            assert told is not None
            assert told.payload[:8] == (2**31 - 1).to_bytes(4, "big") + bytes(4)
            peer.send(peer.call(3))
            assert peer.answer(3).fields["grpc-status"] == "0"
            peer.send(frame(PING, ACK, 0, b"orris-go") + peer.call(5))
            assert peer.end() == ErrorCode.NO_ERROR
        assert running.process.wait(60) == 0


def test_tls_needs_http2_by_alpn(iris: Bundle, tmp_path: Path) -> None:
    """With TLS a client that does not ask for HTTP/2 is let go; one that does is answered."""
    chain, key = self_signed(tmp_path)
    arguments = ("--grpc-port", "0", "--tls-cert", str(chain), "--tls-key", str(key))
    with serving(str(iris.folder), *arguments, folder=tmp_path) as running:
        for protocols, expected in (([], b""), (["h2"], b"\0\0\x12\4\0")):
            context = ssl.create_default_context(cafile=str(chain))
            if protocols:
                context.set_alpn_protocols(protocols)
            with (
                socket.create_connection(("127.0.0.1", running.grpc_port), 60) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as secured,
            ):
                try:
                    secured.sendall(START)
                    answer = secured.recv(5)
                except OSError:
                    answer = b""
                assert answer == expected


def test_several_workers_share_few_connections(iris: Bundle, tmp_path: Path) -> None:
    """Of 40 connections over gRPC that are opened at once, the busiest of two workers has at most 30."""
    with serving(str(iris.folder), "--grpc-port", "0", "--workers", "2", folder=tmp_path) as running:
        with client(running) as asking:
            eventually(lambda: "orris_workers_ready 2" in asking.get("/metrics").text)
        workers, peers = children_of(running.process.pid), [Peer(running.grpc_port) for _ in range(40)]
        for peer in peers:
            peer.send(peer.call(1))
            assert peer.answer(1).fields["grpc-status"] == "0"
        held = held_by_each(workers, [peer.socket for peer in peers])
        for peer in peers:
            peer.socket.close()
        assert max(held) <= 30

"""A client of HTTP/2 that says exactly the bytes that a test wants, and reads frames."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from hpack import Decoder, Encoder
from tritonclient.grpc import service_pb2 as pb

from orris.serving.http2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
    settings,
)

INFER = "/inference.GRPCInferenceService/ModelInfer"
WATCH = "/grpc.health.v1.Health/Watch"
ROW = (5.1, 3.5, 1.4, 0.2)
START = PREFACE + settings({})


class Frame(NamedTuple):
    """A frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class Answer(NamedTuple):
    """What came on a stream: fields of header blocks, data, and the code of a reset; -1: it was not reset."""

    fields: dict[str, str]
    data: bytes
    reset: int


def message(row: Sequence[float] = ROW, model: str = "iris", **more: str) -> bytes:
    """A ``ModelInferRequest`` of one row, raw, with its prefix."""
    asked = pb.ModelInferRequest(model_name=model, **more)
    asked.inputs.add(name="rows", datatype="FP64", shape=[1, len(row)])
    asked.raw_input_contents.append(struct.pack(f"<{len(row)}d", *row))
    content: bytes = asked.SerializeToString()
    return b"\0" + len(content).to_bytes(4, "big") + content


class Peer:
    """A connection."""

    def __init__(self, port: int, start: bytes = START) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder = Encoder()
        self._decoder = Decoder()
        self._came = b""
        self.closed = False
        self.send(start)

    def __enter__(self) -> Peer:
        """Return the connection."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes; a connection that the server has closed is noted."""
        try:
            self.socket.sendall(data)
        except OSError:
            self.closed = True

    def head(self, path: str = INFER, **more: str) -> bytes:
        """The header block of a call."""
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "test"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        fields += [(name.replace("_", "-"), value) for name, value in more.items()]
        block: bytes = self.encoder.encode(fields)
        return block

    def call(self, stream: int, content: bytes = message(), path: str = INFER, **more: str) -> bytes:
        """The frames of a call with one message."""
        head = frame(HEADERS, END_HEADERS, stream, self.head(path, **more))
        return head + frame(DATA, END_STREAM, stream, content)

    def frame(self) -> Frame | None:
        """The next frame; ``None``: the connection is closed."""
        while len(self._came) < 9 or len(self._came) < 9 + int.from_bytes(self._came[:3], "big"):
            try:
                more = self.socket.recv(65_536)
            except ConnectionError:
                more = b""
            if not more:
                self.closed = True
                return None
            self._came += more
        stop = 9 + int.from_bytes(self._came[:3], "big")
        found = Frame(self._came[3], self._came[4], int.from_bytes(self._came[5:9], "big"), self._came[9:stop])
        self._came = self._came[stop:]
        return found

    def answers(self, *streams: int) -> dict[int, Answer]:
        """What comes on streams until each has ended."""
        waiting = set(streams)
        fields: dict[int, dict[str, str]] = {stream: {} for stream in streams}
        data = dict.fromkeys(streams, b"")
        resets = dict.fromkeys(streams, -1)
        while waiting:
            found = self.frame()
            assert found is not None, f"closed before the end of {waiting}"
            assert found.kind != GOAWAY or not int.from_bytes(found.payload[4:8], "big"), found.payload
            if found.kind == HEADERS:
                decoded = self._decoder.decode(found.payload)
                fields.setdefault(found.stream, {}).update((str(name), str(value)) for name, value in decoded)
            elif found.kind == DATA:
                data[found.stream] += found.payload
            elif found.kind == RST_STREAM and found.stream in waiting:  # not one behind a whole answer
                resets[found.stream] = int.from_bytes(found.payload, "big")
                waiting.discard(found.stream)
            if found.kind in {HEADERS, DATA} and found.flags & END_STREAM:
                waiting.discard(found.stream)
        return {stream: Answer(fields[stream], data[stream], resets[stream]) for stream in streams}

    def answer(self, stream: int) -> Answer:
        """What comes on a stream until it has ended."""
        return self.answers(stream)[stream]

    def end(self) -> int:
        """Read to the end of the connection; the code of its GOAWAY, -1 if there was none."""
        code = -1
        while (found := self.frame()) is not None:
            if found.kind == GOAWAY:
                code = int.from_bytes(found.payload[4:8], "big")
        return code

    def outcome(self) -> str:
        """Send a PING, and tell whether it comes back (``open``), or the connection ends (``ended``)."""
        self.send(frame(PING, 0, 0, b"whatever"))
        while (found := self.frame()) is not None:
            if found.kind == PING and found.flags & ACK and found.payload == b"whatever":
                return "open"
        return "ended"

    def settled(self) -> None:
        """Wait for the acknowledgement of the first SETTINGS."""
        while True:
            found = self.frame()
            assert found is not None
            if found.kind == SETTINGS and found.flags & ACK:
                return

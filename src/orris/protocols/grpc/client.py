"""One call over gRPC, without TLS, for ``orris ping``: a client that fits on a page."""

from __future__ import annotations

import socket
import time

from hpack import Decoder

from orris.protocols.grpc.messages import PREFIX_BYTES, framed
from orris.protocols.grpc.metadata import CODES
from orris.serving.http2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_HEAD,
    GOAWAY,
    HEAD_BYTES,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
    settings,
)
from orris.serving.http2.heads import encoded

RETRY_SECONDS = 0.05
"""Time between two tries to connect."""


class CallFailedError(Exception):
    """A call has ended with another status than OK; the text is its name."""


def ask(host: str, port: int, path: str, message: bytes, timeout_seconds: float) -> bytes:
    """The answer to one message; a server that is not there yet is waited for.

    Args:
        host: Where the server is.
        port: Its port for gRPC.
        path: ``/SERVICE/METHOD``.
        message: The message.
        timeout_seconds: Longest time for all of it.

    Raises:
        CallFailedError: The call ends with another status than OK.
    """
    end = time.monotonic() + timeout_seconds
    with _connected(host, port, end) as connection:
        head = encoded(
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", f"{host}:{port}".encode()),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
            (b"user-agent", b"orris-ping"),
        )
        request = frame(HEADERS, END_HEADERS, 1, head) + frame(DATA, END_STREAM, 1, framed(message))
        try:
            connection.sendall(PREFACE + settings({}) + request)
            return _answer(connection, end)
        except TimeoutError:
            raise CallFailedError("DEADLINE_EXCEEDED") from None
        except OSError:
            raise CallFailedError("UNAVAILABLE") from None


def _connected(host: str, port: int, end: float) -> socket.socket:
    while True:
        try:
            return socket.create_connection((host, port), max(end - time.monotonic(), 0.001))
        except OSError:
            if time.monotonic() + RETRY_SECONDS > end:
                raise CallFailedError("DEADLINE_EXCEEDED") from None
            time.sleep(RETRY_SECONDS)


def _answer(connection: socket.socket, end: float) -> bytes:
    """Read frames until the end of the only stream."""
    decoder, data, came = Decoder(), b"", b""
    fields: dict[bytes, bytes] = {}
    while True:
        while len(came) < HEAD_BYTES or len(came) < HEAD_BYTES + int.from_bytes(came[:3], "big"):
            connection.settimeout(max(end - time.monotonic(), 0.001))
            more = connection.recv(65_536)
            if not more:
                raise CallFailedError("UNAVAILABLE")
            came += more
        high, low, kind, flags, _ = FRAME_HEAD.unpack_from(came)
        stop = HEAD_BYTES + (high << 8 | low)
        payload, came = came[HEAD_BYTES:stop], came[stop:]
        if kind == HEADERS:
            fields |= {bytes(name): bytes(value) for name, value in decoder.decode(payload, raw=True)}
        elif kind == DATA:
            data += payload
        elif kind in {GOAWAY, RST_STREAM}:
            raise CallFailedError("UNAVAILABLE")
        elif kind == SETTINGS and not flags & ACK:
            connection.sendall(frame(SETTINGS, ACK, 0))
        if kind in {HEADERS, DATA} and flags & END_STREAM:
            code = fields.get(b"grpc-status", b"2")
            if code != b"0":
                number = int(code) if code.isdigit() else 2
                raise CallFailedError(CODES[number] if number < len(CODES) else "UNKNOWN")
            return data[PREFIX_BYTES:]

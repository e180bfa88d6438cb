"""Requests as bytes, and a client that sends them in chosen segments and reads answers one by one."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Sequence
from typing import NamedTuple

from tests.waiting import PATIENCE_SECONDS

BODY = b'{"sepal_length":5.1,"sepal_width":3.5,"petal_length":1.4,"petal_width":0.2}'


class Answer(NamedTuple):
    """The part of an answer that is the same each time."""

    status: int
    content_type: bytes
    request_id: bytes
    body: bytes
    closes: bool


def post(name: str, body: bytes = BODY, target: bytes = b"/predict", headers: bytes = b"", *, chunks: int = 0) -> bytes:
    """Return a POST whose id is ``name``.

     / Args: /     name: The id. /     body: The body. /     target: The target. /     headers: Further header
    lines. /     chunks: Length of the chunks that the body is sent in; 0: with its length.
    """
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Request-Id: %b\r\n%b" % (
        target,
        name.encode(),
        headers,
    )
    if not chunks:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    parts = [body[i : i + chunks] for i in range(0, len(body), chunks)]
    return (
        head
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        + b"0\r\n\r\n"
    )


def get(name: str, target: bytes = b"/health") -> bytes:
    """Return a GET whose id is ``name``."""
    return b"GET %b HTTP/1.1\r\nHost: x\r\nX-Request-Id: %b\r\n\r\n" % (target, name.encode())


class Client:
    """A connection that reads answers."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def send(self, segments: Sequence[bytes]) -> None:
        """Send segments, one by one; a server that has closed gets no more of them."""
        try:
            for segment in segments:
                self.socket.sendall(segment)
        except OSError:
            pass

    def answers(self) -> list[Answer]:
        """All answers until the server closes."""
        try:
            while part := self.socket.recv(65_536):
                self._received += part
        except ConnectionResetError:
            pass
        finally:
            self.socket.close()
        found = []
        while self._received:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            assert end, self._received
            headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            if head.startswith(b"HTTP/1.1 100"):
                self._received = rest
                continue
            n = int(headers.get(b"content-length", b"0"))
            assert len(rest) >= n, "an answer was cut off"
            body, self._received = rest[:n], rest[n:]
            found.append(
                Answer(
                    int(head.split(b" ")[1]),
                    headers.get(b"content-type", b""),
                    headers.get(b"x-request-id", b""),
                    _steady(body),
                    headers.get(b"connection") == b"close",
                )
            )
        return found


def _steady(body: bytes) -> bytes:
    """Return a body without what changes from process to process."""
    try:
        document = json.loads(body)
    except ValueError:
        return body
    return re.sub(rb"\d+ bytes of request bodies", b"N bytes of request bodies", json.dumps(document).encode())


LAST = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: last\r\nConnection: close\r\n\r\n"
"""The request that ends a stream."""


def exchange(port: int, segments: Sequence[bytes]) -> list[Answer]:
    """Send segments, then ``LAST`` with the last of them, and read all answers."""
    client = Client(port)
    client.send([*segments[:-1], segments[-1] + LAST] if segments else [LAST])
    return client.answers()

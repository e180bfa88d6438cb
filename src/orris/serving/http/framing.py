"""What a request's head says about where the request ends, and whether that is read here."""

from __future__ import annotations

import sys

from orris.serving.exchange import Headers
from orris.serving.http.handover import head_of

SHORT_BYTES = 64 * 1024
"""A refused request's body of at most this length is read to its end, and the connection stays open."""

MAX_DIGITS = 18
"""Most digits of a length that is looked at."""

Lines = list[tuple[bytes, bytes]]
"""Names of headers in lower case, and values; a name may come several times."""


def announced(headers: Headers) -> int:
    """The length that the headers give the body; the parser lets zeros stand before it, however many."""
    length = headers.get(b"content-length", b"0")
    return int(length) if len(length) <= MAX_DIGITS else sys.maxsize


def expects_continue(headers: Headers) -> bool:
    """Whether the client waits for ``100 Continue`` before it sends the body."""
    return headers.get(b"expect", b"").lower() == b"100-continue"


def is_short(headers: Headers) -> bool:
    """Whether the body is sent at once, and is short."""
    return b"transfer-encoding" not in headers and announced(headers) <= SHORT_BYTES and not expects_continue(headers)


def objection(version: str, headers: Headers, repeated: Lines) -> tuple[int, bytes] | None:
    """Why a request is not read: status and text; ``None``: it is as HTTP/1 has it.

    Args:
        version: HTTP's.
        headers: The headers.
        repeated: Those that were given before, under the same name.
    """
    if version not in {"1.0", "1.1"}:
        return 400, b"HTTP/%b is not spoken here; send HTTP/1.1" % version.encode("ascii")
    if version == "1.1" and b"host" not in headers:
        return 400, b"a request of HTTP/1.1 needs a header Host"
    for name, _ in repeated:
        if name in {b"host", b"transfer-encoding"}:
            return 400, b"a request has one header %b" % name.title()
    if headers.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
        return 501, b"no transfer coding other than chunked is read here"
    return None


def of_body(headers: Headers) -> bytes:
    """The line of a head that says how long the body is; empty: there is none."""
    if b"transfer-encoding" in headers:
        return b"transfer-encoding: chunked\r\n"
    if b"content-length" in headers:
        return b"content-length: %b\r\n" % headers[b"content-length"]
    return b""


def without_upgrade(method: bytes, target: bytes, version: str, lines: Lines) -> bytes:
    """The head of a request without its wish for another protocol."""
    tokens = b",".join([value for name, value in lines if name == b"connection"])
    kept = [token for token in tokens.lower().replace(b" ", b"").split(b",") if token in {b"close", b"keep-alive"}]
    framing = b"".join([b"%b: %b\r\n" % line for line in lines if line[0] in {b"content-length", b"transfer-encoding"}])
    framing += b"".join([b"connection: %b\r\n" % token for token in kept])
    return head_of(method, target, version, lines, framing) + b"\r\n"

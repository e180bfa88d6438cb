"""The head of a call and the header blocks of its answer: gRPC's part of what HTTP/2's headers say.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any, NamedTuple

from orris.errors import BodyError, NotOfferedError, OrrisError, TooLargeError
from orris.serving.exchange import Headers
from orris.serving.http2.heads import Head, encoded

CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""Names of the status codes, by their number."""

ENCODINGS = frozenset({b"identity", b"gzip", b"deflate"})
"""Compressions of messages that are read; answers are sent as they are."""

_NUMBERS = {code: b"%d" % number for number, code in enumerate(CODES)}
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_CONTENT_TYPE = re.compile(rb"application/grpc(\+proto)?[ \t]*(;.*)?", re.IGNORECASE | re.DOTALL)
_OF_THE_PROTOCOL = frozenset({b"te", b"content-type", b"content-encoding", b"content-length", b"host"})

_STATUS_200 = b"\x88"  # of HPACK's static table
_FORM = (b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"identity, deflate, gzip")

RESPONSE = _STATUS_200 + encoded(*_FORM)
"""The header block of an answer with messages."""

_PLAIN = (b"content-type", b"text/plain; charset=utf-8")
METHOD_NOT_ALLOWED = encoded((b":status", b"405"), (b"allow", b"POST"), _PLAIN)
UNSUPPORTED_TYPE = encoded((b":status", b"415"), (b"accept-post", b"application/grpc"), _PLAIN)
"""The header blocks of the answers to requests that are no calls."""

_OK = encoded((b"grpc-status", b"0"))
_OK_USUAL = _OK + b"\x00\x0cx-request-id\x20"
USUAL_ID_BYTES = 32


class CallHead(NamedTuple):
    """What the head of a call says.

    Attributes:
        method: What answers it; ``None``: it is refused.
        metadata: The caller's, as HTTP's headers are: names in lower case; values of ``-bin`` decoded.
        timeout_seconds: How long the caller waits.
        encoding: How its messages are compressed, if they are.
        error: Why it is refused.
        answer: The header block of the answer to a request that is no call; empty: it is one.
    """

    method: Any
    metadata: Headers
    timeout_seconds: float = inf
    encoding: bytes = b"identity"
    error: OrrisError | None = None
    answer: bytes = b""


def read_head(head: Head, methods: Mapping[bytes, Any]) -> CallHead:
    """A request's head as that of a call; ``methods`` has what answers each path."""
    if head.method != b"POST":
        return CallHead(None, {}, answer=METHOD_NOT_ALLOWED)
    headers = head.headers
    if not _CONTENT_TYPE.fullmatch(headers.get(b"content-type", b"")):
        return CallHead(None, {}, answer=UNSUPPORTED_TYPE)
    method, encoding = methods.get(head.path), headers.get(b"grpc-encoding", b"identity")
    given = headers.get(b"grpc-timeout")
    timeout = _TIMEOUT.fullmatch(given) if given is not None else None
    try:
        if head.too_long:
            raise TooLargeError("the metadata are longer than ORRIS_MAX_HEADER_BYTES")
        if method is None:
            raise NotOfferedError(f"there is no call {head.path.decode('latin-1')[:200]} here")
        if encoding not in ENCODINGS:
            raise NotOfferedError("messages are read as they are, or compressed by gzip or deflate")
        if given is not None and timeout is None:
            raise BodyError("grpc-timeout is 1 to 8 digits and one of H, M, S, m, u, n")
        metadata = _metadata(headers)
    except OrrisError as error:
        return CallHead(None, {}, error=error)
    seconds = int(timeout[1]) * _UNITS[timeout[2]] if timeout is not None else inf
    return CallHead(method, metadata, seconds, encoding)


def _metadata(headers: Headers) -> dict[bytes, bytes]:
    """The fields that are the caller's."""
    return {
        name: _decoded(name, value) if name.endswith(b"-bin") else value
        for name, value in headers.items()
        if name not in _OF_THE_PROTOCOL and not name.startswith(b"grpc-")
    }


def _decoded(name: bytes, value: bytes) -> bytes:
    """The bytes of a ``-bin`` field, of which padding may be left out; several are joined by commas."""
    parts = [part.strip() for part in value.split(b",")]
    try:
        return b",".join([base64.b64decode(part + b"=" * (-len(part) % 4), validate=True) for part in parts])
    except binascii.Error:
        raise BodyError(f"metadata '{name.decode('latin-1')[:100]}' is not base64") from None


def usual_trailers(request_id: bytes) -> bytes:
    """The block of trailers that ends a call with OK, and names its request id."""
    if len(request_id) == USUAL_ID_BYTES:
        return _OK_USUAL + request_id
    return _OK + encoded((b"x-request-id", request_id))


def trailers(code: str, text: str, more: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """The block of trailers that ends a call."""
    fields = [(b"grpc-status", _NUMBERS[code])]
    if text:
        fields.append((b"grpc-message", percent_encoded(text)))
    return encoded(*fields, *more)


def refused(code: str, text: str, more: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """The one header block of an answer without messages."""
    return RESPONSE + trailers(code, text, more)


def percent_encoded(text: str) -> bytes:
    """A status' text as a header takes it: printable ASCII but for ``%``, all other bytes of UTF-8 as ``%XX``."""
    encoded_text = text.encode("utf-8", "replace")
    return b"".join(
        b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in encoded_text
    )

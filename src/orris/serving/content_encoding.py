"""``Content-Encoding`` of request bodies: gzip and deflate, inflated no further than the limit of a body.

Source: RFC 9110, 8.4; RFC 1950 to 1952.
"""

from __future__ import annotations

import zlib

from orris.errors import BodyError, MediaTypeError, TooLargeError
from orris.serving.exchange import Headers

MAX_MEMBERS = 16
"""Most members of a gzip body; each costs a copy of what follows it."""

_ZLIB, _RAW, _GZIP = zlib.MAX_WBITS, -zlib.MAX_WBITS, 16 + zlib.MAX_WBITS


def plain_body(body: bytes, headers: Headers, max_bytes: int) -> bytes:
    """The body without its encoding.

    Args:
        body: The body as it was sent.
        headers: The headers of the request.
        max_bytes: Longest body after it has been inflated.

    Raises:
        MediaTypeError: Another encoding than gzip, deflate or identity.
        TooLargeError: The inflated body is longer than ``max_bytes``.
        BodyError: The body is not what its encoding says.
    """
    coding = headers.get(b"content-encoding", b"").strip().lower()
    if coding in {b"", b"identity"}:
        return body
    if coding in {b"gzip", b"x-gzip"}:
        return _inflated(body, _GZIP, max_bytes)
    if coding == b"deflate":
        # Some clients send the data without the header of zlib that the RFC asks for.
        is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
        return _inflated(body, _ZLIB if is_zlib else _RAW, max_bytes)
    name = coding.decode("latin-1")[:100]
    raise MediaTypeError(f"Content-Encoding '{name}' is not read here; send gzip, deflate, or the body as it is")


def _inflated(body: bytes, wbits: int, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    for _ in range(MAX_MEMBERS):
        inflating = zlib.decompressobj(wbits)
        try:
            parts.append(inflating.decompress(body, max_bytes - size + 1))
        except zlib.error as error:
            raise BodyError(f"the body is not what its Content-Encoding says: {error}") from None
        size += len(parts[-1])
        if size > max_bytes:
            raise TooLargeError(
                f"the body is longer than {max_bytes} bytes when it is inflated; send the rows in parts"
            )
        if not inflating.eof:
            raise BodyError("the body ends before its Content-Encoding does")
        body = inflating.unused_data
        if not body:
            return b"".join(parts)
        if wbits != _GZIP:
            raise BodyError(f"{len(body)} bytes follow the compressed body")
    raise BodyError(f"the body has more than {MAX_MEMBERS} members of gzip; compress it as one")

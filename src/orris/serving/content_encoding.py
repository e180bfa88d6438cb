"""``Content-Encoding`` of request bodies: gzip and deflate, inflated no further than the limit of a body.

Source: RFC 9110, 8.4; RFC 1950 to 1952.
"""

from __future__ import annotations

import zlib

from orris.errors import BodyError, MediaTypeError, TooLargeError
from orris.serving.exchange import Headers

MAX_MEMBERS = 16
"""Most members of a gzip body."""

PIECE_BYTES = 64 * 1024
"""Inflated at once, of either end."""

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
    left, start = max_bytes, 0
    for _ in range(MAX_MEMBERS):
        start = _inflate_member(body, start, wbits, left, parts)
        left = max_bytes - sum(map(len, parts))
        if left < 0:
            raise TooLargeError(
                f"the body is longer than {max_bytes} bytes when it is inflated; send the rows in parts"
            )
        if start == len(body):
            return b"".join(parts)
        if wbits != _GZIP:
            raise BodyError(f"{len(body) - start} bytes follow the compressed body")
    raise BodyError(f"the body has more than {MAX_MEMBERS} members of gzip; compress it as one")


def _inflate_member(body: bytes, start: int, wbits: int, max_bytes: int, parts: list[bytes]) -> int:
    """Inflate what begins at ``start`` into ``parts``, piece by piece, so that neither end is held twice.

    Returns:
        Where it ends in the body; where it was given up, if it is longer than ``max_bytes``.

    Raises:
        BodyError: It is not what its encoding says, or is cut off.
    """
    inflating = zlib.decompressobj(wbits)
    size = 0
    while not inflating.eof and size <= max_bytes:
        given = inflating.unconsumed_tail or body[start : start + PIECE_BYTES]
        start += 0 if inflating.unconsumed_tail else len(given)
        try:
            parts.append(inflating.decompress(given, PIECE_BYTES))
        except zlib.error as error:
            raise BodyError(f"the body is not what its Content-Encoding says: {error}") from None
        if not given and not parts[-1] and not inflating.eof:
            raise BodyError("the body ends before its Content-Encoding does")
        size += len(parts[-1])
    return start - len(inflating.unused_data)

"""Header blocks: HPACK (RFC 7541) by the library ``hpack``, the rules of RFC 9113, 8.2 and 8.3, and what is remembered.

A client sends the same header block with nearly every request of a connection. A block that leaves the decoder's table
as it is means the same as long as no other block changes the table, so what was understood of it is kept by its bytes
until then. ``docs/grpc-path.md`` has the security argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hpack import Decoder, HPACKError, OversizedHeaderListError

from orris.serving.http2.frames import ConnectionFault, ErrorCode, StreamFault

MAX_KNOWN = 16
"""Blocks that a connection remembers."""

MAX_KNOWN_BYTES = 1_024
"""Longest block that is remembered."""

FIELD_BYTES = 32
"""What a field counts beside its name and value (RFC 9113, 6.5.2)."""

HARD_FACTOR = 4
"""A header list so many times longer than the limit ends the connection rather than the stream."""

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"[^\x00\r\n]*")
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_OF_CONNECTIONS = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})


class Head:
    """A request's header block as it was understood; requests with the same bytes share it.

    Attributes:
        method: Its ``:method``.
        path: Its ``:path``.
        headers: All other fields, by lower-case name; of one that comes twice the values are joined by commas.
        n_body_bytes: The length that it announces; -1: none.
        too_long: The fields are longer than the limit.
        understood: What the application keeps of it.
    """

    __slots__ = ("headers", "method", "n_body_bytes", "path", "too_long", "understood")

    def __init__(self, method: bytes, path: bytes, headers: dict[bytes, bytes], *, too_long: bool = False) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.too_long = too_long
        self.understood: Any = None
        self.n_body_bytes = -1
        length = headers.get(b"content-length")
        if length is not None:
            if not length.isdigit() or len(length) > 18:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "content-length is no number")
            self.n_body_bytes = int(length)


class HeadReader:
    """Reads the header blocks of a connection, each of which has to pass here: it may change the decoder's table.

    Args:
        max_bytes: Longest header list, as RFC 9113, 6.5.2 counts it.
    """

    __slots__ = ("_decoder", "_known", "_max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._decoder = Decoder(max_header_list_size=HARD_FACTOR * max_bytes)
        self._known: dict[bytes, Head] = {}

    def request(self, block: bytes) -> Head:
        """The head of a request.

        Raises:
            ConnectionFault: The block cannot be decoded; further ones could not be, either.
            StreamFault: It is no request.
        """
        head = self._known.get(block)
        if head is not None:
            return head
        known, self._known = self._known, {}
        fields = self._decoded(block)
        if leaves_table(block):
            self._known = known
        head = _request(fields, self._max_bytes)
        if self._known is known and len(block) <= MAX_KNOWN_BYTES and not head.too_long:
            if len(known) >= MAX_KNOWN:
                known.clear()
            known[block] = head
        return head

    def skip(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """The fields of a block that begins no request; raises ``ConnectionFault``."""
        if not leaves_table(block):
            self._known = {}
        return self._decoded(block)

    def check_trailers(self, fields: list[tuple[bytes, bytes]]) -> None:
        """Check the trailers of a request; nothing is in them for a server. Raises ``StreamFault``."""
        for name, value in fields:
            _check(name, value)

    def _decoded(self, block: bytes) -> list[tuple[bytes, bytes]]:
        try:
            fields: Iterable[Any] = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the header list is too long") from None
        except (HPACKError, IndexError, ValueError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"a header block is not HPACK: {error}") from None
        return [(bytes(name), bytes(value)) for name, value in fields]


def _request(fields: list[tuple[bytes, bytes]], max_bytes: int) -> Head:
    pseudo: dict[bytes, bytes] = {}
    headers: dict[bytes, bytes] = {}
    n_bytes = 0
    for name, value in fields:
        n_bytes += len(name) + len(value) + FIELD_BYTES
        if name.startswith(b":"):
            if headers or name in pseudo or name not in _PSEUDO:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a pseudo-header is unknown, repeated, or behind others")
            if not _VALUE.fullmatch(value):
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a pseudo-header has a forbidden character")
            pseudo[name] = value
            continue
        _check(name, value)
        before = headers.get(name)
        headers[name] = value if before is None else before + b", " + value
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if not method or not path or b":scheme" not in pseudo:
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a request has :method, :scheme and :path")
    return Head(method, path, headers, too_long=n_bytes > max_bytes)


def _check(name: bytes, value: bytes) -> None:
    """Raise ``StreamFault`` for a field that no request may have."""
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or value != value.strip(b" \t"):
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a field has a forbidden name or character")
    if name in _OF_CONNECTIONS or (name == b"te" and value != b"trailers"):
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, f"{name.decode()} is not for HTTP/2")


def leaves_table(block: bytes) -> bool:
    """Whether a block is made of indexed fields and of literals without indexing alone (RFC 7541, 6).

    Such a block changes nothing of the decoder, and what it means depends on its bytes and the table alone. ``False``
    as well for a block that is broken.
    """
    at, end = 0, len(block)
    while at < end:
        first = block[at]
        if first & 0x80:
            at = _after_integer(block, at, 7)
        elif first & 0x60:  # literal with incremental indexing, or a new size of the table
            return False
        else:
            at = _after_integer(block, at, 4)
            if not first & 0x0F:
                at = _after_string(block, at)
            at = _after_string(block, at)
    return at == end


def _after_integer(block: bytes, at: int, n_bits: int) -> int:
    """The position behind an integer (RFC 7541, 5.1); behind the block, if it ends within."""
    prefix = (1 << n_bits) - 1
    if at < len(block) and block[at] & prefix == prefix:
        at += 1
        while at < len(block) and block[at] & 0x80:
            at += 1
    return at + 1


def _after_string(block: bytes, at: int) -> int:
    """The position behind a string (RFC 7541, 5.2); behind the block, if it ends within."""
    if at >= len(block):
        return len(block) + 1
    n_bytes = block[at] & 0x7F
    if n_bytes < 0x7F:
        return at + 1 + n_bytes
    at += 1
    shift = 0
    while at < len(block) and shift <= 28:
        n_bytes += (block[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not block[at - 1] & 0x80:
            return at + n_bytes
    return len(block) + 1


# What is sent: literals without indexing and without Huffman's code, so that no table has to be kept.


def encoded(*fields: tuple[bytes, bytes]) -> bytes:
    """Fields as a header block."""
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in fields)


def _string(text: bytes) -> bytes:
    n_bytes = len(text)
    if n_bytes < 0x7F:
        return bytes((n_bytes,)) + text
    length = bytearray((0x7F,))
    n_bytes -= 0x7F
    while n_bytes >= 0x80:
        length.append(n_bytes & 0x7F | 0x80)
        n_bytes >>= 7
    length.append(n_bytes)
    return bytes(length) + text

"""The frames of HTTP/2, and the error codes (RFC 9113, sections 4, 6 and 7)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

FRAME_HEAD = struct.Struct(">HBBBL")
"""Length (16 and 8 bits), type, flags, and the stream with the reserved bit."""

HEAD_BYTES = 9

N_KINDS = 10
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(N_KINDS)

END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)

DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_BYTES = 16_384
DEFAULT_TABLE_BYTES = 4_096
LARGEST_WINDOW = 2**31 - 1
LARGEST_STREAM = 2**31 - 1
LARGEST_FRAME_BYTES = 2**24 - 1


class ErrorCode(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFault(Exception):  # noqa: N818 (an "error" of HTTP/2 is the code that it carries)
    """A client has broken the rules in a way that ends its connection."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class StreamFault(Exception):  # noqa: N818
    """A client has broken the rules in a way that ends one stream."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame."""
    n_bytes = len(payload)
    return FRAME_HEAD.pack(n_bytes >> 8, n_bytes & 0xFF, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """A ``SETTINGS`` frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", name, value) for name, value in values.items()))


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """The settings of a frame, in their order."""
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "the length of SETTINGS is no multiple of 6")
    return struct.iter_unpack(">HL", payload)


def reset(stream: int, code: ErrorCode) -> bytes:
    """A ``RST_STREAM`` frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def window_update(stream: int, n_bytes: int) -> bytes:
    """A ``WINDOW_UPDATE`` frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, n_bytes.to_bytes(4, "big"))


def go_away(last_stream: int, code: ErrorCode, text: str = "") -> bytes:
    """A ``GOAWAY`` frame."""
    return frame(GOAWAY, 0, 0, last_stream.to_bytes(4, "big") + code.to_bytes(4, "big") + text.encode())


def header_frames(stream: int, block: bytes, max_frame_bytes: int, *, end: bool) -> bytes:
    """A header block as ``HEADERS`` and, if it is long, ``CONTINUATION``."""
    flags = END_STREAM if end else 0
    if len(block) <= max_frame_bytes:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    parts = [block[i : i + max_frame_bytes] for i in range(0, len(block), max_frame_bytes)]
    frames = [frame(HEADERS, flags, stream, parts[0])]
    frames += [frame(CONTINUATION, 0, stream, part) for part in parts[1:-1]]
    frames.append(frame(CONTINUATION, END_HEADERS, stream, parts[-1]))
    return b"".join(frames)


def unpadded(payload: bytes) -> bytes:
    """The payload of a padded frame without its padding."""
    if not payload:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a padded frame is empty")
    n_padding = payload[0]
    if n_padding >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the padding is longer than its frame")
    return payload[1 : len(payload) - n_padding]


def check_priority(number: int, payload: bytes) -> None:
    """Check the fields of a priority, which are read for nothing else (RFC 9113, 5.3)."""
    if not number:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a priority is for a stream")
    if len(payload) < 5:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a priority has 5 bytes")
    if int.from_bytes(payload[:4], "big") & LARGEST_STREAM == number:
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")

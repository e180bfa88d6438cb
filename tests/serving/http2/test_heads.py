"""Tests of header blocks: what is remembered of them means what the decoder would say."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder, HPACKError
from hypothesis import given, settings
from hypothesis import strategies as st

from orris.serving.http2.frames import ConnectionFault, StreamFault
from orris.serving.http2.heads import HeadReader, encoded, leaves_table

BASE = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a/b")]
FIELD = st.tuples(st.sampled_from([b"a", b"b", b"user-agent"]), st.sampled_from([b"", b"1", b"22", b"x" * 200]))


@settings(max_examples=200, deadline=None)
@given(
    requests=st.lists(st.tuples(st.lists(FIELD, max_size=3), st.booleans(), st.booleans()), min_size=1, max_size=25),
    table=st.sampled_from([0, 60, 128, 4096]),
)
def test_blocks_are_read_as_the_decoder_reads_them(
    requests: list[tuple[list[tuple[bytes, bytes]], bool, bool]], table: int
) -> None:
    """Of any sequence of blocks, with literals in and out of the table and evictions, each means what it meant."""
    encoder, plain, reader = Encoder(), Decoder(), HeadReader(16_384)
    encoder.header_table_size = table
    for fields, huffman, sensitive in requests:
        given_fields = [(name, value, sensitive) for name, value in BASE + fields]
        block = encoder.encode(given_fields, huffman=huffman)
        expected = [(bytes(name), bytes(value)) for name, value in plain.decode(block, raw=True)]
        head = reader.request(block)
        headers: dict[bytes, bytes] = {}
        for name, value in expected[3:]:
            headers[name] = headers[name] + b", " + value if name in headers else value
        assert (head.method, head.path, head.headers) == (b"POST", b"/a/b", headers)


def test_the_same_bytes_mean_something_else_once_the_table_has_changed() -> None:
    """A block of indexed fields is forgotten when another block adds to the table."""
    reader = HeadReader(16_384)
    start = b"\x83\x86\x84"  # POST, http, /
    reader.request(start + b"\x40\x01a\x01x")
    block = start + b"\xbe"  # the newest entry
    assert reader.request(block).headers == {b"a": b"x"}
    assert reader.request(block) is reader.request(block)
    reader.request(start + b"\x40\x01a\x01y")
    assert reader.request(block).headers == {b"a": b"y"}
    reader.skip(b"\x40\x01a\x01z")
    assert reader.request(block).headers == {b"a": b"z"}


def test_a_fault_of_a_block_is_not_forgotten() -> None:
    """A request that is malformed is malformed each time, and leaves the table as the decoder has it."""
    reader = HeadReader(16_384)
    for _ in range(3):
        with pytest.raises(StreamFault):
            reader.request(b"\x83\x86\xbe" if _ else b"\x83\x86\x40\x01B\x01x")
    assert reader.request(b"\x83\x86\x84").path == b"/"


@settings(max_examples=400, deadline=None)
@given(block=st.binary(max_size=40))
def test_a_block_that_leaves_the_table_leaves_it(block: bytes) -> None:
    """If a block of any bytes is said to leave the table, a decoder that reads it has the table that it had."""
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x01x\x40\x01b\x01y")
    before, size = list(decoder.header_table.dynamic_entries), decoder.header_table.maxsize
    try:
        decoder.decode(block, raw=True)
    except (HPACKError, IndexError, ValueError):
        return
    if leaves_table(block):
        assert (list(decoder.header_table.dynamic_entries), decoder.header_table.maxsize) == (before, size)


@settings(max_examples=400, deadline=None)
@given(block=st.binary(max_size=60))
def test_no_bytes_of_a_block_fail_otherwise(block: bytes) -> None:
    """Any bytes are a request, a fault of the stream or one of the connection."""
    try:
        HeadReader(1_000).request(block)
    except (ConnectionFault, StreamFault):
        return


def test_what_is_sent_is_read_by_the_library() -> None:
    """Fields of any length are written as the library reads them."""
    fields = [(b"a", b"x" * n) for n in (0, 1, 126, 127, 128, 254, 255, 256, 2_000, 20_000)]
    decoded = Decoder(max_header_list_size=100_000).decode(encoded(*fields), raw=True)
    assert [(bytes(name), bytes(value)) for name, value in decoded] == fields

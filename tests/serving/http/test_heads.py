"""The table of heads: which requests it recognises, and that it stays small."""

from __future__ import annotations

import pytest

from orris.serving.http.exchanges import Head
from orris.serving.http.heads import MAX_HEAD_BYTES, MAX_HEADS, HeadTable

BODY = b"{}"


def segment(*lines: bytes, path: bytes = b"/predict") -> tuple[bytes, Head]:
    """A request in one segment, and what was understood of its head."""
    headers = dict(line.lower().split(b": ", 1) for line in lines)
    head = b"".join([b"POST %b HTTP/1.1\r\n" % path, *(line + b"\r\n" for line in lines), b"\r\n"])
    return head + BODY, Head(path, headers, len(BODY))


def test_a_head_is_recognised_once_it_came_twice() -> None:
    """The first request of a client that changes its head each time leaves nothing behind."""
    table = HeadTable()
    request, head = segment(b"Host: x", b"Content-Length: 2")
    table.offer(request, head)
    assert table.known == {}
    table.offer(request, head)
    assert table.known == {request[:-2]: head}


@pytest.mark.parametrize(
    "line",
    [
        b"Transfer-Encoding: chunked",
        b"Upgrade: h2c",
        b"Expect: 100-continue",
        b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"X-Request-Id: order-42",
    ],
)
def test_a_head_whose_meaning_is_not_its_length_alone_is_never_recognised(line: bytes) -> None:
    """Nor is one that names a request or a trace, which comes once."""
    table = HeadTable()
    for _ in range(3):
        table.offer(*segment(b"Host: x", b"Content-Length: 2", line))
    assert table.known == {}


@pytest.mark.parametrize("change", [{"keep_alive": False}, {"version": "1.0"}, {"n_body_bytes": 1}])
def test_only_a_whole_request_that_keeps_its_connection_is_recognised(change: dict[str, object]) -> None:
    """A segment that holds more or less than a request, a last request, and HTTP/1.0 are left to the parser."""
    table = HeadTable()
    request, head = segment(b"Host: x", b"Content-Length: 2")
    known = {"path": head.path, "headers": head.headers, "n_body_bytes": head.n_body_bytes, **change}
    for _ in range(3):
        table.offer(request, Head(**known))  # type: ignore[arg-type]
    assert table.known == {}


def test_the_table_is_bounded() -> None:
    """The table holds a bounded number of heads of bounded length, whatever clients send."""
    table = HeadTable()
    for number in range(3 * MAX_HEADS):
        for _ in range(2):
            table.offer(*segment(b"Host: x", b"Content-Length: 2", b"X-Number: %d" % number))
        assert len(table.known) <= MAX_HEADS
    table = HeadTable()
    for _ in range(2):
        table.offer(*segment(b"Host: x", b"Content-Length: 2", b"X-Long: " + b"x" * MAX_HEAD_BYTES))
    assert table.known == {}

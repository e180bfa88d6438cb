"""The table of heads: which requests it recognises, and that it stays small."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orris.serving.http.exchanges import Head
from orris.serving.http.heads import MAX_HEAD_BYTES, MAX_HEADS, HeadTable, before_trace

BODY = b"{}"
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


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
        b"tracestate: a=1",
        b"X-Request-Id: order-42",
    ],
)
def test_a_head_whose_meaning_is_not_its_length_alone_is_never_recognised(line: bytes) -> None:
    """A head that is read in another way than by its length, or that names a request, is never recognised."""
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


def traced(spelling: bytes = b"traceparent", value: bytes = TRACE) -> tuple[bytes, Head]:
    """A request with a place in a trace, and what was understood of its head."""
    request, head = segment(b"Host: x", spelling + b": " + value, b"Content-Length: 2")
    return request, Head(head.path, {**head.headers, b"traceparent": value}, 2)


def remembering(request: bytes, head: Head) -> HeadTable:
    """A table that a request has come to twice."""
    table = HeadTable()
    for _ in range(2):
        table.offer(request, head)
    return table


@pytest.mark.parametrize("spelling", [b"traceparent", b"Traceparent"])
def test_a_head_is_recognised_with_another_traceparent(spelling: bytes) -> None:
    """A head that differs from one in the table by the value of traceparent alone is understood with its own value."""
    request, head = traced(spelling)
    table = remembering(request, head)
    before = before_trace(request, head)
    assert before == b"\r\n" + spelling + b": "
    other, understood = traced(spelling, OTHER)
    assert table.recall(other, before) == understood
    assert table.recall(request, before) == head
    assert table.known == {}


BEFORE = b"\r\ntraceparent: "


@pytest.mark.parametrize(
    "changed",
    [
        lambda whole: whole + b"P",
        lambda whole: whole[:-1],
        lambda whole: whole.replace(b"Host: x", b"Host: y"),
        lambda whole: whole.replace(b"Length: 2", b"Length: 3"),
        lambda whole: whole.replace(TRACE, TRACE[:-2] + b"\r\n"),
        lambda whole: whole.replace(TRACE, TRACE[:-1] + b"G"),
        lambda whole: whole.replace(TRACE, TRACE + b"0"),
        lambda whole: whole.replace(TRACE, TRACE[:-1]),
        lambda whole: whole.replace(TRACE, b"0\r\nTransfer-Encoding: chunked\r\nX: " + b"0" * 21),
        lambda whole: whole.replace(BEFORE + TRACE, b""),
        lambda whole: whole.replace(BEFORE + TRACE, b"") + BEFORE + TRACE + b"\r\nContent-Length: 2\r\n\r\n",
        lambda whole: whole.replace(BEFORE, BEFORE + TRACE + BEFORE),
    ],
)
def test_a_head_that_differs_in_more_is_left_to_the_parser(changed: Callable[[bytes], bytes]) -> None:
    """A segment whose head differs in more than a well-formed traceparent, or that holds more or less, is parsed."""
    request, head = traced()
    table = remembering(request, head)
    assert table.recall(request, BEFORE) == head
    assert table.recall(changed(request), BEFORE) is None


def test_a_head_with_two_traceparents_is_left_to_the_parser() -> None:
    """A head that names traceparent twice, or has an unusual value for it, does not go into the table."""
    request, head = segment(b"Host: x", BEFORE[2:] + TRACE, BEFORE[2:] + OTHER, b"Content-Length: 2")
    assert before_trace(request, head) == b""
    assert remembering(request, head).traced == {}
    assert remembering(*traced(value=b"00-0")).traced == {}


def test_the_table_of_traced_heads_is_bounded() -> None:
    """The table holds a bounded number of heads with a traceparent, too."""
    table = HeadTable()
    for number in range(3 * MAX_HEADS):
        request, head = traced()
        request = request.replace(b"Host: x", b"Host: %d" % number)
        for _ in range(2):
            table.offer(request, head)
        assert len(table.traced) <= MAX_HEADS

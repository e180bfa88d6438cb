"""Heads of requests that were parsed in full before, recognised by their bytes.

Most clients send the same head again and again, or the same but for the value of ``traceparent``. A head goes into the
table when httptools has parsed it, and the rules of ``reader.py`` have let it pass, for the second time;
``docs/fast-path.md`` has the argument why a request that is recognised is the one that the parser would have found.
"""

from __future__ import annotations

from orris.serving.http.exchanges import Head
from orris.telemetry.tracecontext import USUAL_LENGTH, has_usual_form

MAX_HEADS = 512
"""Heads in the table; a head more, and it starts anew."""

MAX_HEAD_BYTES = 2_048
"""Longest head in the table."""

_NEVER = frozenset({b"transfer-encoding", b"upgrade", b"expect"})
"""Headers that decide how a request is read beside its length."""


_SPELLINGS = (b"\r\ntraceparent: ", b"\r\nTraceparent: ")
"""As OpenTelemetry's libraries send it, and as Go's HTTP client spells it."""


def differs(head: Head) -> bool:
    """Whether a head differs from request to request in more than ``traceparent``: it does not come again."""
    headers = head.headers
    return b"x-request-id" in headers or b"tracestate" in headers


def before_trace(segment: bytes, head: Head) -> bytes:
    """The bytes in front of the value of ``traceparent``, from the end of a line on; empty: there is none.

    Also empty if the head spells it in another way or names it twice, or the value has not the usual form.
    """
    value = head.headers.get(b"traceparent")
    if value is None or not has_usual_form(value):
        return b""
    lines = segment[: len(segment) - head.n_body_bytes]
    for spelling in _SPELLINGS:
        if lines.find(spelling + value + b"\r\n") >= 0 and lines.lower().count(b"traceparent") == 1:
            return spelling
    return b""


class HeadTable:
    """The table of a process.

    Attributes:
        known: What was understood, by the bytes up to the empty line and with it.
        traced: The same for heads with ``traceparent``, by their bytes without its value.
    """

    def __init__(self) -> None:
        self.known: dict[bytes, Head] = {}
        self.traced: dict[bytes, Head] = {}
        self._once: set[int] = set()

    def recall(self, segment: bytes, spelling: bytes) -> Head | None:
        """The head of a segment that differs from one in the table by the value of ``traceparent`` alone.

        Args:
            segment: All of a request; ``None`` is returned if it holds more or less.
            spelling: What ``before_trace`` has found in the request before.
        """
        at = segment.find(spelling)
        if at < 0:
            return None
        start = at + len(spelling)
        stop = start + USUAL_LENGTH
        end = segment.find(b"\r\n\r\n", stop) + 4
        head = self.traced.get(segment[:start] + segment[stop:end])
        value = segment[start:stop]
        if head is None or len(segment) != end + head.n_body_bytes or not has_usual_form(value):
            return None
        return Head(head.path, {**head.headers, b"traceparent": value}, head.n_body_bytes)

    def offer(self, segment: bytes, head: Head) -> None:
        """Remember the head of a request that was parsed in full, if it is a whole segment and has come before."""
        end = len(segment) - head.n_body_bytes
        if not 0 < end <= MAX_HEAD_BYTES or differs(head) or not _NEVER.isdisjoint(head.headers):
            return
        if not head.keep_alive or head.version != "1.1" or segment.find(b"\r\n\r\n") + 4 != end:
            return
        table, key = self.known, segment[:end]
        if b"traceparent" in head.headers:
            spelling = before_trace(segment, head)
            if not spelling:
                return
            start = segment.find(spelling) + len(spelling)
            table, key = self.traced, segment[:start] + segment[start + USUAL_LENGTH : end]
        mark = hash(key)
        if mark not in self._once:
            if len(self._once) >= MAX_HEADS:
                self._once.clear()
            self._once.add(mark)
            return
        if len(table) >= MAX_HEADS:
            table.clear()
        table[key] = head

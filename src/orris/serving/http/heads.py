"""Heads of requests that were parsed in full before, recognised by their bytes.

Most clients send the same head again and again. A head goes into the table when httptools has parsed it, and the rules
of ``reader.py`` have let it pass, for the second time; ``docs/fast-path.md`` has the argument why a request that is
recognised is the one that the parser would have found.
"""

from __future__ import annotations

from orris.serving.http.exchanges import Head

MAX_HEADS = 512
"""Heads in the table; a head more, and it starts anew."""

MAX_HEAD_BYTES = 2_048
"""Longest head in the table."""

_NEVER = frozenset({b"transfer-encoding", b"upgrade", b"expect"})
"""Headers that decide how a request is read beside its length."""


def differs(head: Head) -> bool:
    """Whether a head differs from request to request, as it names a trace or a request: it does not come again."""
    headers = head.headers
    return b"traceparent" in headers or b"x-request-id" in headers


class HeadTable:
    """The table of a process.

    Attributes:
        known: What was understood, by the bytes up to the empty line and with it.
    """

    def __init__(self) -> None:
        self.known: dict[bytes, Head] = {}
        self._once: set[int] = set()

    def offer(self, segment: bytes, head: Head) -> None:
        """Remember the head of a request that was parsed in full, if it is a whole segment and has come before."""
        end = len(segment) - head.n_body_bytes
        if not 0 < end <= MAX_HEAD_BYTES or differs(head) or not _NEVER.isdisjoint(head.headers):
            return
        if not head.keep_alive or head.version != "1.1" or segment.find(b"\r\n\r\n") + 4 != end:
            return
        mark = hash(segment[:end])
        if mark not in self._once:
            if len(self._once) >= MAX_HEADS:
                self._once.clear()
            self._once.add(mark)
            return
        if len(self.known) >= MAX_HEADS:
            self.known.clear()
        self.known[segment[:end]] = head

"""What the HTTP/2 connections of a process share: limits, and the application that answers their requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orris.serving.http2.connection import Http2Connection
    from orris.serving.http2.stream import Stream

LOOK_SECONDS = 0.5
"""Time between two looks at the connections for those whose time is up."""


@dataclass(eq=False)
class Http2Context:
    """Shared by all connections.

    Attributes:
        begin: Called with a stream whose request has begun; gives it a receiver, or answers at once.
        max_header_bytes: Longest header list.
        request_seconds: Longest time for what is half sent, and for a client to read.
        keep_alive_seconds: Longest time without a stream.
        connections: Those that are open.
        opened: Called when a connection has been added.
        closed: Called when one has been removed.
    """

    begin: Callable[[Stream], None]
    max_header_bytes: int
    request_seconds: float
    keep_alive_seconds: float
    connections: set[Http2Connection] = field(default_factory=set)
    opened: Callable[[], None] = lambda: None
    closed: Callable[[], None] = lambda: None
    _looked: float = 0.0

    def on_beat(self) -> None:
        """Close what is out of time; called at each heartbeat."""
        now = perf_counter()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            for connection in list(self.connections):
                connection.look(now)

    def close_idle(self) -> None:
        """Close the connections that have been idle longest: there are no descriptors for others."""
        idle = sorted((each for each in self.connections if not each.streams), key=lambda each: each.idle_since)
        for connection in idle[: max(1, len(idle) // 10)]:
            connection.shutdown()

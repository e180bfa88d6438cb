"""What the HTTP/2 connections of a process share: limits, and the application that answers their requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orris.serving.http.open_connections import OpenConnections

if TYPE_CHECKING:
    from orris.serving.http2.connection import Http2Connection
    from orris.serving.http2.stream import Stream


@dataclass(eq=False)
class Http2Context:
    """Shared by all connections.

    Attributes:
        begin: Called with a stream whose request has begun; gives it a receiver, or answers at once.
        max_header_bytes: Longest header list.
        request_seconds: Longest time for what is half sent, and for a client to read.
        keep_alive_seconds: Longest time without a stream.
        connections: Those that are open.
    """

    begin: Callable[[Stream], None]
    max_header_bytes: int
    request_seconds: float
    keep_alive_seconds: float
    connections: OpenConnections[Http2Connection] = field(default_factory=OpenConnections)

    def close_idle(self) -> None:
        """Close the connections that have been idle longest: there are no descriptors for others."""
        for connection in self.connections.longest_idle():
            connection.shutdown()

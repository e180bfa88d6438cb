"""The state that the connections of a process share: routes, limits, and uvicorn's settings for its requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orris.serving.http.answers import AnswerWriter
from orris.serving.http.heads import HeadTable
from orris.serving.http.open_connections import OpenConnections

if TYPE_CHECKING:
    import uvicorn
    from uvicorn.server import ServerState

    from orris.serving.http.connection import Connection
    from orris.serving.http.cors import Cors
    from orris.serving.http.receiving import Receiving
    from orris.serving.predict_route import PredictRoute


@dataclass(eq=False)
class HttpContext:
    """Shared by all connections of a process.

    Attributes:
        predict_routes: The predict routes, by raw path; changed in place as models come and go.
        receiving: Bounds the bytes of bodies that are being received.
        max_header_bytes: Most bytes of request line and headers.
        request_seconds: Longest time from a request's first byte to its last, and until a new connection brings one.
        keep_alive_seconds: Longest time between two requests of a connection.
        cors: The headers of answers about origins; ``None`` for none.
        stopping: The server stops.
        connections: Those that are open.
        heads: Heads of requests that were read before.
    """

    predict_routes: Mapping[bytes, PredictRoute]
    receiving: Receiving
    max_header_bytes: int
    request_seconds: float
    keep_alive_seconds: float = 75.0
    cors: Cors | None = None
    stopping: bool = False
    connections: OpenConnections[Connection] = field(default_factory=OpenConnections)
    heads: HeadTable = field(default_factory=HeadTable)
    writer: AnswerWriter = field(default_factory=AnswerWriter)
    config: uvicorn.Config = field(init=False)
    server_state: ServerState = field(init=False)
    app_state: dict[str, Any] = field(init=False)

    def bind(self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        """Say what uvicorn's protocols are made with."""
        self.config, self.server_state, self.app_state = config, server_state, app_state

    def on_beat(self) -> None:
        """Close connections whose time is up, and give memory back; called at each heartbeat."""
        self.connections.on_beat()
        self.receiving.on_beat()

    def close_idle(self) -> None:
        """Close the connections that have waited longest without a request: there are no descriptors for others."""
        for connection in self.connections.longest_idle():
            connection.transport.close()

"""The state that the connections of a process share: routes, limits, and uvicorn's settings for its requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from orris.serving.http.answers import AnswerWriter
from orris.serving.http.heads import HeadTable

if TYPE_CHECKING:
    import uvicorn
    from uvicorn.server import ServerState

    from orris.serving.http.connection import Connection
    from orris.serving.http.cors import Cors
    from orris.serving.http.receiving import Receiving
    from orris.serving.predict_route import PredictRoute

LOOK_SECONDS = 0.5
"""Time between two looks at the connections for those whose time is up."""


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
        opened: Called when a connection has been added.
        closed: Called when one has been removed.
    """

    predict_routes: Mapping[bytes, PredictRoute]
    receiving: Receiving
    max_header_bytes: int
    request_seconds: float
    keep_alive_seconds: float = 75.0
    cors: Cors | None = None
    stopping: bool = False
    connections: set[Connection] = field(default_factory=set)
    heads: HeadTable = field(default_factory=HeadTable)
    opened: Callable[[], None] = lambda: None
    closed: Callable[[], None] = lambda: None
    writer: AnswerWriter = field(default_factory=AnswerWriter)
    config: uvicorn.Config = field(init=False)
    server_state: ServerState = field(init=False)
    app_state: dict[str, Any] = field(init=False)
    _looked: float = 0.0

    def bind(self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        """Say what uvicorn's protocols are made with."""
        self.config, self.server_state, self.app_state = config, server_state, app_state

    def on_beat(self) -> None:
        """Close connections whose time is up, and give memory back; called at each heartbeat."""
        now = perf_counter()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            for connection in list(self.connections):
                connection.look(now)
        self.receiving.on_beat()

    def close_idle(self) -> None:
        """Close the connections that have waited longest without a request: there are no descriptors for others."""
        idle = sorted((each for each in self.connections if each.idle), key=lambda each: each.idle_since)
        for connection in idle[: max(1, len(idle) // 10)]:
            connection.transport.close()

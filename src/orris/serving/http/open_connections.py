"""The open connections of a server's one protocol in this process: counted, looked at, and closed when idle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Generic, Protocol, TypeVar

LOOK_SECONDS = 0.5
"""Time between two looks at the connections for those whose time is up."""


class OpenConnection(Protocol):
    """A connection, as far as it is looked at here."""

    @property
    def idle(self) -> bool:
        """Whether no request has begun that is not answered."""

    @property
    def idle_since(self) -> float:
        """When it last had a request, in ``perf_counter()``, to half a second."""

    def look(self, now: float) -> None:
        """End what is out of time."""


Connection = TypeVar("Connection", bound=OpenConnection)


class OpenConnections(Generic[Connection]):
    """The connections.

    Attributes:
        opened: Called when one has been added.
        closed: Called when one has been removed.
    """

    def __init__(self) -> None:
        self.opened: Callable[[], None] = lambda: None
        self.closed: Callable[[], None] = lambda: None
        self._connections: set[Connection] = set()
        self._looked = 0.0

    def add(self, connection: Connection) -> None:
        """A client has connected."""
        self._connections.add(connection)
        self.opened()

    def discard(self, connection: Connection) -> None:
        """A client is gone."""
        self._connections.discard(connection)
        self.closed()

    def __len__(self) -> int:
        """The number of connections."""
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        """Those that are open now; any may be removed meanwhile."""
        return iter(list(self._connections))

    def on_beat(self) -> None:
        """Let connections end what is out of time; called at each heartbeat."""
        now = perf_counter()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            for connection in self:
                connection.look(now)

    def longest_idle(self) -> list[Connection]:
        """A tenth of the idle connections, those that have been idle longest; one at least, if there is any."""
        idle = sorted((each for each in self if each.idle), key=lambda each: each.idle_since)
        return idle[: max(1, len(idle) // 10)]

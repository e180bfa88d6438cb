"""What a server is run with: how clients reach it, what is called when, and how long its end may take."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from orris.serving.processes.sharing import Sharing


class Companion(Protocol):
    """Another server of the same process, which starts and stops with this one: gRPC."""

    async def start(self) -> None:
        """Listen; the process is ready when all of its servers do."""

    def on_beat(self) -> None:
        """See to what depends on time; called at each heartbeat."""

    async def stop(self, grace_seconds: float) -> None:
        """Accept nothing new, and finish what is in flight within this time."""


@dataclass(frozen=True)
class Access:
    """How clients reach the server.

    Attributes:
        listeners: Sockets that listen: one, or one for each worker.
        sharing: How workers share connections; ``None``: there is one worker.
        tls_cert: PEM file of the certificate chain; empty: no TLS.
        tls_key: PEM file of its private key; empty: it is in ``tls_cert``.
        root_path: Path that a proxy takes off before requests come here; pages link with it.
        forwarded_allow_ips: Proxies whose ``X-Forwarded-*`` headers are believed, with commas, or ``*``; empty: none.
    """

    listeners: Sequence[socket.socket]
    sharing: Sharing | None = None
    tls_cert: str = ""
    tls_key: str = ""
    root_path: str = ""
    forwarded_allow_ips: str = ""


@dataclass(frozen=True)
class Hooks:
    """Functions that the server calls at its events.

    Attributes:
        on_ready: Requests are accepted.
        on_stop: The server begins to stop: it is not ready any more.
        on_beat: At each heartbeat, about five times a second, on the loop.
        companions: Servers that start and stop with this one.
        in_flight: Requests that are being answered, those of clients that are gone among them.
    """

    on_ready: Callable[[], None]
    on_stop: Callable[[], None]
    on_beat: Sequence[Callable[[], None]] = ()
    companions: Sequence[Companion] = ()
    in_flight: Callable[[], int] = lambda: 0


@dataclass(frozen=True)
class Ending:
    """How long stopping may take.

    Attributes:
        drain_seconds: Requests are still accepted for so long after the server has become unready.
        shutdown_seconds: What is in flight after that is given so long.
    """

    drain_seconds: float = 0.0
    shutdown_seconds: float = 30.0

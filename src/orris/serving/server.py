"""Runs the application on uvicorn: listen, tell that it is ready, and stop in order."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from orris.errors import SettingsError


class Server(uvicorn.Server):
    """uvicorn, which tells when it listens, and when it begins to stop."""

    def __init__(self, config: uvicorn.Config, *, on_ready: Callable[[int], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell on which port."""
        await super().startup(sockets)
        if self.started and sockets:
            self._on_ready(sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Readiness goes down first; what is in flight is answered."""
        self._on_stop()
        await super().shutdown(sockets)


def serve(
    app: Any, *, protocol: Callable[..., Any], host: str, port: int, on_ready: Callable[[int], None], on_stop: Callable[[], None]
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        app: The ASGI application.
        protocol: Makes the HTTP protocol of a connection: ``Connection``, with its doors.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        on_ready: Told the port once requests are accepted.
        on_stop: Called when the server begins to stop.

    Raises:
        SettingsError: The address cannot be listened on.
    """
    listener = _listen(host, port)
    config = uvicorn.Config(
        app,
        http=protocol,  # type: ignore[arg-type]
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=30,
    )
    Server(config, on_ready=on_ready, on_stop=on_stop).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise SettingsError(f"--host {host} --port {port}: {error.strerror or error}; choose another with --port") from None
    listener.set_inheritable(True)
    return listener

"""Listens for gRPC beside the HTTP server, on its loop, so that calls and requests of one tick share a batch."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import grpc.aio

from orris.errors import SettingsError
from orris.protocols.grpc.dialect import SERVICE
from orris.protocols.grpc.generated import POOL
from orris.protocols.grpc.health import HEALTH, Health
from orris.protocols.grpc.reflection import Reflection
from orris.protocols.grpc.service import InferenceService
from orris.serving.catalog import Catalog

LISTENERS = 8 if sys.platform == "linux" else 1
"""Servers of ``grpc.aio`` behind the port of one process; the kernel spreads connections over them.

One server takes up one new call per turn of the loop, so that calls which have arrived together do not meet in a batch.
With 16 connections of 4 calls each, 8 servers answer about 1.8 times as many calls as one, at the same memory; other
systems give all connections to one.
"""

QUIET_SECONDS, REFUSING_SECONDS = 0.1, 1.0
"""Seconds without calls, and the longest wait, before the listener is stopped.

A stopping server drops calls that have arrived and are not taken up yet. So calls are answered as unavailable until
none has come for the first time, and no longer than the second.
"""

LAST_CALLS_SECONDS = 0.2
"""How long calls are waited for that had not arrived whole when the last one in flight was answered."""


class GrpcListener:
    """A server that is started and stopped with the HTTP server.

    Args:
        service: Answers inference calls.
        catalog: The models whose health is reported.
        host: Address.
        port: Port; it was reserved before (``serving.listening.reserve``), and is shared with the server's other
            workers.
        max_message_bytes: Longest message.
        max_metadata_bytes: Most metadata of a call.
        max_calls: Calls of one listener at once, with those that have not arrived whole.
        tls_cert: PEM file of the certificate chain; empty: no TLS.
        tls_key: PEM file of its private key; empty: it is in ``tls_cert``.
    """

    def __init__(
        self,
        service: InferenceService,
        catalog: Catalog,
        *,
        host: str,
        port: int,
        max_message_bytes: int,
        max_metadata_bytes: int,
        max_calls: int,
        tls_cert: str = "",
        tls_key: str = "",
    ) -> None:
        self._service = service
        self._catalog = catalog
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._options = [
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", max_metadata_bytes),
        ]
        self._max_calls = max_calls
        self._tls = (tls_key or tls_cert, tls_cert)
        self._servers: list[Any] = []

    async def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: The address cannot be listened on.
        """
        reflection = Reflection((SERVICE, HEALTH), POOL)
        handlers = (self._service.handler(), Health(self._catalog).handler(), *reflection.handlers())
        for _ in range(LISTENERS):
            server = grpc.aio.server(options=self._options, maximum_concurrent_rpcs=self._max_calls)
            server.add_generic_rpc_handlers(handlers)
            try:
                self._bind(server)
            except RuntimeError:
                raise SettingsError(
                    f"gRPC cannot listen on {self._address}; choose another port with --grpc-port, or 'off'"
                ) from None
            await server.start()
            self._servers.append(server)

    def _bind(self, server: Any) -> None:
        key, chain = self._tls
        if not chain:
            server.add_insecure_port(self._address)
            return
        try:
            pair = Path(key).read_bytes(), Path(chain).read_bytes()
        except OSError as error:
            raise SettingsError(f"--tls-cert {chain} --tls-key {key}: {error}") from None
        server.add_secure_port(self._address, grpc.ssl_server_credentials([pair]))

    async def stop(self, seconds: float) -> None:
        """Take no more calls, and answer those in flight; those that are not answered within ``seconds`` are ended."""
        service = self._service
        service.stopping = True
        give_up = monotonic() + min(seconds, REFUSING_SECONDS)
        while monotonic() < min(service.last_call + QUIET_SECONDS, give_up):
            await asyncio.sleep(0.01)
        stopping = asyncio.gather(*(server.stop(seconds) for server in self._servers))
        while service.in_flight and not stopping.done():
            await asyncio.sleep(0.01)
        # What is left are streams that their clients keep open: a reflection, a watched health.
        await asyncio.gather(*(server.stop(LAST_CALLS_SECONDS) for server in self._servers))
        await stopping
        # A server that is forgotten after the loop is closed complains on stderr.
        self._servers.clear()

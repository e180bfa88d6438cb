"""Listens for gRPC beside the HTTP server, on its loop, so that calls and requests of one tick share a batch."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from time import monotonic, perf_counter

from orris.errors import SettingsError
from orris.protocols.grpc.calls import CallLimits, CoroutineCall, Method
from orris.protocols.grpc.dialect import SERVICE, refusal
from orris.protocols.grpc.generated import POOL
from orris.protocols.grpc.health import HEALTH, Health
from orris.protocols.grpc.metadata import CallHead, read_head, refused
from orris.protocols.grpc.reflection import Reflection
from orris.protocols.grpc.service import InferenceService
from orris.serving.catalog import Catalog
from orris.serving.exchange import request_id_of
from orris.serving.http.intake import Intake
from orris.serving.http2.connection import Http2Connection
from orris.serving.http2.context import Http2Context
from orris.serving.http2.frames import ErrorCode
from orris.serving.http2.stream import Stream
from orris.serving.processes.board import Board, LocalBoard
from orris.serving.processes.sharing import Sharing

STEP_SECONDS = 0.02

NO_CALL = b"This port speaks gRPC; a call is a POST of application/grpc.\n"


class NoCall:
    """The receiver of a request that is no call, which is answered when it is whole."""

    def __init__(self, stream: Stream, headers: bytes, request_seconds: float) -> None:
        self._stream = stream
        self._headers = headers
        self._give_up = perf_counter() + request_seconds

    def data(self, data: bytes, ended: bool) -> None:  # noqa: ARG002 (it is not read)
        """Bytes of the request."""
        if ended:
            self._stream.send_headers(self._headers)
            self._stream.send(NO_CALL, last=True)

    def cancelled(self) -> None:
        """The client does not wait any more."""

    def look(self, now: float) -> None:
        """End a request that does not become whole."""
        if now > self._give_up:
            self._stream.connection.cut(self._stream, ErrorCode.CANCEL)


class GrpcListener:
    """A server that is started and stopped with the HTTP server.

    Args:
        service: Answers inference calls.
        catalog: The models whose health is reported.
        listeners: Sockets that listen: one, or one for each worker.
        board: What this process and the other workers tell each other.
        sharing: How workers share connections; ``None``: there is one worker.
        limits: What bounds a call.
        max_header_bytes: Most metadata of a call.
        keep_alive_seconds: Longest time that a connection is open without a call.
        tls_cert: PEM file of the certificate chain; empty: no TLS.
        tls_key: PEM file of its private key; empty: it is in ``tls_cert``.
    """

    def __init__(
        self,
        service: InferenceService,
        catalog: Catalog,
        *,
        listeners: Sequence[socket.socket],
        board: Board | LocalBoard,
        sharing: Sharing | None,
        limits: CallLimits,
        max_header_bytes: int,
        keep_alive_seconds: float,
        tls_cert: str = "",
        tls_key: str = "",
    ) -> None:
        self._catalog = catalog
        self._limits = limits
        self._listeners = listeners
        self._board = board
        self._sharing = sharing
        self._tls = (tls_cert, tls_key)
        self._intake: Intake | None = None
        reflection = Reflection((SERVICE, HEALTH), POOL)
        self._methods: dict[bytes, Method] = {
            **service.methods(),
            **Health(catalog).methods(limits.of_short()),
            **reflection.methods(limits.of_short()),
        }
        self._http2 = Http2Context(
            self._begin,
            max_header_bytes=max_header_bytes,
            request_seconds=limits.request_seconds,
            keep_alive_seconds=keep_alive_seconds,
        )

    async def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: The TLS files cannot be used.
        """
        http2, catalog = self._http2, self._catalog
        self._intake = Intake(
            self._listeners,
            lambda: Http2Connection(http2),
            tls=self._tls_context(),
            relieve=http2.close_idle,
            connections=http2.connections,
            keeps=lambda: catalog.draining,
            board=self._board,
            sharing=self._sharing,
        )

    def _tls_context(self) -> ssl.SSLContext | None:
        chain, key = self._tls
        if not chain:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2"])
        try:
            context.load_cert_chain(chain, key or None)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"--tls-cert {chain} --tls-key {key}: {error}") from None
        return context

    def on_beat(self) -> None:
        """End what is out of time, and accept for workers that do not."""
        self._http2.connections.on_beat()
        if self._intake is not None:
            self._intake.adopt()

    async def stop(self, seconds: float) -> None:
        """Take no more calls, and answer those in flight; those that are not answered within ``seconds`` are ended."""
        give_up = monotonic() + seconds
        if self._intake is not None:
            await self._intake.stop()
        connections = self._http2.connections
        while connections and monotonic() < give_up:
            for connection in connections:
                connection.shutdown()
                for stream in list(connection.streams.values()):
                    if isinstance(stream.receiver, CoroutineCall):
                        stream.receiver.end_if_idle()
            await asyncio.sleep(STEP_SECONDS)
        for connection in connections:
            connection.transport.abort()

    def _begin(self, stream: Stream) -> None:
        """A request has begun: hand its stream to the method, or refuse it."""
        head: CallHead | None = stream.head.understood
        if head is None:
            head = stream.head.understood = read_head(stream.head, self._methods)
        if head.answer:
            stream.receiver = NoCall(stream, head.answer, self._limits.request_seconds)
        elif head.error is not None:
            reply = refusal(head.error, request_id_of(stream.head.headers.get(b"x-request-id")))
            stream.send_headers(refused(reply.code, reply.body.decode()), end=True)
        else:
            head.method.begin(stream, head)

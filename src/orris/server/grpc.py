"""Puts the gRPC listener together, and decides whether there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from orris.errors import MissingExtraError, SettingsError
from orris.serving.http.listening import listen
from orris.telemetry.server_log import tell

if TYPE_CHECKING:
    import socket

    from orris.protocols.grpc.listener import GrpcListener
    from orris.protocols.repository import Repository
    from orris.serving.access.gate import Access
    from orris.serving.catalog import Catalog
    from orris.serving.control import Control
    from orris.serving.http.receiving import Receiving
    from orris.serving.processes.board import Board, LocalBoard
    from orris.serving.processes.sharing import Sharing
    from orris.serving.routing import Router
    from orris.settings import Settings

NEEDED = ("google.protobuf", "hpack")
"""What gRPC is built on."""

DEFAULT_PORT = 8001
"""The port that ``auto`` means, if it is free."""


def listen_grpc(settings: Settings, n_workers: int) -> list[socket.socket]:
    """Listen, before workers are forked; what gRPC needs is imported where it is used.

    Returns:
        A socket, or one for each worker; none: gRPC is off.

    Raises:
        SettingsError: The port that was asked for cannot be listened on.
        MissingExtraError: A port was asked for, and gRPC is not installed.
    """
    wanted = settings.grpc_port
    if wanted == "off" or (wanted == "auto" and settings.uds):
        return []
    installed = all(find_spec(name) is not None for name in NEEDED)
    if wanted != "auto":
        if not installed:
            raise MissingExtraError("serve", "gRPC")
        return listen(settings.host, int(wanted), n_workers=n_workers, flag="--grpc-port")
    if not installed:
        return []
    try:
        return listen(settings.host, DEFAULT_PORT, n_workers=n_workers, flag="--grpc-port")
    except SettingsError:
        tell(f"gRPC is off: port {DEFAULT_PORT} is taken; choose another with --grpc-port (0: a free one)", "warning")
        return []


@dataclass(frozen=True)
class GrpcAccess:
    """How clients reach the server over gRPC.

    Attributes:
        listeners: Sockets that listen: one, or one for each worker.
        board: What this process and the other workers tell each other.
        sharing: How workers share connections; ``None``: there is one worker.
    """

    listeners: Sequence[socket.socket]
    board: Board | LocalBoard
    sharing: Sharing | None = None


def build_grpc(
    reached: GrpcAccess,
    settings: Settings,
    *,
    catalog: Catalog,
    routes: Router,
    access: Access,
    control: Control,
    repository: Repository,
    receiving: Receiving,
) -> GrpcListener:
    """The listener of this process."""
    from orris.protocols.grpc.calls import CallLimits  # noqa: PLC0415 (protobuf, which not every server needs)
    from orris.protocols.grpc.listener import GrpcListener  # noqa: PLC0415
    from orris.protocols.grpc.service import InferenceService  # noqa: PLC0415

    limits = CallLimits(settings.max_body_bytes, settings.request_seconds, receiving)
    return GrpcListener(
        InferenceService(catalog, routes, access=access, control=control, index=repository.index, limits=limits),
        catalog,
        listeners=reached.listeners,
        board=reached.board,
        sharing=reached.sharing,
        limits=limits,
        max_header_bytes=settings.max_header_bytes,
        keep_alive_seconds=settings.keep_alive_seconds,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
    )

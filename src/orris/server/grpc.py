"""Puts the gRPC listener together, and decides whether there is one."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from orris.errors import MissingExtraError, SettingsError
from orris.serving.http.listening import reserve
from orris.telemetry.server_log import tell

if TYPE_CHECKING:
    import socket

    from orris.protocols.grpc.listener import GrpcListener
    from orris.protocols.repository import Repository
    from orris.serving.access.gate import Access
    from orris.serving.catalog import Catalog
    from orris.serving.control import Control
    from orris.serving.routing import Router
    from orris.settings import Settings

DEFAULT_PORT = 8001
"""The port that ``auto`` means, if it is free."""


def reserve_grpc_port(settings: Settings) -> socket.socket | None:
    """Reserve the port, before workers are forked; gRPC itself is imported where it is used.

    Returns:
        A socket that holds the port; ``None``: gRPC is off.

    Raises:
        SettingsError: The port that was asked for cannot be listened on.
        MissingExtraError: A port was asked for, and gRPC is not installed.
    """
    wanted = settings.grpc_port
    if wanted == "off" or (wanted == "auto" and settings.uds):
        return None
    installed = find_spec("grpc") is not None
    if wanted != "auto":
        if not installed:
            raise MissingExtraError("serve", "gRPC")
        return reserve(settings.host, int(wanted), "--grpc-port")
    if not installed:
        return None
    try:
        return reserve(settings.host, DEFAULT_PORT, "--grpc-port")
    except SettingsError:
        tell(f"gRPC is off: port {DEFAULT_PORT} is taken; choose another with --grpc-port (0: a free one)", "warning")
        return None


def build_grpc(
    port: int,
    settings: Settings,
    *,
    catalog: Catalog,
    routes: Router,
    access: Access,
    control: Control,
    repository: Repository,
) -> GrpcListener:
    """The listener of this process."""
    from orris.protocols.grpc.listener import GrpcListener  # noqa: PLC0415 (gRPC, which not every server needs)
    from orris.protocols.grpc.service import InferenceService  # noqa: PLC0415

    return GrpcListener(
        InferenceService(catalog, routes, access=access, control=control, index=repository.index),
        catalog,
        host=settings.host,
        port=port,
        max_message_bytes=settings.max_body_bytes,
        max_metadata_bytes=settings.max_header_bytes,
        max_calls=settings.max_in_flight,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
    )

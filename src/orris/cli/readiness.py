"""Checks a server's readiness over HTTP or gRPC health, for ``orris ping``.

The HTTP check needs the standard library only.
"""

from __future__ import annotations

import socket
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from orris.errors import OrrisError, SettingsError

if TYPE_CHECKING:
    from orris.settings import Settings

READY = "/ready"


class UnansweredError(OrrisError):
    """A server that does not answer, or is not ready."""


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket; the host is its path."""

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.host)


def own_server(settings: Settings, timeout_seconds: float) -> tuple[HTTPConnection, str]:
    """A connection to the server that these settings start on this machine."""
    if settings.uds:
        return _UnixConnection(settings.uds, timeout=timeout_seconds), READY
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 (compared, not listened on)
    if not settings.tls_cert:
        return HTTPConnection(host, settings.port, timeout=timeout_seconds), READY
    # The certificate names the service, not this machine, and no secret is sent to the server.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return HTTPSConnection(host, settings.port, timeout=timeout_seconds, context=context), READY


def connect(url: str, timeout_seconds: float) -> tuple[HTTPConnection, str]:
    """A connection to the server of a URL, and the path to request: ``/ready`` if the URL has none."""
    parts = urlsplit(url)
    kinds = {"http": HTTPConnection, "https": HTTPSConnection}
    port = _port(parts)
    if parts.scheme not in kinds or not parts.hostname or port == -1:
        raise SettingsError(f"{url}: a URL such as http://localhost:8000 is needed")
    path = READY if parts.path in {"", "/"} else parts.path
    return kinds[parts.scheme](
        parts.hostname, port, timeout=timeout_seconds
    ), f"{path}?{parts.query}" if parts.query else path


def _port(parts: SplitResult) -> int | None:
    """The port of a URL; ``None`` if it has none, -1 if it is not a valid port."""
    try:
        return parts.port
    except ValueError:
        return -1


def status(connection: HTTPConnection, path: str, where: str) -> str:
    """Status and reason of the answer.

    Raises:
        UnansweredError: No answer in time, or one that is not 2xx.
    """
    try:
        connection.request("GET", path, headers={"user-agent": "orris-ping"})
        answer = connection.getresponse()
        answer.read(65_536)
    except (OSError, HTTPException) as error:
        raise UnansweredError(
            f"{where} does not answer: {error or type(error).__name__}; is it running there?"
        ) from None
    finally:
        connection.close()
    if not 200 <= answer.status < 300:
        raise UnansweredError(f"{where} answers {answer.status} {answer.reason} to {path}: it is not ready")
    return f"{answer.status} {answer.reason}"


def grpc_status(url: str, timeout_seconds: float) -> str:
    """The answer of ``grpc.health.v1`` at ``grpc://HOST:PORT``, for the model in the path or for the server.

    Raises: SettingsError: The URL is malformed. UnansweredError: There is no answer in time, or it is not ``SERVING``.
    """
    from orris.protocols.grpc.client import CallFailedError, ask  # noqa: PLC0415 (protobuf and hpack: over gRPC only)
    from orris.protocols.grpc.generated import health_pb2  # noqa: PLC0415

    parts = urlsplit(url)
    port = _port(parts)
    if not parts.hostname or not port or port == -1:
        raise SettingsError(f"{url}: a URL such as grpc://localhost:8001 is needed")
    message = health_pb2.HealthCheckRequest(service=parts.path.strip("/")).SerializeToString()
    try:
        content = ask(parts.hostname, port, "/grpc.health.v1.Health/Check", message, timeout_seconds)
    except CallFailedError as error:
        raise UnansweredError(f"{url} does not answer: {error}; is it running there?") from None
    answer = health_pb2.HealthCheckResponse.FromString(content)
    said = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise UnansweredError(f"{url} answers {said}: it is not ready")
    return said

"""``grpc.health.v1.Health``, which kubelets, load balancers and clients call before they send requests.

The server's own name is empty; ``inference.GRPCInferenceService`` and the names of models are services, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from google.protobuf.message import DecodeError

from orris.errors import BodyError, NotFoundError
from orris.protocols.grpc.calls import CallEnded, CallLimits, CoroutineCall, Method, Streaming, Unary
from orris.protocols.grpc.dialect import SERVICE
from orris.protocols.grpc.generated.health_pb2 import HealthCheckRequest, HealthCheckResponse
from orris.serving.catalog import Catalog

HEALTH = "grpc.health.v1.Health"

WATCH_SECONDS = 0.25
"""How often a watcher's status is looked at."""

_SERVING, _NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


class Health:
    """The service; it reads the catalog, so that changes need no notification."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def methods(self, limits: CallLimits) -> dict[bytes, Method]:
        """Both calls, by path."""
        return {
            f"/{HEALTH}/Check".encode(): Unary(self._check, limits),
            f"/{HEALTH}/Watch".encode(): Streaming(self._watch, limits),
        }

    def status(self, service: str) -> Any:
        """The status of a service; ``SERVICE_UNKNOWN`` if there is none of that name."""
        if service in {"", SERVICE}:
            return _SERVING if self._catalog.ready else _NOT_SERVING
        try:
            slot = self._catalog.slot(service)
        except NotFoundError:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return _SERVING if slot.live is not None and not self._catalog.draining else _NOT_SERVING

    async def _check(self, body: bytes, _call: CoroutineCall) -> bytes:
        status = self.status(_service(body))
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            raise CallEnded("NOT_FOUND", "there is no service of this name here")
        return HealthCheckResponse(status=status).SerializeToString()

    async def _watch(self, messages: AsyncIterator[bytes], _call: CoroutineCall) -> AsyncGenerator[bytes]:
        """The status, and again whenever it changes.

        The stream ends when the server drains, as it would keep the server from stopping.
        """
        async for body in messages:
            service, last = _service(body), None
            while True:
                status = self.status(service)
                if status != last:
                    yield HealthCheckResponse(status=status).SerializeToString()
                    last = status
                if self._catalog.draining:
                    return
                await asyncio.sleep(WATCH_SECONDS)


def _service(body: bytes) -> str:
    """The service that a request names; raises ``BodyError``."""
    try:
        return HealthCheckRequest.FromString(body).service
    except DecodeError:
        raise BodyError("the message is not a HealthCheckRequest") from None

"""``grpc.health.v1.Health``, which kubelets, load balancers and clients call before they send requests.

The server's own name is empty; ``inference.GRPCInferenceService`` and the names of models are services, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from orris.errors import NotFoundError
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

    def handler(self) -> grpc.GenericRpcHandler:
        """Both calls, for a ``grpc.aio`` server."""
        formats: dict[str, Any] = {
            "request_deserializer": HealthCheckRequest.FromString,
            "response_serializer": HealthCheckResponse.SerializeToString,
        }
        calls: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check, **formats),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch, **formats),
        }
        return grpc.method_handlers_generic_handler(HEALTH, calls)

    def status(self, service: str) -> Any:
        """The status of a service; ``SERVICE_UNKNOWN`` if there is none of that name."""
        if service in {"", SERVICE}:
            return _SERVING if self._catalog.ready else _NOT_SERVING
        try:
            slot = self._catalog.slot(service)
        except NotFoundError:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return _SERVING if slot.live is not None and not self._catalog.draining else _NOT_SERVING

    async def _check(self, request: Any, context: Any) -> Any:
        status = self.status(request.service)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no service of this name here")
        return HealthCheckResponse(status=status)

    async def _watch(self, request: Any, _context: Any) -> AsyncIterator[Any]:
        """The status, and again whenever it changes.

        The stream ends when the server drains, as it would keep the server from stopping.
        """
        last = None
        while True:
            status = self.status(request.service)
            if status != last:
                yield HealthCheckResponse(status=status)
                last = status
            if self._catalog.draining:
                return
            await asyncio.sleep(WATCH_SECONDS)

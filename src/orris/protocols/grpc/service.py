"""The calls of ``inference.GRPCInferenceService``.

``ModelInfer`` goes through a predict route like every predict route: the same limits, credentials, batches, counts and
log; so does each message of ``ModelStreamInfer``. The other calls are answered from the catalog at once; those that
change what is loaded need the administrator's credential.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError

from orris.errors import BodyError, NotFoundError, OrrisError, UnauthorizedError
from orris.protocols.grpc.calls import (
    CallEnded,
    CallLimits,
    Check,
    CoroutineCall,
    Method,
    Streaming,
    Unary,
    UnaryAnswer,
)
from orris.protocols.grpc.dialect import PROTOBUF, SERVICE, Tensors, refusal
from orris.protocols.grpc.exchange import InferExchange
from orris.protocols.grpc.fields import BROKEN, named
from orris.protocols.grpc.generated import open_inference_pb2 as pb
from orris.protocols.grpc.generated.envelope_pb2 import Envelope
from orris.protocols.grpc.messages import MessageReader
from orris.protocols.grpc.metadata import CallHead
from orris.protocols.openinference import describe
from orris.protocols.tensors import EXTENSIONS, NO_SHARED_MEMORY, SERVER_NAME
from orris.protocols.triton import NO_LOG_SETTINGS, NO_TRACE_SETTINGS, configuration, no_region, statistics
from orris.serving.access.gate import Access
from orris.serving.catalog import Catalog
from orris.serving.control import Control
from orris.serving.exchange import Exchange, Headers, Reply, request_id_of
from orris.serving.http.asgi import Awaited
from orris.serving.predict_route import PredictRoute
from orris.serving.protocol import Credential
from orris.serving.request_context import Record
from orris.serving.routing import Router
from orris.telemetry.tracecontext import Arrival, TraceContext
from orris.version import __version__

if TYPE_CHECKING:
    from orris.serving.http2.stream import Stream

ROUTE = "ModelInfer"

_INFER, _STREAM = Arrival(f"{SERVICE}/{ROUTE}"), Arrival(f"{SERVICE}/ModelStreamInfer")

FINAL = "triton_final_response"
"""The parameter of a stream's responses that says that a request has no further one."""

NOT_OFFERED = {
    "SystemSharedMemoryRegister": NO_SHARED_MEMORY,
    "CudaSharedMemoryRegister": NO_SHARED_MEMORY,
    "TraceSetting": NO_TRACE_SETTINGS,
    "LogSettings": NO_LOG_SETTINGS,
}
"""Triton's calls that are not offered, and why."""

_ENDING = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "UNAVAILABLE"})
"""Refusals that every further message of a stream would meet as well: they end it."""

Index = Callable[..., list[dict[str, str]]]
"""``(only_ready=…)`` -> the entries of V2's repository index."""

logger = logging.getLogger(__name__)


class StreamedExchange(Awaited):
    """A request of a stream, whose reply the stream's coroutine awaits."""

    __slots__ = ()

    @staticmethod
    def succeed(exchanges: Sequence[StreamedExchange], bodies: Sequence[bytes], microseconds: int) -> None:
        """Wake the waiters with the usual answers of a tick."""
        del microseconds
        for exchange, body in zip(exchanges, bodies, strict=True):
            exchange.finish(Reply(200, body, PROTOBUF, code="OK"))


class InferenceService:
    """The service.

    Args:
        catalog: What is loaded.
        routes: Has the predict route of each model's calls.
        access: Who may do what.
        control: Loads and unloads.
        index: Lists what is loaded.
        limits: What bounds a call.
    """

    def __init__(
        self,
        catalog: Catalog,
        routes: Router,
        *,
        access: Access,
        control: Control,
        index: Index,
        limits: CallLimits,
    ) -> None:
        self._catalog = catalog
        self._calls = routes.calls
        self._table = routes.table
        self._context = routes.context
        self._access = access
        self._control = control
        self._index = index
        self._limits = limits
        self._check_stream = self._check_of("ModelStreamInfer")
        self._nowhere = PredictRoute(Tensors(), ROUTE, lambda _: catalog.default.current(), routes.context)
        self.max_message_bytes = limits.max_message_bytes
        self.request_seconds = limits.request_seconds

    def methods(self) -> dict[bytes, Method]:
        """All calls, by path.

        Messages go in and out as bytes, so that a broken one is answered as any other mistake.
        """
        calls: dict[str, Method] = {ROUTE: self, "ModelStreamInfer": Streaming(self._stream, self._limits)}
        for name, (request_type, answer) in self._calls_without_model().items():
            check = self._check_of(name)
            calls[name] = Unary(self._simple(name, request_type, answer, check), self._limits.of_short(), check)
        calls |= {name: Unary(_not_offered(reason), self._limits.of_short()) for name, reason in NOT_OFFERED.items()}
        return {f"/{SERVICE}/{name}".encode(): method for name, method in calls.items()}

    def _calls_without_model(self) -> dict[str, tuple[Any, Callable[[Any], Awaitable[Any]]]]:
        """Request message and answer of each call that asks no model."""
        return {
            "ServerLive": (pb.ServerLiveRequest, self._server_live),
            "ServerReady": (pb.ServerReadyRequest, self._server_ready),
            "ModelReady": (pb.ModelReadyRequest, self._model_ready),
            "ServerMetadata": (pb.ServerMetadataRequest, self._server_metadata),
            "ModelMetadata": (pb.ModelMetadataRequest, self._model_metadata),
            "ModelConfig": (pb.ModelConfigRequest, self._model_config),
            "ModelStatistics": (pb.ModelStatisticsRequest, self._model_statistics),
            "SystemSharedMemoryStatus": (pb.SystemSharedMemoryStatusRequest, self._system_memory),
            "SystemSharedMemoryUnregister": (pb.SystemSharedMemoryUnregisterRequest, self._forget_system_memory),
            "CudaSharedMemoryStatus": (pb.CudaSharedMemoryStatusRequest, self._cuda_memory),
            "CudaSharedMemoryUnregister": (pb.CudaSharedMemoryUnregisterRequest, self._forget_cuda_memory),
            "RepositoryIndex": (pb.RepositoryIndexRequest, self._repository_index),
            "RepositoryModelLoad": (pb.RepositoryModelLoadRequest, self._load),
            "RepositoryModelUnload": (pb.RepositoryModelUnloadRequest, self._unload),
        }

    # ModelInfer

    def begin(self, stream: Stream, head: CallHead) -> None:
        """A ``ModelInfer`` has begun: its credential is checked before its message is read."""
        exchange = stream.receiver = InferExchange(self, stream, head, _INFER)
        if self._context.admit is not None:
            try:
                self._context.admit(head.metadata)
            except OrrisError as error:
                self.refuse(exchange, error)

    def enter(self, exchange: InferExchange) -> None:
        """Its message is whole."""
        try:
            predict_route = self._predict_route(exchange.body)
        except OrrisError as error:
            self._nowhere.refuse(exchange, error)
        else:
            predict_route.take(exchange)

    def refuse(self, exchange: Exchange, error: Exception) -> None:
        """End a call that has not entered a predict route."""
        self._nowhere.refuse(exchange, error)

    def reader(self, stream: Stream) -> MessageReader:
        """What reads a message that comes in several pieces, or compressed."""
        return MessageReader(stream, self.max_message_bytes, self._limits.receiving)

    async def _stream(self, messages: AsyncIterator[bytes], call: CoroutineCall) -> AsyncGenerator[bytes]:
        """A response for each request, in their order.

        A request that is refused is answered with its text; the stream goes on, unless every further one would be
        refused as well.
        """
        try:
            self._check_stream(call.headers)
        except OrrisError as error:
            exchange = StreamedExchange(b"", call.headers, _STREAM)
            self._nowhere.refuse(exchange, error)
            _end(call, await exchange.reply, exchange.request_id, exchange.trace)
        async for body in messages:
            exchange = StreamedExchange(body, call.headers, _STREAM)
            try:
                predict_route = self._predict_route(body)
            except OrrisError as error:
                self._nowhere.refuse(exchange, error)
            else:
                predict_route.enter(exchange)
            reply = await exchange.reply
            if reply.code in _ENDING:
                _end(call, reply, exchange.request_id, exchange.trace)
            yield _streamed(reply)

    def _predict_route(self, body: bytes) -> PredictRoute:
        """The predict route of the model that a request names; raises ``BodyError`` or ``NotFoundError``."""
        try:
            asked = Envelope.FromString(named(body))
        except DecodeError:
            raise BodyError(BROKEN) from None
        name, version = asked.model_name, asked.model_version
        predict_route = self._calls.get(f"{name}@{version}" if version else name)
        if predict_route is not None:
            return predict_route
        if not name:
            raise BodyError("'model_name' is empty; name the model")
        self._catalog.slot(name).version(version)
        raise NotFoundError(f"model '{name}' does not answer calls over gRPC")

    # the other calls

    def _check_of(self, name: str) -> Check:
        """What checks a caller's credential for a call; what the call needs is in its record."""
        path = f"/{SERVICE}/{name}"
        admin = self._table.credential(path) is Credential.ADMIN

        def check(headers: Headers) -> None:
            if admin:
                self._access.require_admin(headers)
            self._access.admit_path(path, headers)

        return check

    def _simple(
        self, name: str, request_type: Any, answer: Callable[[Any], Awaitable[Any]], check: Check
    ) -> UnaryAnswer:
        """A call that asks no model.

        Args:
            name: Its name.
            request_type: Its message.
            answer: Request -> response; may raise.
            check: Checks the caller's credential.
        """
        path = f"{SERVICE}/{name}"

        async def call(body: bytes, call: CoroutineCall) -> bytes:
            started, headers = perf_counter(), call.headers
            request_id = request_id_of(headers.get(b"x-request-id"))
            problem = ""
            try:
                check(headers)
                response = await answer(_parsed(request_type, body))
                reply = Reply(200, response.SerializeToString(), code="OK")
            except OrrisError as error:
                problem = error.reason if isinstance(error, UnauthorizedError) else str(error)
                reply = refusal(error, request_id)
            except Exception as error:
                logger.exception("request %s failed", request_id)
                problem, reply = str(error), refusal(error, request_id)
            trace = self._context.placed(headers, f"/{path}")
            self._context.finished(
                Record(
                    "POST",
                    name,
                    reply.status,
                    request_id,
                    started,
                    headers,
                    trace,
                    lambda: Arrival(path),
                    reply.code,
                    problem,
                )
            )
            return _end(call, reply, request_id, trace)

        return call

    async def _server_live(self, _request: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _request: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._catalog.ready)

    async def _model_ready(self, request: Any) -> Any:
        slot = self._catalog.slot(request.name)
        if request.version:
            slot.version(request.version)
        return pb.ModelReadyResponse(ready=slot.live is not None and not self._catalog.draining)

    async def _server_metadata(self, _request: Any) -> Any:
        return pb.ServerMetadataResponse(name=SERVER_NAME, version=__version__, extensions=EXTENSIONS)

    async def _model_metadata(self, request: Any) -> Any:
        slot = self._catalog.slot(request.name)
        live = slot.version(request.version) if request.version else slot.current()
        return pb.ModelMetadataResponse(**describe(live.engine), versions=[loaded.version for loaded in slot.loaded()])

    async def _model_config(self, request: Any) -> Any:
        slot = self._catalog.slot(request.name)
        live = slot.version(request.version) if request.version else slot.current()
        config = pb.ModelConfig()
        ParseDict(configuration(live.engine), config)
        return pb.ModelConfigResponse(config=config)

    async def _model_statistics(self, request: Any) -> Any:
        counted = statistics(self._catalog, self._context.metrics, request.name, request.version)
        return pb.ModelStatisticsResponse(model_stats=counted)

    async def _system_memory(self, request: Any) -> Any:
        _require_no_region(request.name)
        return pb.SystemSharedMemoryStatusResponse()

    async def _forget_system_memory(self, _request: Any) -> Any:
        return pb.SystemSharedMemoryUnregisterResponse()

    async def _cuda_memory(self, request: Any) -> Any:
        _require_no_region(request.name)
        return pb.CudaSharedMemoryStatusResponse()

    async def _forget_cuda_memory(self, _request: Any) -> Any:
        return pb.CudaSharedMemoryUnregisterResponse()

    async def _repository_index(self, request: Any) -> Any:
        entry = pb.RepositoryIndexResponse.ModelIndex
        return pb.RepositoryIndexResponse(models=[entry(**found) for found in self._index(only_ready=request.ready)])

    async def _load(self, request: Any) -> Any:
        version = request.parameters["version"].string_param if "version" in request.parameters else ""
        await self._control.load(request.model_name, version)
        return pb.RepositoryModelLoadResponse()

    async def _unload(self, request: Any) -> Any:
        await self._control.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()


def _require_no_region(name: str) -> None:
    """Raise ``NotFoundError`` for a named region of shared memory: there is none."""
    if name:
        raise no_region(name)


def _not_offered(reason: str) -> UnaryAnswer:
    """A call that ends with UNIMPLEMENTED and a sentence."""

    async def call(_body: bytes, _call: CoroutineCall) -> bytes:
        raise CallEnded("UNIMPLEMENTED", reason)

    return call


def _streamed(reply: Reply) -> bytes:
    """The reply to one request of a stream as a ``ModelStreamInferResponse``."""
    if reply.code != "OK":
        return pb.ModelStreamInferResponse(error_message=reply.body.decode()).SerializeToString()
    response = pb.ModelInferResponse.FromString(reply.body)
    response.parameters[FINAL].bool_param = True
    return pb.ModelStreamInferResponse(infer_response=response).SerializeToString()


def _parsed(request_type: Any, body: bytes) -> Any:
    try:
        return request_type.FromString(body)
    except DecodeError:
        raise BodyError(f"the message is not a {request_type.DESCRIPTOR.name}") from None


def _end(call: CoroutineCall, reply: Reply, request_id: str, trace: TraceContext | None) -> bytes:
    """The answer of a call, whose trailers name it; raises ``CallEnded`` for a refusal."""
    call.trailing.append((b"x-request-id", request_id.encode("ascii")))
    if trace is not None and trace.header:
        call.trailing.append((b"traceparent", trace.header))
    if reply.code != "OK":
        call.trailing += reply.headers
        raise CallEnded(reply.code, reply.body.decode())
    return reply.body

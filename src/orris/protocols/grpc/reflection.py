"""Server reflection, by which grpcurl, ghz and their like learn of the calls and messages without a ``.proto`` file.

``grpc.reflection.v1`` and the older ``v1alpha`` are the same messages under two names. ``grpcio-reflection`` has the
older one, and knows the symbols of services and messages; the names of methods, fields and the like are found by what
they are parts of.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import SERVICE_NAME, aio

V1ALPHA = SERVICE_NAME
V1 = V1ALPHA.replace("v1alpha", "v1")

_CALL = "ServerReflectionInfo"


class Reflection(aio.ReflectionServicer):
    """Both services.

    Args:
        services: Names of the services that are listed beside these two.
        pool: Has their messages; those of reflection are added to it.
    """

    def __init__(self, services: tuple[str, ...], pool: DescriptorPool) -> None:
        super().__init__((*services, V1, V1ALPHA), pool)
        self._symbols = pool
        for file in (reflection_pb2.DESCRIPTOR.serialized_pb, _renamed(reflection_pb2.DESCRIPTOR.serialized_pb)):
            pool.AddSerializedFile(file)

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """The call of each service, for a ``grpc.aio`` server."""
        call = grpc.stream_stream_rpc_method_handler(
            self.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        return tuple(grpc.method_handlers_generic_handler(service, {_CALL: call}) for service in (V1, V1ALPHA))

    # The stubs take the library's asynchronous generator for a coroutine.
    async def ServerReflectionInfo(  # type: ignore[override]  # noqa: N802 (the method's name in the protocol)
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[Any]:
        """A response for each request, with the request as it came."""
        answer: Any = super().ServerReflectionInfo
        async for request in requests:
            async for response in answer(self._whole(request), context):
                response.original_request.CopyFrom(request)
                yield response

    async def _whole(self, request: Any) -> AsyncIterator[Any]:
        """The request, with the symbol of a service, message or enum in place of one of its parts."""
        symbol = request.file_containing_symbol
        if symbol and not self._has(symbol):
            whole, _, part = symbol.rpartition(".")
            if self._has_part(whole, part):
                request = reflection_pb2.ServerReflectionRequest(host=request.host, file_containing_symbol=whole)
        yield request

    def _has(self, symbol: str) -> bool:
        try:
            self._symbols.FindFileContainingSymbol(symbol)
        except KeyError:
            return False
        return True

    def _has_part(self, whole: str, part: str) -> bool:
        """Whether a service has a method, a message a field, or an enum a value of a name."""
        pool = self._symbols
        finders: tuple[tuple[Any, str], ...] = (
            (pool.FindServiceByName, "methods_by_name"),
            (pool.FindMessageTypeByName, "fields_by_name"),
            (pool.FindEnumTypeByName, "values_by_name"),
        )
        for find, parts in finders:
            try:
                return part in getattr(find(whole), parts)
            except KeyError:
                continue
        return False


def _renamed(file: bytes) -> bytes:
    """The file of ``v1alpha`` as that of ``v1``."""
    proto = FileDescriptorProto.FromString(file)
    proto.name = "grpc/reflection/v1/reflection.proto"
    old, new = proto.package, V1.rpartition(".")[0]
    proto.package = new
    for message in proto.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(f".{old}.", f".{new}.")
    for service in proto.service:
        for method in service.method:
            method.input_type = method.input_type.replace(f".{old}.", f".{new}.")
            method.output_type = method.output_type.replace(f".{old}.", f".{new}.")
    return proto.SerializeToString()

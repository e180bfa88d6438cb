"""Server reflection, by which grpcurl, ghz and their like learn of the calls and messages without a ``.proto`` file.

``grpc.reflection.v1`` and the older ``v1alpha`` are the same messages under two names. Source:
https://github.com/grpc/grpc/blob/master/doc/server-reflection.md.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from orris.errors import BodyError
from orris.protocols.grpc.calls import CallLimits, CoroutineCall, Method, Streaming
from orris.protocols.grpc.generated import reflection_pb2 as pb
from orris.protocols.grpc.metadata import CODES

V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"
V1 = V1ALPHA.replace("v1alpha", "v1")

_CALL = "ServerReflectionInfo"
_NOT_FOUND = CODES.index("NOT_FOUND")


class Reflection:
    """Both services.

    Args:
        services: Names of the services that are listed beside these two.
        pool: Has their messages; those of reflection's second name are added to it.
    """

    def __init__(self, services: tuple[str, ...], pool: DescriptorPool) -> None:
        self._services = tuple(sorted((*services, V1, V1ALPHA)))
        self._symbols = pool
        pool.AddSerializedFile(_renamed(pb.DESCRIPTOR.serialized_pb))

    def methods(self, limits: CallLimits) -> dict[bytes, Method]:
        """The call of each service, by path."""
        return {f"/{service}/{_CALL}".encode(): Streaming(self._info, limits) for service in (V1, V1ALPHA)}

    async def _info(self, messages: AsyncIterator[bytes], _call: CoroutineCall) -> AsyncGenerator[bytes]:
        """A response for each request, with the request as it came."""
        async for body in messages:
            try:
                request = pb.ServerReflectionRequest.FromString(body)
            except DecodeError:
                raise BodyError("the message is not a ServerReflectionRequest") from None
            response = self._response(request)
            response.valid_host = request.host
            response.original_request.CopyFrom(request)
            yield response.SerializeToString()

    def _response(self, request: pb.ServerReflectionRequest) -> pb.ServerReflectionResponse:
        wanted = request.WhichOneof("message_request")
        if wanted == "list_services":
            listed = [pb.ServiceResponse(name=name) for name in self._services]
            return pb.ServerReflectionResponse(list_services_response=pb.ListServiceResponse(service=listed))
        try:
            if wanted == "file_by_filename":
                return _files(self._symbols.FindFileByName(request.file_by_filename))
            if wanted == "file_containing_symbol":
                return _files(self._symbols.FindFileContainingSymbol(self._whole(request.file_containing_symbol)))
            if wanted == "all_extension_numbers_of_type":
                # The messages are of proto3, which has no extensions.
                found = self._symbols.FindMessageTypeByName(request.all_extension_numbers_of_type)
                numbers = pb.ExtensionNumberResponse(base_type_name=found.full_name)
                return pb.ServerReflectionResponse(all_extension_numbers_response=numbers)
        except KeyError:
            pass
        return pb.ServerReflectionResponse(
            error_response=pb.ErrorResponse(error_code=_NOT_FOUND, error_message="there is no such thing here")
        )

    def _whole(self, symbol: str) -> str:
        """The service, message or enum that a symbol is, or a part of."""
        whole, _, part = symbol.rpartition(".")
        return whole if self._has_part(whole, part) else symbol

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


def _files(file: FileDescriptor) -> pb.ServerReflectionResponse:
    """A file, and all that it is built on."""
    found: dict[str, FileDescriptor] = {}
    waiting = [file]
    while waiting:
        each = waiting.pop()
        if each.name not in found:
            found[each.name] = each
            waiting += each.dependencies
    content = pb.FileDescriptorResponse(file_descriptor_proto=[each.serialized_pb for each in found.values()])
    return pb.ServerReflectionResponse(file_descriptor_response=content)


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

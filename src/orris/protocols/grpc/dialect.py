"""``ModelInfer``'s messages <-> rows and answers. What the tensors mean is in ``protocols/tensors``.

Inputs come typed (``contents``) or raw (``raw_input_contents``), all of them in the same way, and outputs leave as the
inputs came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from google.protobuf.message import DecodeError

from orris.errors import BodyError, OrrisError, Problem
from orris.protocols.grpc.codec import RowMessageCodec
from orris.protocols.grpc.fields import BROKEN, check_counts
from orris.protocols.grpc.generated.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from orris.protocols.openinference import outputs_of
from orris.protocols.plans import Plans
from orris.protocols.status import code_of, headers_of, status_and_text
from orris.protocols.tensors import (
    DATATYPES,
    Tensor,
    TensorReader,
    check_content_type,
    check_extensions,
    decoded,
    from_raw,
    from_values,
    tensors_from_answers,
    to_raw,
    wanted_outputs,
)
from orris.runtime import Answers
from orris.serving.engine import Engine
from orris.serving.exchange import Headers, Query, Reply
from orris.serving.protocol import Call, Credential, Protocol

SERVICE = "inference.GRPCInferenceService"

PROTOBUF = b"application/grpc+proto"

MAX_TEXT = 2_000
"""Characters of an error's text: it travels in a header, and clients read 8 KiB of headers."""

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field that a datatype's elements travel in; FP16 and BF16 travel raw."""


class Wanted(NamedTuple):
    """The wishes of a request for its answer.

    They are the id that is echoed, the names of the outputs in order, and whether they leave raw.
    """

    id: str
    outputs: tuple[str, ...]
    raw: bool


class _Plan:
    """The values that a route computes once per version."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.reader = TensorReader(engine.schema, engine.reader.max_rows)
        self.outputs = outputs_of(engine)


@dataclass(slots=True, eq=False)
class Tensors:
    """The dialect."""

    _plans: Plans[_Plan]

    def __init__(self) -> None:
        self._plans = Plans(_Plan)

    def read(self, engine: Engine, body: bytes, headers: Headers) -> Query:  # noqa: ARG002 (the message says it all)
        """Rows of tensors."""
        plan = self._plans.of(engine)
        check_counts(body, engine.schema.n_columns, plan.reader.max_rows)
        try:
            request = ModelInferRequest.FromString(body)
        except DecodeError:
            raise BodyError(BROKEN) from None
        unknown: dict[str, None] = {}
        rows = plan.reader.read(list(_tensors(plan.reader, request)), unknown)
        for output in request.outputs:
            check_extensions(output.name, output.parameters)
        outputs = wanted_outputs(plan.outputs, [output.name for output in request.outputs])
        return Query(rows, False, Wanted(request.id, outputs, bool(request.raw_input_contents)), tuple(unknown))

    def write(self, engine: Engine, query: Query, answers: Answers, request_id: str, warnings: list[Problem]) -> Reply:
        """A ``ModelInferResponse``."""
        manifest, wanted = engine.manifest, query.context
        response = ModelInferResponse(
            model_name=manifest.name, model_version=manifest.version, id=wanted.id or request_id
        )
        for tensor in tensors_from_answers(engine.schema, answers, wanted.outputs):
            output = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            if wanted.raw:
                response.raw_output_contents.append(to_raw(tensor))
            else:
                getattr(output.contents, CONTENTS[tensor.datatype]).extend(_elements(tensor))
        if warnings:
            told_more = [{"row": w.row, "column": w.column, "problem": w.problem} for w in warnings]
            response.parameters["warnings"].string_param = msgspec.json.encode(told_more).decode()
        return Reply(200, response.SerializeToString(), PROTOBUF, code="OK")

    def refuse(self, error: OrrisError, request_id: str) -> Reply:
        """A status and its text."""
        return refusal(error, request_id)

    def codecs(self, engine: Engine) -> tuple[RowMessageCodec, ...]:
        """One row of FP64 in one tensor, raw or typed, where all columns are numbers."""
        plan = self._plans.of(engine)
        if not plan.reader.plain:
            return ()
        names = tuple(output.name for output in plan.outputs)
        nothing = np.empty((0, engine.schema.n_columns))
        return tuple(
            RowMessageCodec(self, engine, plan.reader, Query(nothing, False, Wanted("", names, raw)), raw=raw)
            for raw in (True, False)
        )


def refusal(error: Exception, request_id: str) -> Reply:
    """An error as a call's status; the text of an internal error is not sent."""
    status, text = status_and_text(error, request_id)
    headers = tuple(header for header in headers_of(error) if header[0] == b"retry-after")
    return Reply(status, text[:MAX_TEXT].encode(), PROTOBUF, headers, code_of(error))


def _tensors(reader: TensorReader, request: ModelInferRequest) -> Iterator[Tensor]:
    """The inputs' tensors; raises ``BodyError`` for a malformed one."""
    raws = request.raw_input_contents
    inputs = request.inputs
    if raws and len(raws) != len(inputs):
        raise BodyError(
            f"there are {len(inputs)} inputs and {len(raws)} raw_input_contents; send one for each, in their order"
        )
    if "content_type" in request.parameters:
        check_content_type(request.parameters["content_type"].string_param)
    for i, given in enumerate(inputs):
        reader.check_size(given.name, given.datatype, given.shape)
        content_type = given.parameters["content_type"].string_param if "content_type" in given.parameters else ""
        if given.parameters:
            check_extensions(given.name, given.parameters)
        if not raws:
            tensor = from_values(given.name, given.datatype, tuple(given.shape), _typed(given))
            yield decoded(tensor, content_type)
        elif given.HasField("contents"):
            raise BodyError(
                f"input '{given.name[:100]}' has contents beside raw_input_contents; send all inputs in one way"
            )
        else:
            yield decoded(from_raw(given.name, given.datatype, tuple(given.shape), raws[i]), content_type)


def _typed(given: ModelInferRequest.InferInputTensor) -> Sequence[object]:
    """An input's typed elements."""
    expected = CONTENTS.get(given.datatype)
    filled = [field.name for field, _ in given.contents.ListFields()]
    if expected is None:
        if given.datatype in DATATYPES:
            raise BodyError(f"input '{given.name[:100]}': {given.datatype} travels in raw_input_contents only")
        return ()  # ``from_values`` says that there is no such datatype
    if any(name != expected for name in filled):
        raise BodyError(
            f"input '{given.name[:100]}': {given.datatype} travels in {expected}, not in {', '.join(filled)}"
        )
    elements: Sequence[object] = getattr(given.contents, expected)[:]
    return elements


def _elements(tensor: Tensor) -> list[object]:
    values = tensor.values.tolist()
    return (
        [value if isinstance(value, bytes) else str(value).encode() for value in values]
        if tensor.datatype == "BYTES"
        else values
    )


_BASE = f"/{SERVICE}"

PROTOCOL = Protocol(
    "Open Inference Protocol V2 over gRPC",
    (
        Call(f"{_BASE}/ModelInfer", dialect=Tensors),
        Call(f"{_BASE}/ModelStreamInfer"),
        *(
            Call(f"{_BASE}/{method}", Credential.NONE, traced=False)
            for method in ("ServerLive", "ServerReady", "ModelReady")
        ),
        *(
            Call(f"{_BASE}/{method}")
            for method in ("ServerMetadata", "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex")
        ),
        *(
            Call(f"{_BASE}/{memory}SharedMemory{method}")
            for memory in ("System", "Cuda")
            for method in ("Status", "Unregister")
        ),
        *(Call(f"{_BASE}/{method}", Credential.ADMIN) for method in ("RepositoryModelLoad", "RepositoryModelUnload")),
    ),
)
"""The calls of the service."""

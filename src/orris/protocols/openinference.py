"""Open Inference Protocol V2 over REST, with the binary tensor data extension.

What clients of KServe, Triton and MLServer speak.

Source: https://github.com/kserve/open-inference-protocol and, for binary tensors, Triton's
docs/protocol/extension_binary_data.md. What the tensors mean is in ``tensors``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
import numpy as np

from orris.errors import BodyError, NotReadyError, OrrisError, Problem
from orris.protocols import descriptions
from orris.protocols.codecs import TensorCodec
from orris.protocols.inference_requests import (
    Input,
    InputParameters,
    OutputParameters,
    Request,
    decode_request,
    read_request,
)
from orris.protocols.json_tensors import from_json
from orris.protocols.labels import LabelBytes
from orris.protocols.plans import Plans
from orris.protocols.quick_rows import QuickRows
from orris.protocols.status import headers_of, problem_document, status_and_text
from orris.protocols.tensors import (
    EXTENSIONS,
    KSERVE_PREDICT,
    PREDICT,
    PREDICT_PROBA,
    SCORE,
    SERVER_NAME,
    Tensor,
    TensorReader,
    TensorSpec,
    check_content_type,
    check_extensions,
    decoded,
    from_raw,
    input_specs,
    output_specs,
    tensors_from_answers,
    to_raw,
    wanted_outputs,
)
from orris.runtime import Answers
from orris.serving.engine import Engine
from orris.serving.exchange import Headers, Query, Reply, media_type, require_json
from orris.serving.operations import json_object, reading
from orris.serving.protocol import Credential, Get, Predict, Protocol, Target
from orris.version import __version__

HEADER_LENGTH = b"inference-header-content-length"
OCTET_STREAM = b"application/octet-stream"

MAX_PLANS = 8
"""Versions that one route keeps what it has computed of.

A route knows the version that answers and, with traffic split, a second.
"""

_encode = msgspec.json.Encoder().encode


class Wanted(NamedTuple):
    """The wishes of a request for its answer.

    Attributes:
        id: The request's id; ``None`` if it has none.
        outputs: Names of outputs, in their order.
        binary: Those that leave as binary data.
    """

    id: str | None
    outputs: tuple[str, ...]
    binary: frozenset[str]


def refusal(error: OrrisError, request_id: str) -> Reply:
    """An error in the shape of V2; an internal error's text is not sent. Invalid rows are status 400 here."""
    status, text = status_and_text(error, request_id)
    return Reply(status, _encode({"error": text}), headers=headers_of(error))


def error_document(status: int, request_id: str, detail: str) -> Reply:
    """A refusal in the shape of V2, for paths and methods that nothing answers."""
    return Reply(
        status,
        _encode({"error": detail or HTTPStatus(status).phrase}),
        headers=problem_document(status, request_id).headers,
    )


def _json(document: dict[str, Any]) -> Reply:
    return Reply(200, _encode(document))


def platform(engine: Engine) -> str:
    """A model's platform: ``orris_onnx``, ``orris_skops``, …."""
    return f"orris_{engine.manifest.model_file.removeprefix('model.')}"


def properties(engine: Engine) -> dict[str, str]:
    """A model's metadata beside its tensors: task, target, and a classifier's labels as a JSON list."""
    schema = engine.schema
    said = {"task": schema.task, "target": schema.target}
    return said | ({"labels": _encode(schema.labels).decode()} if schema.labels else {})


def describe(engine: Engine) -> dict[str, Any]:
    """A model's metadata, without its versions and properties, as REST and gRPC have it."""
    manifest = engine.manifest
    inputs, outputs = input_specs(manifest.schema), outputs_of(engine)
    return {
        "name": manifest.name,
        "platform": platform(engine),
        "inputs": [spec._asdict() for spec in inputs],
        "outputs": [spec._asdict() for spec in outputs],
    }


def outputs_of(engine: Engine) -> tuple[TensorSpec, ...]:
    """The output tensors of a loaded model."""
    return output_specs(engine.schema, has_probabilities=engine.has_probabilities, has_scores=engine.has_scores)


class _Plan:
    """The values that a route computes once per version: how rows are read, and the constant parts of answers."""

    def __init__(self, engine: Engine) -> None:
        schema, manifest = engine.schema, engine.manifest
        self.engine = engine
        self.reader = TensorReader(schema, engine.reader.max_rows)
        self.quick = QuickRows(self.reader)
        self.outputs = outputs_of(engine)
        self.everything = Wanted(None, tuple(spec.name for spec in self.outputs), frozenset())
        self.head = b'{"model_name":%b,"model_version":%b,"id":' % (_encode(manifest.name), _encode(manifest.version))
        named = self.outputs[0]._replace(name=KSERVE_PREDICT)
        self.openings = {spec.name: _opening(spec) for spec in (*self.outputs, named)}
        tensors = tensors_from_answers(schema, Answers(labels=np.arange(len(schema.labels))))
        self.labels = [_encode(label) for tensor in tensors for label in tensor.values.tolist()]
        self.json_labels = LabelBytes(self.labels, b",")
        self.raw_labels = LabelBytes(
            [
                to_raw(tensor._replace(values=tensor.values[i : i + 1]))
                for tensor in tensors
                for i in range(len(tensor.values))
            ]
        )

    def codes(self, body: bytes) -> Sequence[float] | None:
        """The codes of one row, of a request that is plainly right and asks for no more than an answer."""
        try:
            request = decode_request(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if request.id is None and request.outputs is None and request.parameters is None:
            return self.quick.codes(request.inputs)
        return None

    def wanted(self, request: Request) -> Wanted:
        """The wishes of a request for its answer."""
        outputs, parameters = request.outputs or [], request.parameters
        if not outputs and parameters is None:
            return Wanted(request.id, self.everything.outputs, self.everything.binary)
        for output in outputs:
            if output.parameters is not None:
                check_extensions(output.name, _given(output.parameters))
        names = wanted_outputs(self.outputs, [output.name for output in outputs])
        default = parameters is not None and parameters.binary_data_output
        said = {
            o.name: o.parameters.binary_data
            for o in outputs
            if o.parameters is not None and o.parameters.binary_data is not None
        }
        return Wanted(request.id, names, frozenset(name for name in names if said.get(name, default)))


def _given(parameters: InputParameters | OutputParameters) -> set[str]:
    """The names of the parameters that a tensor has."""
    return {name for name in parameters.__struct_fields__ if getattr(parameters, name) is not None}


def _opening(spec: TensorSpec) -> bytes:
    """An output tensor as JSON, up to its data, ``%d`` for the number of rows."""
    shape = ",".join(["%d", *map(str, spec.shape[1:])])
    return b'{"name":"%b","datatype":"%b","shape":[%b],' % (spec.name.encode(), spec.datatype.encode(), shape.encode())


@dataclass(slots=True, eq=False)
class OpenInference:
    """The dialect."""

    _plans: Plans[_Plan]

    def __init__(self) -> None:
        self._plans = Plans(_Plan)

    def read(self, engine: Engine, body: bytes, headers: Headers) -> Query:
        """Rows of tensors."""
        plan = self._plans.of(engine)
        raw: memoryview | None = None
        given = headers.get(HEADER_LENGTH)
        if given is not None or headers.get(b"content-type") != b"application/json":
            _require_media_type(headers)
        if given is not None:
            length = _header_length(given, len(body))
            body, raw = body[:length], memoryview(body)[length:]
        request = read_request(plan.reader, body)
        if request.parameters is not None:
            check_content_type(request.parameters.content_type or "")
        rows = plan.quick.read(request.inputs) if raw is None else None
        unknown: dict[str, None] = {}
        if rows is None:
            rows = plan.reader.read(_tensors(plan.reader, request, raw), unknown)
        if request.id is None and request.outputs is None and request.parameters is None:
            return Query(rows, unknown=tuple(unknown))
        return Query(rows, False, plan.wanted(request), tuple(unknown))

    def write(self, engine: Engine, query: Query, answers: Answers, request_id: str, warnings: list[Problem]) -> Reply:
        """An inference response."""
        plan = self._plans.of(engine)
        wanted: Wanted = query.context or plan.everything
        head = plan.head + _encode(wanted.id or request_id)
        if warnings:
            told_more = _encode([{"row": w.row, "column": w.column, "problem": w.problem} for w in warnings]).decode()
            head += b',"parameters":' + _encode({"warnings": told_more})
        if wanted.binary:
            return _mixed(plan, head, wanted, answers)
        outputs = b"},".join([_written(plan, name, answers) for name in wanted.outputs])
        return Reply(200, b'%b,"outputs":[%b}]}' % (head, outputs))

    def refuse(self, error: OrrisError, request_id: str) -> Reply:
        """``{"error": …}``."""
        return refusal(error, request_id)

    def codecs(self, engine: Engine) -> tuple[TensorCodec, ...]:
        """One row, all outputs, in JSON."""
        plan = self._plans.of(engine)
        openings = {name: opening % 1 for name, opening in plan.openings.items()}
        codec = TensorCodec(
            plan.codes,
            n_columns=engine.schema.n_columns,
            head=plan.head,
            predict=openings[PREDICT],
            labels=plan.labels,
            probabilities=openings.get(PREDICT_PROBA, b""),
            score=openings.get(SCORE, b""),
        )
        return (codec,)


def _written(plan: _Plan, name: str, answers: Answers) -> bytes:
    """An output as JSON, but for its closing brace."""
    if name == PREDICT_PROBA:
        assert answers.probabilities is not None  # noqa: S101 (the output is known to be there)
        probabilities = answers.probabilities
        return plan.openings[name] % len(probabilities) + b'"data":' + _encode(probabilities.ravel().tolist())
    if name == SCORE:
        assert answers.scores is not None  # noqa: S101 (likewise)
        return plan.openings[name] % len(answers.scores) + b'"data":' + _encode(answers.scores.tolist())
    if answers.values is not None:
        return plan.openings[name] % len(answers.values) + b'"data":' + _encode(answers.values.tolist())
    assert answers.labels is not None  # noqa: S101
    return b'%b"data":[%b]' % (plan.openings[name] % len(answers.labels), plan.json_labels.join(answers.labels))


def _mixed(plan: _Plan, head: bytes, wanted: Wanted, answers: Answers) -> Reply:
    """A response with binary tensors behind its JSON."""
    outputs, raws = [], []
    for name in wanted.outputs:
        if name in wanted.binary:
            n_rows, raw = _raw(plan, name, answers)
            raws.append(raw)
            outputs.append(plan.openings[name] % n_rows + b'"parameters":{"binary_data_size":%d}' % len(raw))
        else:
            outputs.append(_written(plan, name, answers))
    document = b'%b,"outputs":[%b}]}' % (head, b"},".join(outputs))
    length = (b"inference-header-content-length", b"%d" % len(document))
    return Reply(200, b"".join([document, *raws]), OCTET_STREAM, (length,))


def _raw(plan: _Plan, name: str, answers: Answers) -> tuple[int, bytes]:
    """The number of rows, and an output's values in raw form."""
    if name in {PREDICT, KSERVE_PREDICT} and answers.labels is not None:
        return len(answers.labels), plan.raw_labels.join(answers.labels)
    if name == PREDICT_PROBA and answers.probabilities is not None:
        return len(answers.probabilities), answers.probabilities.astype("<f8", copy=False).tobytes()
    (tensor,) = tensors_from_answers(plan.engine.schema, answers, (name,))
    return tensor.shape[0], to_raw(tensor)


def _require_media_type(headers: Headers) -> None:
    """Binary bodies are octets; Triton's clients name no type at all."""
    given = headers.get(b"content-type", b"")
    if given != OCTET_STREAM and media_type(given)[0] != "application/octet-stream":
        require_json(headers)


def _header_length(given: bytes, n_bytes: int) -> int:
    length = int(given) if given.isdigit() and len(given) < 20 else -1
    if not 0 <= length <= n_bytes:
        raise BodyError("Inference-Header-Content-Length is not the length of the JSON at the beginning of the body")
    return length


def _tensors(reader: TensorReader, request: Request, raw: memoryview | None) -> list[Tensor]:
    inputs = request.inputs
    for given in inputs:
        reader.check_size(given.name, given.datatype, given.shape)
    tensors = [
        decoded(tensor, (given.parameters.content_type if given.parameters is not None else None) or "")
        for given, tensor in zip(inputs, _each_tensor(inputs, raw if raw is not None else memoryview(b"")), strict=True)
    ]
    rest = len(raw or b"") - sum(i.parameters.binary_data_size or 0 for i in inputs if i.parameters is not None)
    if rest:
        raise BodyError(f"{rest} bytes of binary data belong to no input")
    return tensors


def _each_tensor(inputs: list[Input], raw: memoryview) -> Iterator[Tensor]:
    """The inputs' tensors; binary data are taken in the order of the inputs that announce them."""
    start = 0
    for given in inputs:
        name, size = given.name[:100], None
        if given.parameters is not None:
            size = given.parameters.binary_data_size
            if given.parameters.shared_memory_region is not None:
                check_extensions(given.name, _given(given.parameters))
        if size is None:
            if given.data is None:
                raise BodyError(f"input '{name}' has neither data nor binary_data_size")
            yield from_json(given.name, given.datatype, given.shape, given.data)
            continue
        if given.data is not None:
            raise BodyError(f"input '{name}' has both data and binary_data_size")
        if not 0 <= size <= len(raw) - start:
            raise BodyError(
                f"input '{name}': binary_data_size is more than the binary data behind the JSON; is the header's length"
                " right?"
            )
        yield from_raw(given.name, given.datatype, given.shape, raw[start : start + size])
        start += size


# The routes that ask no model


def _live(_target: Target, _headers: Headers, _request_id: str) -> Reply:
    return _json({"live": True})


def _ready(target: Target, _headers: Headers, _request_id: str) -> Reply:
    if not target.catalog.ready:
        raise NotReadyError("the server is not ready, or is draining")
    return _json({"ready": True})


def _server_metadata(_target: Target, _headers: Headers, _request_id: str) -> Reply:
    return _json({"name": SERVER_NAME, "version": __version__, "extensions": EXTENSIONS})


def _models(target: Target, _headers: Headers, _request_id: str) -> Reply:
    return _json({"models": [slot.name for slot in target.catalog if slot.live is not None]})


def _model_metadata(target: Target, _headers: Headers, _request_id: str) -> Reply:
    versions = [loaded.version for loaded in target.slot.loaded()]
    engine = target.live().engine
    return _json({**describe(engine), "versions": versions, "properties": properties(engine)})


def _model_ready(target: Target, _headers: Headers, _request_id: str) -> Reply:
    return _json({"name": target.live().engine.manifest.name, "ready": True})


_TAG = descriptions.OPEN_INFERENCE
_OF_MODEL = "/v2/models/{model}"
_OF_VERSION = f"{_OF_MODEL}/versions/{{version}}"
_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}
_FLAG: dict[str, Any] = {"type": "boolean"}
_ERROR = json_object(("error",), error=_TEXT)

_server = reading(
    "The server's name, version and extensions",
    _TAG,
    json_object(("name", "version", "extensions"), name=_TEXT, version=_TEXT, extensions=_TEXTS),
)
_metadata = reading(
    "A model's versions, inputs and outputs",
    _TAG,
    descriptions.model_metadata(),
    status_404=_ERROR,
    status_503=_ERROR,
)
_readiness = reading(
    "Whether a model is ready",
    _TAG,
    json_object(("name", "ready"), name=_TEXT, ready=_FLAG),
    status_404=_ERROR,
    status_503=_ERROR,
)

PROTOCOL = Protocol(
    "Open Inference Protocol V2",
    (
        *(
            Predict(template, operation=descriptions.tensors, dialect=OpenInference)
            for template in (f"{_OF_MODEL}/infer", f"{_OF_VERSION}/infer")
        ),
        *(Get(template, operation=_metadata, answer=_model_metadata) for template in (_OF_MODEL, _OF_VERSION)),
        *(
            Get(f"{template}/ready", Credential.NONE, traced=False, operation=_readiness, answer=_model_ready)
            for template in (_OF_MODEL, _OF_VERSION)
        ),
        Get("/v2", operation=_server, answer=_server_metadata),
        Get("/v2/", answer=_server_metadata),
        Get(
            "/v2/health/live",
            Credential.NONE,
            traced=False,
            operation=reading("Whether the server is alive", _TAG, json_object(("live",), live=_FLAG)),
            answer=_live,
        ),
        Get(
            "/v2/health/ready",
            Credential.NONE,
            traced=False,
            operation=reading(
                "Whether all models are ready", _TAG, json_object(("ready",), ready=_FLAG), status_503=_ERROR
            ),
            answer=_ready,
        ),
        Get(
            "/v2/models",
            operation=reading("The names of the models that answer", _TAG, json_object(("models",), models=_TEXTS)),
            answer=_models,
        ),
    ),
    prefix="/v2",
    errors=error_document,
)
"""The Open Inference Protocol over REST."""

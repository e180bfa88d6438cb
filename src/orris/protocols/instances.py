"""``{"instances": [[…], …]}`` -> ``{"predictions": […]}``.

KServe's V1 protocol, and Vertex AI's, which is the same with routes of its own.

Source: KServe's "V1 inference protocol", and Google's "Custom container requirements for inference". A prediction is
the label in its own JSON type, or the value; ``"parameters": {"predict_method": "predict_proba"}`` asks for
probabilities instead. V1 requests may come as CloudEvents, in binary or structured mode, and are answered in kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from orris.errors import BodyError, OrrisError, Problem
from orris.protocols import descriptions
from orris.protocols.descriptions import JsonObject
from orris.protocols.envelopes import INPUTS, INSTANCES, open_envelope, predictions, wants_probabilities
from orris.protocols.status import headers_of, told
from orris.runtime import Answers
from orris.schema import Schema
from orris.serving.catalog import Catalog, Slot
from orris.serving.engine import Engine
from orris.serving.exchange import JSON, TEXT, Headers, Query, Reply, require_json
from orris.serving.http.probes import Probe
from orris.serving.routing import ModelRoute, Mount, Protocol

CLOUD_EVENT = b"application/cloudevents+json"
EVENT_TYPE = "io.kserve.inference.response"
EVENT_SOURCE = "io.kserve.inference."

_encode = msgspec.json.Encoder().encode


class Predictions(msgspec.Struct, gc=False):
    """The answer."""

    predictions: list[Any]


class Event(msgspec.Struct):
    """A structured CloudEvent (version 1.0); what else it holds is not looked at."""

    specversion: str
    data: msgspec.Raw = msgspec.Raw()


class EventAnswer(msgspec.Struct):
    """The structured CloudEvent that answers one."""

    id: str
    source: str
    data: Predictions
    type: str = EVENT_TYPE
    specversion: str = "1.0"
    datacontenttype: str = "application/json"


class Wanted(NamedTuple):
    """How the answer is to be written."""

    probabilities: bool
    event: str


def mount(slot: Slot, default: bool) -> Mount:  # noqa: ARG001 (V1 always names the model)
    """KServe V1 for a model."""
    base, template, dialect = f"/v1/models/{slot.name}", "/v1/models/{model}", InstanceRows()
    routes = [ModelRoute(f"{base}:predict", f"{template}:predict", dialect)]
    probes: dict[str, Probe] = {base: _model_probe(slot)}
    for live in slot.loaded():
        path = f"{base}/versions/{live.version}"
        routes.append(ModelRoute(f"{path}:predict", template + "/versions/{version}:predict", dialect, live.version))
        probes[path] = _model_probe(slot)
    return Mount(tuple(routes), probes)


def server_probes(catalog: Catalog) -> dict[str, Probe]:
    """KServe V1's route that names no model."""

    def models(_headers: Headers, _request_id: str) -> Reply:
        """The names of all models (KServe V1)."""
        return Reply(200, _encode({"models": [slot.name for slot in catalog]}))

    return {"/v1/models": models}


def vertex_mount(predict_route: str) -> Protocol:
    """Vertex AI for the default model, on the route that the platform names."""

    def mount(_slot: Slot, default: bool) -> Mount:
        return Mount((ModelRoute(predict_route, predict_route, InstanceRows()),) if default else ())

    return mount


def vertex_health(catalog: Catalog) -> Probe:
    """Vertex AI's health check."""

    def health(_headers: Headers, _request_id: str) -> Reply:
        """Vertex AI's health check: 200 while every model answers, otherwise 503."""
        return Reply(200, b"OK", TEXT) if catalog.ready else Reply(503, b"not ready", TEXT)

    return health


@dataclass(frozen=True, slots=True)
class InstanceRows:
    """The dialect."""

    def read(self, engine: Engine, body: bytes, headers: Headers) -> Query:
        """Rows under ``instances``, or under ``inputs``."""
        require_json(headers)
        event = ""
        if headers.get(b"content-type", b"").startswith(CLOUD_EVENT):
            body, event = _event_data(body), "structured"
        elif b"ce-specversion" in headers:
            event = "binary"
        opened = open_envelope(engine.reader, body, (INSTANCES, INPUTS))
        if opened is None:
            raise BodyError('a JSON object with a list of rows is needed: {"instances": [[…], …]}')
        return Query(opened.rows, False, Wanted(wants_probabilities(engine, opened.parameters), event))

    def write(self, engine: Engine, query: Query, answers: Answers, request_id: str, warnings: list[Problem]) -> Reply:  # noqa: ARG002
        """One prediction per row; there is no place for warnings, which are counted."""
        wanted: Wanted = query.context
        answer = Predictions(predictions(engine, answers, probabilities=wanted.probabilities))
        if not wanted.event:
            return Reply(200, _encode(answer))
        source = EVENT_SOURCE + engine.manifest.name
        if wanted.event == "structured":
            return Reply(200, _encode(EventAnswer(request_id, source, answer)), CLOUD_EVENT)
        attributes = {b"specversion": "1.0", b"id": request_id, b"source": source, b"type": EVENT_TYPE}
        return Reply(
            200, _encode(answer), JSON, tuple((b"ce-" + name, value.encode()) for name, value in attributes.items())
        )

    def describe(self, schema: Schema) -> JsonObject:
        """The route in OpenAPI."""
        return descriptions.instances(schema)

    def refuse(self, error: OrrisError, request_id: str) -> Reply:
        """``{"error": text}``."""
        status, text = told(error, request_id)
        return error_document(status, request_id, text)._replace(headers=headers_of(error))


def error_document(status: int, request_id: str, detail: str = "") -> Reply:
    """An error in the shape of V1."""
    return Reply(status, _encode({"error": detail or f"see the server's log for request id {request_id}"}))


def _event_data(body: bytes) -> bytes:
    try:
        event = msgspec.json.decode(body, type=Event)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BodyError(
            "the body is no structured CloudEvent: a JSON object with 'specversion' and 'data' is needed"
        ) from None
    return bytes(event.data)


def _model_probe(slot: Slot) -> Probe:
    def model(_headers: Headers, request_id: str) -> Reply:
        """Whether the model is ready: 200, or 503 (KServe V1)."""
        if slot.live is None:
            return error_document(503, request_id, f"model '{slot.name}' is not ready")
        return Reply(200, _encode({"name": slot.name, "ready": True}))

    return model

"""``{"instances": [[…], …]}`` -> ``{"predictions": […]}``.

KServe's V1 protocol, and Vertex AI's, which is the same with routes of its own.

Source: KServe's "V1 inference protocol", and Google's "Custom container requirements for inference". A prediction is
the label in its own JSON type, or the value; ``"parameters": {"predict_method": "predict_proba"}`` asks for
probabilities instead. V1 requests may come as CloudEvents, in binary or structured mode, and are answered in kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from orris.errors import BodyError, OrrisError, Problem
from orris.protocols import descriptions
from orris.protocols.codecs import ListedCodec, instance_writer
from orris.protocols.envelopes import INPUTS, INSTANCES, open_envelope, predictions, wants_probabilities
from orris.protocols.status import headers_of, status_and_text
from orris.runtime import Answers
from orris.serving.engine import Engine
from orris.serving.exchange import JSON, TEXT, Headers, Query, Reply, RowCodec, is_plain_json, require_json
from orris.serving.operations import TEXT as TEXT_CONTENT
from orris.serving.operations import json_object, reading
from orris.serving.protocol import Absent, Credential, Get, Predict, Protocol, Route, Target

CLOUD_EVENT = b"application/cloudevents+json"
EVENT_TYPE = "io.kserve.inference.response"
EVENT_SOURCE = "io.kserve.inference."

NO_EXPLAINER = (
    "explanations are not offered: a bundle holds a model and no explainer; in KServe an explainer is a container of"
    " its own, which asks this one for its predictions with :predict"
)
"""The answer to ``:explain``."""

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
    time: str
    data: Predictions
    type: str = EVENT_TYPE
    specversion: str = "1.0"
    datacontenttype: str = "application/json"


class Wanted(NamedTuple):
    """How the answer is to be written."""

    probabilities: bool
    event: str


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
        wanted = Wanted(wants_probabilities(engine, opened.parameters), event)
        return Query(opened.rows, False, wanted, opened.unknown)

    def write(self, engine: Engine, query: Query, answers: Answers, request_id: str, warnings: list[Problem]) -> Reply:  # noqa: ARG002
        """One prediction per row; there is no place for warnings, which are counted."""
        wanted: Wanted = query.context
        answer = Predictions(predictions(engine, answers, probabilities=wanted.probabilities))
        if not wanted.event:
            return Reply(200, _encode(answer))
        source, time = EVENT_SOURCE + engine.manifest.name, _now()
        if wanted.event == "structured":
            return Reply(200, _encode(EventAnswer(request_id, source, time, answer)), CLOUD_EVENT)
        attributes = {
            b"specversion": "1.0",
            b"id": request_id,
            b"source": source,
            b"type": EVENT_TYPE,
            b"time": time,
        }
        return Reply(
            200, _encode(answer), JSON, tuple((b"ce-" + name, value.encode()) for name, value in attributes.items())
        )

    def refuse(self, error: OrrisError, request_id: str) -> Reply:
        """``{"error": text}``."""
        status, text = status_and_text(error, request_id)
        return error_document(status, request_id, text)._replace(headers=headers_of(error))

    def codecs(self, engine: Engine) -> tuple[RowCodec, ...]:
        """One row as a list, and no event."""
        wanted = Wanted(False, "")
        return (
            ListedCodec(
                engine.reader,
                INSTANCES,
                single=False,
                takes=lambda headers: is_plain_json(headers) and b"ce-specversion" not in headers,
                query=lambda row: Query(row, False, wanted),
                write=instance_writer(engine),
            ),
        )


def error_document(status: int, request_id: str, detail: str = "") -> Reply:
    """An error in the shape of V1."""
    return Reply(status, _encode({"error": detail or f"see the server's log for request id {request_id}"}))


def _now() -> str:
    """The time as CloudEvents write it (RFC 3339)."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event_data(body: bytes) -> bytes:
    try:
        event = msgspec.json.decode(body, type=Event)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BodyError(
            "the body is no structured CloudEvent: a JSON object with 'specversion' and 'data' is needed"
        ) from None
    return bytes(event.data)


def _models(target: Target, _headers: Headers, _request_id: str) -> Reply:
    """The names of all models."""
    return Reply(200, _encode({"models": [slot.name for slot in target.catalog]}))


def _model(target: Target, _headers: Headers, _request_id: str) -> Reply:
    """Whether a model is ready: 200, or 503."""
    return Reply(200, _encode({"name": target.live().engine.manifest.name, "ready": True}))


_OF_MODEL = "/v1/models/{model}"
_OF_VERSION = f"{_OF_MODEL}/versions/{{version}}"
_TAG = "KServe V1"
_ERROR = json_object(("error",), error={"type": "string"})

_model_ready = reading(
    "Whether the model is ready",
    _TAG,
    json_object(("name", "ready"), name={"type": "string"}, ready={"type": "boolean"}),
    status_404=_ERROR,
    status_503=_ERROR,
)

PROTOCOL = Protocol(
    "KServe V1",
    (
        *(
            Predict(template, operation=descriptions.instances, dialect=InstanceRows)
            for template in (f"{_OF_MODEL}:predict", f"{_OF_VERSION}:predict")
        ),
        *(
            Get(template, Credential.NONE, operation=_model_ready, answer=_model)
            for template in (_OF_MODEL, _OF_VERSION)
        ),
        *(Absent(f"{template}:explain", reason=NO_EXPLAINER) for template in (_OF_MODEL, _OF_VERSION)),
        Get(
            "/v1/models",
            operation=reading(
                "The names of all models",
                _TAG,
                json_object(("models",), models={"type": "array", "items": {"type": "string"}}),
            ),
            answer=_models,
        ),
    ),
    prefix="/v1",
    errors=error_document,
)
"""KServe V1."""


def vertex(predict_route: str, health_route: str) -> Protocol:
    """Vertex AI for the default model, on the routes that the platform names; an empty one is none."""
    health = reading("Whether every model answers", "Vertex AI", TEXT_CONTENT, status_503=TEXT_CONTENT)
    routes: tuple[Route, ...] = ()
    if predict_route:
        routes += (Predict(predict_route, operation=descriptions.instances, dialect=InstanceRows),)
    if health_route:
        routes += (Get(health_route, Credential.NONE, traced=False, operation=health, answer=_vertex_health),)
    return Protocol("Vertex AI", routes)


def _vertex_health(target: Target, _headers: Headers, _request_id: str) -> Reply:
    """200 while every model answers, otherwise 503."""
    return Reply(200, b"OK", TEXT) if target.catalog.ready else Reply(503, b"not ready", TEXT)

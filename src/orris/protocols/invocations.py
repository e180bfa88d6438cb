"""``POST /invocations``: what MLflow's scoring server (2.0 and later) and SageMaker's containers answer, JSON and CSV.

Source: ``mlflow.pyfunc.scoring_server``, and SageMaker's "Use your own inference code with hosting services". A
prediction is the label in its own JSON type, or the value; ``"params": {"predict_method": "predict_proba"}`` asks for
probabilities, other parameters are tolerated.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from orris.errors import BodyError, MediaTypeError, OrrisError, Problem
from orris.protocols import descriptions
from orris.protocols.envelopes import INPUTS, INSTANCES, RECORDS, SPLIT, open_envelope, predictions, wants_probabilities
from orris.protocols.instances import Predictions
from orris.protocols.status import headers_of, told
from orris.runtime import Answers
from orris.serving.engine import Engine
from orris.serving.exchange import JSON, TEXT, Headers, Query, Reply
from orris.serving.operations import TEXT as TEXT_CONTENT
from orris.serving.operations import reading
from orris.serving.protocol import Credential, Get, Predict, Protocol, Target
from orris.tables.csv_rows import read_csv
from orris.version import __version__

FORMS = (SPLIT, RECORDS, INSTANCES, INPUTS)
"""A JSON body has exactly one of these."""

_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}
_FORMS_TOLD = f"a JSON object with exactly one of {', '.join(map(repr, FORMS))} is needed"
_PLAIN_TYPES = frozenset({b"", b"application/json", b"application/json; charset=utf-8"})

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Invocations:
    """The dialect."""

    def read(self, engine: Engine, body: bytes, headers: Headers) -> Query:
        """A table in one of four JSON forms, or CSV."""
        content_type = headers.get(b"content-type", b"")
        if content_type not in _PLAIN_TYPES and _kind(content_type) == "text/csv":
            return Query(read_csv(engine.reader, body), False, False)
        opened = open_envelope(engine.reader, body, FORMS, only_one=True, nan_is_missing=True)
        if opened is None:
            raise BodyError(_FORMS_TOLD)
        return Query(opened.rows, False, wants_probabilities(engine, opened.parameters))

    def write(self, engine: Engine, query: Query, answers: Answers, request_id: str, warnings: list[Problem]) -> Reply:  # noqa: ARG002
        """One prediction per row; there is no place for warnings, which are counted."""
        return Reply(200, _encode(Predictions(predictions(engine, answers, probabilities=query.context))))

    def refuse(self, error: OrrisError, request_id: str) -> Reply:
        """MLflow's error document, and plain text for a content type that is not read."""
        status, text = told(error, request_id)
        reply = (
            Reply(status, text.encode(), TEXT)
            if isinstance(error, MediaTypeError)
            else error_document(status, request_id, text)
        )
        return reply._replace(headers=headers_of(error))

    def codec(self, engine: Engine) -> None:
        """There is no way for several requests together."""


def error_document(status: int, request_id: str, detail: str = "") -> Reply:
    """An error in the shape of MLflow."""
    code = _CODES.get(status, _CODES[400 if status < 500 else 500])
    return Reply(
        status,
        _encode({"error_code": code, "message": detail or f"see the server's log for request id {request_id}"}),
        JSON,
    )


def _kind(content_type: bytes) -> str:
    """``application/json`` or ``text/csv``.

    Raises ``MediaTypeError`` for any other type, charset or parameter, as MLflow does.
    """
    kind, *parameters = (part.strip() for part in content_type.decode("latin-1").lower().split(";"))
    if kind not in {"application/json", "text/csv"}:
        raise MediaTypeError(f"content type '{kind[:100]}' is not read here; send application/json or text/csv")
    for parameter in parameters:
        name, _, value = (part.strip(' "') for part in parameter.partition("="))
        if name != "charset":
            raise MediaTypeError(f"content type parameter '{name[:100]}' is not read here; only charset=utf-8 is")
        if value not in {"utf-8", "utf8"}:
            raise MediaTypeError(f"charset '{value[:100]}' is not read here; send UTF-8")
    return kind


def _ping(target: Target, _headers: Headers, _request_id: str) -> Reply:
    """200 while every model answers, otherwise 404."""
    return Reply(200 if target.catalog.ready else 404, b"\n", TEXT)


def _version(_target: Target, _headers: Headers, _request_id: str) -> Reply:
    return Reply(200, __version__.encode(), TEXT)


_TAG = "MLflow"

PROTOCOL = Protocol(
    "MLflow and SageMaker",
    (
        *(
            Predict(template, operation=descriptions.invocations, dialect=Invocations)
            for template in ("/invocations", "/models/{model}/invocations", "/models/{model}/invoke")
        ),
        Get(
            "/ping",
            Credential.NONE,
            traced=False,
            operation=reading("Whether every model answers", _TAG, TEXT_CONTENT, status_404=TEXT_CONTENT),
            answer=_ping,
        ),
        Get("/version", operation=reading("The version of the server", _TAG, TEXT_CONTENT), answer=_version),
    ),
    prefix="/invocations",
    errors=error_document,
)
"""MLflow's scoring server and SageMaker's containers, with one model and with several."""

"""``POST /invocations``: what MLflow's scoring server (2.0 and later) and SageMaker's containers answer.

Source: ``mlflow.pyfunc.scoring_server``, and SageMaker's "Use your own inference code with hosting services". A
prediction is the label in its own JSON type, or the value; ``"params": {"predict_method": "predict_proba"}`` asks for
probabilities, other parameters are tolerated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from orris.errors import BodyError, MediaTypeError, OrrisError, Problem
from orris.protocols import descriptions
from orris.protocols.codecs import ListedCodec, instance_writer
from orris.protocols.envelopes import INPUTS, INSTANCES, RECORDS, SPLIT, open_envelope, predictions, wants_probabilities
from orris.protocols.instances import Predictions
from orris.protocols.status import headers_of, mlflow_code_of, status_and_text
from orris.protocols.table_formats import (
    WRITERS,
    accepted,
    check_parameters,
    csv_header,
    parse_media_type,
    read_lines,
    read_npy,
)
from orris.runtime import Answers
from orris.schema import strict
from orris.schema.arrays import FloatArray
from orris.schema.pieces import LONG_BYTES, is_array, read_array
from orris.schema.rows import RowReader
from orris.serving.engine import Engine
from orris.serving.exchange import JSON, TEXT, Headers, Query, Reply, RowCodec, is_plain_json
from orris.serving.operations import TEXT as TEXT_CONTENT
from orris.serving.operations import reading
from orris.serving.protocol import Credential, Get, Predict, Protocol, Target
from orris.tables.csv_rows import read_csv
from orris.version import __version__

FORMS = (SPLIT, RECORDS, INSTANCES, INPUTS)
"""A JSON body has exactly one of these."""

_FORMS_TOLD = f"a list of rows, or a JSON object with exactly one of {', '.join(map(repr, FORMS))} is needed"
_encode = msgspec.json.Encoder().encode


class Wanted(NamedTuple):
    """How the answer is to be written: its values, and its media type."""

    probabilities: bool
    kind: bytes


@dataclass(frozen=True, slots=True)
class Invocations:
    """The dialect."""

    def read(self, engine: Engine, body: bytes, headers: Headers) -> Query:
        """A table as JSON in one of five forms, JSON lines, CSV or an array of NumPy's."""
        kind = accepted(headers.get(b"accept", b""))
        content_type = headers.get(b"content-type", b"")
        given = _kind(content_type)
        unknown: dict[str, None] = {}
        if given == "text/csv":
            rows = read_csv(engine.reader, body, unknown, header=csv_header(content_type))
            return Query(rows, False, Wanted(False, kind), tuple(unknown))
        if given != "application/json":
            rows = _READERS[given](engine.reader, body, content_type)
            return Query(rows, False, Wanted(False, kind))
        if is_array(body):
            return Query(_bare_list(engine.reader, body), False, Wanted(False, kind))
        opened = open_envelope(engine.reader, body, FORMS, only_one=True, nan_is_missing=True)
        if opened is None:
            raise BodyError(_FORMS_TOLD)
        wanted = Wanted(wants_probabilities(engine, opened.parameters), kind)
        return Query(opened.rows, False, wanted, opened.unknown)

    def write(self, engine: Engine, query: Query, answers: Answers, request_id: str, warnings: list[Problem]) -> Reply:  # noqa: ARG002
        """One prediction per row; there is no place for warnings, which are counted."""
        wanted: Wanted = query.context
        found = predictions(engine, answers, probabilities=wanted.probabilities)
        if wanted.kind == JSON:
            return Reply(200, _encode(Predictions(found)))
        return Reply(200, WRITERS[wanted.kind](found), wanted.kind)

    def refuse(self, error: OrrisError, request_id: str) -> Reply:
        """MLflow's error document, and plain text for a content type that is not read."""
        status, text = status_and_text(error, request_id)
        reply = (
            Reply(status, text.encode(), TEXT)
            if isinstance(error, MediaTypeError)
            else error_document(status, request_id, text)
        )
        return reply._replace(headers=headers_of(error))

    def codecs(self, engine: Engine) -> tuple[RowCodec, ...]:
        """One row as a list under ``instances`` or ``inputs``, answered in JSON."""
        wanted = Wanted(False, JSON)
        return tuple(
            ListedCodec(
                engine.reader,
                key,
                single=False,
                takes=_takes_json,
                query=lambda row: Query(row, False, wanted),
                write=instance_writer(engine),
            )
            for key in (INSTANCES, INPUTS)
        )


def _takes_json(headers: Headers) -> bool:
    try:
        return is_plain_json(headers) and accepted(headers.get(b"accept", b"")) == JSON
    except OrrisError:
        return False


def error_document(status: int, request_id: str, detail: str = "") -> Reply:
    """An error in the shape of MLflow."""
    message = detail or f"see the server's log for request id {request_id}"
    return Reply(status, _encode({"error_code": mlflow_code_of(status), "message": message}), JSON)


def _kind(content_type: bytes) -> str:
    """The media type of a body.

    Raises ``MediaTypeError`` for any other type, charset or parameter, as MLflow does.
    """
    if content_type in {b"", b"application/json"}:
        return "application/json"
    kind, parameters = parse_media_type(content_type)
    if kind not in {"application/json", *_READERS}:
        raise MediaTypeError(
            f"content type '{kind[:100]}' is not read here; send application/json, {', '.join(_READERS)}"
        )
    if kind != "text/csv":
        parameters.pop("header", None)
    check_parameters(parameters)
    return kind


def _bare_list(reader: RowReader, body: bytes) -> FloatArray:
    """A list of rows, or one row: what SageMaker's ``JSONSerializer`` makes of an array."""
    if len(body) <= LONG_BYTES:
        document = strict.parse(body, nan_is_missing=True)
        if document and not any(isinstance(value, list) or strict.members(value) is not None for value in document):
            return strict.encode(reader.schema, [document], reader.max_rows)
    return read_array(reader, body, nan_is_missing=True)


def _csv(reader: RowReader, body: bytes, content_type: bytes) -> FloatArray:
    return read_csv(reader, body, header=csv_header(content_type))


def _lines(reader: RowReader, body: bytes, _content_type: bytes) -> FloatArray:
    return read_lines(reader, body)


def _npy(reader: RowReader, body: bytes, _content_type: bytes) -> FloatArray:
    return read_npy(reader, body)


_READERS = {
    "text/csv": _csv,
    "application/jsonlines": _lines,
    "application/x-ndjson": _lines,
    "application/x-npy": _npy,
}
"""The readers of bodies, by media type; JSON is read by the dialect."""


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

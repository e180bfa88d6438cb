"""Named rows: ``{"sepal_length": 5.1, …}`` or a list of such objects; Orris' own dialect.

One row is answered with ``prediction``, ``prediction_label``, ``probabilities``, ``request_id`` and ``model_version``;
a list of rows with such an answer per row under ``predictions``. ``prediction`` is the class' number (an integer label
itself, otherwise the label's position), or the value for regression.

Two forms of simpler servers are read as well, unless the schema has a column of that name: ``{"features": […]}``, a row
without names, answered as a named one; and ``{"instances": […]}``, a list of rows, answered with bare labels or values
under ``predictions``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from orris.errors import BodyError, OrrisError, Problem
from orris.protocols import descriptions
from orris.protocols.codecs import ListedCodec, NamedCodec, named_instance_writer
from orris.protocols.envelopes import FEATURES, INSTANCES, open_envelope, predictions
from orris.protocols.status import problem
from orris.protocols.table_formats import csv_header
from orris.runtime import Answers
from orris.schema import strict
from orris.schema.pieces import LONG_BYTES, MAX_ROW_BYTES, is_array, read_array
from orris.serving.engine import Engine
from orris.serving.exchange import Headers, Query, Reply, RowCodec, is_plain_json, require_json
from orris.serving.protocol import Predict, Protocol
from orris.tables.csv_rows import read_csv

WITH_CLASS = "/predict/"
"""The route whose answers also carry ``predicted_class``."""

_encode = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, omit_defaults=True, gc=False):
    """The answer to one row."""

    prediction: int | float
    prediction_label: str | None = None
    predicted_class: str | None = None
    probabilities: list[float] | None = None
    score: float | None = None
    request_id: str | None = None
    model_version: str | None = None
    warnings: list[dict[str, Any]] | None = None


class AnswerList(msgspec.Struct, omit_defaults=True, gc=False):
    """The answers to a list of rows."""

    predictions: list[Answer]
    request_id: str
    model_version: str
    warnings: list[dict[str, Any]] | None = None


class PredictionList(msgspec.Struct, omit_defaults=True, gc=False):
    """The answers to ``instances``: labels in their own JSON type, or values."""

    predictions: list[Any]
    probabilities: list[list[float]] | None = None
    request_id: str | None = None
    model_version: str | None = None
    warnings: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class NamedRows:
    """The dialect; ``with_class`` adds ``predicted_class``, the label, for callers of ``/predict/``."""

    with_class: bool = False

    def read(self, engine: Engine, body: bytes, headers: Headers) -> Query:
        """Rows by name."""
        content_type = headers.get(b"content-type", b"")
        if content_type != b"application/json" and content_type[:8].lower() == b"text/csv":
            return Query(read_csv(engine.reader, body, header=csv_header(content_type)))
        require_json(headers)
        if len(body) > LONG_BYTES:
            return _read_long(engine, body)
        read = engine.reader.attempt(body)
        return Query(*read) if read is not None else _read_otherwise(engine, body)

    def write(self, engine: Engine, query: Query, answers: Answers, request_id: str, warnings: list[Problem]) -> Reply:
        """One answer, or a list of them."""
        version = engine.manifest.version
        told = [{"row": w.row, "column": w.column, "problem": w.problem} for w in warnings] or None
        if query.single:
            answer = self._answer(engine, answers)
            answer.request_id, answer.model_version, answer.warnings = request_id, version, told
            return Reply(200, _encode(answer))
        if query.context is INSTANCES:
            probabilities = answers.probabilities.tolist() if answers.probabilities is not None else None
            return Reply(
                200, _encode(PredictionList(predictions(engine, answers), probabilities, request_id, version, told))
            )
        return Reply(200, _encode(AnswerList(self._answers(engine, answers), request_id, version, told)))

    def refuse(self, error: OrrisError, request_id: str) -> Reply:
        """A problem document."""
        return problem(error, request_id)

    def codecs(self, engine: Engine) -> tuple[RowCodec, ...]:
        """One row by name, and one as a list in either form."""
        named = NamedCodec(engine, with_class=self.with_class)
        listed = {
            INSTANCES: partial(Query, single=False, context=INSTANCES),
            FEATURES: partial(Query, single=True, context=FEATURES),
        }
        writers = {INSTANCES: named_instance_writer(engine), FEATURES: named.write}
        return named, *(
            ListedCodec(
                engine.reader,
                key,
                single=key == FEATURES,
                takes=is_plain_json,
                query=query,
                write=writers[key],
            )
            for key, query in listed.items()
            if key not in engine.schema.names
        )

    def _answer(self, engine: Engine, answers: Answers) -> Answer:
        """The first row's answer."""
        labels, probabilities, _, scores = answers
        if labels is None:
            return self._answers(engine, answers)[0]
        i = labels.item(0)
        text = engine.text_labels[i]
        return Answer(
            engine.class_numbers[i],
            text,
            text if self.with_class else None,
            None if probabilities is None else probabilities[0].tolist(),
            None if scores is None else scores.item(0),
        )

    def _answers(self, engine: Engine, answers: Answers) -> list[Answer]:
        if answers.values is not None:
            return [Answer(value) for value in answers.values.tolist()]
        assert answers.labels is not None  # noqa: S101 (a classifier's answers always have labels)
        labels = answers.labels.tolist()
        probabilities = answers.probabilities.tolist() if answers.probabilities is not None else [None] * len(labels)
        scores = answers.scores.tolist() if answers.scores is not None else [None] * len(labels)
        numbers, texts = engine.class_numbers, engine.text_labels
        return [
            Answer(numbers[i], texts[i], texts[i] if self.with_class else None, p, score)
            for i, p, score in zip(labels, probabilities, scores, strict=True)
        ]


def _read_long(engine: Engine, body: bytes) -> Query:
    """A body that is read in pieces."""
    if is_array(body):
        return Query(read_array(engine.reader, body))
    forms = tuple(form for form in (FEATURES, INSTANCES) if form not in engine.schema.names)
    opened = open_envelope(engine.reader, body, forms)
    if opened is not None:
        return Query(opened.rows, opened.key == FEATURES, opened.key)
    if len(body) > MAX_ROW_BYTES:
        raise BodyError(f"one row is longer than {MAX_ROW_BYTES} bytes; send a list of rows")
    return _read_otherwise(engine, body)


def _read_otherwise(engine: Engine, body: bytes) -> Query:
    """A body that is no plain named row: another form, or a row that needs a precise answer."""
    names = engine.schema.names
    forms = tuple(form for form in (FEATURES, INSTANCES) if form not in names and b'"%b"' % form.encode() in body)
    opened = open_envelope(engine.reader, body, forms) if forms else None
    if opened is not None:
        return Query(opened.rows, opened.key == FEATURES, opened.key, opened.unknown)
    document = strict.parse(body)
    members = strict.members(document)
    if members is not None and not {engine.schema.reading.trimmed(key) for key in members} & {
        *names,
        *engine.schema.table,
    }:
        raise BodyError(
            "the body is in none of the forms that are read here: an object with one value per column, a list of such"
            ' objects, {"features": […]} or {"instances": […]}; see /docs for the columns'
        )
    unknown: dict[str, None] = {}
    rows, single = strict.read_document(engine.schema, document, engine.reader.max_rows, unknown)
    return Query(rows, single, unknown=tuple(unknown))


_OF_MODEL = "/api/v1/models/{model}"

PROTOCOL = Protocol(
    "named rows",
    (
        *(
            Predict(template, operation=descriptions.named_rows, dialect=NamedRows)
            for template in ("/api/v1/predict", "/predict")
        ),
        Predict(WITH_CLASS, operation=descriptions.named_rows, dialect=partial(NamedRows, with_class=True)),
        *(
            Predict(template, operation=descriptions.named_rows, dialect=NamedRows)
            for template in (f"{_OF_MODEL}/predict", f"{_OF_MODEL}/versions/{{version}}/predict")
        ),
    ),
)
"""Orris' own routes for a model; the default model's also name none."""

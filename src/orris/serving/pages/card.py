"""The model card: one JSON document with all that a page needs to show a model, and the report and plots of its bundle.

Answered as probes are, without FastAPI. Every path is made here, of names that the manifest holds: no part of a request
becomes one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec
import numpy as np

from orris.errors import NotFoundError
from orris.schema import Column, Kind, Schema
from orris.schema.columns import UNSEEN
from orris.schema.documents import describe_column, example_row
from orris.schema.warnings import MISSING
from orris.serving.catalog import Catalog, Live
from orris.serving.engine import Engine
from orris.serving.exchange import Headers, Reply
from orris.serving.operations import PROBLEM, json_object, of, reading
from orris.serving.protocol import Get, JsonObject, Protocol, Target

PLOTS = (
    "confusion_matrix",
    "predicted_actual",
    "residuals",
    "roc",
    "precision_recall",
    "calibration",
    "thresholds",
    "class_balance",
    "importance",
    "learning_curve",
)
"""Plots that a bundle may hold, in the order in which they are shown; other files of a bundle are never served."""

MAX_EXAMPLES = 12
TINY = 1e-9
"""Numbers nearer to zero than this, but not zero, are the parity gate's provocations rather than examples."""

REPORT_POLICY = (
    b"default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none';"
    b" frame-ancestors 'none'; sandbox"
)
"""The Content-Security-Policy of a report.

A report may have been written by others, so it runs nothing, loads nothing and has no origin. Its own policy narrows
its styles further.
"""

_HTML, _PNG = b"text/html; charset=utf-8", b"image/png"
_NO_CACHE = (b"cache-control", b"no-cache")

_TAG = "model"
_BINARY: JsonObject = {"type": "string", "format": "binary"}

MAX_KEPT = 64
"""Reports and plots that are kept in memory."""


class Cards:
    """Cards, reports and plots of what is loaded.

    Args:
        pages: Whether reports and plots are served.

    Attributes:
        protocol: The record of their routes.
    """

    def __init__(self, *, pages: bool = True) -> None:
        self._pages = pages
        self._kept: dict[tuple[str, str], bytes] = {}
        version = "/api/v1/models/{model}/versions/{version}"
        card = partial(
            Get,
            operation=reading(
                "The model card: schema with ranges, examples, evaluation, parity verdict, what else is loaded",
                _TAG,
                json_object(),
                status_404=PROBLEM,
                status_503=PROBLEM,
            ),
            answer=self._card,
        )
        routes = [card("/api/v1/model/card"), card("/api/v1/models/{model}/card"), card(f"{version}/card")]
        if pages:
            report = reading("The report of the training", _TAG, of("text/html"), status_404=PROBLEM)
            plot = reading("A plot of the evaluation", _TAG, of("image/png", _BINARY), status_404=PROBLEM)
            names = frozenset(f"{name}.png" for name in PLOTS)
            routes += [
                Get(f"{version}/report", operation=report, answer=self._report),
                Get(f"{version}/plots/{{plot}}", operation=plot, answer=self._plot, values=names),
            ]
        self.protocol = Protocol("model cards", tuple(routes))

    def _card(self, target: Target, _headers: Headers, _request_id: str) -> Reply:
        slot, live = target.slot, target.live()
        models = {"models": list(_models(target.catalog))}
        document = describe(live) | _shown(live.engine, pages=self._pages) | models
        by_name = "/api/v1/predict" if slot is target.catalog.default else f"/api/v1/models/{slot.name}/predict"
        document["predict"] = by_name if live is slot.live else f"{_under(live)}/predict"
        return Reply(HTTPStatus.OK, msgspec.json.encode(document), headers=(_NO_CACHE,))

    def _report(self, target: Target, headers: Headers, _request_id: str) -> Reply:
        return self._sealed(target.live().engine, "report.html", headers)

    def _plot(self, target: Target, headers: Headers, _request_id: str) -> Reply:
        return self._sealed(target.live().engine, f"plots/{target.name}", headers)

    def _sealed(self, engine: Engine, file: str, headers: Headers) -> Reply:
        """A file of a bundle, read when it is first asked for and kept: it cannot change."""
        digest = engine.manifest.files.get(file)
        if digest is None:
            raise NotFoundError(f"the bundle of {engine.manifest.name} {engine.manifest.version} holds no {file}")
        kept = self._kept.get((file, digest))
        if kept is None:
            content = _content(engine, file)
            if content is None:
                raise NotFoundError(f"{file} is no longer in the bundle's folder as it was sealed")
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            kept = self._kept[file, digest] = content
        etag = b'"%b"' % digest[:32].encode()
        html = file.endswith(".html")
        told = (_NO_CACHE, (b"etag", etag), *(((b"content-security-policy", REPORT_POLICY),) if html else ()))
        if matches(headers, etag):
            return Reply(HTTPStatus.NOT_MODIFIED, b"", _HTML if html else _PNG, told)
        return Reply(HTTPStatus.OK, kept, _HTML if html else _PNG, told)


def describe(live: Live) -> JsonObject:
    """The loaded version, as ``/api/v1/model/info`` returns it."""
    manifest = live.engine.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "model_version": manifest.version,
        "digest": manifest.digest,
        "created": manifest.created,
        "task": manifest.schema.task,
        "target": manifest.schema.target,
        "labels": manifest.schema.labels,
        "columns": [describe_column(column) for column in manifest.schema.columns],
        "verdict": msgspec.to_builtins(manifest.verdict),
        "metrics": manifest.metrics,
        "provenance": msgspec.to_builtins(manifest.provenance),
    }


def examples(engine: Engine) -> list[JsonObject]:
    """The bundle's example rows, as a caller would send them, with their answers.

    An older bundle has none: golden rows stand in that a person would take for rows of the table. Those with values
    outside the learned range, unseen levels or absurdly small numbers are left out; complete rows with short values
    come first, as those of a table are; classes take turns.

    Returns:
        ``{"row": {…}, "answer": label as text or value}``, at most ``MAX_EXAMPLES``; the schema's own example if no
        golden row will do.
    """
    golden, schema = engine.manifest.golden, engine.schema
    if engine.manifest.examples.rows:
        rows = [_decoded(schema, codes) for codes in engine.manifest.examples.array().tolist()]
        return [{"row": row, "answer": answer} for row, answer in zip(rows, _answers(engine), strict=True)]
    answers: list[Any] = [engine.text_labels[i] for i in golden.labels] or list(golden.values)
    first = example_row(schema)
    found: list[tuple[bool, int, int, JsonObject]] = []
    for codes, answer in zip(golden.array(), answers, strict=True):
        kinds = [kind for _, _, kind in engine.watch.kinds(codes[None])]
        if set(kinds) - {MISSING} or np.any((codes != 0) & (np.abs(codes) < TINY)):
            continue
        row = _decoded(schema, codes.tolist())
        found.append((row != first, len(kinds), len(msgspec.json.encode(row)), {"row": row, "answer": answer}))
    ranked = [example for *_, example in sorted(found, key=lambda item: item[:3])]
    if golden.labels:
        ranked = _in_turns(ranked)
    return ranked[:MAX_EXAMPLES] or [{"row": first, "answer": None}]


def _answers(engine: Engine) -> list[Any]:
    """The answers to the bundle's examples: labels as text, or values."""
    examples = engine.manifest.examples
    return [engine.text_labels[i] for i in examples.labels] or list(examples.values)


def _in_turns(ranked: list[JsonObject]) -> list[JsonObject]:
    """The first example of each class, then the second of each, and so on."""
    n_before: dict[str, int] = {}
    placed: list[tuple[int, JsonObject]] = []
    for example in ranked:
        turn = n_before.get(example["answer"], 0)
        n_before[example["answer"]] = turn + 1
        placed.append((turn, example))
    return [example for _, example in sorted(placed, key=lambda item: item[0])]


def _decoded(schema: Schema, codes: list[float]) -> JsonObject:
    return {column.name: _value(column, code) for column, code in zip(schema.columns, codes, strict=True)}


def _value(column: Column, code: float) -> Any:
    """An encoded value as JSON has it; ``None`` for a missing one, and for an unseen level, which has no text."""
    if code != code or (column.kind is Kind.CATEGORY and code == UNSEEN):  # noqa: PLR0124 (NaN)
        return None
    if column.kind is Kind.CATEGORY:
        return column.levels[int(code)]
    if column.kind is Kind.BOOLEAN:
        return bool(code)
    return int(code) if column.kind is Kind.INTEGER else code


def _shown(engine: Engine, *, pages: bool) -> JsonObject:
    """The fields that a page shows beyond ``describe``."""
    manifest = engine.manifest
    under = f"/api/v1/models/{manifest.name}/versions/{manifest.version}"
    files = _files(engine) if pages else {}
    evaluation = _content(engine, "metrics.json") if "metrics.json" in manifest.files else None
    return {
        "orris": manifest.orris,
        "format": manifest.model_file.removeprefix("model."),
        "text_labels": engine.text_labels,
        "probabilities": engine.has_probabilities,
        "scores": engine.has_scores,
        "examples": examples(engine),
        "golden_rows": len(manifest.golden.rows),
        "max_rows": engine.reader.max_rows,
        "sentence": manifest.verdict.sentence(),
        "evaluation": msgspec.json.decode(evaluation) if evaluation is not None else None,
        "report": f"{under}/report" if "report" in files else None,
        "plots": [
            {"name": name, "path": f"{under}/plots/{name}.png"} for name in PLOTS if f"plots/{name}.png" in files
        ],
    }


def _models(catalog: Catalog) -> Iterator[JsonObject]:
    """Every model and version in memory, and what each does."""
    for slot in catalog:
        loaded = {live.version: live for live in (*slot.loaded(), *slot.history)}
        versions = [
            {
                "version": version,
                "created": live.engine.manifest.created,
                "role": "answers" if live is slot.live else "beside" if version in slot.pinned else "before",
            }
            for version, live in loaded.items()
        ]
        yield {
            "name": slot.name,
            "reference": slot.reference,
            "default": slot is catalog.default,
            "split": slot.split is not None,
            "versions": versions,
        }


def _under(live: Live) -> str:
    return f"/api/v1/models/{live.engine.manifest.name}/versions/{live.version}"


def _files(engine: Engine) -> dict[str, str]:
    """The files of the bundle that are served, by the end of their path."""
    wanted = {"report": "report.html"} | {f"plots/{name}.png": f"plots/{name}.png" for name in PLOTS}
    return {name: file for name, file in wanted.items() if file in engine.manifest.files}


def _content(engine: Engine, file: str) -> bytes | None:
    """A file of the bundle; ``None`` if it is missing or has changed since the bundle was sealed."""
    if engine.folder is None:
        return None
    try:
        content = (engine.folder / file).read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == engine.manifest.files[file] else None


def matches(headers: Headers, etag: bytes) -> bool:
    """Whether the client has this content already (RFC 9110, ``If-None-Match``)."""
    given = headers.get(b"if-none-match")
    return given is not None and any(tag.strip().removeprefix(b"W/") == etag for tag in given.split(b","))

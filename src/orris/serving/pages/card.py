"""The model card: one JSON document with all that a page needs to show a model, and the report and plots of its bundle.

Answered as probes are, without FastAPI. Every path is made here, of names that the manifest holds: no part of a request
becomes one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import msgspec
import numpy as np

from orris.schema import Column, Kind, Schema
from orris.schema.columns import UNSEEN
from orris.schema.documents import describe_column, example_row
from orris.schema.warnings import MISSING
from orris.serving.catalog import Catalog, Live, Slot
from orris.serving.engine import Engine
from orris.serving.exchange import Headers, ProblemDocument, Reply
from orris.serving.http.probes import Probe
from orris.serving.routing import Mount

JsonObject = dict[str, Any]

PLOTS = ("confusion_matrix", "predicted_actual", "residuals", "roc", "precision_recall", "calibration", "importance")
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


class Cards:
    """Cards, reports and plots of what is loaded.

    Args:
        catalog: What is loaded.
        problem: Writes problem documents.
        pages: Whether reports and plots are served.
    """

    def __init__(self, catalog: Catalog, problem: ProblemDocument, *, pages: bool = True) -> None:
        self._catalog = catalog
        self._problem = problem
        self._pages = pages

    def mount(self, slot: Slot, default: bool) -> Mount:
        """A model's routes; the default model's card also under a path that names none."""
        routes: dict[str, Probe] = {f"/api/v1/models/{slot.name}/card": self._current(slot)}
        if default:
            routes["/api/v1/model/card"] = self._current(slot)
        for live in slot.loaded():
            under = _under(live)
            routes[f"{under}/card"] = self._of(slot, live)
            for name, file in _files(live.engine).items() if self._pages else ():
                routes[f"{under}/{name}"] = _Sealed(live.engine, file, self._problem).reply
        return Mount(probes=routes)

    def _current(self, slot: Slot) -> Probe:
        def card(_headers: Headers, request_id: str) -> Reply:
            """The model card of the version that answers.

            It has the schema with ranges, examples, evaluation, the parity verdict, and the other loaded versions.
            """
            if slot.live is None:
                return self._problem(HTTPStatus.SERVICE_UNAVAILABLE, request_id, f"model '{slot.name}' is not loaded")
            return self._reply(slot, slot.live)

        return card

    def _of(self, slot: Slot, live: Live) -> Probe:
        def card(_headers: Headers, _request_id: str) -> Reply:
            """The model card of one version."""
            return self._reply(slot, live)

        return card

    def _reply(self, slot: Slot, live: Live) -> Reply:
        document = describe(live) | _shown(live.engine, pages=self._pages) | {"models": list(_models(self._catalog))}
        by_name = "/api/v1/predict" if slot is self._catalog.default else f"/api/v1/models/{slot.name}/predict"
        document["predict"] = by_name if live is slot.live else f"{_under(live)}/predict"
        return Reply(HTTPStatus.OK, msgspec.json.encode(document), headers=(_NO_CACHE,))


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
    """Golden rows that a person would take for rows of the table, as a caller would send them, with their answers.

    Golden rows are meant to provoke; those with values outside the learned range, unseen levels or absurdly small
    numbers are left out. Complete rows with short values come first, as those of a table are; classes take turns.

    Returns:
        ``{"row": {…}, "answer": label as text or value}``, at most ``MAX_EXAMPLES``; the schema's own example if no
        golden row will do.
    """
    golden, schema = engine.manifest.golden, engine.schema
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
        "probabilities": bool(manifest.golden.probabilities),
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


class _Sealed:
    """A file of a bundle, read on first use and kept, as it cannot change."""

    def __init__(self, engine: Engine, file: str, problem: ProblemDocument) -> None:
        self._engine = engine
        self._file = file
        self._problem = problem
        self._kept: bytes | None = None
        self._etag = b'"%b"' % engine.manifest.files[file][:32].encode()

    def reply(self, headers: Headers, request_id: str) -> Reply:
        """A file of the bundle: the report of the training, or one of its plots."""
        if self._kept is None:
            self._kept = _content(self._engine, self._file)
        if self._kept is None:
            return self._problem(
                HTTPStatus.NOT_FOUND, request_id, f"{self._file} is no longer in the bundle's folder as it was sealed"
            )
        html = self._file.endswith(".html")
        told = (_NO_CACHE, (b"etag", self._etag), *(((b"content-security-policy", REPORT_POLICY),) if html else ()))
        if matches(headers, self._etag):
            return Reply(HTTPStatus.NOT_MODIFIED, b"", _HTML if html else _PNG, told)
        return Reply(HTTPStatus.OK, self._kept, _HTML if html else _PNG, told)


def matches(headers: Headers, etag: bytes) -> bool:
    """Whether the client has this content already (RFC 9110, ``If-None-Match``)."""
    given = headers.get(b"if-none-match")
    return given is not None and any(tag.strip().removeprefix(b"W/") == etag for tag in given.split(b","))

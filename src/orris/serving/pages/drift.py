"""``GET …/drift``: the drift of a version (``telemetry/drift.py``) as JSON, answered without FastAPI."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec

from orris.errors import NotFoundError
from orris.schema import Column, Kind
from orris.schema.profile import Spread, level_texts, n_levels
from orris.serving.catalog import Live
from orris.serving.exchange import Headers, Reply
from orris.serving.operations import PROBLEM, json_object, reading
from orris.serving.protocol import Get, JsonObject, Protocol, Target
from orris.telemetry.drift import Reading
from orris.telemetry.metrics import Metrics

_ORDER = ("unknown", "stable", "moderate", "shifted")


def drift_routes(metrics: Metrics) -> Protocol:
    """The record of these routes; ``metrics`` is where drift is counted."""
    operation = reading(
        "How far the rows of the last hour, and the answers to them, are from what training saw: PSI by column",
        "model",
        json_object(),
        status_404=PROBLEM,
        status_503=PROBLEM,
    )
    answer = partial(_answer, metrics)
    base = "/api/v1/models/{model}"
    templates = ("/api/v1/model/drift", f"{base}/drift", f"{base}/versions/{{version}}/drift")
    return Protocol("drift", tuple(Get(template, operation=operation, answer=answer) for template in templates))


def _answer(metrics: Metrics, target: Target, _headers: Headers, _request_id: str) -> Reply:
    live = target.live()
    if not metrics.drift.window_seconds:
        raise NotFoundError("drift is off: ORRIS_DRIFT_WINDOW_SECONDS is 0")
    if live.sketch is None:
        raise NotFoundError(f"the bundle of version {live.version} has no profile; train or package it again")
    return Reply(200, msgspec.json.encode(describe(live, metrics)))


def describe(live: Live, metrics: Metrics) -> JsonObject:
    """The drift of a version that has a sketch, over all workers, as the routes return it."""
    sketch, schema = live.sketch, live.engine.schema
    assert sketch is not None  # noqa: S101
    report = sketch.report(metrics.panes())
    readings = (*report.columns, report.predictions)
    since = datetime.now(UTC) - timedelta(seconds=report.since_seconds) if report.n_rows else None
    predictions = _described(report.predictions, _bins(sketch.profile.predictions, live.engine.text_labels))
    return {
        "model": live.engine.manifest.name,
        "model_version": live.version,
        "window_seconds": metrics.drift.window_seconds,
        "since": since.isoformat(timespec="seconds").replace("+00:00", "Z") if since is not None else None,
        "rows": report.n_rows,
        "reference_rows": sketch.profile.n_rows,
        "verdict": max((reading.verdict for reading in readings), key=_ORDER.index),
        "columns": [
            _column(*parts) for parts in zip(schema.columns, report.columns, sketch.profile.columns, strict=True)
        ],
        "predictions": predictions,
    }


def _column(column: Column, reading: Reading, spread: Spread) -> JsonObject:
    described = _described(reading, _bins(spread, level_texts(column) if n_levels(column) else ()))
    extra = {"missing": _shares(reading, -2)}
    if column.kind is Kind.CATEGORY:
        extra["unseen"] = _shares(reading, -1)
    return {"column": column.name, **described, **extra}


def _described(reading: Reading, bins: Iterator[JsonObject]) -> JsonObject:
    return {
        "verdict": reading.verdict,
        "psi": reading.psi,
        "chance": reading.chance,
        "rows_needed": reading.needed,
        "bins": [{**described, **_shares(reading, i)} for i, described in enumerate(bins)],
    }


def _shares(reading: Reading, slot: int) -> JsonObject:
    return {"reference": float(reading.reference[slot]), "current": float(reading.current[slot])}


def _bins(spread: Spread, levels: tuple[str, ...]) -> Iterator[JsonObject]:
    """The content of each bin: a level, all other levels, or the values ``above`` one bound and ``up_to`` another."""
    if levels:
        yield from ({"level": levels[code]} for code in spread.codes)
        if len(spread.codes) < len(levels):
            yield {"other_levels": len(levels) - len(spread.codes)}
        return
    above: float | None = None
    for edge in spread.edges:
        yield {"above": above, "up_to": edge}
        above = edge
    yield {"above": above, "up_to": None}

"""``GET …/drift``: the drift of a version (``telemetry/drift.py``) as JSON, answered without FastAPI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from orris.errors import NotReadyError, OrrisError
from orris.schema import Column, Kind
from orris.schema.profile import Spread, level_texts, n_levels
from orris.serving.catalog import Live, Slot
from orris.serving.exchange import Headers, ProblemDocument, Reply
from orris.serving.http.probes import Probe
from orris.serving.routing import Mount
from orris.telemetry.drift import Reading
from orris.telemetry.metrics import Metrics

JsonObject = dict[str, Any]

_ORDER = ("unknown", "stable", "moderate", "shifted")


class DriftRoutes:
    """The routes of drift.

    Args:
        metrics: Where it is counted.
        problem: Writes the answer where there is nothing to tell.
    """

    def __init__(self, metrics: Metrics, problem: ProblemDocument) -> None:
        self._metrics = metrics
        self._problem = problem

    def mount(self, slot: Slot, default: bool) -> Mount:
        """The routes of a model."""
        base = f"/api/v1/models/{slot.name}"
        probes = {f"{base}/drift": self._probe(slot.current)}
        for live in slot.loaded():
            probes[f"{base}/versions/{live.version}/drift"] = self._probe(partial(slot.version, live.version))
        if default:
            probes["/api/v1/model/drift"] = self._probe(slot.current)
        return Mount(probes=probes)

    def _probe(self, pick: Callable[[], Live]) -> Probe:
        def drift(_headers: Headers, request_id: str) -> Reply:
            """The drift of the last hour's rows and answers from the training data: PSI by column."""
            try:
                live = pick()
            except OrrisError as error:
                return self._problem(503 if isinstance(error, NotReadyError) else 404, request_id, str(error))
            if not self._metrics.drift.window_seconds:
                return self._problem(404, request_id, "drift is off: ORRIS_DRIFT_WINDOW_SECONDS is 0")
            if live.sketch is None:
                return self._problem(
                    404, request_id, f"the bundle of version {live.version} has no profile; train or package it again"
                )
            return Reply(200, msgspec.json.encode(describe(live, self._metrics)))

        return drift


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

"""The state that the routes of a process share: counts, log, spans, limits; ``finished`` records a request.

HTTP's predict routes, all other routes of HTTP, and calls over gRPC end here, so that a request is counted, traced and
logged in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from orris.serving.admission import LoopTurns
from orris.telemetry.log_formats import Line, UsualLines
from orris.telemetry.metrics import Metrics, RouteCounts
from orris.telemetry.request_log import RequestLog, level_of, milliseconds
from orris.telemetry.tracecontext import Arrival, ModelPrediction, Request, TraceContext, parse

if TYPE_CHECKING:
    from orris.runtime import Answers
    from orris.serving.catalog import Live
    from orris.serving.exchange import Exchange, Headers, Query
    from orris.telemetry.tracing import Tracing

    Observe = Callable[[Live, Query, Answers, TraceContext | None], None]
    """Receives an answered request: version, rows, answers, and its place in a trace if that is recorded."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods that metrics and the log name; any other is ``(other)``, so that no request can create a series."""

TOO_LONG = "requests wait longer here than ORRIS_MAX_QUEUE_SECONDS; try again, or elsewhere"
"""Why a request is refused that would wait too long."""

ROUTINE = frozenset({"/ui/{file}", "/metrics", "/api/v1/metrics"})
"""Routes that pages and scrapers ask for again and again; their successes would fill the log."""


class Record(NamedTuple):
    """A finished request.

    Attributes:
        method: HTTP's, as it came.
        route: The route's template; one in brackets is none.
        started: ``perf_counter()`` at its beginning.
        headers: Its headers.
        trace: Its place in a trace.
        arrival: How it came; for its span.
        code: The gRPC status' name, of a call over gRPC; otherwise empty.
        error: Why it was refused or failed.
        version: The model's version that answered it.
        n_rows: Rows that were answered.
        label: For a single row of a classifier: the predicted class.
        warnings: Unusual input values, as ``column:kind``, each once.
        values: Gives the input values for the log; called only if they are wanted.
        prediction: The model's part of it, for a span.
    """

    method: str
    route: str
    status: int
    request_id: str
    started: float
    headers: Headers
    trace: TraceContext | None
    arrival: Callable[[], Arrival]
    code: str = ""
    error: str = ""
    version: str = ""
    n_rows: int = 0
    label: str = ""
    warnings: tuple[str, ...] = ()
    values: Callable[[], tuple[dict[str, Any], ...]] = tuple
    prediction: ModelPrediction | None = None


class Together:
    """Values that the usual requests of one route and version share: POST, status 200, one row, no warning, no span.

    Args:
        route: The route's template.
        counts: Its counts.
        version: The version that answers.
        labels: Texts of a classifier's labels, by position.
        code: The gRPC status' name of an answer, of calls over gRPC; otherwise empty.
    """

    def __init__(self, route: str, counts: RouteCounts, version: str, labels: tuple[str, ...], code: str = "") -> None:
        self.route = route
        self.counts = counts
        self.version = version
        self.labels = labels
        self.code = code
        self.lines = UsualLines(route, version, labels, code=code)
        self.refusals = UsualLines(route, version, (), status=503, error=TOO_LONG)


class RequestContext:
    """Counts, the log, spans and limits.

    Args:
        metrics: Where requests are counted.
        log: Where a line per request goes.
        max_body_bytes: Longest body.
        max_in_flight: Requests being answered at once; more are refused at once rather than queued.
        max_queue_seconds: Longest time that requests wait in a standing queue; others are refused. 0: any time.
        deadline_seconds: Longest time from a request's first byte to its answer.
        admit: Checks a request's credentials; raises to refuse it.
        tracing: What records spans; ``None``: nothing is recorded.

    Attributes:
        observers: Called with every answered request; a shadow listens here.
        turns: How long requests wait for the loop.
    """

    def __init__(
        self,
        metrics: Metrics,
        log: RequestLog,
        *,
        max_body_bytes: int,
        max_in_flight: int,
        max_queue_seconds: float = 0.0,
        deadline_seconds: float = 30.0,
        admit: Callable[[Headers], None] | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.metrics = metrics
        self.log = log
        self.max_body_bytes = max_body_bytes
        self.max_in_flight = max_in_flight
        self.max_queue_seconds = max_queue_seconds
        self.deadline_seconds = deadline_seconds
        self.admit = admit
        self.tracing = tracing
        self.observers: list[Observe] = []
        self.turns = LoopTurns()

    def placed(self, headers: Headers, path: str = "") -> TraceContext | None:
        """A request's place in a trace, of which nothing is recorded for a path that tracing skips.

        ``None``: it is in none.
        """
        if self.tracing is not None and not (path and self.tracing.skips(path)):
            return self.tracing.decide(headers)
        given = headers.get(b"traceparent")
        return parse(given) if given is not None else None

    def finished(self, record: Record) -> None:
        """Count, trace and log a request at its end."""
        spent = perf_counter() - record.started
        trace = record.trace
        recorded = trace is not None and trace.recorded
        method = record.method if record.method in METHODS else "(other)"
        if record.code:
            self.metrics.called(record.route, record.code, spent)
        else:
            exemplar = trace.trace_id if trace is not None and recorded else ""
            self.metrics.finished(method, record.route, record.status, spent, exemplar)
        if trace is not None and recorded and self.tracing is not None:
            self.tracing.answered(trace, _request(record), record.prediction)
        trace_id = trace.trace_id if trace is not None else ""
        routine = record.route in ROUTINE
        if self.log.wants(record.status, record.request_id, trace_id, usual=not record.warnings, routine=routine):
            self.log.add(_line(record, "gRPC" if record.code else method, spent, values=self.log.style.values))

    def finished_together(
        self, common: Together, exchanges: Sequence[Exchange], labels: list[int] | None, microseconds: int
    ) -> None:
        """``finished`` for the usual exchanges of a tick.

        Args:
            common: What they have in common.
            exchanges: The exchanges.
            labels: A classifier's answers, by position; ``None``: a regressor's.
            microseconds: How long they took.
        """
        self.metrics.in_flight -= len(exchanges)
        if common.code:
            self.metrics.called(common.route, common.code, microseconds / 1e6, len(exchanges))
        else:
            self.metrics.answered_many(common.counts, 200, microseconds / 1e6, len(exchanges))
        log = self.log
        if log.takes_usual_lines and common.lines.fit:
            log.add_usual(common.lines, exchanges, microseconds, labels)
            return
        for i, exchange in enumerate(exchanges):
            trace = exchange.trace
            if not log.wants(200, exchange.request_id, trace.trace_id if trace is not None else ""):
                continue
            method = "gRPC" if common.code else "POST"
            line = Line(datetime.now(UTC), "info", exchange.request_id, method, common.route, 200, microseconds / 1e3)
            line.place(trace)
            line.model_version, line.rows, line.code = common.version, 1, common.code
            line.label = "" if labels is None else common.labels[labels[i]]
            log.add(line)

    def refused_together(self, common: Together, exchanges: Sequence[Exchange], microseconds: int) -> None:
        """``finished`` for exchanges of a tick that are refused because they would wait too long.

        Args:
            common: What they have in common.
            exchanges: The exchanges; none is recorded in a trace.
            microseconds: How long they took.
        """
        self.metrics.in_flight -= len(exchanges)
        self.metrics.rejected["overloaded"] += len(exchanges)
        self.metrics.answered_many(common.counts, 503, microseconds / 1e6, len(exchanges))
        log = self.log
        if log.takes_usual_lines and common.refusals.fit:
            log.add_usual(common.refusals, exchanges, microseconds, None)
            return
        for exchange in exchanges:
            trace = exchange.trace
            if not log.wants(503, exchange.request_id, trace.trace_id if trace is not None else ""):
                continue
            line = Line(datetime.now(UTC), "error", exchange.request_id, "POST", common.route, 503, microseconds / 1e3)
            line.place(trace)
            line.model_version, line.error = common.version, TOO_LONG
            log.add(line)


def _request(record: Record) -> Request:
    return Request(
        record.method,
        record.route,
        record.status,
        record.code,
        record.error,
        record.request_id,
        record.started,
        record.arrival(),
        record.headers,
    )


def _line(record: Record, method: str, spent: float, *, values: bool) -> Line:
    """The request's line of the log."""
    status = record.status
    line = Line(
        datetime.now(UTC), level_of(status), record.request_id, method, record.route, status, milliseconds(spent)
    )
    line.place(record.trace)
    line.model_version, line.rows, line.label = record.version, record.n_rows, record.label
    line.error, line.code, line.warnings = record.error, record.code, record.warnings
    if values:
        line.values = record.values()
    return line

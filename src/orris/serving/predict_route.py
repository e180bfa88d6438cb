"""A predict route: what happens to an exchange between its last byte in and its first byte out. Nothing here waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING

from orris.errors import NotReadyError, OrrisError, OverloadedError, Problem, ServingError, UnauthorizedError
from orris.runtime import Answers
from orris.serving.catalog import Live
from orris.serving.exchange import Asked, Dialect, Exchange, Headers, Reply
from orris.telemetry.metrics import Metrics
from orris.telemetry.request_log import Line, RequestLog, level_of, milliseconds
from orris.telemetry.tracecontext import Asked as AskedOfModel
from orris.telemetry.tracecontext import Call, Request, TraceContext, parse

if TYPE_CHECKING:
    from orris.serving.batching import CallOfModel
    from orris.telemetry.tracing import Tracing

OFF_LOOP_BYTES = 64 * 1024
"""Bodies longer than this are read and answered on a thread, so that probes and small requests do not wait behind them."""

MAX_WARNINGS = 100
"""Warnings that one answer carries; all of them are counted."""

MAX_LOGGED_WARNINGS = 20
"""Of these, what a line of the log names."""

logger = logging.getLogger(__name__)

Picked = Callable[[Headers], Live]
"""Which version answers a request with these headers."""

Observe = Callable[[Live, Asked, Answers, TraceContext | None], None]
"""Told an answered request: version, rows, answers, and its place in a trace if that is recorded."""


class RequestContext:
    """What the predict routes of a process share: counts, the log, and the limits.

    Args:
        metrics: Where requests are counted.
        log: Where a line per request goes.
        max_body_bytes: Longest body.
        max_in_flight: Requests being answered at once; more are refused at once rather than queued.
        admit: Checks a request's credentials; raises to refuse it.
        tracing: What records spans; ``None``: nothing is recorded.

    Attributes:
        observers: Told every answered request; a shadow listens here.
    """

    def __init__(
        self,
        metrics: Metrics,
        log: RequestLog,
        *,
        max_body_bytes: int,
        max_in_flight: int,
        deadline_seconds: float = 30.0,
        admit: Callable[[Headers], None] | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.metrics = metrics
        self.log = log
        self.max_body_bytes = max_body_bytes
        self.max_in_flight = max_in_flight
        self.deadline_seconds = deadline_seconds
        self.admit = admit
        self.tracing = tracing
        self.observers: list[Observe] = []

    def placed(self, headers: Headers, path: str = "") -> TraceContext | None:
        """A request's place in a trace, of which nothing is recorded for a path that tracing skips.

        ``None``: it is in none.
        """
        if self.tracing is not None and not (path and self.tracing.skips(path)):
            return self.tracing.decide(headers)
        given = headers.get(b"traceparent")
        return parse(given) if given is not None else None


class PredictRoute:
    """Serves one predict route.

    Args:
        dialect: Reads bodies and writes answers.
        route: The route template: the label of metrics and logs.
        pick: Says which version answers.
        context: What all predict routes share.
    """

    def __init__(self, dialect: Dialect, route: str, pick: Picked, context: RequestContext) -> None:
        self.dialect = dialect
        self.route = route
        self.context = context
        self._pick = pick
        self._counts = context.metrics.route("POST", route)

    def enter(self, exchange: Exchange) -> None:
        """Take an exchange; it is finished now, at the end of this tick, or when a thread is through with it."""
        context = self.context
        context.metrics.in_flight += 1
        live = None
        try:
            if context.metrics.in_flight > context.max_in_flight:
                raise OverloadedError(f"{context.max_in_flight} requests are being answered already; try again")
            if context.admit is not None:
                context.admit(exchange.headers)
            live = self._pick(exchange.headers)
            if len(exchange.body) > OFF_LOOP_BYTES:
                self._enter_on_thread(exchange, live)
                return
            asked = self.dialect.read(live.engine, exchange.body, exchange.headers)
        except OrrisError as error:
            self.refuse(exchange, error, live)
            return
        except Exception as error:
            logger.exception("request %s failed", exchange.request_id)
            self.refuse(exchange, ServingError(str(error)), live)
            return
        found = live

        def done(answers: Answers | Exception, usual: bool) -> None:
            self._answered(exchange, found, asked, answers, usual)

        live.batcher.add(asked, done)

    def refuse(
        self,
        exchange: Exchange,
        error: Exception,
        live: Live | None = None,
        asked: Asked | None = None,
        call: CallOfModel | None = None,
    ) -> None:
        """Finish an exchange that cannot be answered.

        Args:
            exchange: The exchange.
            error: Why.
            live: The version that would have answered.
            asked: What it was asked.
            call: The call of the model that failed, or came too late.
        """
        known = error if isinstance(error, OrrisError) else ServingError(str(error))
        reply = self.dialect.refuse(known, exchange.request_id)
        if reply.status < 500:
            self.context.metrics.rejected[str(reply.status)] += 1
        elif isinstance(error, OverloadedError | NotReadyError):
            self.context.metrics.rejected["overloaded" if isinstance(error, OverloadedError) else "not_ready"] += 1
        else:
            logger.error("request %s failed: %s", exchange.request_id, error)
        told = error.reason if isinstance(error, UnauthorizedError) else str(error)
        failure = "" if call is None or isinstance(error, OverloadedError) else type(error).__name__
        self._finish(exchange, reply, live, asked, call=call, error=told, failure=failure)

    def _enter_on_thread(self, exchange: Exchange, live: Live) -> None:
        """Read, run and write on a thread: a long body."""
        loop = asyncio.get_running_loop()

        def work() -> tuple[Asked, Answers, CallOfModel, bool, Reply]:
            asked = self.dialect.read(live.engine, exchange.body, exchange.headers)
            before = perf_counter()
            answers = live.engine.run(asked.rows)
            seconds = perf_counter() - before
            usual = live.engine.watch.usual(asked.rows)
            if live.sketch is not None:
                live.sketch.count(asked.rows, answers.found)
            call = before, seconds, len(asked.rows), 1
            return asked, answers, call, usual, self._written(exchange, live, asked, answers, usual)

        def done(future: asyncio.Future[tuple[Asked, Answers, CallOfModel, bool, Reply]]) -> None:
            error = future.exception()
            if isinstance(error, Exception):
                self.refuse(exchange, error, live)
            elif error is None:
                asked, answers, call, usual, reply = future.result()
                live.counts.called(call[1], len(asked.rows) if answers.labels is None else answers.labels.tolist())
                self._finish(exchange, reply, live, asked, answers, usual=usual, call=call)

        loop.run_in_executor(None, work).add_done_callback(done)

    def _answered(
        self, exchange: Exchange, live: Live, asked: Asked, answers: Answers | Exception, usual: bool
    ) -> None:
        call = live.batcher.call
        if isinstance(answers, Exception):
            self.refuse(exchange, answers, live, asked, call)
            return
        if perf_counter() - exchange.started > self.context.deadline_seconds:
            late = OverloadedError(f"no answer within {self.context.deadline_seconds:g} s; try again")
            self.refuse(exchange, late, live, asked, call)
            return
        try:
            reply = self._written(exchange, live, asked, answers, usual)
        except Exception as error:
            logger.exception("request %s failed", exchange.request_id)
            self.refuse(exchange, ServingError(str(error)), live)
            return
        self._finish(exchange, reply, live, asked, answers, usual=usual, call=call)

    def _written(self, exchange: Exchange, live: Live, asked: Asked, answers: Answers, usual: bool) -> Reply:
        """The reply; ``usual`` says that no row is worth a warning. Runs on either thread, and counts nothing."""
        warnings: list[Problem] = []
        if not usual:
            watch = live.engine.watch
            warnings = [watch.describe(*found) for found in watch.kinds(asked.rows)[:MAX_WARNINGS]]
        return self.dialect.write(live.engine, asked, answers, exchange.request_id, warnings)

    def _finish(
        self,
        exchange: Exchange,
        reply: Reply,
        live: Live | None,
        asked: Asked | None = None,
        answers: Answers | None = None,
        *,
        usual: bool = True,
        call: CallOfModel | None = None,
        error: str = "",
        failure: str = "",
    ) -> None:
        """Send the reply; count, trace and log the request."""
        context = self.context
        trace = exchange.trace = context.placed(exchange.headers)
        recorded = trace is not None and trace.recorded
        exchange.finish(reply)
        context.metrics.in_flight -= 1
        spent = perf_counter() - exchange.started
        if reply.code:
            context.metrics.called(self.route, reply.code, spent)
        else:
            context.metrics.answered(
                self._counts, reply.status, spent, trace.trace_id if recorded and trace is not None else ""
            )
        n_rows, label = 0, ""
        found: tuple[str, ...] = ()
        if live is not None and asked is not None and answers is not None:
            n_rows = len(asked.rows)
            if n_rows == 1 and answers.labels is not None:
                label = live.engine.text_labels[answers.labels[0]]
            if not usual:
                found = _count_warnings(live, asked)
            for observe in context.observers:
                observe(live, asked, answers, trace if recorded else None)
        if recorded and trace is not None:
            self._trace(exchange, trace, reply, error, _of_model(live, asked, call, label, failure))
        if context.log.wants(
            reply.status, exchange.request_id, trace.trace_id if trace is not None else "", usual=not found
        ):
            line = self._line(exchange, reply, spent, live, n_rows, label, error)
            if found:
                line.warnings = found
            if context.log.style.values and answers is not None and live is not None and asked is not None:
                line.values = context.log.values(live.engine.schema, asked.rows)
            context.log.add(line)

    def _line(
        self, exchange: Exchange, reply: Reply, spent: float, live: Live | None, n_rows: int, label: str, error: str
    ) -> Line:
        """The request's line of the log."""
        status = reply.status
        method, ms = "gRPC" if reply.code else "POST", milliseconds(spent)
        line = Line(datetime.now(UTC), level_of(status), exchange.request_id, method, self.route, status, ms)
        line.place(exchange.trace)
        if live is not None:
            line.model_version = live.version
        line.rows, line.label, line.error, line.code = n_rows, label, error, reply.code
        return line

    def _trace(
        self, exchange: Exchange, trace: TraceContext, reply: Reply, error: str, asked: AskedOfModel | None
    ) -> None:
        """Record the request's spans."""
        if self.context.tracing is None:
            return
        who = "POST", self.route, reply.status, reply.code, error, exchange.request_id, exchange.started
        self.context.tracing.answered(trace, Request(*who, exchange.arrival(), exchange.headers), asked)


def _of_model(
    live: Live | None, asked: Asked | None, call: CallOfModel | None, label: str, failure: str
) -> AskedOfModel | None:
    """What a request asked of a model, for its span; ``None``: nothing."""
    if live is None or asked is None or call is None:
        return None
    return AskedOfModel(live.engine.manifest.name, live.version, Call(*call), len(asked.rows), label, failure)


def _count_warnings(live: Live, asked: Asked) -> tuple[str, ...]:
    """Count the unusual values of these rows; returns what the log says of them: ``column:kind``, each once."""
    names, warnings = live.engine.schema.names, live.counts.warnings
    found: dict[str, None] = {}
    for _, column, kind in live.engine.watch.kinds(asked.rows):
        warnings[names[column], kind] += 1
        found[f"{names[column]}:{kind}"] = None
    return tuple(found)[:MAX_LOGGED_WARNINGS]

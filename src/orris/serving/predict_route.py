"""A predict route: what happens to an exchange between its last byte in and its first byte out. Nothing here waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

from orris.errors import NotReadyError, OrrisError, OverloadedError, Problem, ServingError, UnauthorizedError
from orris.runtime import Answers
from orris.serving.catalog import Live
from orris.serving.exchange import Dialect, Exchange, Headers, Query, Reply
from orris.serving.request_context import Record, RequestContext
from orris.telemetry.tracecontext import Call, ModelPrediction

OFF_LOOP_BYTES = 64 * 1024
"""Longer bodies are read and answered on a thread, so that probes and small requests do not wait behind them."""

MAX_WARNINGS = 100
"""Warnings that one answer carries; all of them are counted."""

MAX_LOGGED_WARNINGS = 20
"""Of these, what a line of the log names."""

logger = logging.getLogger(__name__)

Picked = Callable[[Headers], Live]
"""Which version answers a request with these headers."""


class _Outcome(NamedTuple):
    """What became of an exchange, as far as it came.

    Attributes:
        live: The version that answers.
        query: The rows.
        answers: The answers to them.
        usual: No row is worth a warning.
        call: The call of the model.
    """

    live: Live | None = None
    query: Query | None = None
    answers: Answers | None = None
    usual: bool = True
    call: Call | None = None


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

    def enter(self, exchange: Exchange) -> None:
        """Take an exchange; it is finished now, at the end of this tick, or when a thread is through with it."""
        context = self.context
        live = None
        context.metrics.in_flight += 1
        try:
            if context.metrics.in_flight > context.max_in_flight:
                raise OverloadedError(f"{context.max_in_flight} requests are being answered already; try again")
            if context.admit is not None:
                context.admit(exchange.headers)
            live = self._pick(exchange.headers)
            if len(exchange.body) > OFF_LOOP_BYTES:
                self._enter_on_thread(exchange, live)
                return
            query = self.dialect.read(live.engine, exchange.body, exchange.headers)
        except Exception as error:  # noqa: BLE001 (the exchange gets it)
            self._fail(exchange, error, _Outcome(live))
            return
        found = live

        def done(answers: Answers | Exception, usual: bool, call: Call) -> None:
            self._answered(exchange, found, query, answers, usual, call)

        live.batcher.add(query, done)

    def refuse(self, exchange: Exchange, error: Exception) -> None:
        """Finish an exchange that has not been entered, and cannot be."""
        self.context.metrics.in_flight += 1
        self._fail(exchange, error, _Outcome())

    def _fail(self, exchange: Exchange, error: Exception, outcome: _Outcome) -> None:
        """Finish an exchange that has been entered and cannot be answered; ``outcome`` says how far it came."""
        if not isinstance(error, OrrisError):
            logger.error("request %s failed", exchange.request_id, exc_info=error)
        known = error if isinstance(error, OrrisError) else ServingError(str(error))
        reply = self.dialect.refuse(known, exchange.request_id)
        if reply.status < 500:
            self.context.metrics.rejected[str(reply.status)] += 1
        elif isinstance(error, OverloadedError | NotReadyError):
            self.context.metrics.rejected["overloaded" if isinstance(error, OverloadedError) else "not_ready"] += 1
        elif isinstance(error, OrrisError):
            logger.error("request %s failed: %s", exchange.request_id, error)
        detail = error.reason if isinstance(error, UnauthorizedError) else str(error)
        failure = "" if isinstance(error, OverloadedError) else type(error).__name__
        self._finish(exchange, reply, outcome, error=detail, failure=failure)

    def _enter_on_thread(self, exchange: Exchange, live: Live) -> None:
        """Read, run and write on a thread: a long body."""
        loop = asyncio.get_running_loop()

        def work() -> tuple[Reply, _Outcome]:
            query = self.dialect.read(live.engine, exchange.body, exchange.headers)
            before = perf_counter()
            answers = live.engine.run(query.rows)
            call = Call(before, perf_counter() - before, len(query.rows))
            usual = live.engine.watch.usual(query.rows)
            if live.sketch is not None:
                live.sketch.count(query.rows, answers.found)
            return self._written(exchange, live, query, answers, usual), _Outcome(live, query, answers, usual, call)

        def done(future: asyncio.Future[tuple[Reply, _Outcome]]) -> None:
            error = future.exception()
            if isinstance(error, Exception):
                self._fail(exchange, error, _Outcome(live))
            elif error is None:
                reply, outcome = future.result()
                _, query, answers, _, call = outcome
                if query is not None and answers is not None and call is not None:
                    n_rows, labels = len(query.rows), answers.labels
                    live.counts.called(call.seconds, n_rows if labels is None else labels.tolist())
                self._finish(exchange, reply, outcome)

        loop.run_in_executor(None, work).add_done_callback(done)

    def _answered(
        self, exchange: Exchange, live: Live, query: Query, answers: Answers | Exception, usual: bool, call: Call
    ) -> None:
        """The model has answered, or failed."""
        unanswered = _Outcome(live, query, None, usual, call)
        if isinstance(answers, Exception):
            self._fail(exchange, answers, unanswered)
            return
        if perf_counter() - exchange.started > self.context.deadline_seconds:
            self._fail(
                exchange,
                OverloadedError(f"no answer within {self.context.deadline_seconds:g} s; try again"),
                unanswered,
            )
            return
        try:
            reply = self._written(exchange, live, query, answers, usual)
        except Exception as error:  # noqa: BLE001 (the exchange gets it)
            self._fail(exchange, error, _Outcome(live))
            return
        self._finish(exchange, reply, _Outcome(live, query, answers, usual, call))

    def _written(self, exchange: Exchange, live: Live, query: Query, answers: Answers, usual: bool) -> Reply:
        """The reply; ``usual`` says that no row is worth a warning. Runs on either thread, and counts nothing."""
        warnings: list[Problem] = []
        if not usual:
            watch = live.engine.watch
            warnings = [watch.describe(*found) for found in watch.kinds(query.rows)[:MAX_WARNINGS]]
        return self.dialect.write(live.engine, query, answers, exchange.request_id, warnings)

    def _finish(
        self, exchange: Exchange, reply: Reply, outcome: _Outcome, *, error: str = "", failure: str = ""
    ) -> None:
        """Send the reply, and record the request."""
        context = self.context
        trace = exchange.trace = context.placed(exchange.headers)
        exchange.finish(reply)
        context.metrics.in_flight -= 1
        live, query, answers, usual, _ = outcome
        recorded = trace is not None and trace.recorded
        n_rows, label = 0, ""
        warnings: tuple[str, ...] = ()
        if live is not None and query is not None and answers is not None:
            n_rows = len(query.rows)
            if n_rows == 1 and answers.labels is not None:
                label = live.engine.text_labels[answers.labels[0]]
            if not usual:
                warnings = _count_warnings(live, query)
            for observe in context.observers:
                observe(live, query, answers, trace if recorded else None)
        context.finished(
            Record(
                "POST",
                self.route,
                reply.status,
                exchange.request_id,
                exchange.started,
                exchange.headers,
                trace,
                exchange.arrival,
                reply.code,
                error,
                live.version if live is not None else "",
                n_rows,
                label,
                warnings,
                lambda: () if live is None or query is None else context.log.values(live.engine.schema, query.rows),
                _prediction(outcome, label, failure) if recorded else None,
            )
        )


def _prediction(outcome: _Outcome, label: str, failure: str) -> ModelPrediction | None:
    """The model's part of a request, for its span; ``None``: the model was not called."""
    live, query, _, _, call = outcome
    if live is None or query is None or call is None:
        return None
    return ModelPrediction(live.engine.manifest.name, live.version, call, len(query.rows), label, failure)


def _count_warnings(live: Live, query: Query) -> tuple[str, ...]:
    """Count the unusual values of these rows; returns them for the log: ``column:kind``, each once."""
    names, warnings = live.engine.schema.names, live.counts.warnings
    found: dict[str, None] = {}
    for _, column, kind in live.engine.watch.kinds(query.rows):
        warnings[names[column], kind] += 1
        found[f"{names[column]}:{kind}"] = None
    return tuple(found)[:MAX_LOGGED_WARNINGS]

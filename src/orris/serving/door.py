"""A predict route: what happens to an exchange between its last byte in and its first byte out. Nothing here waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter

from orris.errors import NotReadyError, OrrisError, OverloadedError, Problem, ServingError, UnauthorizedError
from orris.runtime import Answers
from orris.serving.catalog import Live
from orris.serving.exchange import Asked, Dialect, Exchange, Headers, Reply
from orris.telemetry.logs import Line, RequestLog, level_of, milliseconds
from orris.telemetry.metrics import Metrics

OFF_LOOP_BYTES = 64 * 1024
"""Bodies longer than this are read and answered on a thread, so that probes and small requests do not wait behind them."""

MAX_WARNINGS = 100
"""Warnings that one answer carries; all of them are counted."""

MAX_LOGGED_WARNINGS = 20
"""Of these, what a line of the log names."""

logger = logging.getLogger(__name__)

Picked = Callable[[Headers], Live]
"""Which version answers a request with these headers."""


class Desk:
    """What the doors of a process share: counts, the log, and the limits.

    Args:
        metrics: Where requests are counted.
        log: Where a line per request goes.
        max_body_bytes: Longest body.
        max_in_flight: Requests being answered at once; more are refused at once rather than queued.
        admit: Checks a request's credentials; raises to refuse it.
        observe: Told every answered request (version, rows, answers); a shadow listens here.
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
    ) -> None:
        self.metrics = metrics
        self.log = log
        self.max_body_bytes = max_body_bytes
        self.max_in_flight = max_in_flight
        self.deadline_seconds = deadline_seconds
        self.admit = admit
        self.observers: list[Callable[[Live, Asked, Answers], None]] = []


class Door:
    """Serves one predict route.

    Args:
        dialect: Reads bodies and writes answers.
        route: The route template: the label of metrics and logs.
        pick: Says which version answers.
        desk: What all doors share.
    """

    def __init__(self, dialect: Dialect, route: str, pick: Picked, desk: Desk) -> None:
        self.dialect = dialect
        self.route = route
        self.desk = desk
        self._pick = pick
        self._counts = desk.metrics.route("POST", route)

    def enter(self, exchange: Exchange) -> None:
        """Take an exchange; it is finished now, at the end of this tick, or when a thread is through with it."""
        desk = self.desk
        desk.metrics.in_flight += 1
        live = None
        try:
            if desk.metrics.in_flight > desk.max_in_flight:
                raise OverloadedError(f"{desk.max_in_flight} requests are being answered already; try again")
            if desk.admit is not None:
                desk.admit(exchange.headers)
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

    def refuse(self, exchange: Exchange, error: Exception, live: Live | None = None) -> None:
        """Finish an exchange that cannot be answered."""
        known = error if isinstance(error, OrrisError) else ServingError(str(error))
        reply = self.dialect.refuse(known, exchange.request_id)
        if reply.status < 500:
            self.desk.metrics.rejected[str(reply.status)] += 1
        elif isinstance(error, OverloadedError | NotReadyError):
            self.desk.metrics.rejected["overloaded" if isinstance(error, OverloadedError) else "not_ready"] += 1
        else:
            logger.error("request %s failed: %s", exchange.request_id, error)
        self._finish(exchange, reply, live, error=error.reason if isinstance(error, UnauthorizedError) else str(error))

    def _enter_on_thread(self, exchange: Exchange, live: Live) -> None:
        """Read, run and write on a thread: a long body."""
        loop = asyncio.get_running_loop()

        def work() -> tuple[Asked, Answers, float, bool, Reply]:
            asked = self.dialect.read(live.engine, exchange.body, exchange.headers)
            before = perf_counter()
            answers = live.engine.run(asked.rows)
            seconds = perf_counter() - before
            usual = live.engine.watch.usual(asked.rows)
            if live.sketch is not None:
                live.sketch.count(asked.rows, answers.found)
            return asked, answers, seconds, usual, self._written(exchange, live, asked, answers, usual)

        def done(future: asyncio.Future[tuple[Asked, Answers, float, bool, Reply]]) -> None:
            error = future.exception()
            if isinstance(error, Exception):
                self.refuse(exchange, error, live)
            elif error is None:
                asked, answers, seconds, usual, reply = future.result()
                live.counts.called(seconds, len(asked.rows) if answers.labels is None else answers.labels.tolist())
                self._finish(exchange, reply, live, asked, answers, usual=usual)

        loop.run_in_executor(None, work).add_done_callback(done)

    def _answered(self, exchange: Exchange, live: Live, asked: Asked, answers: Answers | Exception, usual: bool) -> None:
        if isinstance(answers, Exception):
            self.refuse(exchange, answers, live)
            return
        if perf_counter() - exchange.started > self.desk.deadline_seconds:
            self.refuse(exchange, OverloadedError(f"no answer within {self.desk.deadline_seconds:g} s; try again"), live)
            return
        try:
            reply = self._written(exchange, live, asked, answers, usual)
        except Exception as error:
            logger.exception("request %s failed", exchange.request_id)
            self.refuse(exchange, ServingError(str(error)), live)
            return
        self._finish(exchange, reply, live, asked, answers, usual=usual)

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
        error: str = "",
    ) -> None:
        """Send the reply; count and log the request."""
        exchange.finish(reply)
        desk = self.desk
        desk.metrics.in_flight -= 1
        spent = perf_counter() - exchange.started
        if reply.code:
            desk.metrics.called(self.route, reply.code, spent)
        else:
            desk.metrics.answered(self._counts, reply.status, spent)
        n_rows, label = 0, ""
        found: tuple[str, ...] = ()
        if live is not None and asked is not None and answers is not None:
            n_rows = len(asked.rows)
            if n_rows == 1 and answers.labels is not None:
                label = live.engine.text_labels[answers.labels[0]]
            if not usual:
                found = _count_warnings(live, asked)
            for observe in desk.observers:
                observe(live, asked, answers)
        traceparent = exchange.headers.get(b"traceparent")
        trace = trace_id(traceparent) if traceparent is not None else ""
        if desk.log.wants(reply.status, exchange.request_id, trace, usual=not found):
            level = level_of(reply.status)
            version = live.version if live is not None else ""
            ms = milliseconds(spent)
            method = "gRPC" if reply.code else "POST"
            who = (exchange.request_id, method, self.route, reply.status, ms, trace, "", False, version, n_rows, label, error, reply.code)
            line = Line(datetime.now(UTC), level, *who)
            if found:
                line.warnings = found
            if desk.log.style.values and live is not None and asked is not None:
                line.values = desk.log.values(live.engine.schema, asked.rows)
            desk.log.add(line)


def _count_warnings(live: Live, asked: Asked) -> tuple[str, ...]:
    """Count the unusual values of these rows; returns what the log says of them: ``column:kind``, each once."""
    names, warnings = live.engine.schema.names, live.counts.warnings
    found: dict[str, None] = {}
    for _, column, kind in live.engine.watch.kinds(asked.rows):
        warnings[names[column], kind] += 1
        found[f"{names[column]}:{kind}"] = None
    return tuple(found)[:MAX_LOGGED_WARNINGS]


def trace_id(traceparent: bytes) -> str:
    """The trace id of a W3C ``traceparent``; empty if there is none."""
    return traceparent[3:35].decode("ascii", "replace") if len(traceparent) >= 55 else ""

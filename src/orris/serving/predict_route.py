"""A predict route: what happens to an exchange between its last byte in and its first byte out. Nothing here waits.

The exchanges that enter in one tick of the loop are read, run, watched, counted, logged and answered together, for each
version that answers. Requests that are plainly right go through the dialect's codec; any other is read and written by
the dialect on its own, and shares no more than the call of the model.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from math import inf
from time import perf_counter

from orris.errors import NotReadyError, OrrisError, OverloadedError, Problem, ServingError, UnauthorizedError
from orris.runtime import Answers
from orris.schema.names import unknown_columns
from orris.serving.admission import StandingQueue
from orris.serving.batches import EachBatch, UsualBatch
from orris.serving.batching import MAX_REQUESTS, MAX_ROWS
from orris.serving.catalog import Live
from orris.serving.content_encoding import plain_body
from orris.serving.exchange import ANY_ID, Dialect, Exchange, Headers, Query, Reply, RowCodec
from orris.serving.outcomes import Outcome, answered_of, prediction_of
from orris.serving.request_context import TOO_LONG, Record, RequestContext, Together
from orris.telemetry.tracecontext import Call

OFF_LOOP_BYTES = 64 * 1024
"""Longer bodies are read and answered on a thread, so that probes and small requests do not wait behind them."""

MAX_WARNINGS = 100
"""Warnings that one answer carries; all of them are counted."""

MAX_CODECS = 8
"""Versions that one route keeps the codecs of.

A route knows the version that answers and, with traffic split, a second.
"""

logger = logging.getLogger(__name__)

Picked = Callable[[Headers], Live]
"""Which version answers a request with these headers."""


class PredictRoute:
    """Serves one predict route.

    Args:
        dialect: Reads bodies and writes answers.
        route: The route template: the label of metrics and logs.
        pick: Says which version answers.
        context: What all predict routes share.
        same: The version that answers whatever the headers are; ``None``: ``pick`` has to say.
    """

    def __init__(
        self,
        dialect: Dialect,
        route: str,
        pick: Picked,
        context: RequestContext,
        same: Callable[[], Live | None] = lambda: None,
    ) -> None:
        self.dialect = dialect
        self.route = route
        self.context = context
        self.counts = context.metrics.route("POST", route)
        self._pick = pick
        self._same = same
        self._turn: list[Exchange] = []
        self._began = 0.0
        self._lag = 0.0
        self._turns: deque[tuple[list[Exchange], float]] = deque()
        self._on_threads: deque[float] = deque()
        self._threads_standing = StandingQueue()
        self._seconds_each = 0.0
        self._n_waiting = 0
        self._scheduled = False
        self._codecs: dict[Live, tuple[RowCodec, ...]] = {}
        self._together: dict[Live, Together] = {}
        self._overloaded = dialect.refuse(OverloadedError(TOO_LONG), ANY_ID.decode())

    # one exchange

    def enter(self, exchange: Exchange) -> None:
        """Admit an exchange and take it, or refuse it at once."""
        try:
            if self.context.admit is not None:
                self.context.admit(exchange.headers)
        except Exception as error:  # noqa: BLE001 (the exchange gets it)
            self.refuse(exchange, error)
        else:
            self.take(exchange)

    def take(self, exchange: Exchange) -> None:
        """Take an exchange that was admitted.

        It is finished at the end of this tick, or when a thread is through with it; at once, if there are too many.
        """
        turn, context = self._turn, self.context
        if context.metrics.in_flight + self._n_waiting + len(turn) >= context.max_in_flight:
            text = f"{context.max_in_flight} requests are being answered already; try again"
            exchange.started = perf_counter()
            self.refuse(exchange, OverloadedError(text))
            return
        if not turn:
            self._began = perf_counter()
            self._lag = context.turns.begin(self._began)
            if not self._scheduled:
                self._scheduled = True
                asyncio.get_running_loop().call_soon(self._tick)
        exchange.started = self._began
        turn.append(exchange)

    def refuse(self, exchange: Exchange, error: Exception) -> None:
        """Finish an exchange that has not been entered, and cannot be."""
        self.context.metrics.in_flight += 1
        self.fail(exchange, error)

    def fail(self, exchange: Exchange, error: Exception, outcome: Outcome | None = None) -> None:
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
        self.finish(exchange, reply, outcome or Outcome(), error=detail, failure=failure)

    # the exchanges of a tick

    def _tick(self) -> None:
        """Read what has entered, and have it answered; if there is more, the loop gets a turn in between."""
        now = perf_counter()
        turns = self.context.turns
        turns.begin(now)
        exchanges, lag = self._next()
        self.context.metrics.in_flight += len(exchanges)
        waited = now - exchanges[0].started + lag
        live = self._same()
        if live is not None:
            self._admit(live, exchanges, waited, now)
        else:
            by_version: dict[Live, list[Exchange]] = {}
            for exchange in exchanges:
                try:
                    by_version.setdefault(self._pick(exchange.headers), []).append(exchange)
                except Exception as error:  # noqa: BLE001 (the exchange gets it)
                    self.fail(exchange, error)
            for live, picked in by_version.items():
                self._admit(live, picked, waited, now)
        turns.end(perf_counter())

    def _next(self) -> tuple[list[Exchange], float]:
        """The exchanges of this tick, which have entered in one turn of the loop, and how long they waited before."""
        if self._turn:
            self._turns.append((self._turn, self._lag))
            self._turn = []
        exchanges, lag = self._turns.popleft()
        if len(exchanges) > MAX_REQUESTS:
            self._turns.appendleft((exchanges[MAX_REQUESTS:], lag))
            exchanges = exchanges[:MAX_REQUESTS]
        self._n_waiting = sum(len(waiting) for waiting, _ in self._turns)
        self._scheduled = self._n_waiting > 0
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._tick)
        return exchanges, lag

    def _admit(self, live: Live, exchanges: list[Exchange], waited: float, now: float) -> None:
        """Read exchanges, unless they have waited, or would wait for the model, for too long."""
        longest = self.context.max_queue_seconds
        if not longest:
            self._read(live, exchanges)
            return
        wait, standing, n = live.batcher.wait_seconds(now), live.standing, len(exchanges)
        if standing.refuses(waited + wait, longest, now):
            n = 0 if wait > longest else standing.answered(n)
        elif standing.refusing and waited + wait + n * self._seconds_each > longest:
            # The first of a tick make the last of it wait.
            n = max(1, int((longest - waited - wait) / self._seconds_each))
            standing.refuses(inf, longest, now)
        if n < len(exchanges):
            self._refuse_together(live, exchanges[n:])
            exchanges = exchanges[:n]
        if n:
            before = perf_counter()
            self._read(live, exchanges)
            self._seconds_each += 0.2 * ((perf_counter() - before) / n - self._seconds_each)

    def _refuse_together(self, live: Live, exchanges: list[Exchange]) -> None:
        """Refuse exchanges of a tick, unread, because they would wait too long."""
        context = self.context
        if context.tracing is not None or self._overloaded.code:
            for exchange in exchanges:
                self.fail(exchange, OverloadedError(TOO_LONG), Outcome(live))
            return
        microseconds = int((perf_counter() - exchanges[0].started) * 1e6)
        for exchange in exchanges:
            if b"traceparent" in exchange.headers:
                exchange.trace = context.placed(exchange.headers)
        if len(set(map(type, exchanges))) == 1:
            exchanges[0].refuse_together(exchanges, self._overloaded)
        else:
            for exchange in exchanges:
                exchange.refuse_together([exchange], self._overloaded)
        context.refused_together(self.together(live), exchanges, microseconds)

    def _read(self, live: Live, exchanges: list[Exchange]) -> None:
        """Read bodies: those that a codec takes become one batch, those that none takes another."""
        for codec in self._codecs_of(live):
            usual, exchanges = _sorted(codec, exchanges)
            if usual:
                try:
                    rows, taken = codec.read([exchange.body for exchange in usual])
                except Exception:
                    logger.exception("a codec failed; the dialect reads each request")
                    exchanges += usual
                    continue
                if taken is not None:
                    chosen = set(taken)
                    exchanges += [exchange for i, exchange in enumerate(usual) if i not in chosen]
                    usual = [usual[i] for i in taken]
            if usual:
                live.batcher.add(UsualBatch(self, live, codec, usual, rows))
            if not exchanges:
                return
        self._read_each(live, exchanges)

    def _read_each(self, live: Live, exchanges: list[Exchange]) -> None:
        """Read bodies by the dialect: long ones on a thread; those that are short are joined."""
        taken: list[tuple[Exchange, Query]] = []
        n_rows = 0
        for exchange in exchanges:
            if len(exchange.body) > OFF_LOOP_BYTES or b"content-encoding" in exchange.headers:
                self._admit_to_thread(exchange, live)
                continue
            try:
                query = self.dialect.read(live.engine, exchange.body, exchange.headers)
            except Exception as error:  # noqa: BLE001 (the exchange gets it)
                self.fail(exchange, error, Outcome(live))
                continue
            if taken and n_rows + len(query.rows) > MAX_ROWS:
                live.batcher.add(EachBatch(self, live, taken))
                taken, n_rows = [], 0
            taken.append((exchange, query))
            n_rows += len(query.rows)
        if taken:
            live.batcher.add(EachBatch(self, live, taken))

    def _codecs_of(self, live: Live) -> tuple[RowCodec, ...]:
        try:
            return self._codecs[live]
        except KeyError:
            if len(self._codecs) >= MAX_CODECS:
                self._codecs.clear()
                self._together.clear()
            try:
                codecs = self.dialect.codecs(live.engine)
            except Exception:
                logger.exception("%s has no codecs; the dialect reads each request", self.route)
                codecs = ()
            self._codecs[live] = codecs
            return codecs

    def together(self, live: Live) -> Together:
        """The values that the usual requests of this route and a version share."""
        try:
            return self._together[live]
        except KeyError:
            code = "OK" if self._overloaded.code else ""
            found = Together(self.route, self.counts, live.version, live.engine.text_labels, code)
            self._together[live] = found
            return found

    def _admit_to_thread(self, exchange: Exchange, live: Live) -> None:
        """Answer a long body on a thread, unless those before it have waited for one for too long."""
        now, longest = perf_counter(), self.context.max_queue_seconds
        waited = now - self._on_threads[0] if self._on_threads else 0.0
        if longest and self._threads_standing.refuses(waited, longest, now):
            self._refuse_together(live, [exchange])
        else:
            self._on_threads.append(now)
            self._answer_on_thread(exchange, live)

    def _answer_on_thread(self, exchange: Exchange, live: Live) -> None:
        """Read, run and write on a thread: a long body."""
        loop = asyncio.get_running_loop()

        def work() -> tuple[Reply, Outcome]:
            self._on_threads.popleft()
            body = plain_body(exchange.body, exchange.headers, self.context.max_body_bytes)
            query = self.dialect.read(live.engine, body, exchange.headers)
            before = perf_counter()
            answers = live.engine.run(query.rows)
            call = Call(before, perf_counter() - before, len(query.rows))
            usual = live.engine.watch.usual(query.rows)
            if live.sketch is not None:
                live.sketch.count(query.rows, answers.found)
            return self._written(exchange, live, query, answers, usual), Outcome(live, query, answers, usual, call)

        def done(future: asyncio.Future[tuple[Reply, Outcome]]) -> None:
            error = future.exception()
            if isinstance(error, Exception):
                self.fail(exchange, error, Outcome(live))
            elif error is None:
                reply, outcome = future.result()
                if outcome.answers is not None and outcome.call is not None:
                    live.counts.called(outcome.call.seconds, outcome.call.n_rows, outcome.answers.labels)
                self.finish(exchange, reply, outcome)

        loop.run_in_executor(None, work).add_done_callback(done)

    # answers

    def answer(
        self, exchange: Exchange, live: Live, query: Query, answers: Answers | Exception, usual: bool, call: Call
    ) -> None:
        """Finish an exchange with the answers to its rows, or with the failure of the model."""
        unanswered = Outcome(live, query, None, usual, call)
        if isinstance(answers, Exception):
            self.fail(exchange, answers, unanswered)
            return
        if perf_counter() - exchange.started > self.context.deadline_seconds:
            text = f"no answer within {self.context.deadline_seconds:g} s; try again"
            self.fail(exchange, OverloadedError(text), unanswered)
            return
        try:
            reply = self._written(exchange, live, query, answers, usual)
        except Exception as error:  # noqa: BLE001 (the exchange gets it)
            self.fail(exchange, error, Outcome(live))
            return
        self.finish(exchange, reply, Outcome(live, query, answers, usual, call))

    def _written(self, exchange: Exchange, live: Live, query: Query, answers: Answers, usual: bool) -> Reply:
        """The reply; ``usual`` says that no row is worth a warning. Runs on either thread, and counts nothing."""
        warnings: list[Problem] = []
        if not usual:
            watch = live.engine.watch
            warnings = [watch.describe(*found) for found in watch.kinds(query.rows)[:MAX_WARNINGS]]
        if query.unknown:
            warnings += unknown_columns(query.unknown)
        return self.dialect.write(live.engine, query, answers, exchange.request_id, warnings)

    def finish(self, exchange: Exchange, reply: Reply, outcome: Outcome, *, error: str = "", failure: str = "") -> None:
        """Send the reply, and record the request."""
        context = self.context
        trace = exchange.trace
        if trace is None:
            trace = exchange.trace = context.placed(exchange.headers)
        exchange.finish(reply)
        context.metrics.in_flight -= 1
        live, query, answers, _, _ = outcome
        recorded = trace is not None and trace.recorded
        n_rows, label, warnings = answered_of(outcome)
        if live is not None and query is not None and answers is not None:
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
                prediction_of(outcome, label, failure) if recorded else None,
            )
        )


def _sorted(codec: RowCodec, exchanges: list[Exchange]) -> tuple[list[Exchange], list[Exchange]]:
    """Exchanges that may be the codec's, and the others."""
    usual: list[Exchange] = []
    others: list[Exchange] = []
    headers, takes = None, False
    for exchange in exchanges:
        if exchange.headers is not headers:  # recognised requests share them
            headers = exchange.headers
            takes = codec.takes(headers)
        (usual if takes and len(exchange.body) <= OFF_LOOP_BYTES else others).append(exchange)
    return usual, others

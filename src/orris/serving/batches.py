"""Requests of a predict route that wait for the model together: each read on its own, or all of them by a codec."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from orris.runtime import Answers
from orris.schema.arrays import FloatArray
from orris.serving.batching import Batch, part
from orris.serving.catalog import Live
from orris.serving.exchange import Exchange, Query, RowCodec
from orris.telemetry.tracecontext import Call

if TYPE_CHECKING:
    from orris.serving.predict_route import PredictRoute


class EachBatch:
    """Exchanges that the dialect has read, each on its own."""

    __slots__ = ("_exchanges", "_live", "_route", "rows")

    def __init__(self, route: PredictRoute, live: Live, exchanges: list[tuple[Exchange, Query]]) -> None:
        self._route = route
        self._live = live
        self._exchanges = exchanges
        self.rows = (
            exchanges[0][1].rows if len(exchanges) == 1 else np.concatenate([query.rows for _, query in exchanges])
        )

    @property
    def n_requests(self) -> int:
        """Exchanges."""
        return len(self._exchanges)

    def deliver(self, answers: Answers | Exception, usual: bool, call: Call) -> None:
        """Finish every exchange with its part of the answers."""
        start = 0
        for exchange, query in self._exchanges:
            stop = start + len(query.rows)
            own = answers if isinstance(answers, Exception) else part(answers, start, stop)
            self._route.answer(exchange, self._live, query, own, usual, call)
            start = stop

    def split(self) -> list[Batch]:
        """A batch for each exchange."""
        return [EachBatch(self._route, self._live, [each]) for each in self._exchanges]


class UsualBatch:
    """Exchanges of one row each that a codec has read; they entered in the same turn of the loop."""

    __slots__ = ("_codec", "_exchanges", "_live", "_route", "rows")

    def __init__(
        self, route: PredictRoute, live: Live, codec: RowCodec, exchanges: list[Exchange], rows: FloatArray
    ) -> None:
        self._route = route
        self._live = live
        self._codec = codec
        self._exchanges = exchanges
        self.rows = rows

    @property
    def n_requests(self) -> int:
        """Exchanges, one for each row."""
        return len(self._exchanges)

    def deliver(self, answers: Answers | Exception, usual: bool, call: Call) -> None:
        """Finish the exchanges together; those that need more than an answer and a line of the log, each on its own."""
        context, exchanges = self._route.context, self._exchanges
        late = perf_counter() - exchanges[0].started > context.deadline_seconds
        if isinstance(answers, Exception) or late:
            self._deliver_each(range(len(exchanges)), answers, usual, call)
            return
        try:
            bodies = self._codec.write(answers, [exchange.id for exchange in exchanges])
        except Exception:  # noqa: BLE001 (the dialect tells which of them cannot be written)
            self._deliver_each(range(len(exchanges)), answers, usual, call)
            return
        labels = None if answers.labels is None else answers.labels.tolist()
        alone = self._special(usual)
        if alone:
            self._deliver_each(sorted(alone), answers, usual, call)
            rest = [i for i in range(len(exchanges)) if i not in alone]
            exchanges = [exchanges[i] for i in rest]
            bodies = [bodies[i] for i in rest]
            labels = None if labels is None else [labels[i] for i in rest]
        if not exchanges:
            return
        microseconds = int((perf_counter() - exchanges[0].started) * 1e6)
        if len(set(map(type, exchanges))) == 1:
            exchanges[0].succeed(exchanges, bodies, microseconds)
        else:
            for exchange, body in zip(exchanges, bodies, strict=True):
                exchange.succeed([exchange], [body], microseconds)
        context.finished_together(self._route.together(self._live), exchanges, labels, microseconds)

    def _special(self, usual: bool) -> set[int]:
        """The exchanges, by position, that have warnings, are traced, are observed, or whose values are logged."""
        context, exchanges = self._route.context, self._exchanges
        if context.observers or context.log.style.values:
            return set(range(len(exchanges)))
        alone = set() if usual else {row for row, _, _ in self._live.engine.watch.kinds(self.rows)}
        if context.tracing is not None or any(b"traceparent" in each.headers for each in exchanges):
            for i, exchange in enumerate(exchanges):
                trace = exchange.trace = context.placed(exchange.headers)
                if trace is not None and trace.recorded:
                    alone.add(i)
        return alone

    def _deliver_each(self, positions: Iterable[int], answers: Answers | Exception, usual: bool, call: Call) -> None:
        for i in positions:
            own = answers if isinstance(answers, Exception) else part(answers, i, i + 1)
            query = self._codec.query(self.rows[i : i + 1])
            self._route.answer(self._exchanges[i], self._live, query, own, usual, call)

    def split(self) -> list[Batch]:
        """A batch for each exchange."""
        return [
            UsualBatch(self._route, self._live, self._codec, [exchange], self.rows[i : i + 1])
            for i, exchange in enumerate(self._exchanges)
        ]

"""Joins the requests of one tick of the loop into one call of the model; no request waits for more to arrive.

A model that is quick runs on the loop. One that would hold the loop up runs on a thread of its own, and what arrives
meanwhile is the next batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np

from orris.runtime import Answers
from orris.schema.arrays import FloatArray
from orris.serving.engine import Engine
from orris.serving.exchange import Query
from orris.telemetry.drift import Sketch
from orris.telemetry.metrics import ModelCounts
from orris.telemetry.tracecontext import Call

MAX_REQUESTS = 64
"""Requests in one call.

Answers to the first do not wait for many more, and the loop looks at its sockets in between.
"""

MAX_ROWS = 1_024
"""Rows in one call, unless a single request holds more."""

ON_LOOP_SECONDS = 0.002
"""A call that is expected to take longer runs on a thread."""

Done = Callable[[Answers | Exception, bool, Call], None]
"""Receives a request's answers (or the failure), whether no row of its batch is unusual, and the call of the model."""

Waiting = tuple[Query, Done]
"""A request in the queue."""

_Outcome = tuple[Answers | Exception, float, float, bool]
"""The answers or the failure of a call of the model, its beginning, its seconds, and whether no row is unusual."""


class Batcher:
    """The queue in front of one engine. All methods belong to the loop's thread.

    ``sketch`` counts the answered rows for drift.
    """

    def __init__(self, engine: Engine, counts: ModelCounts, sketch: Sketch | None = None) -> None:
        self._engine = engine
        self._counts = counts
        self._sketch = sketch
        self._queue: deque[Waiting] = deque()
        self._suspects: deque[Waiting] = deque()
        self._scheduled = False
        self._busy = False
        self._thread: ThreadPoolExecutor | None = None
        self._seconds_per_row = engine.manifest.verdict.one_row_microseconds / 1e6

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._queue) + len(self._suspects)

    def add(self, query: Query, done: Done) -> None:
        """Queue a request. ``done`` is called before the next tick ends, or when a slow model has answered."""
        self._queue.append((query, done))
        if not self._scheduled and not self._busy:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Answer one batch; if more wait, the loop gets a turn before the next."""
        self._scheduled = False
        batch = self._take()
        if not batch:
            return
        rows = batch[0][0].rows if len(batch) == 1 else np.concatenate([query.rows for query, _ in batch])
        if len(rows) * self._seconds_per_row > ON_LOOP_SECONDS:
            self._busy = True
            loop = asyncio.get_running_loop()
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="orris-model")
            future = loop.run_in_executor(self._thread, self._run, rows)
            future.add_done_callback(lambda outcome: self._returned(batch, rows, outcome.result()))
            return
        self._deliver(batch, rows, self._run(rows))
        self._continue()

    def _take(self) -> list[Waiting]:
        if self._suspects:
            return [self._suspects.popleft()]
        queue, n_rows = self._queue, 0
        batch: list[Waiting] = []
        while queue and len(batch) < MAX_REQUESTS:
            size = len(queue[0][0].rows)
            if batch and n_rows + size > MAX_ROWS:
                break
            batch.append(queue.popleft())
            n_rows += size
        return batch

    def _run(self, rows: FloatArray) -> _Outcome:
        """Ask the model; runs on either thread."""
        start = perf_counter()
        try:
            answers: Answers | Exception = self._engine.run(rows)
        except Exception as error:  # noqa: BLE001 (each request of the batch gets it)
            answers = error
        seconds = perf_counter() - start
        # A moving average: slow to forget, so that one pause of the machine does not send quick models to the thread.
        self._seconds_per_row += 0.05 * (seconds / len(rows) - self._seconds_per_row)
        return answers, start, seconds, self._engine.watch.usual(rows)

    def _returned(self, batch: list[Waiting], rows: FloatArray, outcome: _Outcome) -> None:
        self._busy = False
        self._deliver(batch, rows, outcome)
        self._continue()

    def _continue(self) -> None:
        if (self._queue or self._suspects) and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _deliver(self, batch: list[Waiting], rows: FloatArray, outcome: _Outcome) -> None:
        answers, began, seconds, usual = outcome
        call = Call(began, seconds, len(rows), len(batch))
        if not isinstance(answers, Exception):
            labels = answers.labels
            self._counts.called(seconds, len(rows) if labels is None else labels.tolist())
            if self._sketch is not None:
                self._sketch.add(rows, answers.found)
        if len(batch) == 1:
            batch[0][1](answers, usual, call)
            return
        if isinstance(answers, Exception):
            # One request's rows may be to blame: each is asked on its own, so that it fails alone.
            self._suspects.extend(batch)
            return
        labels, probabilities, values = answers
        start = 0
        for query, done in batch:
            stop = start + len(query.rows)
            part = Answers(
                None if labels is None else labels[start:stop],
                None if probabilities is None else probabilities[start:stop],
                None if values is None else values[start:stop],
            )
            done(part, usual, call)
            start = stop

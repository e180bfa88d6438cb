"""The queue in front of a model: requests that arrived in one tick of the loop are one call; none waits for more.

A model that is quick runs on the loop. One that would hold the loop up runs on a thread of its own, and what arrives
meanwhile is the next call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Protocol

import numpy as np

from orris.runtime import Answers
from orris.schema.arrays import FloatArray
from orris.serving.engine import Engine
from orris.telemetry.drift import Sketch
from orris.telemetry.metrics import ModelCounts
from orris.telemetry.tracecontext import Call

MAX_REQUESTS = 256
"""Requests in one batch.

Answers to the first do not wait for many more, and the loop looks at its sockets in between.
"""

MAX_ROWS = 1_024
"""Rows in one call, unless a single batch holds more."""

ON_LOOP_SECONDS = 0.002
"""A call that is expected to take longer runs on a thread."""

_Outcome = tuple[Answers | Exception, float, float, bool]
"""The answers or the failure of a call of the model, its beginning, its seconds, and whether no row is unusual."""


class Batch(Protocol):
    """Requests that wait for the model together."""

    @property
    def rows(self) -> FloatArray:
        """Encoded rows of all requests, float64 ``(n_rows, n_columns)``."""

    @property
    def n_requests(self) -> int:
        """Requests."""

    def deliver(self, answers: Answers | Exception, usual: bool, call: Call) -> None:
        """Take the answers to the rows, or the failure.

        Args:
            answers: The answers, or what the model failed with.
            usual: No row of the call is unusual.
            call: The call of the model, which other batches may have shared.
        """

    def split(self) -> list[Batch]:
        """A batch for each request."""


class Batcher:
    """The queue in front of one engine. All methods belong to the loop's thread.

    Answers are counted, for drift in ``sketch``.
    """

    def __init__(self, engine: Engine, counts: ModelCounts, sketch: Sketch | None = None) -> None:
        self._engine = engine
        self._counts = counts
        self._sketch = sketch
        self._queue: deque[Batch] = deque()
        self._suspects: deque[Batch] = deque()
        self._scheduled = False
        self._busy = False
        self._thread: ThreadPoolExecutor | None = None
        self._n_waiting_rows = 0
        self._waiting_since: deque[float] = deque()
        self._expected_end = 0.0
        self._seconds_per_row = engine.manifest.verdict.one_row_microseconds / 1e6

    def __len__(self) -> int:
        """Requests that wait."""
        return sum(batch.n_requests for batch in (*self._queue, *self._suspects))

    def wait_seconds(self, now: float) -> float:
        """How long rows that are added now will wait; 0: no others wait.

        The larger of what the calls before them will take, by the time of the last calls, and of how long the first of
        those that wait has waited.

        Args:
            now: ``perf_counter()``.
        """
        if not self._queue:
            return 0.0
        expected = max(self._expected_end - now, 0.0) + self._n_waiting_rows * self._seconds_per_row
        return max(expected, now - self._waiting_since[0])

    def add(self, batch: Batch) -> None:
        """Answer a batch now, or when the model is through with those before it."""
        self._queue.append(batch)
        self._n_waiting_rows += len(batch.rows)
        self._waiting_since.append(perf_counter())
        if not self._scheduled and not self._busy:
            self._work()

    def _work(self) -> None:
        """Call the model once; if more wait, the loop gets a turn before the next call."""
        self._scheduled = False
        batches = self._take()
        if not batches:
            return
        rows = batches[0].rows if len(batches) == 1 else np.concatenate([batch.rows for batch in batches])
        if len(rows) * self._seconds_per_row > ON_LOOP_SECONDS:
            self._busy = True
            self._expected_end = perf_counter() + len(rows) * self._seconds_per_row
            loop = asyncio.get_running_loop()
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="orris-model")
            future = loop.run_in_executor(self._thread, self._run, rows)
            future.add_done_callback(lambda outcome: self._returned(batches, rows, outcome.result()))
            return
        self._deliver(batches, rows, self._run(rows))
        self._continue()

    def _take(self) -> list[Batch]:
        if self._suspects:
            return [self._suspects.popleft()]
        queue, n_rows = self._queue, 0
        taken: list[Batch] = []
        while queue and not (taken and n_rows + len(queue[0].rows) > MAX_ROWS):
            taken.append(queue.popleft())
            self._waiting_since.popleft()
            n_rows += len(taken[-1].rows)
        self._n_waiting_rows -= n_rows
        return taken

    def _run(self, rows: FloatArray) -> _Outcome:
        """Call the model; runs on either thread."""
        start = perf_counter()
        try:
            answers: Answers | Exception = self._engine.run(rows)
        except Exception as error:  # noqa: BLE001 (each request of the batch gets it)
            answers = error
        seconds = perf_counter() - start
        # A moving average, slow to rise and quick to fall: pauses of the machine send no quick model to the thread.
        difference = seconds / len(rows) - self._seconds_per_row
        self._seconds_per_row += (0.05 if difference > 0 else 0.5) * difference
        return answers, start, seconds, self._engine.watch.usual(rows)

    def _returned(self, batches: list[Batch], rows: FloatArray, outcome: _Outcome) -> None:
        self._busy = False
        self._deliver(batches, rows, outcome)
        self._continue()

    def _continue(self) -> None:
        if (self._queue or self._suspects) and not self._scheduled and not self._busy:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._work)

    def _deliver(self, batches: list[Batch], rows: FloatArray, outcome: _Outcome) -> None:
        answers, began, seconds, usual = outcome
        n_requests = sum(batch.n_requests for batch in batches)
        call = Call(began, seconds, len(rows), n_requests)
        if isinstance(answers, Exception):
            if n_requests == 1:
                batches[0].deliver(answers, usual, call)
                return
            # One request's rows may be to blame: each runs on its own, so that it fails alone.
            self._suspects.extend(alone for batch in batches for alone in batch.split())
            return
        self._counts.called(seconds, len(rows), answers.labels)
        if self._sketch is not None:
            self._sketch.add(rows, answers.found)
        if len(batches) == 1:
            batches[0].deliver(answers, usual, call)
            return
        start = 0
        for batch in batches:
            stop = start + len(batch.rows)
            batch.deliver(part(answers, start, stop), usual, call)
            start = stop


def part(answers: Answers, start: int, stop: int) -> Answers:
    """The answers to some of the rows."""
    return answers.at(slice(start, stop))

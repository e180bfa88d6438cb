"""Two versions at once: a share of the requests to another version (split), or a copy of them (shadow)."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from orris.runtime import Answers
from orris.schema.arrays import FloatArray
from orris.serving.catalog import Live, Slot
from orris.serving.exchange import Headers, Query
from orris.telemetry.metrics import ShadowCounts
from orris.telemetry.tracecontext import Call, ModelPrediction, TraceContext

if TYPE_CHECKING:
    from orris.telemetry.tracing import Tracing

MAX_SHADOWED_ROWS = 20_000
"""Rows that wait for the shadow; more are dropped and counted, for the shadow must never cost memory without bound."""


@dataclass(frozen=True)
class Split:
    """Sends a share of a model's requests to a second version.

    Attributes:
        slot: The model.
        version: The second version; it is pinned in the slot.
        share: Between 0 and 1.
        header: Requests with equal values of this header go to the same version; without it, and for requests that lack
            it, by chance.
    """

    slot: Slot
    version: str
    share: float
    header: bytes = b""

    def pick(self, headers: Headers) -> Live:
        """The version that answers a request."""
        value = headers.get(self.header) if self.header else None
        draw = random.random() if value is None else zlib.crc32(value) / 2**32  # noqa: S311 (a choice of version, not a secret)
        return self.slot.version(self.version) if draw < self.share else self.slot.current()


class _Copy(NamedTuple):
    """A request that waits for the shadow: the version that answered, its rows and answers, and its trace."""

    live: Live
    rows: FloatArray
    answers: Answers
    trace: TraceContext | None


class _Finding(NamedTuple):
    """The shadow's answer to a recorded request, for its span."""

    trace: TraceContext
    prediction: ModelPrediction
    agreed: bool | None


@dataclass
class Shadow:
    """Runs a second version on copies of requests, compares the answers, and counts.

    Attributes:
        slot: The model.
        live: The second version.
        share: Share of the requests that is copied.
        counts: Rows that agreed, differed, failed and were dropped, and the largest difference.
        tracing: What records spans; ``None``: nothing is recorded.
    """

    slot: Slot
    live: Live
    share: float
    counts: ShadowCounts
    tracing: Tracing | None = None
    _waiting: deque[_Copy] = field(default_factory=deque)
    _n_rows: int = 0
    _busy: bool = False
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="orris-shadow")
    )

    def observe(self, live: Live, query: Query, answers: Answers, trace: TraceContext | None = None) -> None:
        """Copy an answered request, perhaps. Called on the loop for every one."""
        if live is not self.slot.live or live is self.live or random.random() >= self.share:  # noqa: S311
            return
        if self._n_rows + len(query.rows) > MAX_SHADOWED_ROWS:
            self.counts.dropped += len(query.rows)
            return
        self._waiting.append(_Copy(live, query.rows, answers, trace))
        self._n_rows += len(query.rows)
        if not self._busy:
            self._next()

    def _next(self) -> None:
        """Hand all that waits to the thread."""
        batch = list(self._waiting)
        self._waiting.clear()
        self._n_rows = 0
        self._busy = bool(batch)
        if batch:
            future = asyncio.get_running_loop().run_in_executor(self._thread, self._compare, batch)
            future.add_done_callback(self._compared)

    def _compared(self, future: asyncio.Future[tuple[ShadowCounts, list[_Finding]]]) -> None:
        if future.cancelled():
            return
        counts, findings = future.result()
        self.counts.add(counts)
        if self.tracing is not None:
            for finding in findings:
                self.tracing.shadowed(*finding)
        self._next()

    def _compare(self, batch: list[_Copy]) -> tuple[ShadowCounts, list[_Finding]]:
        """Ask and compare; runs on the thread."""
        found = ShadowCounts()
        findings: list[_Finding] = []
        for live, rows, answers, trace in batch:
            start = perf_counter()
            try:
                other = self.live.engine.run(rows)
            except Exception as error:  # noqa: BLE001 (a shadow that fails is a finding, not an error)
                found.failed += len(rows)
                if trace is not None:
                    findings.append(_Finding(trace, self._prediction(start, rows, None, type(error).__name__), None))
                continue
            prediction = self._prediction(start, rows, other) if trace is not None else None
            agreeing = _agreeing(live, answers, self.live, other)
            found.agreed += int(agreeing.sum())
            found.differed += int(len(rows) - agreeing.sum())
            found.largest_difference = max(found.largest_difference, _difference(live, answers, self.live, other))
            if trace is not None and prediction is not None:
                findings.append(_Finding(trace, prediction, bool(agreeing.all())))
        return found, findings

    def _prediction(
        self, start: float, rows: FloatArray, answers: Answers | None, failure: str = ""
    ) -> ModelPrediction:
        """The shadow's answer just now, for its span."""
        manifest, label = self.live.engine.manifest, ""
        if len(rows) == 1 and answers is not None and answers.labels is not None:
            label = self.live.engine.text_labels[answers.labels[0]]
        call = Call(start, perf_counter() - start, len(rows))
        return ModelPrediction(manifest.name, manifest.version, call, len(rows), label, failure)


def _agreeing(live: Live, answers: Answers, other: Live, others: Answers) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Per row: the same label, or values equal to a billionth of their size."""
    if answers.values is not None and others.values is not None:
        return np.asarray(np.abs(answers.values - others.values) <= 1e-9 * np.maximum(1.0, np.abs(answers.values)))
    assert answers.labels is not None  # noqa: S101
    assert others.labels is not None  # noqa: S101
    mine, theirs = np.array(live.engine.text_labels), np.array(other.engine.text_labels)
    return np.asarray(mine[answers.labels] == theirs[others.labels])


def _difference(live: Live, answers: Answers, other: Live, others: Answers) -> float:
    """The largest difference of a probability or a value; probabilities of other classes are not compared."""
    if answers.values is not None and others.values is not None:
        return float(np.abs(answers.values - others.values).max(initial=0.0))
    same_classes = live.engine.text_labels == other.engine.text_labels
    if not same_classes or answers.probabilities is None or others.probabilities is None:
        return 0.0
    return float(np.abs(answers.probabilities - others.probabilities).max(initial=0.0))

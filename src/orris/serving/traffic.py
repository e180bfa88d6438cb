"""Two versions at once: a share of the requests to another version (split), or a copy of them, off the request path (shadow)."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from orris.runtime import Answers
from orris.serving.catalog import Live, Slot
from orris.serving.exchange import Asked, FloatArray, Headers
from orris.telemetry.metrics import ShadowCounts

MAX_SHADOWED_ROWS = 20_000
"""Rows that wait for the shadow; more are dropped and counted, for the shadow must never cost memory without bound."""


@dataclass(frozen=True)
class Split:
    """Sends a share of a model's requests to a second version.

    Attributes:
        slot: The model.
        version: The second version; it is pinned in the slot.
        share: Between 0 and 1.
        header: Requests with equal values of this header go to the same version; without it, and for requests that lack it, by chance.
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


@dataclass
class Shadow:
    """Asks a second version what the first has answered, compares, and counts.

    Attributes:
        slot: The model.
        live: The second version.
        share: Share of the requests that is copied.
        counts: Rows that agreed, differed, failed and were dropped, and the largest difference.
    """

    slot: Slot
    live: Live
    share: float
    counts: ShadowCounts
    _waiting: deque[tuple[Live, FloatArray, Answers]] = field(default_factory=deque)
    _n_rows: int = 0
    _busy: bool = False
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="orris-shadow"))

    def observe(self, live: Live, asked: Asked, answers: Answers) -> None:
        """Copy an answered request, perhaps. Called on the loop for every one."""
        if live is not self.slot.live or live is self.live or random.random() >= self.share:  # noqa: S311
            return
        if self._n_rows + len(asked.rows) > MAX_SHADOWED_ROWS:
            self.counts.dropped += len(asked.rows)
            return
        self._waiting.append((live, asked.rows, answers))
        self._n_rows += len(asked.rows)
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

    def _compared(self, future: asyncio.Future[ShadowCounts]) -> None:
        if future.cancelled():
            return
        self.counts.add(future.result())
        self._next()

    def _compare(self, batch: list[tuple[Live, FloatArray, Answers]]) -> ShadowCounts:
        """Ask and compare; runs on the thread."""
        found = ShadowCounts()
        for live, rows, answers in batch:
            try:
                other = self.live.engine.run(rows)
            except Exception:  # noqa: BLE001 (a shadow that fails is a finding, not an error)
                found.failed += len(rows)
                continue
            agreeing = _agreeing(live, answers, self.live, other)
            found.agreed += int(agreeing.sum())
            found.differed += int(len(rows) - agreeing.sum())
            found.largest_difference = max(found.largest_difference, _difference(live, answers, self.live, other))
        return found

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


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

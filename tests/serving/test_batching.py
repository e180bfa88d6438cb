"""Tests of the queue in front of a model: which requests share a call, and what a slow model must not delay."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from orris.runtime import Answers
from orris.schema.arrays import FloatArray
from orris.serving.batching import MAX_ROWS, Batch, Batcher
from orris.serving.engine import Engine
from orris.telemetry.metrics import ModelCounts
from orris.telemetry.tracecontext import Call
from tests.waiting import PATIENCE_SECONDS

SECONDS = PATIENCE_SECONDS
"""After so long a test has hung."""


class Doubler:
    """An engine that doubles its first column and does not return while ``gate`` is closed."""

    def __init__(self, microseconds: float) -> None:
        self.manifest = SimpleNamespace(verdict=SimpleNamespace(one_row_microseconds=microseconds))
        self.watch = SimpleNamespace(usual=lambda rows: bool((rows < 100).all()))
        self.gate = threading.Event()
        self.gate.set()
        self.called = threading.Event()
        self.sizes: list[int] = []
        self.threads: set[str] = set()

    def run(self, rows: FloatArray) -> Answers:
        """Return twice the rows' first column; a negative value is an error."""
        self.sizes.append(len(rows))
        self.threads.add(threading.current_thread().name)
        self.called.set()
        assert self.gate.wait(SECONDS)
        if (rows < 0).any():
            raise ValueError("negative")
        return Answers(values=rows[:, 0] * 2)


class Requests:
    """A batch of requests for rows of one column."""

    def __init__(self, requests: list[tuple[float, ...]]) -> None:
        self.requests = requests
        self.rows: FloatArray = np.array([value for request in requests for value in request]).reshape(-1, 1)
        self.futures: list[asyncio.Future[list[float]]] = [asyncio.get_running_loop().create_future() for _ in requests]

    @property
    def n_requests(self) -> int:
        """Return the number of requests."""
        return len(self.requests)

    def deliver(self, answers: Answers | Exception, usual: bool, call: Call) -> None:
        """Give every request its part of the answers."""
        del usual, call
        start = 0
        for request, future in zip(self.requests, self.futures, strict=True):
            if isinstance(answers, Exception):
                future.set_exception(answers)
                continue
            assert answers.values is not None
            future.set_result(answers.values[start : start + len(request)].tolist())
            start += len(request)

    def split(self) -> list[Batch]:
        """Return a batch for each request."""
        alone = [Requests([request]) for request in self.requests]
        for one, future in zip(alone, self.futures, strict=True):
            one.futures = [future]
        return list(alone)


class Caller:
    """A batcher, and the futures of the requests to it."""

    def __init__(self, engine: Doubler) -> None:
        self.batcher = Batcher(cast("Engine", engine), ModelCounts("doubler", "1.0.0", ()))

    def ask(self, *requests: tuple[float, ...]) -> asyncio.Future[list[Any]]:
        """Add a batch of requests, each for some rows."""
        batch = Requests(list(requests))
        self.batcher.add(batch)
        return asyncio.gather(*batch.futures, return_exceptions=True)


def within(work: Any) -> Any:
    """Run a coroutine with a time limit."""
    return asyncio.run(asyncio.wait_for(work, SECONDS))


def test_the_requests_of_a_batch_are_one_call() -> None:
    """The requests of a batch share one call, and each gets the answers to its own rows."""
    engine = Doubler(1)

    async def work() -> list[Any]:
        return await Caller(engine).ask((1,), (2, 3), (4,))

    assert within(work()) == [[2], [4, 6], [8]]
    assert engine.sizes == [4]


@pytest.mark.parametrize("microseconds", [1, 1e6], ids=["quick", "slow"])
def test_a_bad_row_does_not_fail_its_neighbours(microseconds: float) -> None:
    """A call that fails is repeated request by request, and only the request to blame fails."""
    engine = Doubler(microseconds)

    async def work() -> list[Any]:
        return await Caller(engine).ask((1,), (-1,), (2,))

    first, second, third = within(work())
    assert (first, third) == ([2], [4])
    assert isinstance(second, ValueError)
    if microseconds > 1:
        assert "MainThread" not in engine.threads


def test_a_slow_model_does_not_hold_up_the_loop() -> None:
    """While the model works, the loop turns, and the batches that arrive share the next call."""
    engine = Doubler(1e6)
    engine.gate.clear()

    async def work() -> None:
        caller = Caller(engine)
        first = caller.ask((1,))
        await asyncio.get_running_loop().run_in_executor(None, engine.called.wait, SECONDS)
        others = [caller.ask((2,)), caller.ask((3,))]
        await asyncio.sleep(0)
        assert not first.done()
        assert len(caller.batcher) == 2
        engine.gate.set()
        assert await asyncio.gather(first, *others) == [[[2]], [[4]], [[6]]]

    within(work())
    assert engine.sizes == [1, 2]
    assert "MainThread" not in engine.threads


def test_batches_that_waited_share_a_call_up_to_its_rows() -> None:
    """A batch that holds more rows than a call usually does is still one call."""
    engine = Doubler(1e6)
    engine.gate.clear()

    async def work() -> None:
        caller = Caller(engine)
        batches = [caller.ask((1,)), caller.ask((1.0,) * (MAX_ROWS - 1)), caller.ask((1, 1))]
        batches.append(caller.ask((1.0,) * (2 * MAX_ROWS)))
        engine.gate.set()
        await asyncio.gather(*batches)

    within(work())
    assert engine.sizes == [1, MAX_ROWS - 1, 2, 2 * MAX_ROWS]


def test_many_rows_of_a_quick_model_run_off_the_loop() -> None:
    """A call whose rows together take long runs on a thread, even if one row is quick."""
    engine = Doubler(1)

    async def work() -> None:
        caller = Caller(engine)
        await caller.ask((1,))
        assert engine.threads == {"MainThread"}
        engine.threads.clear()
        await caller.ask((1.0,) * 1_000_000)

    within(work())
    assert "MainThread" not in engine.threads


def test_rows_wait_for_what_the_calls_before_them_will_take() -> None:
    """Rows behind a running call alone count as not waiting; behind others they wait for as long as those will take."""
    engine = Doubler(10_000)
    engine.gate.clear()

    async def work() -> list[float]:
        caller, waits = Caller(engine), []
        asked = []
        for n_rows in (5, 30, 40):
            waits.append(caller.batcher.wait_seconds(0.0))
            asked.append(caller.ask(tuple(map(float, range(n_rows)))))
        waits.append(caller.batcher.wait_seconds(0.0))
        engine.gate.set()
        await asyncio.gather(*asked)
        return [*waits, caller.batcher.wait_seconds(0.0)]

    first, second, third, fourth, last = within(work())
    assert (first, second, last) == (0.0, 0.0, 0.0)
    assert third >= 0.30
    assert fourth >= 0.70

"""The queue in front of a model: what is answered together, and what a slow model may not hold up."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from orris.runtime import Answers
from orris.schema.arrays import FloatArray
from orris.serving.batching import MAX_REQUESTS, MAX_ROWS, Batcher
from orris.serving.engine import Engine
from orris.serving.exchange import Query
from orris.telemetry.metrics import ModelCounts
from orris.telemetry.tracecontext import Call

SECONDS = 10.0
"""After so long a test has hung."""


class Doubler:
    """An engine that doubles its first column, and, while ``gate`` is closed, does not return."""

    def __init__(self, microseconds: float) -> None:
        self.manifest = SimpleNamespace(verdict=SimpleNamespace(one_row_microseconds=microseconds))
        self.watch = SimpleNamespace(usual=lambda rows: bool((rows < 100).all()))
        self.gate = threading.Event()
        self.gate.set()
        self.called = threading.Event()
        self.sizes: list[int] = []
        self.threads: set[str] = set()

    def run(self, rows: FloatArray) -> Answers:
        """Twice the rows' first column; a negative one is an error."""
        self.sizes.append(len(rows))
        self.threads.add(threading.current_thread().name)
        self.called.set()
        assert self.gate.wait(SECONDS)
        if (rows < 0).any():
            raise ValueError("negative")
        return Answers(values=rows[:, 0] * 2)


class Caller:
    """A batcher, and the futures of what was asked of it."""

    def __init__(self, engine: Doubler) -> None:
        self.batcher = Batcher(cast("Engine", engine), ModelCounts("doubler", "1.0.0", ()))

    def ask(self, *values: float) -> asyncio.Future[list[float]]:
        """Ask for some rows of one column."""
        future: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()

        def done(answers: Answers | Exception, usual: bool, call: Call) -> None:
            del usual, call
            if isinstance(answers, Exception):
                future.set_exception(answers)
            else:
                assert answers.values is not None
                future.set_result(answers.values.tolist())

        self.batcher.add(Query(np.array(values, dtype=np.float64).reshape(-1, 1)), done)
        return future


def within(work: Any) -> Any:
    """Run a coroutine, but not for ever."""
    return asyncio.run(asyncio.wait_for(work, SECONDS))


def test_requests_of_one_tick_are_one_call() -> None:
    """What has arrived before the loop turns is asked together, and everybody gets their own rows back."""
    engine = Doubler(1)

    async def work() -> list[list[float]]:
        caller = Caller(engine)
        return list(await asyncio.gather(caller.ask(1), caller.ask(2, 3), caller.ask(4)))

    assert within(work()) == [[2], [4, 6], [8]]
    assert engine.sizes == [4]


def test_a_batch_is_bounded_in_requests_and_rows() -> None:
    """The first does not wait for many more; a request longer than a batch is still one call."""
    engine = Doubler(0.001)

    async def work() -> None:
        caller = Caller(engine)
        await asyncio.gather(*(caller.ask(1) for _ in range(MAX_REQUESTS + 1)))
        await asyncio.gather(caller.ask(*[1.0] * (MAX_ROWS - 1)), caller.ask(1, 1), caller.ask(*[1.0] * (2 * MAX_ROWS)))

    within(work())
    assert engine.sizes == [MAX_REQUESTS, 1, MAX_ROWS - 1, 2, 2 * MAX_ROWS]


@pytest.mark.parametrize("microseconds", [1, 1e6], ids=["quick", "slow"])
def test_a_bad_row_does_not_fail_its_neighbours(microseconds: float) -> None:
    """A call that fails is repeated request by request, and only the one to blame is told of it."""
    engine = Doubler(microseconds)

    async def work() -> list[Any]:
        caller = Caller(engine)
        return list(await asyncio.gather(caller.ask(1), caller.ask(-1), caller.ask(2), return_exceptions=True))

    first, second, third = within(work())
    assert (first, third) == ([2], [4])
    assert isinstance(second, ValueError)
    if microseconds > 1:
        assert "MainThread" not in engine.threads


def test_a_slow_model_does_not_hold_up_the_loop() -> None:
    """While the model works, the loop turns, and what arrives becomes the next batch."""
    engine = Doubler(1e6)
    engine.gate.clear()

    async def work() -> None:
        caller = Caller(engine)
        first = caller.ask(1)
        await asyncio.get_running_loop().run_in_executor(None, engine.called.wait, SECONDS)
        others = [caller.ask(2), caller.ask(3)]
        await asyncio.sleep(0)
        assert not first.done()
        assert len(caller.batcher) == 2
        engine.gate.set()
        assert await asyncio.gather(first, *others) == [[2], [4], [6]]

    within(work())
    assert engine.sizes == [1, 2]
    assert "MainThread" not in engine.threads


def test_many_rows_of_a_quick_model_run_off_the_loop() -> None:
    """It is the whole call that may not take long, not one row."""
    engine = Doubler(1)

    async def work() -> None:
        caller = Caller(engine)
        await caller.ask(1)
        assert engine.threads == {"MainThread"}
        engine.threads.clear()
        await caller.ask(*[1.0] * 1_000_000)

    within(work())
    assert "MainThread" not in engine.threads

"""The driver of an open loop: starts requests when they are due, however long the server takes.

The latency of a request counts from its intended start. A driver that waits for answers before it sends sends less
while a server stalls, and so hides the stall from its own numbers (Gil Tene's "coordinated omission"). Here a request
that finds no free connection waits, and its wait is part of its latency.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np

from orris.errors import LoadTestError
from orris.loadtest.alarm import alarm
from orris.loadtest.arrivals import Arrivals
from orris.loadtest.connections import GrpcPool, HttpPool
from orris.loadtest.recording import Recorder, edges_of
from orris.loadtest.run import DriverLoad, Run, Slice
from orris.loadtest.target import Target

SWITCH_SECONDS = 1e-4
"""Longest that another thread of this process may hold up the driver."""

MAX_STARTED_AT_ONCE = 64

TICK_SECONDS = 0.1
"""How often requests that took too long are looked for."""


class _Pool(Protocol):
    n_waited: int

    async def open(self) -> None: ...

    def start(self, route: int, due: float, now: float, content: bytes) -> None: ...

    def expire(self, now: float) -> None: ...

    async def close(self) -> None: ...


def drive(
    target: Target,
    arrivals: Arrivals,
    *,
    connections: int = 64,
    warm_up_seconds: float = 2.0,
    timeout_seconds: float = 10.0,
    slice_seconds: float = 1.0,
    on_slice: Callable[[Slice], None] | None = None,
    stop: threading.Event | None = None,
    seed: int = 0,
) -> Run:
    """Send a target's requests when they are due, and measure the answers.

    It runs an event loop of its own in the calling thread. Ctrl-C in the main thread ends the run early, and so does
    ``stop``; the result then holds what was measured until then.

    Args:
        target: The requests, as ``prepare`` or ``target_of`` makes them.
        arrivals: When requests are due, and for how long.
        connections: HTTP connections, all opened before the first request, and at most this many channels of gRPC. A
            request that finds none free waits for one.
        warm_up_seconds: Requests at the first rate before the measurement begins.
        timeout_seconds: A request that took longer since it was sent has failed.
        slice_seconds: About how long the slices of the result are; they end where a step ends.
        on_slice: Called with each slice soon after it is over, on the event loop: it must return quickly. Answers that
            are still under way are missing from it.
        stop: Ends the run when it is set.
        seed: Seed of the order in which requests are drawn.

    Raises:
        LoadTestError: The server could not be reached, or nothing was measured before the run was ended.
        MissingExtraError: The extra ``load`` is not installed.
    """
    if connections < 1:
        raise LoadTestError(f"{connections} connections: at least 1 is needed")
    driver = _Driver(target, arrivals, connections, warm_up_seconds, timeout_seconds, slice_seconds, seed)
    driver.on_slice, driver.stop_event = on_slice, stop
    with _undisturbed():
        return _run(driver.run())


def _run(main: Coroutine[Any, Any, Run]) -> Run:
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:  # Windows has none.
        return asyncio.run(main)
    return uvloop.run(main)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No garbage collection, which would stop the driver for milliseconds, and other threads that give way at once."""
    enabled, interval = gc.isenabled(), sys.getswitchinterval()
    gc.collect()
    gc.disable()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if enabled:
            gc.enable()


class _Driver:
    """One run."""

    on_slice: Callable[[Slice], None] | None = None
    stop_event: threading.Event | None = None

    def __init__(
        self,
        target: Target,
        arrivals: Arrivals,
        connections: int,
        warm_up_seconds: float,
        timeout_seconds: float,
        slice_seconds: float,
        seed: int,
    ) -> None:
        self._target, self._arrivals = target, arrivals
        self._warm_up_seconds, self._timeout = max(0.0, warm_up_seconds), timeout_seconds
        self._n_connections = connections
        self._edges = edges_of(arrivals.steps, slice_seconds)
        self._order = target.drawn(seed)
        self._n_started = 0
        self._in_flight = self._max_in_flight = 0
        self._area = 0.0
        self._changed = 0.0
        self._interrupted = False

    async def run(self) -> Run:
        loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        kinds = {bool(route.grpc_method) for route in self._target.routes}
        pools: dict[bool, _Pool] = {}
        if False in kinds:
            pools[False] = HttpPool(self._target, self, self._n_connections, self._timeout)
        if True in kinds:
            pools[True] = GrpcPool(self._target, self, self._n_connections, self._timeout)
        try:
            for pool in pools.values():
                await pool.open()
            self._pools = [pools[bool(route.grpc_method)] for route in self._target.routes]
            return await self._measure(loop, list(pools.values()))
        finally:
            for pool in pools.values():
                await pool.close()

    async def _measure(self, loop: asyncio.AbstractEventLoop, pools: list[_Pool]) -> Run:
        self._begin = time.monotonic() + 0.05
        names = [route.name for route in self._target.routes]
        self._recorder = Recorder(self._begin + self._warm_up_seconds, self._edges, names)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        self._due = self._due_times()
        self._next_due = next(self._due, None)
        self._alarm = alarm(loop, self._fire)
        watch = asyncio.ensure_future(self._watch(pools))
        with _interruptible(loop, self._interrupt):
            if self._next_due is not None:
                self._alarm.set(self._next_due)
            await watch
        self._alarm.close()
        return self._result(started, pools)

    def _due_times(self) -> Iterator[float]:
        for chunk in self._arrivals.after_warm_up(self._warm_up_seconds).chunks():
            yield from (self._begin + chunk).tolist()

    def _fire(self) -> None:
        """Start requests that are due, and set the alarm for the next one, which may be due as well.

        Answers are read between two calls, so a driver that is behind must not start all that is due at once.
        """
        due, now = self._next_due, time.monotonic()
        order, pools, n_order = self._order, self._pools, len(self._order)
        for _ in range(MAX_STARTED_AT_ONCE):
            if due is None or due > now:
                break
            route, content = order[self._n_started % n_order]
            self._n_started += 1
            self._moved(now, 1)
            self._area += max(0.0, min(now, self._recorder.end) - max(due, self._recorder.begin))
            self._recorder.started(route, due, now, len(content))
            pools[route].start(route, due, now, content)
            due = next(self._due, None)
            now = time.monotonic()
        self._next_due = due
        if due is not None:
            self._alarm.set(due)

    def _moved(self, now: float, by: int) -> None:
        """Count requests in flight, and the area below their number over the measured time."""
        begin = max(self._changed, self._recorder.begin)
        end = min(now, self._recorder.end)
        if end > begin:
            self._area += self._in_flight * (end - begin)
        self._changed = now
        self._in_flight += by
        self._max_in_flight = max(self._max_in_flight, self._in_flight)

    def answered(self, route: int, due: float, at: float, n_bytes: int) -> None:
        """A request was answered as it should be."""
        self._moved(at, -1)
        self._recorder.answered(route, due, at, n_bytes)

    def failed(self, route: int, due: float, at: float, kind: str, answer: bytes | str = "") -> None:
        """A request failed."""
        self._moved(at, -1)
        self._recorder.failed(route, due, at, kind, answer)

    def _interrupt(self) -> None:
        self._interrupted = True
        self._next_due, self._due = None, iter(())
        self._done.set()

    async def _watch(self, pools: list[_Pool]) -> None:
        """End requests that take too long, report slices, until the last request has ended."""
        n_reported, cpu_begin = 0, None
        last = self._recorder.end + self._timeout + 1.0
        while not self._done.is_set():
            now = time.monotonic()
            for pool in pools:
                pool.expire(now)
            if cpu_begin is None and now >= self._recorder.begin:
                cpu_begin = (now, time.process_time())
            n_over = int(np.searchsorted(self._edges, now - self._recorder.begin, side="right")) - 1
            if n_over > n_reported:
                self._recorder.flush()
                for place in range(n_reported, n_over if n_over < len(self._edges) else len(self._edges) - 1):
                    if self.on_slice is not None:
                        self.on_slice(self._recorder.slice(place))
                n_reported = n_over
            if self.stop_event is not None and self.stop_event.is_set():
                self._interrupt()
            if (now >= self._recorder.end and self._in_flight == 0) or now > last:
                break
            if now < self._recorder.end:
                self._cpu_end = (now, time.process_time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._done.wait(), TICK_SECONDS)
        self._ended = time.monotonic()
        self._moved(self._ended, 0)
        self._cpu_begin = cpu_begin

    def _result(self, started: str, pools: list[_Pool]) -> Run:
        recorder = self._recorder
        recorder.flush()
        slices = recorder.slices(self._ended if self._interrupted else None)
        if not slices:
            raise LoadTestError("the load test was ended before anything was measured")
        measured = slices[-1].begin_seconds + slices[-1].seconds
        until = min(self._ended, recorder.end) - recorder.begin if self._interrupted else measured
        return Run(
            url=self._target.url,
            model=self._target.model,
            engine="asyncio",
            loop="open",
            started=started,
            warm_up_seconds=self._warm_up_seconds,
            slices=slices,
            routes=recorder.routes(),
            steps=self._arrivals.steps,
            connections=self._n_connections,
            mean_in_flight=self._area / until,
            driver=self._load(pools, slices),
            interrupted=self._interrupted,
            unanswered=self._in_flight,
            samples=recorder.samples,
        )

    def _load(self, pools: list[_Pool], slices: tuple[Slice, ...]) -> DriverLoad:
        late = self._recorder.late_seconds
        latency = sum(each.latency.sum_seconds for each in slices)
        p50, p99 = np.quantile(late, [0.5, 0.99]).tolist() if late.size else (0.0, 0.0)
        share = 0.0
        if self._cpu_begin is not None and self._cpu_end[0] > self._cpu_begin[0]:
            share = (self._cpu_end[1] - self._cpu_begin[1]) / (self._cpu_end[0] - self._cpu_begin[0])
        return DriverLoad(
            cpu_share=share,
            late_p50_seconds=p50,
            late_p99_seconds=p99,
            late_max_seconds=float(late.max()) if late.size else 0.0,
            late_share=float(late.sum()) / latency if latency else 0.0,
            n_waited=sum(pool.n_waited for pool in pools),
            max_in_flight=self._max_in_flight,
        )


@contextlib.contextmanager
def _interruptible(loop: asyncio.AbstractEventLoop, interrupt: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run and keep its numbers; in another thread than the main one, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)

"""Tests of admission: which requests are refused because they have waited too long, or would wait too long."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from orris.api import Bundle
from orris.runtime import Answers
from orris.schema.arrays import FloatArray
from orris.serving.admission import ANSWERED_OF, STANDING_SECONDS, LoopTurns, StandingQueue
from orris.serving.catalog import Live
from orris.serving.engine import Engine
from orris.serving.predict_route import OFF_LOOP_BYTES, PredictRoute
from orris.serving.request_context import TOO_LONG
from tests.servers import Server, client, serving
from tests.serving.exchanges import BODY, ROW, Kept, predict_route
from tests.waiting import PATIENCE_SECONDS

LONGEST = 0.05
"""Seconds that requests of these tests may wait."""

PER_ROW = 0.0005
"""Seconds that the model of the simulated loop takes for a row."""

BODIES = {
    "/predict": json.dumps(ROW),
    "/api/v1/predict": json.dumps({"features": list(ROW.values())}),
    "/v1/models/iris:predict": json.dumps({"instances": [list(ROW.values())]}),
    "/v2/models/iris/infer": json.dumps(
        {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 4], "data": list(ROW.values())}]}
    ),
    "/invocations": json.dumps({"dataframe_records": [ROW]}),
}


class Clock:
    """A clock that goes on only when it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of a predict route and its batches."""
    clock = Clock()
    for module in ("predict_route", "batching", "batches"):
        monkeypatch.setattr(f"orris.serving.{module}.perf_counter", clock)
    return clock


class Slowed:
    """An engine whose calls take ``PER_ROW`` seconds of the clock for each row."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self.watch = engine.watch

    def run(self, rows: FloatArray) -> Answers:
        """Answer, when the clock has moved."""
        self._clock.now += PER_ROW * len(rows)
        return self._engine.run(rows)


def _slowed(route: PredictRoute, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Live:
    """Slow the route's model down; it still runs on the loop. Returns its version."""
    live = route._pick({})
    live.batcher._engine = cast("Engine", Slowed(live.engine, clock))
    monkeypatch.setattr("orris.serving.batching.ON_LOOP_SECONDS", float("inf"))
    return live


async def _turn(route: PredictRoute, n_requests: int) -> list[Kept]:
    """Let requests enter in one turn of the loop, and let it go on."""
    entered = [Kept() for _ in range(n_requests)]
    for exchange in entered:
        route.enter(exchange)
    await asyncio.sleep(0)
    return entered


def test_a_burst_is_waited_out() -> None:
    """A wait that is too long for less than the interval is a burst, of which nothing is refused."""
    queue = StandingQueue()
    for start in (0.0, 10.0, 20.0):
        assert not queue.refuses(1.0, 0.5, start)
        assert not queue.refuses(1.0, 0.5, start + 0.9 * STANDING_SECONDS)
        assert not queue.refuses(0.1, 0.5, start + 0.95 * STANDING_SECONDS)


def test_a_queue_that_stands_refuses_until_waits_have_been_short_for_an_interval() -> None:
    """Requests that waited too long are refused from one interval on, and no more after one interval of short waits."""
    queue = StandingQueue()
    assert not queue.refuses(1.0, 0.5, 0.0)
    assert queue.refuses(1.0, 0.5, STANDING_SECONDS)
    assert not queue.refuses(0.4, 0.5, 1.5 * STANDING_SECONDS)
    assert queue.refuses(0.6, 0.5, 1.6 * STANDING_SECONDS)
    assert not queue.refuses(0.1, 0.5, 2.7 * STANDING_SECONDS)
    assert not queue.refuses(0.6, 0.5, 2.8 * STANDING_SECONDS)


def test_one_in_so_many_late_requests_is_answered() -> None:
    """However few requests are late at a time, the same share of them is answered."""
    queue = StandingQueue()
    assert sum(queue.answered(1) for _ in range(10 * ANSWERED_OF)) == 10
    assert queue.answered(5 * ANSWERED_OF) == 5


def test_a_turn_waits_for_the_turn_before_unless_the_loop_rested() -> None:
    """What is read right after a long turn may have waited for it; what is read after a rest has not."""

    async def run() -> tuple[float, float, float]:
        turns = LoopTurns()
        assert turns.begin(10.0) == 0.0
        turns.end(10.5)
        busy = turns.begin(10.6)
        assert turns.begin(10.7) == busy  # the same turn
        turns.end(11.0)
        await asyncio.sleep(0)
        rested = turns.begin(20.0)
        turns.end(20.0001)
        return busy, rested, turns.begin(20.0002)

    busy, rested, after_a_short_turn = asyncio.run(run())
    assert busy == pytest.approx(0.6)
    assert (rested, after_a_short_turn) == (0.0, 0.0)


def test_beyond_the_knee_answered_requests_have_not_waited_longer(
    iris: Bundle, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At three times the rate that the model takes, what is answered has waited no longer than is allowed."""

    async def run() -> None:
        route = predict_route(iris, max_in_flight=10**6, max_queue_seconds=LONGEST)
        live = _slowed(route, clock, monkeypatch)
        entered: list[Kept] = []
        waits: list[float] = []
        read = route._read

        def noted(live: Live, exchanges: list[Any]) -> None:
            waits.extend(clock.now - exchange.started for exchange in exchanges)
            read(live, exchanges)

        monkeypatch.setattr(route, "_read", noted)
        due, began = 0.0, clock.now
        while clock.now < began + 3.0:
            before, n_due = clock.now, int(due)
            entered += await _turn(route, n_due)
            clock.now += 0.0001
            due += 3 / PER_ROW * (clock.now - before) - n_due
        for _ in range(1_000):
            await _turn(route, 0)
        replies = [(await exchange.reply).status for exchange in entered]
        assert set(replies) == {200, 503}
        assert len(waits) == replies.count(200)
        late = sum(wait > LONGEST for wait in waits)
        burst = STANDING_SECONDS / PER_ROW
        assert late <= burst + len(entered) / ANSWERED_OF
        assert route.context.metrics.rejected == {"overloaded": replies.count(503)}
        assert route.context.metrics.in_flight == 0
        clock.now += 2 * STANDING_SECONDS
        await _turn(route, 1)
        clock.now += 2 * STANDING_SECONDS
        assert {(await each.reply).status for each in await _turn(route, 100)} == {200}
        assert live.standing.refusing is False

    asyncio.run(asyncio.wait_for(run(), PATIENCE_SECONDS))


@pytest.mark.parametrize("longest", [0.0, 1.0], ids=["off", "default"])
def test_two_thousand_closed_loop_clients_see_no_refusal(
    iris: Bundle, clock: Clock, monkeypatch: pytest.MonkeyPatch, longest: float
) -> None:
    """Two thousand clients that each wait for their answer before they ask again are all answered."""

    async def run() -> None:
        route = predict_route(iris, max_in_flight=4_096, max_queue_seconds=longest)
        _slowed(route, clock, monkeypatch)
        waiting = await _turn(route, 2_000)
        n_answered = 0
        while n_answered < 6_000:
            done = [exchange for exchange in waiting if exchange.reply.done()]
            assert {exchange.reply.result().status for exchange in done} <= {200}
            n_answered += len(done)
            waiting = [exchange for exchange in waiting if not exchange.reply.done()]
            waiting += await _turn(route, len(done))
        assert not route.context.metrics.rejected

    asyncio.run(asyncio.wait_for(run(), PATIENCE_SECONDS))


def test_long_bodies_are_refused_by_the_age_of_the_first_that_waits(iris: Bundle, clock: Clock) -> None:
    """Long bodies that wait for a thread are refused, unread, once the first of them has waited too long."""

    async def run() -> None:
        route = predict_route(iris, max_in_flight=100, max_queue_seconds=LONGEST)
        route._on_threads.append(clock.now)  # waits for ever
        body = b"not read" * OFF_LOOP_BYTES
        clock.now += 2 * LONGEST
        first = Kept(body)
        route.enter(first)
        assert (await first.reply).status == 400
        clock.now += STANDING_SECONDS
        second, short = Kept(body), Kept()
        route.enter(second)
        route.enter(short)
        assert (await second.reply).status == 503
        assert (await short.reply).status == 200

    asyncio.run(asyncio.wait_for(run(), PATIENCE_SECONDS))


@pytest.fixture(scope="module")
def overloaded(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server for which every wait is too long."""
    folder = tmp_path_factory.mktemp("overloaded")
    with serving(
        str(iris.folder), "--grpc-port", "0", folder=folder, environ={"ORRIS_MAX_QUEUE_SECONDS": "0.000000001"}
    ) as server:
        yield server


def _until_refused(send: Callable[[], httpx.Response]) -> httpx.Response:
    """Send a request again and again until it is refused."""
    for n in count():
        answer = send()
        if answer.status_code != 200:
            return answer
        assert n < 100_000
    raise AssertionError


@pytest.mark.parametrize("path", BODIES)
def test_every_dialect_refuses_with_503_and_when_to_come_back(overloaded: Server, path: str) -> None:
    """Each dialect's refusal has status 503, ``Retry-After``, the request's id, and its own shape of an error."""
    with client(overloaded) as ask:
        usual, own = (
            _until_refused(
                lambda request_id=request_id: ask.post(  # type: ignore[misc]
                    path,
                    content=BODIES[path],
                    headers={"content-type": "application/json", "x-request-id": request_id},
                )
            )
            for request_id in ("a" * 32, "order-42")
        )
    assert (usual.status_code, own.status_code) == (503, 503)
    assert usual.headers["retry-after"] == "1"
    assert usual.headers["x-request-id"] == "a" * 32
    assert TOO_LONG in usual.text
    # What is written for many at once is what each would get on its own.
    assert usual.text.replace("a" * 32, "order-42") == own.text
    differing = {"x-request-id", "content-length", "x-process-time", "date"}
    assert {name: value for name, value in usual.headers.items() if name not in differing} == {
        name: value for name, value in own.headers.items() if name not in differing
    }


def test_a_body_is_not_read_before_it_is_refused(overloaded: Server) -> None:
    """A body that is no JSON is refused as too late, and not as malformed."""
    with client(overloaded) as ask:
        found = {ask.post("/predict", content=b"{").status_code for _ in range(50 * ANSWERED_OF)}
    assert 503 in found


def test_refusals_are_counted_and_logged(iris: Bundle, tmp_path: Path) -> None:
    """Each refusal is counted by reason and by status, and has its line in the log."""
    with (
        serving(str(iris.folder), folder=tmp_path, environ={"ORRIS_MAX_QUEUE_SECONDS": "0.000000001"}) as server,
        client(server) as ask,
    ):
        refused = _until_refused(lambda: ask.post("/predict", content=BODY))
        metrics = ask.get("/metrics").text
        probes = [ask.get(path).status_code for path in ("/health", "/ready")]
        server.stop()
    lines = [json.loads(line) for line in server.log_lines()]
    (line,) = [line for line in lines if line["status"] == 503]
    assert 'orris_rejected_total{reason="overloaded"} 1.0' in metrics
    assert 'http_requests_total{method="POST",route="/predict",status="503"} 1.0' in metrics
    assert probes == [200, 200]
    assert line["request_id"] == refused.headers["x-request-id"]
    assert (line["level"], line["route"], line["error"]) == ("error", "/predict", TOO_LONG)
    assert line["model_version"] == "1.0.0"
    assert "rows" not in line


def test_calls_over_grpc_are_refused_as_unavailable(overloaded: Server) -> None:
    """A call that would wait too long ends with UNAVAILABLE, and its trailing metadata say when to come back."""
    tensor = triton.InferInput("x", [1, 4], "FP64")
    tensor.set_data_from_numpy(np.array([list(ROW.values())]))
    with triton.InferenceServerClient(f"127.0.0.1:{overloaded.grpc_port}") as ask:

        def ask_many() -> None:
            for _ in range(100_000):
                ask.infer("iris", [tensor])

        with pytest.raises(InferenceServerException, match=re.escape(TOO_LONG)) as refused:
            ask_many()
    assert refused.value.status() == "StatusCode.UNAVAILABLE"

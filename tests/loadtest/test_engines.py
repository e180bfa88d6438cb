"""Tests of the closed loops: wrk and Locust, as programs, against real servers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import numpy as np
import pytest

from orris.api import Bundle
from orris.errors import LoadTestError
from orris.loadtest import Slice, prepare
from orris.loadtest.engines.locust import run_locust
from orris.loadtest.engines.wrk import measured, run_wrk
from orris.loadtest.target import target_from_json
from tests.servers import Server, serving


@pytest.fixture(scope="module")
def both_doors(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The iris model, served over HTTP and gRPC."""
    folder = tmp_path_factory.mktemp("server")
    with serving(str(iris.folder), "--grpc-port", "0", folder=folder) as running:
        yield running


def corrected(counts: dict[int, int], interval: int) -> dict[int, int]:
    """What wrk makes of measured latencies at its end: ``stats_correct`` of its ``stats.c``, step by step."""
    data = dict(counts)
    for value in range(2 * interval, max(counts) + 1):
        count = data.get(value, 0)
        shorter = value - interval
        while count and shorter > interval:
            data[shorter] = data.get(shorter, 0) + count
            shorter -= interval
    return data


def test_latencies_that_wrk_makes_up_are_taken_out() -> None:
    """What wrk adds to its distribution is undone exactly, whatever it measured."""
    generator = np.random.default_rng(0)
    for n_requests in (500, 5000):
        values = np.rint(generator.lognormal(9.5, 1.2, n_requests)).astype(int) + 1
        counts = dict(zip(*(each.tolist() for each in np.unique(values, return_counts=True)), strict=True))
        interval = 1_000_000 // (n_requests // 10)
        seen = corrected(counts, interval)
        assert sum(seen.values()) > n_requests
        assert measured(sorted(seen.items()), n_requests, 1.0, 10) == counts


def test_a_distribution_that_cannot_be_undone_is_kept() -> None:
    """If undoing does not leave as many latencies as requests, the distribution stays as wrk printed it."""
    assert measured([(100, 3), (9000, 2)], 4, 1.0, 2) == {100: 3, 9000: 2}


def test_wrk_keeps_connections_busy_with_a_mix(both_doors: Server) -> None:
    """Wrk sends every prepared request of a mix, and each answered request has one measured latency."""
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed: apt-get install wrk")
    target = prepare(both_doors.url, mix={"native": 1, "v2-binary": 1}, n_rows=8)
    seen: list[Slice] = []
    run = run_wrk(target, connections=4, seconds=2, warm_up_seconds=0, timeout_seconds=60, on_slice=seen.append)
    assert run.whole.errors == {}
    assert run.whole.answered > 0
    assert run.whole.latency.count == run.whole.answered
    assert seen == list(run.slices)
    assert run.routes[0].name == "native + v2-binary"
    assert (run.engine, run.loop, run.connections) == ("wrk", "closed", 4)


def test_wrk_counts_refusals(both_doors: Server) -> None:
    """Answers of 4xx are errors, and not among the answered."""
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed: apt-get install wrk")
    from orris.loadtest import target_of

    run = run_wrk(
        target_of(both_doors.url, [b'{"features": [1]}']),
        connections=2,
        seconds=1,
        warm_up_seconds=0,
        timeout_seconds=60,
    )
    assert run.whole.answered == 0
    assert set(run.whole.errors) == {"HTTP 4xx or 5xx"}


def test_wrk_speaks_no_grpc(both_doors: Server) -> None:
    """A mix with gRPC is refused with what can be used instead."""
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed: apt-get install wrk")
    target = prepare(both_doors.url, mix={"grpc": 1}, n_rows=1, grpc_address=f"127.0.0.1:{both_doors.grpc_port}")
    with pytest.raises(LoadTestError, match="wrk does not speak gRPC"):
        run_wrk(target)


def test_wrk_that_is_not_installed_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without wrk the error says how to install it."""
    target = prepare(server.url, n_rows=1)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LoadTestError, match="apt-get install wrk"):
        run_wrk(target)


def test_locusts_users_send_every_route_and_think(both_doors: Server) -> None:
    """Ten users send requests over HTTP and gRPC; their number, the throughput and the latency keep Little's law."""
    target = prepare(
        both_doors.url, mix={"native": 1, "grpc": 1}, n_rows=8, grpc_address=f"127.0.0.1:{both_doors.grpc_port}"
    )
    run = run_locust(
        target,
        users=10,
        think_seconds=(0.05, 0.1),
        seconds=6,
        warm_up_seconds=0.5,
        timeout_seconds=60,
        slice_seconds=0.5,
    )
    assert run.whole.errors == {}
    assert {route.name for route in run.routes if route.answered > 0} == {"native", "grpc"}
    assert run.whole.seconds == pytest.approx(6.0)
    # Ten users that think for 75 ms on average cannot send more than 133 a second.
    assert 0 < run.whole.throughput_per_second < 1.3 * 10 / 0.075
    law = run.littles_law
    # A machine that is so busy that the requests at the ends of the six seconds weigh much has no steady state.
    assert law is None or law.verdict != "impossible"


def test_a_target_travels_to_another_process(both_doors: Server) -> None:
    """What Locust's processes read is the target, with its requests, metadata and address."""
    target = prepare(both_doors.url, mix={"native": 2, "v1": 1}, n_rows=3, headers={"x-api-key": "k"})
    read = target_from_json(target.as_json())
    assert read == target

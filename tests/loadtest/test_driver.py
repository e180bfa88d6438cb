"""Tests of the open loop's driver, against servers in processes of their own."""

from __future__ import annotations

import threading
import time
from http.client import HTTPConnection

import pytest

from orris.errors import LoadTestError
from orris.loadtest import Arrivals, Histogram, Slice, drive, target_of
from orris.loadtest.histogram import highest_microseconds
from tests.loadtest_servers import misbehaving
from tests.servers import Server
from tests.waiting import PATIENCE_SECONDS

ROW = b'{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}'
NOWHERE = "http://127.0.0.1:9"


def test_every_request_of_the_plan_is_sent_and_answered(server: Server) -> None:
    """At 400 a second the server gets 400 requests, answers all, and the bytes of both are counted."""
    run = drive(target_of(server.url, [ROW]), Arrivals.constant(400, 1), connections=8, warm_up_seconds=0.1)
    whole = run.whole
    assert (whole.offered, whole.latency.count, whole.errors) == (400, 400, {})
    assert whole.seconds == pytest.approx(1.0)
    (route,) = run.routes
    assert route.answered == 400
    assert route.sent_bytes == 400 * len(target_of(server.url, [ROW]).routes[0].contents[0])
    assert route.received_bytes > 400 * 150


def test_the_numbers_in_flight_follow_littles_law(server: Server) -> None:
    """Requests in flight, counted as they come and go, are the throughput times the mean latency (Little, 1961)."""
    run = drive(target_of(server.url, [ROW]), Arrivals.constant(400, 1), connections=8, warm_up_seconds=0.1)
    assert run.driver is not None
    accounted = run.whole.offered_per_second * run.whole.latency.mean_seconds
    # Requests that cross the ends of the measured time are counted by one side alone.
    slack = 2 * run.driver.max_in_flight * run.whole.latency.max_seconds / run.whole.seconds
    assert run.mean_in_flight == pytest.approx(accounted, rel=0.05, abs=slack)


def test_a_stall_is_in_the_latency_of_every_request_that_was_due() -> None:
    """A stall of a second at 200 a second delays 200 requests; the open loop's latencies show each of them."""
    with misbehaving(stall_after=0.7, stall_seconds=1.0) as url:
        run = drive(target_of(url, [b"{}"]), Arrivals.constant(200, 3), connections=4, warm_up_seconds=0.2)
    latency = run.whole.latency
    assert latency.count == 600
    # Due evenly within the stall, they wait 0 to 1 s: a third of all is late, a sixth by more than half a second.
    assert latency.quantile_seconds(0.9) > 0.6
    assert latency.quantile_seconds(0.99) > 0.9


def test_a_closed_loop_hides_the_same_stall() -> None:
    """One user that waits for each answer sees the stall once, where the open loop sees it in every request due in it.

    That is the coordinated omission: the user sends nothing while the server stalls.
    """
    with misbehaving(stall_after=0.3, stall_seconds=1.0) as url:
        closed = closed_loop(url, 1.6)
    with misbehaving(stall_after=0.3, stall_seconds=1.0) as url:
        rate = 200
        run = drive(target_of(url, [b"{}"]), Arrivals.constant(rate, 1.6), connections=4, warm_up_seconds=0)
    slow = sum(count for is_slow, count in zip(*slow_buckets(run.whole.latency), strict=True) if is_slow)
    assert slow > 0.4 * rate
    assert sum(each > 0.5 for each in closed) < 0.1 * slow


def closed_loop(url: str, seconds: float) -> list[float]:
    """Latencies of a user that sends a request when the one before is answered."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = HTTPConnection(host, int(port), timeout=PATIENCE_SECONDS)
    found, end = [], time.monotonic() + seconds
    while (begin := time.monotonic()) < end:
        connection.request("POST", "/", b"{}")
        connection.getresponse().read()
        found.append(time.monotonic() - begin)
    connection.close()
    return found


def slow_buckets(latency: Histogram) -> tuple[list[bool], list[int]]:
    """Whether each bucket lies above half a second, and its count."""
    return (highest_microseconds(latency.indices) > 500_000).tolist(), latency.counts.tolist()


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [("503", "HTTP 503"), ("hang", "timeout"), ("garbage", "malformed answer"), ("drop", "connection closed")],
)
def test_errors_are_counted_by_kind(behaviour: str, kind: str) -> None:
    """Each way in which a request can fail has a name, and a failed request is in no latency."""
    with misbehaving(status=behaviour) as url:
        run = drive(
            target_of(url, [b"{}"]),
            Arrivals.constant(100, 0.3),
            connections=30,
            warm_up_seconds=0,
            timeout_seconds=0.3 if behaviour == "hang" else PATIENCE_SECONDS,
        )
    assert set(run.whole.errors) == {kind}
    assert run.whole.errors == run.routes[0].errors == {kind: 30}
    assert run.whole.latency.count == 0
    assert run.whole.error_share == 1.0


def test_connections_that_the_server_closes_are_opened_again() -> None:
    """A server that closes each connection after an answer gets every request all the same."""
    with misbehaving(closes=True) as url:
        run = drive(target_of(url, [b"{}"]), Arrivals.constant(200, 0.5), connections=8, warm_up_seconds=0)
    assert run.whole.latency.count + run.whole.n_errors == 100
    assert run.whole.latency.count > 8  # more than one for each connection


def test_a_server_that_is_not_there_is_named() -> None:
    """Without a server the error says which address refused the connection."""
    with pytest.raises(LoadTestError, match=r"127\.0\.0\.1:9: connection refused"):
        drive(target_of(NOWHERE, [b"{}"]), Arrivals.constant(10, 1))


def test_slices_are_reported_while_the_run_goes_on(server: Server) -> None:
    """Each slice is reported once it is over; together they hold the whole plan."""
    seen: list[Slice] = []
    run = drive(
        target_of(server.url, [ROW]),
        Arrivals.stepped([100, 200], 0.5),
        connections=4,
        warm_up_seconds=0.1,
        slice_seconds=0.25,
        on_slice=seen.append,
    )
    assert [each.offered for each in seen] == [25, 25, 50, 50]
    assert [round(part.offered_per_second) for _, part in run.parts()] == [100, 200]
    assert [part.offered for _, part in run.parts(settle_seconds=0.25)] == [25, 50]


def test_an_event_ends_a_run_and_keeps_what_was_measured(server: Server) -> None:
    """A run that is ended early returns the slices that are over, and says so."""
    stop = threading.Event()
    run = drive(
        target_of(server.url, [ROW]),
        Arrivals.constant(100, 600),
        connections=4,
        warm_up_seconds=0,
        slice_seconds=0.2,
        on_slice=lambda _: stop.set(),
        stop=stop,
    )
    assert run.interrupted
    assert run.slices
    assert run.whole.seconds < 60


def test_a_driver_that_is_held_up_says_so(server: Server) -> None:
    """A driver whose event loop is held up starts requests late, and says that it is the bottleneck."""
    run = drive(
        target_of(server.url, [ROW]),
        Arrivals.constant(100, 1),
        connections=100,
        warm_up_seconds=0.1,
        slice_seconds=0.25,
        on_slice=lambda _: time.sleep(0.8),
    )
    assert run.driver is not None
    assert run.driver.late_max_seconds > 0.1
    assert run.driver.is_bottleneck
    assert run.driver.reason.startswith("the driver sent late")
    assert run.whole.latency.count == 100


def test_a_run_that_is_ended_in_its_warm_up_measured_nothing(server: Server) -> None:
    """A run that is ended before the measurement begins is an error."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(LoadTestError, match="ended before anything was measured"):
        drive(target_of(server.url, [ROW]), Arrivals.constant(10, 5), stop=stop)

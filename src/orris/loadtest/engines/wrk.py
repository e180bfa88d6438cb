"""A closed loop by wrk (https://github.com/wg/wrk): connections that each send a request when the last is answered.

wrk reports only at its end, so it runs once for each slice of time, with ``predict.lua``, which sends the prepared
requests and prints the distribution of latencies.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy as np

from orris.errors import LoadTestError
from orris.loadtest.histogram import Histogram, bucket_indices
from orris.loadtest.run import DriverLoad, RouteResult, Run, Slice
from orris.loadtest.target import Target

SCRIPT = Path(__file__).parent / "predict.lua"
"""A copy of the file in ``loadtests/wrk``, which ``python -m tools.loadtest_files`` writes."""

MAX_SLICES = 30
N_WRITTEN = 2000
"""Requests of a mix that are written for wrk, in the mix's shares; each of its threads sends them in turn."""


class _Numbers(msgspec.Struct):
    """The line that ``predict.lua`` prints."""

    requests: int
    seconds: float
    bytes: int
    errors: dict[str, int]
    latency_us: list[tuple[int, int]]


def run_wrk(
    target: Target,
    *,
    connections: int = 64,
    seconds: float = 10.0,
    warm_up_seconds: float = 2.0,
    threads: int = 1,
    timeout_seconds: float = 10.0,
    on_slice: Callable[[Slice], None] | None = None,
) -> Run:
    """Keep connections busy with wrk.

    Ctrl-C ends the run early; the result then holds what was measured until then.

    Args:
        target: The requests; HTTP only.
        connections: Each has one request under way at all times.
        seconds: How long; rounded to whole seconds, at least 1.
        warm_up_seconds: The same before the measurement begins.
        threads: Of wrk.
        timeout_seconds: A request that took longer has failed; rounded up to whole seconds.
        on_slice: Called with each slice when it is over.

    Raises:
        LoadTestError: wrk is not installed, a route is gRPC, or the server cannot be reached.
    """
    if shutil.which("wrk") is None:
        raise LoadTestError("wrk is not installed: apt-get install wrk, or leave --engine wrk out")
    if any(route.grpc_method for route in target.routes):
        raise LoadTestError("wrk does not speak gRPC; --users drives it in a closed loop, and --rate in an open one")
    whole = max(1, round(seconds))
    length = max(1, -(-whole // MAX_SLICES))
    with tempfile.TemporaryDirectory(prefix="orris-load-") as folder:
        requests = Path(folder) / "requests"
        requests.write_bytes(b"".join(b"%d\n%s" % (len(each), each) for _, each in target.drawn()[:N_WRITTEN]))
        runner = _Wrk(target, requests, min(threads, connections), connections, timeout_seconds)
        return runner.run(whole, length, round(warm_up_seconds), on_slice)


class _Wrk:
    """One run: wrk after wrk."""

    def __init__(self, target: Target, requests: Path, threads: int, connections: int, timeout_seconds: float) -> None:
        self._target, self._threads, self._connections = target, threads, connections
        parts = urlsplit(target.url)
        self._command = [
            "wrk",
            f"-t{threads}",
            f"-c{connections}",
            "--timeout",
            f"{max(1, -(-int(timeout_seconds * 1000) // 1000))}s",
            "-s",
            str(SCRIPT),
        ]
        self._url = f"{parts.scheme}://{parts.netloc}/"
        self._environment = {
            **os.environ,
            "LOADTEST_REQUESTS": str(requests),
            "LOADTEST_DISTRIBUTION": "1",
            "LOADTEST_MAX_FAILURES": "1e18",
            "LOADTEST_API_KEY": "",
        }

    def run(self, seconds: int, length: int, warm_up: int, on_slice: Callable[[Slice], None] | None) -> Run:
        slices: list[Slice] = []
        started, interrupted = datetime.now(UTC).isoformat(timespec="seconds"), False
        cpu, begin = children_seconds(), time.monotonic()
        try:
            if warm_up:
                self._once(warm_up)
                started = datetime.now(UTC).isoformat(timespec="seconds")
                cpu, begin = children_seconds(), time.monotonic()
            while len(slices) * length < seconds and not interrupted:
                numbers, interrupted = self._once(min(length, seconds - len(slices) * length))
                slices.append(self._slice(numbers, sum(each.seconds for each in slices)))
                if on_slice is not None:
                    on_slice(slices[-1])
        except KeyboardInterrupt:
            interrupted = True
        if not slices:
            raise LoadTestError("the load test was ended before anything was measured")
        share = (children_seconds() - cpu) / max(1e-3, time.monotonic() - begin) / self._threads
        return self._result(tuple(slices), started, float(warm_up), share, interrupted=interrupted)

    def _once(self, seconds: int) -> tuple[_Numbers, bool]:
        """Run wrk for so many seconds; also whether Ctrl-C, which wrk gets as well, ended it."""
        command = [*self._command, f"-d{seconds}s", self._url]
        process = subprocess.Popen(  # noqa: S603 (our own arguments)
            command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        interrupted = False
        try:
            output, problem = process.communicate()
        except KeyboardInterrupt:
            interrupted = True
            output, problem = process.communicate(timeout=30)
        line = next((line for line in reversed(output.splitlines()) if line.startswith("{")), "")
        if not line:
            if interrupted:
                raise KeyboardInterrupt
            raise LoadTestError(f"wrk failed: {(problem or output).strip() or f'exit code {process.returncode}'}")
        return msgspec.json.decode(line, type=_Numbers), interrupted

    def _slice(self, numbers: _Numbers, begin: float) -> Slice:
        """One wrk's numbers; it counts a refused answer among its requests."""
        errors = {_KINDS[kind]: count for kind, count in numbers.errors.items() if count}
        latency = _latency(measured(numbers.latency_us, numbers.requests, numbers.seconds, self._connections))
        answered = numbers.requests - numbers.errors["status"]
        return Slice(begin, numbers.seconds, numbers.requests, answered, errors, latency, numbers.bytes)

    def _result(
        self, slices: tuple[Slice, ...], started: str, warm_up: float, share: float, *, interrupted: bool
    ) -> Run:
        latency = Histogram.total([each.latency for each in slices])
        errors: dict[str, int] = {}
        for each in slices:
            for kind, count in each.errors.items():
                errors[kind] = errors.get(kind, 0) + count
        sent = float(np.mean([len(content) for _, content in self._target.drawn()[:N_WRITTEN]]))
        route = RouteResult(
            " + ".join(each.name for each in self._target.routes),
            sum(each.answered for each in slices),
            errors,
            latency,
            round(sent * sum(each.offered for each in slices)),
            sum(each.received_bytes for each in slices),
        )
        return Run(
            url=self._target.url,
            model=self._target.model,
            engine="wrk",
            loop="closed",
            started=started,
            warm_up_seconds=warm_up,
            slices=slices,
            routes=(route,),
            connections=self._connections,
            driver=DriverLoad(share, 0.0, 0.0, 0.0, 0.0, 0, self._connections),
            interrupted=interrupted,
        )


def measured(
    latency_us: Sequence[tuple[int, int]], n_requests: int, seconds: float, connections: int
) -> dict[int, int]:
    """The latencies that wrk measured, without those that it made up.

    At its end, wrk adds latencies that its connections would have seen had they not waited (``stats_correct`` of its
    4.x: each latency of at least twice the mean interval between a connection's requests is counted again, shortened by
    each multiple of it). Made-up requests would break Little's law, and a closed loop is to say what it saw, so the
    same steps are undone, from the longest latency down.

    Args:
        latency_us: Microseconds, and how often.
        n_requests: Requests that were answered.
        seconds: Duration of wrk's run.
        connections: Its connections.

    Returns:
        How often, by microseconds; as given, if undoing does not leave ``n_requests`` of them.
    """
    given = {int(value): count for value, count in latency_us}
    if sum(given.values()) == n_requests or n_requests < connections:
        return given
    interval = round(seconds * 1e6) // (n_requests // connections)
    counts = dict(given)
    for value in sorted(given, reverse=True):
        count = counts[value]
        if value < 2 * interval or count <= 0:
            continue
        shorter = value - interval
        while shorter > interval:
            counts[shorter] = counts.get(shorter, 0) - count
            shorter -= interval
    right = min(counts.values()) >= 0 and sum(counts.values()) == n_requests
    return {value: count for value, count in counts.items() if count} if right else given


def _latency(counted: dict[int, int]) -> Histogram:
    if not counted:
        return Histogram()
    values = np.array(list(counted), np.float64) / 1e6
    counts = np.array(list(counted.values()), np.int64)
    indices, places = np.unique(bucket_indices(values), return_inverse=True)
    summed = np.zeros(len(indices), np.int64)
    np.add.at(summed, places, counts)
    return Histogram(indices, summed, float(values @ counts), float(values.max()))


_KINDS = {
    "connect": "connection refused",
    "read": "connection closed",
    "write": "connection closed while sending",
    "status": "HTTP 4xx or 5xx",
    "timeout": "timeout",
}
"""wrk's names of errors."""


def children_seconds() -> float:
    """Processor time of all processes that this one started and that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

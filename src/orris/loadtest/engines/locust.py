"""A closed loop by Locust (https://locust.io): users that wait for each answer, think, and send again."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from orris.errors import LoadTestError, MissingExtraError
from orris.loadtest.documents import from_json
from orris.loadtest.engines.wrk import children_seconds
from orris.loadtest.run import DriverLoad, RouteResult, Run, Slice
from orris.loadtest.target import Target

USERS = Path(__file__).parent / "locust_users.py"
POLL_SECONDS, SPAWN_SECONDS = 0.2, 1.0
"""How often results are looked for, and how long the users take to start."""

START_SECONDS, END_SECONDS = 120.0, 30.0
"""Longest that Locust may take to start, and to end after its time is over, beside the time-out of a request."""


class Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A line of the file that Locust's process writes: a slice as it ended, and at last the whole result.

    Attributes:
        slice: One that is over.
        slices: All, at the end.
        routes: At the end.
    """

    slice: Slice | None = None
    slices: tuple[Slice, ...] = ()
    routes: tuple[RouteResult, ...] = ()


def run_locust(
    target: Target,
    *,
    users: int = 100,
    think_seconds: tuple[float, float] = (1.0, 2.0),
    seconds: float = 10.0,
    warm_up_seconds: float = 2.0,
    processes: int = 1,
    timeout_seconds: float = 10.0,
    slice_seconds: float = 1.0,
    on_slice: Callable[[Slice], None] | None = None,
) -> Run:
    """Let Locust's users send a target's requests.

    The warm-up begins when all users have started. Ctrl-C ends the run early; the result then holds what was
    measured until then.

    Args:
        target: The requests, over HTTP and gRPC.
        users: How many.
        think_seconds: Least and most time between an answer and the user's next request.
        seconds: How long.
        warm_up_seconds: The same before the measurement begins.
        processes: Of Locust, which share the users.
        timeout_seconds: A request that took longer has failed.
        slice_seconds: About how long the slices of the result are.
        on_slice: Called with each slice soon after it is over.

    Raises:
        MissingExtraError: The extra ``loadtest`` is not installed.
        LoadTestError: Locust failed, or nothing was measured.
    """
    if importlib.util.find_spec("locust") is None:
        raise MissingExtraError("loadtest", "a closed loop of users")
    command = [
        *(sys.executable, "-m", "locust", "-f", str(USERS), "--headless", "--only-summary"),
        *("--host", target.url, "--users", str(users)),
        *("--spawn-rate", f"{max(1.0, users / SPAWN_SECONDS):g}"),
        *("--run-time", f"{warm_up_seconds + seconds + END_SECONDS:.0f}s"),
        *("--stop-timeout", f"{timeout_seconds:g}"),
        *(() if processes == 1 else ("--processes", str(processes))),
    ]
    environ = {
        "LOADTEST_SECONDS": str(seconds),
        "LOADTEST_WARM_UP_SECONDS": str(warm_up_seconds),
        "LOADTEST_SLICE_SECONDS": str(slice_seconds),
        "LOADTEST_TIMEOUT_SECONDS": str(timeout_seconds),
        "LOADTEST_THINK": f"{think_seconds[0]}..{think_seconds[1]}",
        "LOADTEST_MAX_FAILURES": "1",
    }
    started = datetime.now(UTC).isoformat(timespec="seconds")
    cpu, begin = children_seconds(), time.monotonic()
    limit = begin + START_SECONDS + warm_up_seconds + seconds + timeout_seconds + END_SECONDS
    last, interrupted = _drive(target, command, environ, limit, on_slice)
    share = (children_seconds() - cpu) / (time.monotonic() - begin) / processes
    if not last.slices:
        raise LoadTestError("the load test was ended before anything was measured")
    return Run(
        url=target.url,
        model=target.model,
        engine="locust",
        loop="closed",
        started=started,
        warm_up_seconds=warm_up_seconds,
        slices=last.slices,
        routes=last.routes,
        users=users,
        think_seconds=think_seconds,
        driver=DriverLoad(share, 0.0, 0.0, 0.0, 0.0, 0, users),
        interrupted=interrupted,
    )


def _drive(
    target: Target,
    command: list[str],
    environ: dict[str, str],
    limit: float,
    on_slice: Callable[[Slice], None] | None,
) -> tuple[Line, bool]:
    """Run Locust until ``limit`` of ``time.monotonic``; returns its last line and whether Ctrl-C ended it."""
    with tempfile.TemporaryDirectory(prefix="orris-load-") as name:
        folder = Path(name)
        results, file = folder / "results", folder / "target.json"
        file.write_bytes(target.as_json())
        environ = {**os.environ, **environ, "LOADTEST_TARGET": str(file), "LOADTEST_RESULTS": str(results)}
        with (folder / "log").open("w+") as log:
            process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=folder)  # noqa: S603
            interrupted = _follow(process, results, limit, on_slice)
            log.seek(0)
            return _last(results, log.read()), interrupted


def _follow(
    process: subprocess.Popen[bytes], results: Path, limit: float, on_slice: Callable[[Slice], None] | None
) -> bool:
    """Report slices while Locust runs; returns whether Ctrl-C ended it."""
    interrupted, n_read = False, 0
    while process.poll() is None:
        try:
            if time.monotonic() > limit:
                process.kill()
                process.wait()
                raise LoadTestError("Locust did not end in time")
            lines = _lines(results)
            for line in lines[n_read:]:
                if line.slice is not None and on_slice is not None:
                    on_slice(line.slice)
            n_read = len(lines)
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            # In a terminal Locust gets it as well; a second one does it no harm.
            interrupted = True
            process.send_signal(signal.SIGINT)
            limit = min(limit, time.monotonic() + END_SECONDS)
    return interrupted


def _lines(results: Path) -> list[Line]:
    """The whole lines so far."""
    if not results.exists():
        return []
    text = results.read_bytes()
    return [from_json(line, Line) for line in text[: text.rfind(b"\n") + 1].splitlines()]


def _last(results: Path, said: str) -> Line:
    lines = _lines(results)
    if not lines or not lines[-1].slices:
        if lines:
            raise LoadTestError("the load test was ended before anything was measured")
        raise LoadTestError(f"Locust failed: {said.strip()[-600:] or 'it said nothing'}")
    return lines[-1]

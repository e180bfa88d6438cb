"""Measures one setup, for ``peers.py``.

Start it, wait for the first right answer, check five rows, load it, weigh it, end it.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import harness
import rpc
from harness import Load
from processes import Memory, PeerError, Server, poll, running
from setups import PEERS, Setup

ROWS = [[5.1, 3.5, 1.4, 0.2], [7.0, 3.2, 4.7, 1.4], [6.3, 3.3, 6.0, 2.5], [4.9, 3.0, 1.4, 0.2], [5.7, 2.8, 4.1, 1.3]]
"""Flowers that every fit of the model tells apart; each peer has to give them the labels that Orris does."""
MANY_ROWS, MANY_CONNECTIONS = 1_000, 8
REFUSED_SECONDS = 20
"""A server may refuse while it still loads, but not for longer than this."""
PROBLEMS = (PeerError, RuntimeError, ValueError, OSError, http.client.HTTPException, subprocess.SubprocessError)

Launch = Callable[[Setup, int], tuple[list[str], dict[str, str], int]]


@dataclass(frozen=True)
class Plan:
    """How a table is measured.

    Attributes:
        table: ``one`` (core), ``two`` (cores) or ``grpc``.
        workers: What a setup is told.
        server_cores: Cores of the server, for ``taskset``.
        client_cores: Cores of the client.
        seconds: Of load that counts.
        warm_up: Seconds of load before them.
        start_limit: Seconds that a server may take to its first right answer.
        folder: For files of the client.
        python: An interpreter that can make gRPC calls.
        labels: What Orris says of ``ROWS``; empty until it was asked.
    """

    table: str
    workers: int
    server_cores: str
    client_cores: str
    seconds: int
    warm_up: int
    start_limit: float
    folder: Path
    python: Path
    labels: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """A line of a table; with ``problem``, why there are no numbers.

    Attributes:
        partial: The answer has probabilities, but not the class.
        load: Over HTTP.
        calls: Over gRPC.
        start_seconds: From the command to the first right answer; none over gRPC, where asking takes longer than that.
        many_rows_per_second: Rows a second of requests with 1,000 rows, where a request may hold them.
    """

    title: str
    version: str
    table: str
    note: str = ""
    partial: bool = False
    problem: str = ""
    start_seconds: float | None = None
    load: Load | None = None
    calls: rpc.Calls | None = None
    memory: Memory | None = None
    many_rows_per_second: float | None = None

    @property
    def rate(self) -> float:
        """Requests or calls a second; 0 if it was not measured."""
        return self.load.requests_per_second if self.load else self.calls.calls_per_second if self.calls else 0.0

    @property
    def n_failed(self) -> int:
        """Requests or calls that were not answered well."""
        return self.load.n_failed if self.load else self.calls.n_failed if self.calls else 0


def measure(setup: Setup, version: str, launch: Launch, plan: Plan, log: Path | None) -> Result:
    """Measure ``setup``; what goes wrong is in the result."""
    result = Result(setup.title, version, plan.table, setup.note, setup.partial)
    try:
        command, environment, port = launch(setup, plan.workers)
        with running(command, plan.server_cores, environment, log) as server:
            if setup.announced:
                port = _announced(setup.announced, server, log, plan)
            if setup.protocol == "grpc":
                return _measure_grpc(result, setup, port, server, plan)
            return _measure_http(result, setup, port, server, plan)
    except PROBLEMS as error:
        return replace(result, problem=" ".join(str(error).split())[:300] or type(error).__name__)


def _measure_http(result: Result, setup: Setup, port: int, server: Server, plan: Plan) -> Result:
    url = f"http://127.0.0.1:{port}{setup.path}"
    started = _first_answer(setup, url, server, plan)
    labels = [setup.read(_post(url, setup.request([row]))) for row in ROWS]
    _require_labels(labels, plan.labels[:1] * len(ROWS) if setup.fixed else plan.labels)
    script = harness.write_script(plan.folder, setup.request(ROWS[:1]))
    if plan.warm_up:
        harness.load(url, plan.warm_up, script, plan.client_cores)
    load = harness.load(url, plan.seconds, script, plan.client_cores)
    server.require_alive()
    memory = server.memory()
    many = None
    if setup.takes_many and plan.table == "one":
        rows = (ROWS * MANY_ROWS)[:MANY_ROWS]
        script = harness.write_script(plan.folder, setup.request(rows))
        harness.load(url, 1, script, plan.client_cores, MANY_CONNECTIONS)
        loaded = harness.load(url, max(1, plan.seconds // 2), script, plan.client_cores, MANY_CONNECTIONS)
        many = None if loaded.n_failed else loaded.requests_per_second * MANY_ROWS
    return replace(result, start_seconds=started, load=load, memory=memory, many_rows_per_second=many)


def _measure_grpc(result: Result, setup: Setup, port: int, server: Server, plan: Plan) -> Result:
    for _ in poll(plan.start_limit, server):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                break
    request = plan.folder / "request.bin"
    _ask(plan, "--write", str(request), ROWS[:1])
    if not setup.fixed:
        _require_labels(_ask(plan, f"127.0.0.1:{port}", rows=ROWS), plan.labels)
    try:
        calls = rpc.load(port, plan.seconds, plan.warm_up, request)
    except SystemExit as error:
        raise PeerError(str(error)) from None
    memory = server.memory()
    if not setup.fixed:
        _require_labels(_ask(plan, f"127.0.0.1:{port}", rows=ROWS), plan.labels)
    return replace(result, calls=calls, memory=memory)


def ask_labels(setup: Setup, launch: Launch, plan: Plan) -> list[int]:
    """What a setup of Orris says of ``ROWS``."""
    command, environment, port = launch(setup, 1)
    with running(command, plan.server_cores, environment, plan.folder / "orris.log") as server:
        url = f"http://127.0.0.1:{port}{setup.path}"
        _first_answer(setup, url, server, plan)
        return [setup.read(_post(url, setup.request([row]))) for row in ROWS]


def _first_answer(setup: Setup, url: str, server: Server, plan: Plan) -> float:
    """Seconds from the server's start to its first answer that can be read."""
    body = setup.request(ROWS[:1])
    refused, refused_at = "", 0.0
    try:
        for _ in poll(plan.start_limit, server):
            try:
                setup.read(_post(url, body))
                break
            except urllib.error.HTTPError as error:
                refused_at = refused_at or server.seconds
                if server.seconds - refused_at > REFUSED_SECONDS:
                    raise PeerError(
                        f"refuses the request: {error.code} {error.read(200).decode(errors='replace')}"
                    ) from None
                refused = f" (it answered {error.code}: {error.read(200).decode(errors='replace')})"
            except (OSError, http.client.HTTPException):
                continue
    except PeerError as error:
        raise PeerError(f"{error}{refused}") from None
    return server.seconds


def _post(url: str, body: str) -> Any:
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def _ask(plan: Plan, *where: Any, rows: list[list[float]] | None = None) -> Any:
    """Run ``ask.py`` of MLServer's folder; returns what it printed."""
    arguments = [part if isinstance(part, str) else json.dumps(part) for part in (*where, *([rows] if rows else []))]
    done = subprocess.run(
        [plan.python, PEERS / "mlserver" / "ask.py", *arguments],
        env=harness.clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise PeerError(f"the gRPC client failed: {' / '.join(done.stderr.strip().splitlines()[-3:])}")
    return json.loads(done.stdout) if done.stdout else None


def _require_labels(labels: list[int], wanted: list[int]) -> None:
    if labels != wanted:
        raise PeerError(f"gave the labels {labels} where Orris gives {wanted}; not measured")


def _announced(pattern: str, server: Server, log: Path | None, plan: Plan) -> int:
    assert log is not None  # noqa: S101 (a server that announces its port has one)
    for _ in poll(plan.start_limit, server):
        found = re.search(pattern, log.read_text(errors="replace"))
        if found:
            return int(found.group(1))
    raise AssertionError

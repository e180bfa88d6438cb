"""Requests a second of one core, beside a fixed answer of nginx and one of uvicorn.

nginx (``nginx.py``) is the upper bound: HTTP in C, and nothing else. The floor (``floor.py``) is a raw ASGI application
on the same uvicorn with the same settings.

Iris, one row in, class and probabilities out, validated, counted and logged (the log goes to ``/dev/null``). The
servers are pinned to one core and asked in turn, round after round, by ``wrk`` on another core, so that whatever else
the machine does hits them alike; at 64 connections the logistic regression is asked in the other dialects too, with a
``traceparent`` that differs in each request, and for 1,000 rows in binary (``kinds.py``). nginx gets the same
requests, and answers its fixed text. CPU time is the server's own, per answer: in Python and libraries, and in the
kernel (sockets, mostly).
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

import harness
import kinds
import nginx
from harness import Load
from kinds import Kind

FLOOR = "floor: fixed answer of uvicorn"
NGINX = "upper bound: fixed answer of nginx"
CONNECTIONS = (1, 64, 1_000, 2_000)
LOGISTIC = "Orris, logistic regression"
MODELS = {LOGISTIC: "logistic", "Orris, forest of 100 trees": "forest"}

Measured = dict[str, list[tuple[Load, tuple[float, float]]]]
"""By server, for every round.

The figures of ``wrk``, and microseconds of CPU time per answer, in user space and in the kernel.
"""

Measurements = dict[tuple[int, Kind], Measured]
"""By number of connections and kind of request."""


def measure(rounds: int, seconds: int, warm_up: int, connections: tuple[int, ...]) -> Measurements:
    """The measurements of every round, by number of connections, kind of request and server."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = Path(name)
        floor = harness.serving([sys.executable, harness.HERE / "floor.py"], folder, harness.SERVER_CORE)
        servers = {NGINX: running.enter_context(nginx.fixed_answer(folder)), FLOOR: running.enter_context(floor)}
        for title, preset in MODELS.items():
            harness.orris(
                "train", "--model", preset, "--name", preset, "--version", "1.0.0", "--store", "served", folder=folder
            )
            command: list[str | Path] = [harness.ORRIS, "serve", preset, "--store", "served", "--port", "0"]
            servers[title] = running.enter_context(harness.serving(command, folder, harness.SERVER_CORE))
        plan = [(n, kinds.usual(folder), tuple(servers)) for n in connections]
        if harness.CONNECTIONS in connections:
            plan += [(harness.CONNECTIONS, kind, (NGINX, LOGISTIC)) for kind in kinds.others(folder, "logistic")]
        measured: Measurements = {(n, kind): {title: [] for title in titles} for n, kind, titles in plan}
        for _ in range(rounds):
            for n, kind, titles in plan:
                for title in titles:
                    found = _measure(servers[title], kind, n, seconds, warm_up)
                    measured[n, kind][title].append(found)
        return measured


def _measure(
    server: harness.Served, kind: Kind, connections: int, seconds: int, warm_up: int
) -> tuple[Load, tuple[float, float]]:
    url = f"{server.url}{kind.path}"
    harness.load(url, warm_up, kind.script, connections=connections)
    before = spent(server.process.pid)
    load = harness.load(url, seconds, kind.script, connections=connections)
    n_answers = load.requests_per_second * seconds or float("nan")
    user, kernel = ((now - then) / n_answers for now, then in zip(spent(server.process.pid), before, strict=True))
    return load, (user, kernel)


def spent(pid: int) -> tuple[float, float]:
    """CPU time of a process so far, in microseconds: in user space and in the kernel (``proc(5)``)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, kernel = (int(field) / os.sysconf("SC_CLK_TCK") * 1e6 for field in fields[11:13])
    return user, kernel


def row(connections: int, kind: Kind, title: str, rounds: Measured) -> tuple[str, ...]:
    """A line of the table: medians over the rounds; the shares are taken within each round."""
    loads = [load for load, _ in rounds[title]]
    user, kernel = (median(times[i] for _, times in rounds[title]) for i in (0, 1))
    rate = median(load.requests_per_second for load in loads)
    return (
        f"{connections:,}",
        kind.title,
        title,
        f"{rate:,.0f}",
        f"{rate * kind.n_rows:,.0f}",
        f"{median(load.p50_milliseconds for load in loads):.2f} ms",
        f"{median(load.p99_milliseconds for load in loads):.2f} ms",
        f"{3e3 * connections / rate:.2f} ms" if rate else "no answer",
        _share(loads, rounds.get(NGINX)),
        _share(loads, rounds.get(FLOOR)),
        f"{user:.1f} µs",
        f"{kernel:.1f} µs",
    )


def _share(loads: list[Load], others: list[tuple[Load, tuple[float, float]]] | None) -> str:
    if others is None:
        return ""
    pairs = zip(loads, others, strict=True)
    shares = [
        load.requests_per_second / other.requests_per_second for load, (other, _) in pairs if other.requests_per_second
    ]
    return f"{median(shares):.2f}" if shares else ""


def main() -> None:
    """Measure, print, and write what was asked for; exit code 1 if a request failed."""
    parser = harness.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all servers [default: 3]")
    parser.add_argument(
        "--seconds", type=int, default=3, help="seconds of load that count, per server and round [default: 3]"
    )
    parser.add_argument("--warm-up", type=int, default=1, help="seconds of load before them [default: 1]")
    parser.add_argument(
        "--connections",
        type=int,
        nargs="*",
        default=CONNECTIONS,
        help="their numbers [default: 1 64 1000 2000]",
    )
    asked = parser.parse_args()
    harness.require_tools()
    if not nginx.installed():
        sys.exit("nginx is needed: apt-get install -y nginx-light")
    measured = measure(asked.rounds, asked.seconds, asked.warm_up, tuple(asked.connections))
    rows = [row(n, kind, title, rounds) for (n, kind), rounds in measured.items() for title in rounds]
    head = (
        "connections",
        "requests",
        "server (one core)",
        "requests/s",
        "rows/s",
        "p50",
        "p99",
        "3 × connections / rate",
        "of nginx",
        "of the floor",
        "user",
        "kernel",
    )
    harness.print_table(head, rows)
    loads = [{"connections": n, "requests": kind.title, "servers": rounds} for (n, kind), rounds in measured.items()]
    harness.write_json(asked.json, {"loads": loads})
    failed = sum(
        load.n_failed or not load.requests_per_second
        for rounds in measured.values()
        for title, each in rounds.items()
        if title in MODELS
        for load, _ in each
    )
    if failed:
        sys.exit(f"{failed} requests failed, or took longer than 10 s")


if __name__ == "__main__":
    main()

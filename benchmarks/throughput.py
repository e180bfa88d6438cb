"""Requests a second of one core, beside the floor.

A fixed answer from the same uvicorn with the same settings (``floor.py``).

Iris, one JSON row in, class and probabilities out, validated, counted and logged (the log goes to ``/dev/null``). The
servers are pinned to one core and asked in turn, round after round, by ``wrk`` on another core, so that whatever else
the machine does hits them alike. CPU time is the server's own, per answer: in Python and libraries, and in the kernel
(sockets, mostly).
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

import harness
from harness import Load

FLOOR = "floor: fixed answer"
MODELS = {"Orris, logistic regression": "logistic", "Orris, forest of 100 trees": "forest"}


Measured = dict[str, list[tuple[Load, tuple[float, float]]]]
"""By server, for every round.

What ``wrk`` saw, and microseconds of CPU time per answer, in user space and in the kernel.
"""


def measure(rounds: int, seconds: int, warm_up: int) -> Measured:
    """What every round measured, by server."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = Path(name)
        script = harness.write_script(folder)
        floor = harness.serving([sys.executable, harness.HERE / "floor.py"], folder, harness.SERVER_CORE)
        servers = {FLOOR: running.enter_context(floor)}
        for title, preset in MODELS.items():
            harness.orris(
                "train", "--model", preset, "--name", preset, "--version", "1.0.0", "--store", "served", folder=folder
            )
            command: list[str | Path] = [harness.ORRIS, "serve", preset, "--store", "served", "--port", "0"]
            servers[title] = running.enter_context(harness.serving(command, folder, harness.SERVER_CORE))
        measured: Measured = {title: [] for title in servers}
        for _ in range(rounds):
            for title, server in servers.items():
                url = f"{server.url}/api/v1/predict"
                harness.load(url, warm_up, script)
                before = spent(server.process.pid)
                load = harness.load(url, seconds, script)
                n_answers = load.requests_per_second * seconds
                user, kernel = (
                    (now - then) / n_answers for now, then in zip(spent(server.process.pid), before, strict=True)
                )
                measured[title].append((load, (user, kernel)))
        return measured


def spent(pid: int) -> tuple[float, float]:
    """CPU time of a process so far, in microseconds: in user space and in the kernel (``proc(5)``)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, kernel = (int(field) / os.sysconf("SC_CLK_TCK") * 1e6 for field in fields[11:13])
    return user, kernel


def row(title: str, rounds: Measured) -> tuple[str, ...]:
    """A line of the table: medians over the rounds; the ratio is taken within each round."""
    loads, floor = ([load for load, _ in rounds[each]] for each in (title, FLOOR))
    user, kernel = (median(times[i] for _, times in rounds[title]) for i in (0, 1))
    ratio = median(load.requests_per_second / base.requests_per_second for load, base in zip(loads, floor, strict=True))
    return (
        title,
        f"{median(load.requests_per_second for load in loads):,.0f}",
        f"{median(load.p50_milliseconds for load in loads):.2f} ms",
        f"{median(load.p99_milliseconds for load in loads):.2f} ms",
        f"{ratio:.2f}",
        f"{user:.1f} µs",
        f"{kernel:.1f} µs",
    )


def main() -> None:
    """Measure, print, and write what was asked for; exit code 1 if a request failed."""
    parser = harness.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all servers [default: 3]")
    parser.add_argument(
        "--seconds", type=int, default=6, help="seconds of load that count, per server and round [default: 6]"
    )
    parser.add_argument("--warm-up", type=int, default=2, help="seconds of load before them [default: 2]")
    asked = parser.parse_args()
    harness.require_tools()
    measured = measure(asked.rounds, asked.seconds, asked.warm_up)
    rows = [row(title, measured) for title in measured]
    harness.print_table(("server (one core)", "requests/s", "p50", "p99", "of the floor", "CPU: user", "kernel"), rows)
    harness.write_json(asked.json, {"connections": harness.CONNECTIONS, "loads": measured})
    failed = sum(load.n_failed for rounds in measured.values() for load, _ in rounds)
    if failed:
        sys.exit(f"{failed} requests failed")


if __name__ == "__main__":
    main()

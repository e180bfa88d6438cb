"""Requests a second of one core, beside the floor: a fixed answer from the same uvicorn with the same settings (``floor.py``).

Iris, one JSON row in, class and probabilities out, validated, counted and logged (the log goes to ``/dev/null``). The servers are pinned to
one core and asked in turn, round after round, by ``wrk`` on another core, so that whatever else the machine does hits them alike.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from statistics import median

import harness
from harness import Load

FLOOR = "floor: fixed answer"
MODELS = {"Orris, logistic regression": "logistic", "Orris, forest of 100 trees": "forest"}


def measure(rounds: int, seconds: int, warm_up: int) -> dict[str, list[Load]]:
    """What every round measured, by server."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = Path(name)
        script = harness.write_script(folder)
        floor = harness.serving([sys.executable, harness.HERE / "floor.py"], folder, harness.SERVER_CORE)
        urls = {FLOOR: running.enter_context(floor).url}
        for title, preset in MODELS.items():
            harness.orris("train", "--model", preset, "--name", preset, "--version", "1.0.0", "--store", "served", folder=folder)
            command: list[str | Path] = [harness.ORRIS, "serve", preset, "--store", "served", "--port", "0"]
            urls[title] = running.enter_context(harness.serving(command, folder, harness.SERVER_CORE)).url
        measured: dict[str, list[Load]] = {title: [] for title in urls}
        for _ in range(rounds):
            for title, url in urls.items():
                harness.load(f"{url}/api/v1/predict", warm_up, script)
                measured[title].append(harness.load(f"{url}/api/v1/predict", seconds, script))
        return measured


def row(title: str, loads: list[Load], floor: list[Load]) -> tuple[str, ...]:
    """A line of the table: medians over the rounds; the ratio is taken within each round."""
    ratio = median(load.requests_per_second / base.requests_per_second for load, base in zip(loads, floor, strict=True))
    return (
        title,
        f"{median(load.requests_per_second for load in loads):,.0f}",
        f"{median(load.p50_milliseconds for load in loads):.2f} ms",
        f"{median(load.p99_milliseconds for load in loads):.2f} ms",
        f"{ratio:.2f}",
    )


def main() -> None:
    """Measure, print, and write what was asked for; exit code 1 if a request failed."""
    parser = harness.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all servers [default: 3]")
    parser.add_argument("--seconds", type=int, default=6, help="seconds of load that count, per server and round [default: 6]")
    parser.add_argument("--warm-up", type=int, default=2, help="seconds of load before them [default: 2]")
    asked = parser.parse_args()
    harness.require_tools()
    measured = measure(asked.rounds, asked.seconds, asked.warm_up)
    rows = [row(title, loads, measured[FLOOR]) for title, loads in measured.items()]
    harness.print_table(("server (one core)", "requests/s", "p50", "p99", "of the floor"), rows)
    harness.write_json(asked.json, {"connections": harness.CONNECTIONS, "loads": measured})
    failed = sum(load.n_failed for loads in measured.values() for load in loads)
    if failed:
        sys.exit(f"{failed} requests failed")


if __name__ == "__main__":
    main()

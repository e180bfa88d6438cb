"""How long the commands take that people wait for.

``orris --help``, ``orris train`` on iris, ``orris serve`` until it is ready.

Each is a process of its own, from its start to its end (or to the first answered ``/ready``); the median of several
runs counts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import harness

AIMS = {"orris --help": 0.3, "orris train (iris, logistic)": 5.0, "orris serve until ready": 1.5}
"""Seconds that each should stay under on a machine that has nothing else to do."""


def measure(repeats: int) -> dict[str, list[float]]:
    """Seconds of every run, by command; the commands take turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        harness.orris("train", "--store", "served", "--version", "1.0.0", folder=folder)
        commands: dict[str, Callable[[int], float]] = {
            "orris --help": lambda _: harness.orris("--help", folder=folder),
            "orris train (iris, logistic)": lambda i: harness.orris(
                "train", "--store", "trained", "--version", f"1.0.{i}", folder=folder
            ),
            "orris serve until ready": lambda _: _until_ready(folder),
        }
        taken: dict[str, list[float]] = {command: [] for command in commands}
        for i in range(repeats):
            for command, run in commands.items():
                taken[command].append(run(i))
        return taken


def _until_ready(folder: Path) -> float:
    with harness.serving([harness.ORRIS, "serve", "iris", "--store", "served", "--port", "0"], folder) as server:
        return server.ready_seconds


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = harness.arguments(__doc__ or "")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each command [default: 5]")
    asked = parser.parse_args()
    taken = measure(asked.repeats)
    rows = [
        (command, f"{median(seconds):.2f} s", f"{min(seconds):.2f} … {max(seconds):.2f} s", f"{AIMS[command]:g} s")
        for command, seconds in taken.items()
    ]
    harness.print_table(("command", "median", "from … to", "aim: under"), rows)
    harness.write_json(asked.json, {"seconds": taken})


if __name__ == "__main__":
    main()

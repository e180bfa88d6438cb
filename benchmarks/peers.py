"""Orris beside other model servers: same model, same client, same cores, one run.

Writes ``results.md``, ``results.json``, a plot.

Each peer of ``peers/`` is installed from the registry into an environment of its own (kept in ``.bench/``, or
``ORRIS_BENCH_HOME``) and run as its documentation recommends. Each is ended before the next begins; traffic goes to
127.0.0.1. ``README.md`` beside this says more.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import harness
import plot
import report
from measuring import PROBLEMS, Launch, Plan, Result, ask_labels, measure
from processes import PeerError
from setups import Home, Peer, Setup, launch_ours, read_ours, read_peers

REPOSITORY = harness.HERE.parent
V2, FOREST, BOOSTED = "Orris (V2 REST)", "Orris, forest of 100 trees", "Orris, XGBoost of 100 rounds"
SETTINGS_OF_BOOSTED = """\
table: data/iris.csv
target: species
model: xgboost
model_parameters: {n_estimators: 100, learning_rate: 0.3, early_stopping_rounds: 0}
"""
"""The model that MLServer and Timber are given from XGBoost: its defaults."""

GRPC_CLIENT = "mlserver"
"""The peer whose environment has a gRPC client."""


@dataclass(frozen=True)
class Turn:
    """One setup's turn in a table."""

    setup: Setup
    version: str
    launch: Launch
    log: Path | None
    problem: str = ""


class Run:
    """Everything that a run has at hand."""

    def __init__(self, asked: argparse.Namespace, folder: Path) -> None:
        self.asked = asked
        self.folder = folder
        self.home = Home(asked.home)
        self.ours = read_ours()
        self.peers = [peer for peer in read_peers() if not asked.only or peer.name in asked.only]
        self.problems: dict[str, str] = {}
        self.results: list[Result] = []

    def install(self) -> None:
        """Train Orris' models, and install the peers one after another; what fails is remembered."""
        settings = self.folder / "boosted.yaml"
        settings.write_text(SETTINGS_OF_BOOSTED)
        models = {"iris": ("--model", "logistic"), "forest": ("--model", "forest"), "boosted": ("--params", settings)}
        for name, how in models.items():
            flags = ("--name", name, "--version", "1.0.0", "--store", "served", *map(str, how))
            harness.orris("train", *flags, folder=self.folder)
        for peer in self.peers:
            start = time.perf_counter()
            say(f"{peer.name} {peer.version}: install … ", end="")
            try:
                self.home.install(peer)
                say(f"ready ({time.perf_counter() - start:.0f} s)")
            except PROBLEMS as error:
                self.problems[peer.name] = f"not installed: {' '.join(str(error).split())[:300]}"
                say(self.problems[peer.name])

    def plan(self, table: str) -> Plan:
        """How ``table`` is measured."""
        both = f"{harness.SERVER_CORE},{harness.CLIENT_CORE}"
        client = next((peer for peer in read_peers() if peer.name == GRPC_CLIENT), None)
        return Plan(
            table=table,
            workers=2 if table == "two" else 1,
            server_cores=both if table == "two" else str(harness.SERVER_CORE),
            client_cores=both if table == "two" else str(harness.CLIENT_CORE),
            seconds=self.asked.seconds,
            warm_up=self.asked.warm_up,
            start_limit=self.asked.start_limit,
            folder=self.folder,
            python=self.home.python(client) if client else Path(sys.executable),
        )

    def measure(self) -> None:
        """All the tables that were asked for."""
        labels = ask_labels(
            self.ours[report.ORRIS], functools.partial(launch_ours, self.folder / "served"), self.plan("one")
        )
        say(f"Orris gives the labels {labels}")
        for table in self.asked.tables:
            plan = replace(self.plan(table), labels=labels)
            say(f"\n{report.TITLES[table]}")
            for turn in self.turns(table):
                self.results.append(self.take(turn, plan))

    def turns(self, table: str) -> Iterator[Turn]:
        """Who is measured, in which order: ours before and after all the peers."""
        ours = {"one": (report.FLOOR, report.ORRIS), "two": (report.ORRIS,), "grpc": (report.GRPC_FLOOR, report.GRPC)}[
            table
        ]
        yield from map(self._ours, ours)
        protocol = "grpc" if table == "grpc" else "http"
        for peer in self.peers:
            for setup in peer.setups:
                if setup.protocol == protocol:
                    launch = functools.partial(self._launch, peer)
                    yield Turn(setup, peer.version, launch, self.home.log(peer), self.problems.get(peer.name, ""))
        if table == "one":
            yield from map(self._ours, (V2, FOREST, BOOSTED))
        yield from map(self._ours, ours)

    def take(self, turn: Turn, plan: Plan) -> Result:
        """Measure one, and say what came of it."""
        say(f"  {turn.setup.title} … ", end="")
        if turn.problem:
            result = Result(
                turn.setup.title, turn.version, plan.table, turn.setup.note, turn.setup.partial, turn.problem
            )
        else:
            result = measure(turn.setup, turn.version, turn.launch, plan, turn.log)
        failed = f", {result.n_failed} failed" if result.n_failed else ""
        say(result.problem or f"{result.rate:,.0f} a second{failed}")
        return result

    def _ours(self, title: str) -> Turn:
        setup = self.ours[title]
        log = self.folder / "server.log" if setup.announced else None
        return Turn(setup, _orris_version(), functools.partial(launch_ours, self.folder / "served"), log)

    def _launch(self, peer: Peer, setup: Setup, workers: int) -> tuple[list[str], dict[str, str], int]:
        return self.home.launch(peer, setup, workers)


def say(text: str, end: str = "\n") -> None:
    """Progress."""
    print(text, end=end, flush=True)


def about(asked: argparse.Namespace, busy: list[float]) -> dict[str, Any]:
    """What was measured, when and on what."""
    versions = {name: peer.versions() for name, peer in ((peer.name, peer) for peer in read_peers())}
    known = ("scikit-learn", "numpy", "pandas", "uvicorn", "fastapi")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "wrk": _first_line("wrk", "-v"),
        "orris": _orris_version(),
        "commit": _first_line("git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"),
        "seconds": asked.seconds,
        "warm_up": asked.warm_up,
        "connections": harness.CONNECTIONS,
        "load_average": busy,
        "beside": {
            name: {package: pins[package] for package in known if package in pins} for name, pins in versions.items()
        },
    }


@functools.cache
def _orris_version() -> str:
    from orris.version import __version__

    return __version__


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(*command: str) -> str:
    """Of what a command says; empty if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except OSError:
        return ""
    return ((done.stdout or done.stderr).strip().splitlines() or [""])[0]


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=6, help="seconds of load that count, per server [default: 6]")
    parser.add_argument("--warm-up", type=int, default=2, help="seconds of load before them [default: 2]")
    parser.add_argument(
        "--start-limit", type=float, default=120, help="seconds until a server has to answer [default: 120]"
    )
    parser.add_argument(
        "--only", action="append", metavar="PEER", help="measure this peer; may be repeated [default: all]"
    )
    parser.add_argument(
        "--tables", nargs="+", choices=list(report.TITLES), default=list(report.TITLES), help="[default: all]"
    )
    parser.add_argument("--install", action="store_true", help="install what is missing, and measure nothing")
    parser.add_argument(
        "--out", type=Path, default=harness.HERE, metavar="FOLDER", help="where results.md and .json go [default: here]"
    )
    default_home = Path(os.environ.get("ORRIS_BENCH_HOME") or REPOSITORY / ".bench")
    parser.add_argument(
        "--home",
        type=Path,
        default=default_home,
        help="where the environments are [default: ORRIS_BENCH_HOME or .bench]",
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="where the plot goes [default: docs/images/peers.svg, or --out]"
    )
    return parser.parse_args()


def main() -> None:
    """Install, measure, write; exit code 1 if Orris or a floor could not be measured or lost a request."""
    # a SIGTERM has to end the servers too
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asked = read_arguments()
    harness.require_tools()
    start, busy = time.perf_counter(), [os.getloadavg()[0]]
    try:
        with tempfile.TemporaryDirectory() as name, Home(asked.home).alone():
            run = Run(asked, Path(name))
            run.install()
            if asked.install:
                sys.exit(1 if run.problems else 0)
            run.measure()
    except PeerError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted: every server has been ended, and nothing was written")
    measured = report.document(
        {**about(asked, busy), "minutes": round((time.perf_counter() - start) / 60, 1)}, run.results
    )
    asked.out.mkdir(parents=True, exist_ok=True)
    report.write(asked.out, measured)
    image = asked.plot or (
        REPOSITORY / "docs" / "images" / "peers.svg" if asked.out == harness.HERE else asked.out / "peers.svg"
    )
    plot.draw(measured, image)
    say(
        f"\n{(asked.out / report.PAGE).read_text()}\nWritten: {asked.out / report.PAGE}, {asked.out / report.NUMBERS},"
        f" {image}"
    )
    bad = [result.title for result in run.results if result.title in run.ours and (result.problem or result.n_failed)]
    if bad:
        sys.exit(f"not measured, or requests failed: {', '.join(bad)}")


if __name__ == "__main__":
    main()

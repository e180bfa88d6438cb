"""What the benchmarks share.

Orris in subprocesses, its servers pinned to a core, ``wrk``, and tables of what was measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ORRIS = Path(sys.executable).with_name("orris")
HERE = Path(__file__).parent
SERVER_CORE, CLIENT_CORE = 0, 1
CONNECTIONS = 64
ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}

_URL = re.compile(r"on http://localhost:(\d+)")
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
_WAIT_SECONDS = 120


@dataclass(frozen=True)
class Load:
    """What ``wrk`` measured.

    Attributes:
        requests_per_second: Answers a second.
        p50_milliseconds: Median time to answer.
        p99_milliseconds: The time that 99 % of the answers kept to.
        n_failed: Answers that were not 2xx, and connections that failed.
    """

    requests_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    n_failed: int


@dataclass(frozen=True)
class Served:
    """A running server: where it listens, its process, and how long it took to be ready."""

    url: str
    process: subprocess.Popen[str]
    ready_seconds: float


def orris(*arguments: str, folder: Path) -> float:
    """Run ``orris`` in ``folder``; returns seconds. A failure ends the benchmark with what was said."""
    start = time.perf_counter()
    done = subprocess.run(
        [ORRIS, *arguments], cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"orris {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return seconds


def clean_environment() -> dict[str, str]:
    """This environment without ``ORRIS_*`` settings, which would change what is measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ORRIS_")}


@contextlib.contextmanager
def serving(
    command: Sequence[str | Path], folder: Path, core: int | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """Start a server that announces ``on http://localhost:PORT``.

    ``settings`` are ``ORRIS_*`` variables. Its standard output (the access log) goes to ``/dev/null``.
    """
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*pinned, *command],
        cwd=folder,
        env={**clean_environment(), **(settings or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None  # noqa: S101 (asked for above)
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            found = _URL.search(line)
            if found:
                url = f"http://127.0.0.1:{found.group(1)}"
                _require_answer(f"{url}/ready")
                yield Served(url, process, time.perf_counter() - start)
                return
        sys.exit(f"{' '.join(map(str, command))} did not start:\n{''.join(said)}")
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.stderr.close()


def load(url: str, seconds: int, script: Path, cores: str = str(CLIENT_CORE), connections: int = CONNECTIONS) -> Load:
    """Drive ``url`` with ``wrk`` from ``cores``, by default the client's; see ``write_script`` for what is sent.

    Raises:
        RuntimeError: ``wrk`` failed.
    """
    client = [
        "taskset",
        "-c",
        cores,
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "10s",
        "--latency",
    ]
    command = [*client, "-s", str(script), url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + _WAIT_SECONDS)
    if done.returncode:
        raise RuntimeError(f"wrk failed on {url}: {done.stdout}{done.stderr}")
    return parse(done.stdout)


def parse(output: str) -> Load:
    """Read ``wrk --latency``'s output."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if rate is None:
        raise ValueError(f"not what wrk prints:\n{output}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    n_failed = int(refused.group(1)) if refused else 0
    n_failed += sum(map(int, broken.groups())) if broken else 0
    return Load(float(rate.group(1)), _percentile(output, 50), _percentile(output, 99), n_failed)


def _percentile(output: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
    if found is None:
        raise ValueError(f"wrk printed no {percent}th percentile:\n{output}")
    return float(found.group(1)) * _UNITS[found.group(2)]


def write_script(folder: Path, body: str = "") -> Path:
    """The Lua script that makes ``wrk`` post ``body``, by default one row as JSON."""
    script = folder / "predict.lua"
    lines = (
        "wrk.method = 'POST'",
        "wrk.headers['Content-Type'] = 'application/json'",
        f"wrk.body = [==[{body or json.dumps(ROW)}]==]",
    )
    script.write_text("\n".join(lines) + "\n")
    return script


def require_tools() -> None:
    """End with what is missing, if ``wrk``, ``taskset`` or a second core is."""
    for tool, package in (("wrk", "wrk"), ("taskset", "util-linux")):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not installed; on Debian or Ubuntu:  apt-get install -y {package}")
    if not {SERVER_CORE, CLIENT_CORE} <= os.sched_getaffinity(0):
        sys.exit(
            f"the server is pinned to core {SERVER_CORE} and wrk to core {CLIENT_CORE}; this process may not use both"
        )


def arguments(description: str) -> argparse.ArgumentParser:
    """A command line with ``--json FILE``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to FILE as well")
    return parser


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table on standard output."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    for line in (header, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")


def write_json(file: Path | None, measured: dict[str, Any]) -> None:
    """Write what was measured, and on what, if a file was asked for."""
    if file is not None:
        machine = {
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "system": platform.system(),
        }
        file.write_text(json.dumps({"machine": machine, **measured}, indent=2, default=asdict) + "\n")


def _require_answer(url: str) -> None:
    with urllib.request.urlopen(url, timeout=10) as answer:
        if answer.status != 200:
            sys.exit(f"{url} answered {answer.status}")

"""The load: wrk of Debian with ``loadtests/wrk/predict.lua``, a closed loop of connections without think time."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from orris.autoscaling.machine import find_program
from orris.autoscaling.results import Load
from orris.errors import ExperimentError
from orris.loadtest.engines.wrk import SCRIPT
from orris.replicas import processes

N_THREADS = 2
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
_MEAN = re.compile(r"^\s*Latency\s+([\d.]+)(us|ms|s|m)\s", re.MULTILINE)
_COUNTED = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")


class Driver:
    """A running wrk.

    Args:
        url: What is asked.
        connections: Requests that are open at any time.
        seconds: For how long.
        body: A file with another body than the three rows of iris.
    """

    def __init__(self, url: str, connections: int, seconds: float, body: Path | None = None) -> None:
        self.connections = connections
        self._output = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (closed by finish)
        command = [find_program("wrk"), f"-t{N_THREADS}", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
        command += ["--timeout", "10s", "--latency", "-s", str(SCRIPT), url]
        command += ["--", str(body)] if body else []
        self.process = processes.start(
            command,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            environ={"LOADTEST_MAX_FAILURES": str(2**53)},  # failures are counted here, not judged
        )

    def cpu_seconds(self) -> float:
        """The CPU that it has used."""
        return processes.cpu_seconds(self.process.pid)

    def finish(self, cores: float) -> Load:
        """Its own numbers, from the end or, if it still runs, from being interrupted now.

        Args:
            cores: The CPUs that it used on average, as they were measured.

        Raises:
            ExperimentError: It printed no numbers.
        """
        if self.process.poll() is None:
            processes.stop(self.process, 15, signal.SIGINT)
        self._output.seek(0)
        text = self._output.read()
        self._output.close()
        return read_load(text, self.connections, cores)

    def close(self) -> None:
        """Kill it, if it still runs."""
        processes.stop(self.process, 0.1)
        self._output.close()


def read_load(text: str, connections: int, cores: float | None) -> Load:
    """The numbers of wrk's own summary and of the line that ``predict.lua`` adds.

    Raises:
        ExperimentError: There are none; has wrk's last line.
    """
    lines = text.strip().splitlines()
    mean = _MEAN.search(text)
    numbers = next((json.loads(line) for line in reversed(lines) if line.startswith('{"requests"')), None)
    if mean is None or numbers is None:
        raise ExperimentError(f"wrk gave no numbers: {lines[-1] if lines else 'it printed nothing'}")
    counted = _COUNTED.search(text)
    status = _STATUS.search(text)
    return Load(
        connections=connections,
        requests=numbers["requests"],
        requests_per_second=numbers["requests_per_second"],
        failed=numbers["failed"],
        timeouts=int(counted.group(4)) if counted else 0,
        refused=int(status.group(1)) if status else 0,
        mean_ms=float(mean.group(1)) * _UNITS[mean.group(2)],
        p50_ms=numbers["p50_ms"],
        p95_ms=numbers["p95_ms"],
        p99_ms=numbers["p99_ms"],
        driver_cores=cores,
        driver_threads=N_THREADS,
    )


def script_body() -> bytes:
    """The body that ``predict.lua`` sends."""
    found = re.search(r"^local body = '(.+)'$", SCRIPT.read_text("utf-8"), re.MULTILINE)
    assert found is not None  # noqa: S101 (a test holds the script to this form)
    return found.group(1).encode()


def version() -> str:
    """The version of the wrk that is used, for the results."""
    command = [find_program("wrk"), "-v"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own command)
    return " ".join((said.stdout + said.stderr).partition("\n")[0].split()[:2])

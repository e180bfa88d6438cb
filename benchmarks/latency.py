"""Time to answer at half of the highest rate, and while long requests are being answered.

Orris on one core, the client on another.

Half of the rate: ``wrk`` finds how much one core answers; then each of as many connections waits a random time before
every request, on average so long that half as much is asked, or a little more. Beside long requests: one row, and
``/health``, one at a time, alone and while another connection asks for 20,000 rows over and over. A server that
computed those on its loop would let everything else wait for as long as they take.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import harness

LONG_ROWS = 20_000
SMALL_REQUESTS = 1_000

_BUSY = """
import http.client, sys
port, n_rows, row = sys.argv[1:]
body = "[" + ", ".join([row] * int(n_rows)) + "]"
connection = http.client.HTTPConnection("127.0.0.1", int(port))
while True:
    connection.request("POST", "/api/v1/predict", body, {"content-type": "application/json"})
    connection.getresponse().read()
"""


def main() -> None:
    """Measure, and print the two tables."""
    parser = harness.arguments("Time to answer at half rate, and beside long requests.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    asked = parser.parse_args()
    harness.require_tools()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        harness.orris("train", "--name", "iris", "--version", "1.0.0", "--store", "served", folder=folder)
        harness.orris(
            "train", "--name", "forest", "--model", "forest", "--version", "1.0.0", "--store", "served", folder=folder
        )
        half = [half_rate(folder, asked.seconds) for _ in range(asked.rounds)]
        beside = beside_long(folder)
    rates = [
        (f"{rate:,.0f}", f"{reached:,.0f}", f"{p50:.2f} ms", f"{p99:.2f} ms", str(failed))
        for rate, reached, p50, p99, failed in half
    ]
    harness.print_table(("highest rate", "asked at", "p50", "p99", "failed"), rates)
    print(f"\np99 at half of the highest rate, median of {asked.rounds}: {median(row[3] for row in half):.2f} ms\n")
    small = [(title, f"{p50:.2f} ms", f"{p99:.2f} ms") for title, (p50, p99) in beside.items()]
    harness.print_table((f"one at a time, {SMALL_REQUESTS:,} of them", "p50", "p99"), small)
    harness.write_json(asked.json, {"half_rate": half, "beside_long": beside})


def half_rate(folder: Path, seconds: int) -> tuple[float, float, float, float, int]:
    """The highest rate, the rate asked at, p50 and p99 in milliseconds there, and answers that were none."""
    command: list[str | Path] = [
        harness.ORRIS,
        "serve",
        "iris",
        "--store",
        "served",
        "--port",
        "0",
        "--grpc-port",
        "off",
    ]
    with harness.serving(command, folder, harness.SERVER_CORE) as server:
        url = f"{server.url}/api/v1/predict"
        script = harness.write_script(folder)
        harness.load(url, 2, script)
        highest = harness.load(url, seconds, script).requests_per_second
        pause = 2 * 1e3 * harness.CONNECTIONS / highest
        while True:
            found = harness.load(url, seconds, spread(folder, pause))
            if found.requests_per_second >= highest / 2:
                break
            pause *= 0.98 * found.requests_per_second / (highest / 2)
    return highest, found.requests_per_second, found.p50_milliseconds, found.p99_milliseconds, found.n_failed


def spread(folder: Path, milliseconds: float) -> Path:
    """The script of ``wrk`` whose connections pause before each request.

    Evenly distributed whole milliseconds, of this mean.
    """
    script = folder / "spread.lua"
    lower = int(milliseconds)
    share = milliseconds - lower
    delay = f"function delay() return math.random(0, 2 * ({lower} + (math.random() < {share} and 1 or 0))) end"
    script.write_text(harness.write_script(folder).read_text() + delay + "\n")
    return script


def beside_long(folder: Path) -> dict[str, tuple[float, float]]:
    """p50 and p99, in milliseconds, of small requests alone and beside long ones."""
    command: list[str | Path] = [
        harness.ORRIS,
        "serve",
        "forest",
        "--store",
        "served",
        "--port",
        "0",
        "--grpc-port",
        "off",
    ]
    measured = {}
    with harness.serving(command, folder) as server:
        port = int(server.url.rpartition(":")[2])
        for title, long in (("alone", False), (f"beside requests of {LONG_ROWS:,} rows", True)):
            with busy(port) if long else contextlib.nullcontext():
                measured[f"one row, {title}"] = ask(port, "POST", "/api/v1/predict", json.dumps(harness.ROW))
                measured[f"/health, {title}"] = ask(port, "GET", "/health", None)
    return measured


@contextlib.contextmanager
def busy(port: int):
    """Another process asks for many rows, over and over, on one connection."""
    client = subprocess.Popen([sys.executable, "-c", _BUSY, str(port), str(LONG_ROWS), json.dumps(harness.ROW)])
    time.sleep(0.5)
    try:
        yield
    finally:
        client.kill()
        client.wait()


def ask(port: int, method: str, path: str, body: str | None) -> tuple[float, float]:
    """p50 and p99 of requests on one connection, one after the other."""
    connection, times = http.client.HTTPConnection("127.0.0.1", port), []
    for _ in range(SMALL_REQUESTS):
        start = time.perf_counter()
        connection.request(method, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            sys.exit(f"{path} answered {answer.status}")
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    return times[len(times) // 2], times[int(len(times) * 0.99)]


if __name__ == "__main__":
    main()

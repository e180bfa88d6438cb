"""gRPC calls a second of one core, beside the floor: fixed bytes from one ``grpc.aio`` server (``floor_grpc.py``).

Iris, ``ModelInfer`` of one row in raw contents, validated, counted and logged (the log goes to ``/dev/null``); 16
connections with 4 calls at a time on each. The servers are pinned to one core and asked in turn, round after round, by
``h2load`` on another. The second table is the time to answer an HTTP request of the same process, one at a time,
without calls and while 500 of them come in a second.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import harness

FLOOR, ORRIS = "floor: fixed bytes", "Orris, logistic regression"
CONNECTIONS, CALLS = 16, 4
BESIDE_CALLS = 500
PATH = "/inference.GRPCInferenceService/ModelInfer"

_PORT = re.compile(r"gRPC on port (\d+)")
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Calls:
    """What ``h2load`` measured: answers a second, their mean time in milliseconds, and what was no answer."""

    calls_per_second: float
    mean_milliseconds: float
    n_failed: int


@contextlib.contextmanager
def serving(command: Sequence[str | Path], folder: Path) -> Iterator[tuple[int, str]]:
    """Start a server that announces ``gRPC on port PORT``.

    Its gRPC port, and the URL of its HTTP port, if it has one.
    """
    pinned = ["taskset", "-c", str(harness.SERVER_CORE), *command]
    process = subprocess.Popen(
        pinned,
        cwd=folder,
        env=harness.clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None  # noqa: S101 (asked for above)
    try:
        for line in process.stderr:
            found = _PORT.search(line)
            if found:
                url = re.search(r"on http://localhost:(\d+)", line)
                yield int(found.group(1)), f"http://127.0.0.1:{url.group(1)}" if url else ""
                return
        sys.exit(f"{' '.join(map(str, command))} did not start")
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.stderr.close()


def write_request(folder: Path) -> Path:
    """A ``ModelInferRequest`` of one row in raw contents, behind gRPC's prefix."""
    from orris.protocols.grpc.generated.open_inference_pb2 import ModelInferRequest

    request = ModelInferRequest(model_name="logistic", raw_input_contents=[struct.pack("<4d", *harness.ROW.values())])
    request.inputs.add(name="rows", datatype="FP64", shape=[1, 4])
    message = request.SerializeToString()
    file = folder / "request.bin"
    file.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    return file


def command(port: int, seconds: int, request: Path, *more: str) -> list[str]:
    """``h2load`` from the client's core."""
    pinned = ["taskset", "-c", str(harness.CLIENT_CORE), "h2load", "-t1", f"-D{seconds}", "-d", str(request), *more]
    return [*pinned, "-H", "content-type: application/grpc", "-H", "te: trailers", f"http://127.0.0.1:{port}{PATH}"]


def load(port: int, seconds: int, warm_up: int, request: Path) -> Calls:
    """All calls that the server can answer."""
    limits = (f"-c{CONNECTIONS}", f"-m{CALLS}", f"--warm-up-time={warm_up}")
    done = subprocess.run(
        command(port, seconds, request, *limits), capture_output=True, text=True, check=False, timeout=seconds + 120
    )
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", done.stdout)
    # min, max, mean
    taken = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", done.stdout)
    counts = re.search(r"succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", done.stdout)
    if rate is None or taken is None or counts is None:
        sys.exit(f"h2load failed: {done.stdout}{done.stderr}")
    return Calls(float(rate.group(1)), float(taken.group(1)) * _UNITS[taken.group(2)], sum(map(int, counts.groups())))


def load_beside(url: str, port: int, seconds: int, request: Path, script: Path) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds, of HTTP requests one at a time while calls come in."""
    calls = command(port, seconds + 2, request, "-c4", "-m4", f"--rps={BESIDE_CALLS // 4}")
    beside = subprocess.Popen(calls, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found = harness.load(f"{url}/api/v1/predict", seconds, script, connections=1)
    finally:
        beside.kill()
        beside.wait()
    return found.p50_milliseconds, found.p99_milliseconds


def measure(
    rounds: int, seconds: int, warm_up: int
) -> tuple[dict[str, list[Calls]], dict[str, list[tuple[float, float]]]]:
    """What every round measured, by server; and HTTP's median and 99th percentile, alone and beside calls."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = Path(name)
        harness.orris(
            "train",
            "--name",
            "logistic",
            "--model",
            "logistic",
            "--version",
            "1.0.0",
            "--store",
            "served",
            folder=folder,
        )
        request, script = write_request(folder), harness.write_script(folder)
        floor_port, _ = running.enter_context(serving([sys.executable, harness.HERE / "floor_grpc.py"], folder))
        serve = [harness.ORRIS, "serve", "logistic", "--store", "served", "--port", "0", "--grpc-port", "0"]
        port, url = running.enter_context(serving(serve, folder))
        measured: dict[str, list[Calls]] = {FLOOR: [], ORRIS: []}
        http: dict[str, list[tuple[float, float]]] = {"alone": [], "beside": []}
        for _ in range(rounds):
            measured[FLOOR].append(load(floor_port, seconds, warm_up, request))
            measured[ORRIS].append(load(port, seconds, warm_up, request))
            alone = harness.load(f"{url}/api/v1/predict", seconds, script, connections=1)
            http["alone"].append((alone.p50_milliseconds, alone.p99_milliseconds))
            http["beside"].append(load_beside(url, port, seconds, request, script))
        require_answers(url)
        return measured, http


def require_answers(url: str) -> None:
    """End if a call was not answered: every status of gRPC is 200 in HTTP, so ``h2load`` does not see it."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        codes = re.findall(r'orris_grpc_requests_total\{code="(\w+)"', answer.read().decode())
    if codes != ["OK"]:
        sys.exit(f"calls ended with {', '.join(codes) or 'nothing'}")


def main() -> None:
    """Measure, print, and write what was asked for; exit code 1 if a call failed."""
    parser = harness.arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=5, help="rounds over both servers [default: 5]")
    parser.add_argument(
        "--seconds", type=int, default=4, help="seconds of load that count, per server and round [default: 4]"
    )
    parser.add_argument("--warm-up", type=int, default=1, help="seconds of load before them [default: 1]")
    asked = parser.parse_args()
    harness.require_tools()
    if shutil.which("h2load") is None:
        sys.exit("h2load is not installed; on Debian or Ubuntu:  apt-get install -y nghttp2-client")
    measured, http = measure(asked.rounds, asked.seconds, asked.warm_up)
    rows = []
    for title, loads in measured.items():
        ratio = median(
            own.calls_per_second / base.calls_per_second for own, base in zip(loads, measured[FLOOR], strict=True)
        )
        rate, mean = median(own.calls_per_second for own in loads), median(own.mean_milliseconds for own in loads)
        rows.append((title, f"{rate:,.0f}", f"{mean:.1f} ms", f"{ratio:.2f}"))
    harness.print_table(("server (one core)", "calls/s", "mean", "of the floor"), rows)
    print()
    told = [[f"{median(values):.2f} ms" for values in zip(*http[name], strict=True)] for name in ("alone", "beside")]
    harness.print_table(
        ("HTTP, one request at a time", "p50", "p99"),
        [("alone", *told[0]), (f"beside {BESIDE_CALLS} calls/s", *told[1])],
    )
    harness.write_json(asked.json, {"calls": measured, "http_milliseconds": http})
    failed = sum(own.n_failed for loads in measured.values() for own in loads)
    if failed:
        sys.exit(f"{failed} calls failed")


if __name__ == "__main__":
    main()

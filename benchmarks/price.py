"""What telemetry costs on the request path: CPU time per request with everything on, and with one part off at a time.

One process answers, in turns of 64 requests of one iris row, through the real connection class and everything behind
it; only the sockets are left out, so a part's share of a whole request is smaller than its share here. CPU time, not
wall time: other work on the machine disturbs it less. Every variant runs in a process of its own, in turn, round after
round; the fastest pass of a round counts.

Spans go over gRPC to a receiver in this process, which takes them and does nothing. What encodes and sends them is a
thread of the process that answers, and its time counts. A process that does nothing but answer leaves that thread too
little time for all spans of ``all sampled``: some are dropped, so that its cost is a lower bound.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import harness

BATCH, PASSES, BATCHES = 64, 8, 250
SHIPPED = "as shipped: metrics, log, drift"
VARIANTS: dict[str, dict[str, str]] = {
    SHIPPED: {},
    "without the log": {"ORRIS_ACCESS_LOG": "off"},
    "without drift": {"ORRIS_DRIFT_WINDOW_SECONDS": "0"},
    "without metrics": {"PRICE_NO_METRICS": "1"},
    "without all three": {"ORRIS_ACCESS_LOG": "off", "ORRIS_DRIFT_WINDOW_SECONDS": "0", "PRICE_NO_METRICS": "1"},
    "with tracing, nothing sampled": {"ORRIS_TRACING": "on", "OTEL_TRACES_SAMPLER": "always_off"},
    "with tracing, 1 % sampled": {
        "ORRIS_TRACING": "on",
        "OTEL_TRACES_SAMPLER": "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
    },
    "with tracing, all sampled": {"ORRIS_TRACING": "on", "OTEL_TRACES_SAMPLER": "always_on"},
}


def main() -> None:
    """Measure each variant in turn, and print the table."""
    parser = harness.arguments("CPU time per request, by what is switched off or on.")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, receiver() as endpoint:
        folder = Path(name)
        harness.orris("train", "--name", "iris", "--version", "1.0.0", "--store", "served", folder=folder)
        bundle = next(folder.rglob("manifest.json")).parent
        measured: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        for _ in range(asked.rounds):
            for variant, environ in VARIANTS.items():
                command = [sys.executable, __file__, "--answer", str(bundle)]
                telemetry = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "ORRIS_TRACING": "off"}
                environment = harness.clean_environment() | telemetry | environ
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                measured[variant].append(float(done.stdout.splitlines()[-1]))
    whole = median(measured[SHIPPED])
    rows = [(title, f"{median(each):.1f} µs", f"{median(each) / whole:.3f}") for title, each in measured.items()]
    harness.print_table(("CPU time per request", "median", "of the whole"), rows)
    harness.write_json(asked.json, {"microseconds": measured})


@contextmanager
def receiver() -> Iterator[str]:
    """Take spans over gRPC, and do nothing with them; where."""
    import grpc

    taken = {"Export": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")}
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("opentelemetry.proto.collector.trace.v1.TraceService", taken),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


class Sink(asyncio.Transport):
    """A socket that takes everything."""

    def write(self, data: Any) -> None:
        """Take it."""

    def is_closing(self) -> bool:
        """Never."""
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Addresses."""
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 8000)}.get(name, default)


async def answer(bundle: Path) -> float:
    """Microseconds of CPU time per request: the fastest of several passes."""
    from uvicorn.server import ServerState

    from orris.server.assembly import assemble
    from orris.serving.engine import Engine
    from orris.serving.http.connection import Connection
    from orris.settings import read_settings

    silence()
    settings = read_settings({name: value for name, value in os.environ.items() if name.startswith("ORRIS_")})
    served = assemble([(Engine.load(bundle), "iris")], settings)
    state = ServerState()
    state.default_headers = [(b"date", b"Sat, 21 Nov 2026 07:00:00 GMT")]
    served.http.bind(None, state, {})  # type: ignore[arg-type]  # nothing is handed over to uvicorn
    connections = [Connection(served.http) for _ in range(BATCH)]
    for connection in connections:
        connection.connection_made(Sink())  # type: ignore[arg-type]  # it is all that a connection asks for
    body = json.dumps(harness.ROW).encode()
    head = (
        b"POST /api/v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length:"
        b" %d\r\n\r\n"
    )
    request, best = head % len(body) + body, float("inf")
    for _ in range(PASSES):
        start = time.process_time()
        for _ in range(BATCHES):
            for connection in connections:
                connection.data_received(request)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        best = min(best, time.process_time() - start)
    return best / (BATCHES * BATCH) * 1e6


def silence() -> None:
    """The log goes to ``/dev/null``; with ``PRICE_NO_METRICS`` nothing is counted.

    No call of the model goes to a thread, however busy
    the machine was when it was trained: it would be answered after its turn.
    """
    from orris.serving import batching
    from orris.telemetry import metrics

    batching.ON_LOOP_SECONDS = float("inf")

    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout = os.fdopen(kept, "w")
    if os.environ.get("PRICE_NO_METRICS"):
        metrics.Metrics.answered = lambda *_: None
        metrics.Metrics.answered_many = lambda *_: None
        metrics.ModelCounts.called = lambda *_: None


if __name__ == "__main__":
    if sys.argv[1:2] == ["--answer"]:
        import uvloop

        print(uvloop.run(answer(Path(sys.argv[2]))), flush=True)
    else:
        main()

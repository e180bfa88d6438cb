"""Where a request's microseconds go: CPU time per request of each step of the fast path, sockets left out.

Sixty-four connections of one process get a request each, the loop turns, and the answers are written to nothing. Steps
are timed from outside; a step holds those that are indented under it. Timing costs up to a microsecond per step and
tick. The least of several rounds is told: whatever else the machine does only adds.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import harness
import uvloop
from uvicorn.server import ServerState

from orris.protocols.codecs import NamedCodec
from orris.runtime import OnnxRuntime
from orris.schema.warnings import Watch
from orris.server.assembly import assemble
from orris.server.loading import load_engine
from orris.serving import predict_route
from orris.serving.batching import Batcher
from orris.serving.http import connection, exchanges
from orris.serving.request_context import RequestContext
from orris.settings import Settings
from orris.telemetry.drift import Sketch

N_CONNECTIONS, N_TICKS, N_ROUNDS = 64, 25, 28
BODY = b'{"sepal_length":5.1,"sepal_width":3.5,"petal_length":1.4,"petal_width":0.2}'
INSTANCES = b'{"instances":[[5.1,3.5,1.4,0.2]]}'
TENSOR = b'{"inputs":[{"name":"rows","datatype":"FP64","shape":[1,4],"data":[5.1,3.5,1.4,0.2]}]}'


def post(path: bytes, body: bytes, *lines: bytes) -> bytes:
    """A request."""
    head = (b"Host: 127.0.0.1:8000", b"Content-Type: application/json", b"Content-Length: %d" % len(body), *lines)
    return b"".join([b"POST %b HTTP/1.1\r\n" % path, *(line + b"\r\n" for line in head), b"\r\n", body])


USUAL = post(b"/predict", BODY)
TRACE = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
KINDS = {
    "one row": USUAL,
    "the same with a traceparent": post(b"/predict", BODY, TRACE),
    "instances": post(b"/predict", INSTANCES),
    "V1": post(b"/v1/models/logistic:predict", INSTANCES),
    "V2 JSON": post(b"/v2/models/logistic/infer", TENSOR),
}

STEPS: list[tuple[str, Any, str]] = [
    ("parse, and enter the route", connection.Connection, "data_received"),
    ("tick", predict_route.PredictRoute, "_tick"),
    ("  read the bodies", NamedCodec, "read"),
    ("  call the model, with what is counted of it", Batcher, "_run"),
    ("    ONNX Runtime", OnnxRuntime, "run"),
    ("    unusual values", Watch, "usual"),
    ("  count for drift", Sketch, "add"),
    ("  write the bodies", NamedCodec, "write"),
    ("  write the answers", exchanges.HttpExchange, "succeed"),
    ("  count and log the requests", RequestContext, "finished_together"),
]


class Nothing:
    """A transport that writes to nothing."""

    def write(self, data: bytes) -> None:
        """Forget it."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Nothing is known."""
        del name
        return default

    def is_closing(self) -> bool:
        """It stays open."""
        return False


def timed(times: dict[str, float], label: str, owner: Any, name: str) -> None:
    """Add up the CPU time of a function."""
    found = owner.__dict__[name]
    function: Callable[..., Any] = getattr(found, "__func__", found)

    def wrapped(*arguments: Any) -> Any:
        start = process_time()
        try:
            return function(*arguments)
        finally:
            times[label] += process_time() - start

    setattr(owner, name, staticmethod(wrapped) if isinstance(found, staticmethod) else wrapped)


async def run(settings: Settings) -> tuple[dict[str, float], dict[str, float]]:
    """Microseconds per request: in all by kind, and of the usual one by step."""
    served = assemble([(load_engine("logistic", settings), "logistic")], settings)
    state = ServerState()
    state.default_headers = [(b"date", b"Sat, 28 Nov 2026 02:02:40 GMT")]
    served.http.bind(None, state, {})  # type: ignore[arg-type]  # nothing is handed over to uvicorn
    connections = [connection.Connection(served.http) for _ in range(N_CONNECTIONS)]
    for each in connections:
        each.connection_made(Nothing())  # type: ignore[arg-type]

    async def ticks(n: int, request: bytes = USUAL) -> float:
        start = process_time()
        for _ in range(n):
            for each in connections:
                each.data_received(request)
            await asyncio.sleep(0)
            while any(each.pending for each in connections):
                await asyncio.sleep(0)
        return (process_time() - start) / n / N_CONNECTIONS * 1e6

    totals = {}
    for kind, request in KINDS.items():
        await ticks(N_TICKS, request)
        totals[kind] = min([await ticks(N_TICKS, request) for _ in range(N_ROUNDS)])
    times = dict.fromkeys([label for label, _, _ in STEPS], 0.0)
    for label, owner, name in STEPS:
        timed(times, label, owner, name)
    least = dict.fromkeys(times, float("inf"))
    for _ in range(N_ROUNDS):
        times.update(dict.fromkeys(times, 0.0))
        await ticks(N_TICKS)
        least = {label: min(least[label], spent / N_TICKS / N_CONNECTIONS * 1e6) for label, spent in times.items()}
    served.routes.context.log.close()
    return totals, least


def main() -> None:
    """Train, measure, print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        harness.orris("train", "--model", "logistic", "--name", "logistic", "--store", "served", folder=folder)
        out = os.dup(1)
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)  # the access log
        totals, steps = uvloop.run(run(Settings(store=str(folder / "served"))))
        sys.stdout.flush()
        os.dup2(out, 1)
    rows = [(label, f"{us:.2f} µs") for label, us in steps.items()]
    harness.print_table(("where a request's microseconds go", "CPU time"), rows)
    print()
    harness.print_table(
        ("a request in all, without sockets", "CPU time"), [(kind, f"{us:.2f} µs") for kind, us in totals.items()]
    )


if __name__ == "__main__":
    main()

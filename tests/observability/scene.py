"""A real server with everything on that makes metrics, and clients that make every metric move."""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import orris
from tests.example_tables import mixed_table
from tests.servers import Server, client, serving
from tests.waiting import PATIENCE_SECONDS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of gevent, at import
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

TABLE = Path(__file__).parents[2] / "data" / "iris.csv"
NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
TOKEN = "an-admin-token-that-is-long-enough-for-a-test"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
ENVIRON = {"ORRIS_ADMIN_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest()}

Row = dict[str, Any]


@contextmanager
def scene(folder: Path, wrong_every: int = 1, in_flight: int = 1) -> Iterator[Server]:
    """Two workers under load: two versions of one model, a shadow, a model with categories, and gRPC.

    Args:
        folder: Where the store and the log go.
        wrong_every: Each how many rounds the callers also ask what is refused or fails.
        in_flight: Requests that a worker takes at once; with 1, two at once overload it.
    """
    store = publish(folder / "store")
    models = ("iris@1.0.0", "iris@2.0.0", "churn", "flowers", "--shadow", "iris@2.0.0")
    arguments = (*models, "--store", str(store), "--workers", "2", "--grpc-port", "0")
    environ = {**ENVIRON, "ORRIS_MAX_IN_FLIGHT": str(in_flight)}
    with serving(*arguments, folder=folder, environ=environ) as server, busy(server, wrong_every):
        yield server


def publish(store: Path) -> Path:
    """The models of the scene."""
    kinds: list[dict[str, Any]] = [{"version": "1.0.0"}, {"version": "2.0.0", "model": "decision-tree"}]
    for kind in kinds:
        orris.train(TABLE, target="species", name="iris", store=store, **kind)
    orris.train(TABLE, target="species", name="flowers", version="1.0.0", store=store)
    orris.train(mixed_table(), target="churned", name="churn", model="logistic", version="1.0.0", store=store)
    return store


@contextmanager
def busy(server: Server, wrong_every: int) -> Iterator[None]:
    """Run callers of all kinds until the block ends."""
    with client(server) as ask:
        ask.post("/v2/repository/models/flowers/unload", headers=ADMIN)
        ask.post("/api/v1/model/reload", headers=ADMIN, json={"version": "9.9.9"})
    over = threading.Event()
    threads = [
        threading.Thread(target=caller, args=(server, over, wrong_every), daemon=True)
        for caller in (_asks, _calls, _sends_much)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)


def _asks(server: Server, over: threading.Event, wrong_every: int) -> None:
    """Send flowers with one growing column, customers from an unseen town, and requests that are refused or fail."""
    flowers = pd.read_csv(TABLE)[NAMES]
    grown: list[Row] = flowers.assign(petal_width=flowers.petal_width + 1).to_dict("records")  # type: ignore[assignment]
    customers = _customers()
    row, i = grown[0], 0
    with client(server) as ask:
        while not over.is_set():
            ask.post("/predict", json=grown[i % 150])
            ask.post("/api/v1/predict", json=grown[:25])
            ask.post("/api/v1/models/iris/versions/2.0.0/predict", json=grown[i * 7 % 150])
            ask.post("/api/v1/models/churn/predict", json=customers[i % 10 * 40 : i % 10 * 40 + 40])
            ask.get("/health")
            if i % wrong_every == 0:
                ask.post("/predict", json=row | {"sepal_length": "long"})
                ask.post("/v2/models/flowers/infer", json={})
            i += 1
            over.wait(0.02)


def _customers() -> list[Row]:
    rows = [
        {str(k): None if pd.isna(v) else v for k, v in row.items() if k != "churned"}
        for row in mixed_table(400).to_dict("records")
    ]
    for row in rows[::4]:
        row["town"] = "Ghent"
    return rows


def _calls(server: Server, over: threading.Event, wrong_every: int) -> None:
    """Send gRPC calls: one that is answered, one that cannot be."""
    given = triton.InferInput("rows", [1, 4], "FP64")
    given.set_data_from_numpy(np.array([[5.1, 3.5, 1.4, 0.2]]))
    with triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as call:
        i = 0
        while not over.is_set():
            for model in ("iris", "flowers")[: 1 + (i % wrong_every == 0)]:
                try:
                    call.infer(model, [given])
                except InferenceServerException:
                    continue
            i += 1
            over.wait(0.05)


def _sends_much(server: Server, over: threading.Event, wrong_every: int) -> None:
    """Four long bodies at once to two workers that take one each, so that they turn others away meanwhile."""
    content = (
        b"["
        + b",".join([b'{"sepal_length":5.1,"sepal_width":3.5,"petal_length":1.4,"petal_width":1.2}'] * 5_000)
        + b"]"
    )

    def send() -> None:
        with client(server) as ask:
            ask.post("/predict", content=content, headers={"content-type": "application/json"})

    while not over.is_set():
        together = [threading.Thread(target=send) for _ in range(4)]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
        over.wait(0.5 * wrong_every)

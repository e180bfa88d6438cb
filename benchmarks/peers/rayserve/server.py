"""A Ray Serve deployment, plain and with ``@serve.batch``, as its documentation writes them.

``server.py PORT REPLICAS CPUS plain|batching``.
Ray is told to keep its own traffic on the loopback interface, and to leave the dashboard out.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import ray
from ray import serve
from starlette.requests import Request

PORT, REPLICAS, CPUS, KIND = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
MODEL = Path(os.environ["PEER_WORK"]) / "model.joblib"


def answer(probabilities: Any) -> dict[str, Any]:
    """Of one row."""
    return {"class": int(probabilities.argmax()), "probabilities": probabilities.tolist()}


@serve.deployment(num_replicas=REPLICAS, max_ongoing_requests=100)
class Plain:
    """One request, one call of the model."""

    def __init__(self) -> None:
        self.pipeline = joblib.load(MODEL)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one row."""
        row = (await request.json())["row"]
        return answer(self.pipeline.predict_proba(np.array([row]))[0])


@serve.deployment(num_replicas=REPLICAS, max_ongoing_requests=100)
class Batching:
    """Ray Serve gathers requests into one call of the model."""

    def __init__(self) -> None:
        self.pipeline = joblib.load(MODEL)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def batch(self, rows: list[Any]) -> list[Any]:
        """Answer many rows."""
        return [answer(probabilities) for probabilities in self.pipeline.predict_proba(np.array(rows))]

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one row."""
        answered: dict[str, Any] = await self.batch((await request.json())["row"])
        return answered


if __name__ == "__main__":
    ray.init(num_cpus=CPUS, include_dashboard=False, _node_ip_address="127.0.0.1", _temp_dir=os.environ["PEER_SCRATCH"])
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run((Plain if KIND == "plain" else Batching).bind(), route_prefix="/predict")
    signal.pause()

"""LitServe's ``LitAPI``, plain and with its batching, as its documentation writes them.

``server.py PORT WORKERS MAX_BATCH_SIZE``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import joblib
import litserve
import numpy as np

PORT, WORKERS, MAX_BATCH_SIZE = map(int, sys.argv[1:])


class Iris(litserve.LitAPI):
    """One row in, class and probabilities out."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Called once by each worker."""
        self.pipeline = joblib.load(Path(os.environ["PEER_WORK"]) / "model.joblib")

    def decode_request(self, request, **kwargs):  # type: ignore[no-untyped-def]  # noqa: ARG002
        """The row as an array. LitServe reads the annotations, so there are none."""
        return np.array(request["row"])

    def predict(self, x: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Probabilities: of one row, or of a batch that LitServe has stacked."""
        return self.pipeline.predict_proba(x) if MAX_BATCH_SIZE > 1 else self.pipeline.predict_proba(x[None])[0]

    def encode_response(self, output: Any, **kwargs: Any) -> dict[str, Any]:  # noqa: ARG002
        """The answer."""
        return {"class": int(output.argmax()), "probabilities": output.tolist()}


if __name__ == "__main__":
    api = Iris(max_batch_size=MAX_BATCH_SIZE, batch_timeout=0.001) if MAX_BATCH_SIZE > 1 else Iris()
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS)
    server.run(host="127.0.0.1", port=PORT, num_api_servers=WORKERS, generate_client_file=False)

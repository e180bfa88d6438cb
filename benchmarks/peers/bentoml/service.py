"""A BentoML service, plain and with adaptive batching, as its documentation writes them."""

from __future__ import annotations

import os
from typing import Any

import bentoml
import joblib
import numpy as np

WORKERS = int(os.environ.get("PEER_WORKERS", "1"))


@bentoml.service(workers=WORKERS)
class Plain:
    """One request, one call of the model."""

    iris = bentoml.models.BentoModel("iris:latest")

    def __init__(self) -> None:
        self.pipeline = joblib.load(self.iris.path_of("model.joblib"))

    @bentoml.api
    def predict(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """The class and the probabilities of every row."""
        return answers(self.pipeline.predict_proba(rows))


@bentoml.service(workers=WORKERS)
class Batching:
    """BentoML gathers requests into one call of the model."""

    iris = bentoml.models.BentoModel("iris:latest")

    def __init__(self) -> None:
        self.pipeline = joblib.load(self.iris.path_of("model.joblib"))

    @bentoml.api(batchable=True)
    def predict(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """The class and the probabilities of every row."""
        return answers(self.pipeline.predict_proba(rows))


def answers(probabilities: Any) -> list[dict[str, Any]]:
    """One object per row."""
    classes = probabilities.argmax(axis=1).tolist()
    return [
        {"class": number, "probabilities": row} for number, row in zip(classes, probabilities.tolist(), strict=True)
    ]

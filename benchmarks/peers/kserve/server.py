"""KServe's model server with a scikit-learn model, as its ``sklearnserver`` (which is not in the registry) does it.

Protocol V1 answers one array; here, each row's class and probabilities, from one call of the model.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from kserve import Model, ModelServer, model_server


class Iris(Model):
    """Loads ``model.joblib``; answers ``instances``."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self.folder = folder
        self.load()

    def load(self) -> bool:
        """Called once by each worker."""
        self.pipeline = joblib.load(self.folder / "model.joblib")
        self.ready = True
        return self.ready

    def predict(self, payload: dict[str, Any], headers: Any = None, response_headers: Any = None) -> dict[str, Any]:  # noqa: ARG002
        """The classes and probabilities of ``payload["instances"]``."""
        probabilities = self.pipeline.predict_proba(np.array(payload["instances"]))
        classes = probabilities.argmax(axis=1).tolist()
        rows = zip(classes, probabilities.tolist(), strict=True)
        return {"predictions": [{"class": number, "probabilities": row} for number, row in rows]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    parser.add_argument("--model_dir", type=Path, required=True)
    asked = parser.parse_args()
    ModelServer().start([Iris(asked.model_name, asked.model_dir)])

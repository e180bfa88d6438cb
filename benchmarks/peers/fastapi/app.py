"""The FastAPI application of the common tutorial: a pydantic model, a DataFrame of one row, the pipeline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
pipeline = joblib.load(Path(os.environ["PEER_WORK"]) / "model.joblib")


class Flower(BaseModel):
    """One row."""

    sepal_length: float
    sepal_width: float
    petal_length: float
    petal_width: float


@app.post("/predict")
def predict(flower: Flower) -> dict[str, Any]:
    """The class and the probabilities of one row."""
    probabilities = pipeline.predict_proba(pd.DataFrame([flower.model_dump()]))[0]
    return {"class": int(probabilities.argmax()), "probabilities": probabilities.tolist()}


@app.post("/predict-in-loop")
async def predict_in_loop(flower: Flower) -> dict[str, Any]:
    """The same without a thread per request: the model blocks the loop, but one core is used better."""
    return predict(flower)

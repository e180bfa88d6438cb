"""The Flask application of the common tutorial: a DataFrame of one row, the pipeline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from flask import Flask, jsonify, request

app = Flask(__name__)
pipeline = joblib.load(Path(os.environ["PEER_WORK"]) / "model.joblib")


@app.post("/predict")
def predict() -> Any:
    """The class and the probabilities of one row."""
    probabilities = pipeline.predict_proba(pd.DataFrame([request.get_json()]))[0]
    return jsonify({"class": int(probabilities.argmax()), "probabilities": probabilities.tolist()})

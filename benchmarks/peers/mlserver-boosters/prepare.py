"""Package iris for MLServer's XGBoost and LightGBM runtimes: the libraries' own files of 100 rounds, and settings."""

from __future__ import annotations

import json

import lightgbm
import model
import xgboost
from sklearn.datasets import load_iris

rows, classes = load_iris(return_X_y=True)
xgboost.XGBClassifier(n_estimators=100, n_jobs=1).fit(rows, classes).save_model(model.WORK / "model.json")
boosted = lightgbm.LGBMClassifier(n_estimators=100, n_jobs=1, verbose=-1).fit(rows, classes)
boosted.booster_.save_model(model.WORK / "model.txt")
RUNTIMES = {"xgboost": ("XGBoostModel", "model.json"), "lightgbm": ("LightGBMModel", "model.txt")}
for library, (kind, file) in RUNTIMES.items():
    folder = model.WORK / library
    folder.mkdir(exist_ok=True)
    settings = {
        "name": "iris",
        "implementation": f"mlserver_{library}.{kind}",
        "parameters": {"uri": str((model.WORK / file).resolve())},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings, indent=2) + "\n")

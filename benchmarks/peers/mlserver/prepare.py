"""Package the model for MLServer: ``model.joblib``, and ``model-settings.json``, plain and with adaptive batching."""

from __future__ import annotations

import json

import model

FOLDERS = {"plain": {}, "batching": {"max_batch_size": 64, "max_batch_time": 0.001}}

model.dump()
for name, batching in FOLDERS.items():
    folder = model.WORK / name
    folder.mkdir(exist_ok=True)
    uri = str((model.WORK / "model.joblib").resolve())
    settings = {
        "name": "iris",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": uri},
        **batching,
    }
    (folder / "model-settings.json").write_text(json.dumps(settings, indent=2) + "\n")

"""Iris as XGBoost's own file of 100 rounds, which Timber compiles when it starts to serve it."""

from __future__ import annotations

import model
import xgboost
from sklearn.datasets import load_iris

rows, classes = load_iris(return_X_y=True)
xgboost.XGBClassifier(n_estimators=100, n_jobs=1).fit(rows, classes).save_model(model.WORK / "iris.json")

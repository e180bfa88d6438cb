"""Every kind of booster × task × missing × categorical on four tables answers as its library does on the raw rows.

The rows are those of training, and copies of them with values on the model's thresholds, one representable number
beside them, and around zero. The library predicts the DataFrame itself; the compiled model is given its encoded rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import catboost as cb
import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import xgboost as xgb

from orris.compile.build import build, decoded
from orris.compile.converters import catboost as of_catboost
from orris.compile.converters import lightgbm as of_lightgbm
from orris.compile.graph import Graph, Prediction
from orris.runtime import OnnxRuntime
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.schema.frames import encode
from orris.training.learning import learn_schema
from tests.compile.agreement import run
from tests.compile.booster_tables import TABLES, TASKS, Task, table

N_ROWS = 600
BESIDE_ZERO = (0.0, -0.0, 1e-36, -1e-36, 5e-324, 1e30, -1e30)
LAST_BITS = 1e-15

Fit = Callable[[Task, pd.DataFrame, Any], Any]


def _xgboost(task: Task, X: pd.DataFrame, y: Any, kind: str = "XGB", **settings: Any) -> Any:
    estimator = getattr(xgb, f"{kind}{'Regressor' if task == 'regression' else 'Classifier'}")
    return estimator(**({"n_estimators": 6, "max_depth": 4, "n_jobs": 1, "enable_categorical": True} | settings)).fit(
        X, y
    )


def _lightgbm(task: Task, X: pd.DataFrame, y: Any, **settings: Any) -> Any:
    estimator = lgb.LGBMRegressor if task == "regression" else lgb.LGBMClassifier
    small = {"n_estimators": 6, "num_leaves": 12, "min_child_samples": 5, "n_jobs": 1, "verbose": -1}
    return estimator(**(small | {"min_data_per_group": 5, "cat_smooth": 1.0} | settings)).fit(X, y)


def _catboost(task: Task, X: pd.DataFrame, y: Any, **settings: Any) -> Any:
    estimator = cb.CatBoostRegressor if task == "regression" else cb.CatBoostClassifier
    small = {"iterations": 6, "depth": 4, "thread_count": 1, "verbose": 0, "allow_writing_files": False}
    categories = [name for name in ("town", "tariff") if name in X]
    return estimator(**(small | {"learning_rate": 0.3} | settings)).fit(X, y, cat_features=categories or None)


BOOSTERS: dict[str, Fit] = {
    "xgboost gbtree": _xgboost,
    "xgboost dart": partial(_xgboost, booster="dart", rate_drop=0.4),
    "xgboost forest": partial(_xgboost, kind="XGBRF"),
    "xgboost gblinear": partial(_xgboost, booster="gblinear", max_depth=None, enable_categorical=False),
    "lightgbm gbdt": _lightgbm,
    "lightgbm dart": partial(_lightgbm, boosting_type="dart", drop_rate=0.4),
    "lightgbm rf": partial(_lightgbm, boosting_type="rf", bagging_freq=1, bagging_fraction=0.7),
    "catboost symmetric": _catboost,
    "catboost depthwise": partial(_catboost, grow_policy="Depthwise"),
    "catboost one-hot": partial(_catboost, one_hot_max_size=50),
}
KINDS = [(missing, categorical) for missing in (False, True) for categorical in (False, True)]
CASES = [
    pytest.param(
        booster,
        task,
        name,
        *kind,
        id=f"{booster} {task} {name}{' missing' * kind[0]}{' categorical' * kind[1]}",
    )
    for booster in BOOSTERS
    for task in TASKS
    for name in TABLES
    for kind in KINDS
    if not (booster == "xgboost gblinear" and kind[1])  # which refuses categories
    and not (booster == "catboost one-hot" and not kind[1])  # which would be symmetric again
]


def _table(booster: str, name: str, task: Task, *, missing: bool, categorical: bool) -> tuple[pd.DataFrame, Any]:
    X, y = table(name, task, missing=missing, categorical=categorical)
    if categorical and booster.startswith("catboost"):  # it takes text, and a missing category as a text of its own
        X["town"] = X["town"].astype(object).where(X["town"].notna(), "nowhere")
        X["tariff"] = X["tariff"].astype(int).astype(str)
    return X, y


def _on_thresholds(X: pd.DataFrame, schema: Schema, thresholds: dict[int, list[FloatArray]]) -> pd.DataFrame:
    """Copies of rows of ``X`` in which every second number is one of its column's thresholds or their neighbours."""
    rng = np.random.default_rng(0)
    rows = X.iloc[rng.integers(0, len(X), N_ROWS)].reset_index(drop=True)
    for position, column in enumerate(schema.columns):
        if column.levels:
            continue
        found = np.concatenate([*thresholds.get(position, []), BESIDE_ZERO])
        rows[column.name] = np.where(rng.random(N_ROWS) < 0.5, rng.choice(found, N_ROWS), rows[column.name])
    return pd.concat([X, rows], ignore_index=True)


def _raw(model: Any, schema: Schema, encoded: FloatArray) -> FloatArray | None:
    """The compiled raw scores ``(n_rows, n_targets)`` of LightGBM and CatBoost; ``None`` for XGBoost."""
    graph = Graph()
    frame = decoded(graph, schema)
    if hasattr(model, "booster_"):
        scores = of_lightgbm._raw(graph, of_lightgbm.read_booster(model.booster_), frame)
    elif isinstance(model, cb.CatBoost):
        n_targets = len(model.classes_) if len(getattr(model, "classes_", ())) > 2 else 1
        scores = of_catboost._raw(graph, of_catboost.describe(model, frame), frame, n_targets)
    else:
        return None
    return np.asarray(run(graph, Prediction(probabilities=scores), schema.n_columns, encoded)["probabilities"])


def _own_raw(model: Any, rows: pd.DataFrame) -> npt.NDArray[Any]:
    if hasattr(model, "booster_"):
        raw = np.asarray(model.predict(rows, raw_score=True))
        return raw / model.n_estimators if model.boosting_type == "rf" else raw  # a forest's raw score is not averaged
    return np.asarray(model.predict(rows, prediction_type="RawFormulaVal"))


@pytest.mark.parametrize(("booster", "task", "name", "missing", "categorical"), CASES)
@pytest.mark.filterwarnings("ignore:.*are not used:UserWarning")
def test_agrees_on_raw_rows(booster: str, task: Task, name: str, missing: bool, categorical: bool) -> None:
    """XGBoost in every bit; the others in every bit of the raw scores, and within 1e-15 of probabilities."""
    X, y = _table(booster, name, task, missing=missing, categorical=categorical)
    model = BOOSTERS[booster](task, X, y)
    labels = () if task == "regression" else model.classes_.tolist()
    schema = learn_schema(X, target="y", task="classification" if labels else "regression", labels=labels)
    built, graph = build(model, schema)
    assert graph.thresholds or "gblinear" in booster
    rows = _on_thresholds(X, schema, graph.thresholds)
    encoded = encode(schema, rows)
    found = OnnxRuntime(built.SerializeToString()).run(encoded)
    if task == "regression":
        np.testing.assert_array_equal(found.values, np.asarray(model.predict(rows), np.float64))
    else:
        np.testing.assert_array_equal(found.labels, np.asarray(model.predict(rows)).reshape(-1))
        assert found.probabilities is not None
        own = np.asarray(model.predict_proba(rows), np.float64)
        exact = booster.startswith("xgboost")
        np.testing.assert_allclose(found.probabilities, own, rtol=0, atol=0.0 if exact else LAST_BITS)
    raw = _raw(model, schema, encoded)
    if raw is not None:
        own = _own_raw(model, rows)
        np.testing.assert_array_equal(raw.reshape(own.shape), own)

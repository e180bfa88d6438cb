"""XGBoost answers from ONNX as it does itself, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, StackingRegressor, VotingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from orris.compile import compile_pipeline
from orris.compile.converters.xgboost import read_booster
from orris.errors import NotConvertibleError
from orris.schema.frames import encode
from orris.training.learning import learn_schema
from tests.compile.booster_tables import Task, assert_exact, table

SMALL: dict[str, Any] = {"n_estimators": 15, "max_depth": 4, "n_jobs": 1}


def _estimator(task: Task, **settings: Any) -> Any:
    kind = xgb.XGBRegressor if task == "regression" else xgb.XGBClassifier
    return kind(**(SMALL | settings))


@pytest.mark.parametrize(
    "objective",
    [
        "count:poisson",
        "reg:absoluteerror",
        "reg:gamma",
        "reg:logistic",
        "reg:pseudohubererror",
        "reg:quantileerror",
        "reg:squaredlogerror",
        "reg:tweedie",
        "survival:cox",
        "binary:logistic",
        "binary:logitraw",
        "binary:hinge",
    ],
)
def test_objectives_of_one_value(objective: str) -> None:
    """Every objective with one value a row passes through its own link, in float32."""
    X, y = table("cancer", "regression", missing=True)
    y = (y > 0).astype(int) if objective.startswith("binary") else 1 / (1 + np.exp(-y))
    extra = {"quantile_alpha": 0.3} if objective == "reg:quantileerror" else {}
    assert_exact(_estimator("regression", objective=objective, **extra).fit(X, y), X)


def test_ranker() -> None:
    """A ranker's score is a value."""
    X, y = table("cancer", "binary")
    model = xgb.XGBRanker(**SMALL).fit(X, y, qid=np.arange(len(y)) // 20)
    assert_exact(model, X)


@pytest.mark.parametrize("settings", [{"base_score": 0.2}, {"max_cat_to_onehot": 50}, {"missing": 0.0}], ids=str)
def test_settings(settings: dict[str, Any]) -> None:
    """A declared base score, one-hot splits, and a number that stands for missing agree."""
    X, y = table("diabetes", "binary", categorical=True)
    assert_exact(_estimator("binary", enable_categorical=True, **settings).fit(X, y), X)


def test_best_iteration() -> None:
    """After early stopping only the rounds up to the best count."""
    X, y = table("cancer", "multiclass")
    model = _estimator("multiclass", n_estimators=200, early_stopping_rounds=2)
    model.fit(X, y, eval_set=[(X[::3], (y[::3] + 1) % 4)], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    assert_exact(model, X)


def test_codes_as_numbers() -> None:
    """A column declared categorical by its type holds codes; what is no code goes left, as in XGBoost."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"code": rng.integers(0, 9, 400), "x": rng.normal(size=400).round(1)})
    y = ((X["code"] % 2 == 0) ^ (X["x"] > 0)).astype(int)
    model = _estimator("binary", feature_types=["c", "float"], enable_categorical=True).fit(X, y)
    assert_exact(model, X)


def test_softmax() -> None:
    """With ``multi:softmax`` labels are equal, and probabilities differ by the last bits of scipy's float32."""
    X, y = table("wine", "multiclass")
    assert_exact(_estimator("multiclass", objective="multi:softmax").fit(X, y), X, absolute=3e-7)


def _encoder() -> ColumnTransformer:
    return ColumnTransformer([("town", OneHotEncoder(handle_unknown="ignore"), ["town"])], remainder=StandardScaler())


def test_pipeline_with_sparse_columns() -> None:
    """What a sparse matrix leaves out is missing to XGBoost, also inside a pipeline."""
    X, y = table("diabetes", "binary", missing=True, categorical=True)
    X["tariff"] = X["tariff"].astype(int)
    encoder = ColumnTransformer([("town", OneHotEncoder(handle_unknown="ignore"), ["town"])], sparse_threshold=1.0)
    for step in (_encoder(), encoder):
        assert_exact(Pipeline([("encode", step), ("model", _estimator("binary"))]).fit(X, y), X)


def _wrapped() -> dict[str, Any]:
    model = _estimator("binary")
    return {
        "calibrated-sigmoid": CalibratedClassifierCV(model, cv=2),
        "calibrated-isotonic": CalibratedClassifierCV(model, method="isotonic", cv=2),
        "voting": VotingClassifier([("a", model), ("b", _estimator("binary", max_depth=2))], voting="soft"),
        "voting-mixed": VotingClassifier(
            [("a", model), ("b", RandomForestClassifier(5, random_state=0))], voting="soft", weights=[2, 1]
        ),
        "stacking": StackingClassifier([("a", model), ("b", LogisticRegression())], cv=2),
        "search": GridSearchCV(model, {"max_depth": [2, 3]}, cv=2),
    }


@pytest.mark.parametrize("name", _wrapped())
def test_wrapped_classifier(name: str) -> None:
    """Calibration, voting, stacking and searches over XGBoost pass the gate as exact."""
    X, y = table("cancer", "binary")
    _require_compiled(_wrapped()[name].fit(X, y), X)


@pytest.mark.parametrize("name", ["log", "scaled", "stacking"])
def test_wrapped_regressor(name: str) -> None:
    """A transformed target and stacking over XGBoost pass the gate as exact."""
    X, y = table("cancer", "regression")
    model = _estimator("regression")
    wrapped = {
        "log": TransformedTargetRegressor(model, func=np.log1p, inverse_func=np.expm1),
        "scaled": TransformedTargetRegressor(model, transformer=StandardScaler()),
        "stacking": StackingRegressor([("a", model), ("b", Ridge())], cv=2),
    }
    _require_compiled(wrapped[name].fit(X, y - y.min()), X)


def _require_compiled(estimator: Any, X: pd.DataFrame) -> None:
    classes = np.asarray(getattr(estimator, "classes_", ())).tolist()
    schema = learn_schema(X, target="y", task="classification" if classes else "regression", labels=classes)
    compiled = compile_pipeline(estimator, schema, encode(schema, X), require_compiled=True)
    assert compiled.verdict.strategy == "exact"


def test_several_targets() -> None:
    """A model of several targets is refused by name."""
    X, y = table("iris", "regression")
    model = _estimator("regression", multi_strategy="multi_output_tree").fit(X, np.column_stack([y, -y]))
    with pytest.raises(NotConvertibleError, match="several targets"):
        read_booster(model.get_booster())

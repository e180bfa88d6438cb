"""LightGBM answers from ONNX as it does itself: raw scores to the last bit, probabilities within 1e-15."""

from __future__ import annotations

from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from orris.compile import compile_pipeline
from orris.compile.build import build
from orris.errors import NotConvertibleError
from orris.schema.frames import encode
from orris.training.learning import learn_schema
from tests.compile.booster_tables import TASKS, Task, assert_exact, table

SMALL: dict[str, Any] = {"n_estimators": 15, "num_leaves": 15, "min_child_samples": 5, "n_jobs": 1, "verbose": -1}
LAST_BITS = 1e-15


def _estimator(task: Task, **settings: Any) -> Any:
    kind = lgb.LGBMRegressor if task == "regression" else lgb.LGBMClassifier
    return kind(**(SMALL | settings))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "settings",
    [
        {"zero_as_missing": True},
        {"use_missing": False},
    ],
    ids=["zero-as-missing", "no-missing"],
)
def test_settings(task: Task, settings: dict[str, Any]) -> None:
    """LightGBM agrees with zeros as missing values, and with missing values as zeros."""
    X, y = table("diabetes", task, missing=True)
    X["x4"] = (X["x4"] - X["x4"].median()).round()
    assert (X["x4"] == 0).any()
    assert_exact(_estimator(task, **settings).fit(X, y), X, absolute=0.0 if task == "regression" else LAST_BITS)


@pytest.mark.parametrize(
    "objective",
    [
        "regression_l1",
        "huber",
        "fair",
        "quantile",
        "mape",
        "poisson",
        "gamma",
        "tweedie",
        "cross_entropy",
        "cross_entropy_lambda",
    ],
)
def test_objectives_of_one_value(objective: str) -> None:
    """Every objective with one value a row passes through its own link."""
    X, y = table("cancer", "regression", missing=True)
    assert_exact(_estimator("regression", objective=objective).fit(X, 1 / (1 + np.exp(-y))), X, absolute=LAST_BITS)


def test_square_root_of_the_target() -> None:
    """With ``reg_sqrt`` the raw score is squared, and keeps its sign."""
    X, y = table("cancer", "regression")
    assert_exact(_estimator("regression", reg_sqrt=True).fit(X, y), X, absolute=LAST_BITS)


def test_one_against_the_rest() -> None:
    """``multiclassova`` gives a logistic probability for each class, which do not sum to one."""
    X, y = table("wine", "multiclass")
    assert_exact(_estimator("multiclass", objective="multiclassova").fit(X, y), X, absolute=LAST_BITS)


def test_ranker() -> None:
    """A ranker's score is a value."""
    X, y = table("cancer", "binary")
    groups = np.bincount(np.arange(len(y)) // 20)
    assert_exact(lgb.LGBMRanker(**SMALL).fit(X, y, group=groups), X)


def test_best_iteration() -> None:
    """After early stopping only the rounds up to the best count."""
    X, y = table("cancer", "binary")
    model = _estimator("binary", n_estimators=100)
    model.fit(X, y, eval_X=X[::3], eval_y=1 - y[::3], callbacks=[lgb.early_stopping(2, verbose=False)])
    assert model.best_iteration_ < 100
    assert_exact(model, X, absolute=LAST_BITS)


def test_labels_of_text() -> None:
    """Labels may be text, in any number."""
    X, y = table("iris", "multiclass")
    assert_exact(_estimator("multiclass").fit(X, np.array(["d", "b", "c", "a"])[y]), X, absolute=LAST_BITS)


def test_codes_as_numbers() -> None:
    """In a column declared categorical a value that is no code, or missing, goes right."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"code": rng.integers(0, 40, 600), "x": rng.normal(size=600).round(1)})
    y = (X["code"] % 3) + X["x"]
    model = _estimator("regression", min_data_per_group=2, cat_smooth=1.0)
    assert_exact(model.fit(X, y, categorical_feature=["code"]), X)


def test_ordered_categories() -> None:
    """Ordered categories are split by the order of their codes, not by sets."""
    X, y = table("diabetes", "regression", missing=True, categorical=True)
    X["tariff"] = X["tariff"].cat.as_ordered()
    X["town"] = X["town"].cat.as_ordered()
    assert_exact(_estimator("regression").fit(X, y), X)


def test_linear_trees_are_refused() -> None:
    """Linear trees are refused by name."""
    X, y = table("iris", "regression")
    model = _estimator("regression", linear_tree=True).fit(X, y)
    schema = learn_schema(X, target="y", task="regression")
    with pytest.raises(NotConvertibleError, match="linear_tree"):
        build(model, schema)


def test_in_a_pipeline() -> None:
    """LightGBM behind encoders, whose columns may be sparse, agrees."""
    X, y = table("diabetes", "binary", missing=True, categorical=True)
    X["tariff"] = X["tariff"].astype(int)
    encoder = ColumnTransformer(
        [("town", OneHotEncoder(handle_unknown="ignore"), ["town"])], remainder=StandardScaler(), sparse_threshold=1.0
    )
    model = Pipeline([("encode", encoder), ("model", _estimator("binary"))])
    model.set_output(transform="default")
    assert_exact(model.fit(X, y), X, absolute=LAST_BITS)


@pytest.mark.parametrize("name", ["calibrated", "voting", "stacking", "search", "transformed target"])
def test_wrapped(name: str) -> None:
    """Calibration, voting, stacking, searches and transformed targets over LightGBM pass the gate as exact."""
    X, y = table("cancer", "binary")
    model = _estimator("binary")
    wrapped = {
        "calibrated": CalibratedClassifierCV(model, method="isotonic", cv=2),
        "voting": VotingClassifier([("a", model), ("b", LogisticRegression())], voting="soft"),
        "stacking": StackingClassifier([("a", model), ("b", LogisticRegression())], cv=2),
        "search": GridSearchCV(model, {"num_leaves": [7, 15]}, cv=2),
        "transformed target": TransformedTargetRegressor(
            _estimator("regression"), func=np.log1p, inverse_func=np.expm1
        ),
    }[name].fit(X.to_numpy(), y)
    classes = np.asarray(getattr(wrapped, "classes_", ())).tolist()
    rows = X.to_numpy()
    schema = learn_schema(rows, target="y", task="classification" if classes else "regression", labels=classes)
    compiled = compile_pipeline(wrapped, schema, encode(schema, rows), require_compiled=True)
    assert compiled.verdict.strategy == "exact"

"""CatBoost answers from ONNX as it does itself: raw scores to the last bit, probabilities within 1e-15."""

from __future__ import annotations

from typing import Any

import catboost as cb
import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from orris.compile import compile_pipeline
from orris.compile.build import build
from orris.errors import NotConvertibleError
from orris.schema.frames import encode
from orris.training.learning import learn_schema
from tests.compile.booster_tables import TASKS, Task, assert_exact, table

SMALL: dict[str, Any] = {
    "iterations": 15,
    "depth": 4,
    "thread_count": 1,
    "verbose": 0,
    "allow_writing_files": False,
    "random_seed": 0,
}
LAST_BITS = 1e-15


def _estimator(task: Task, **settings: Any) -> Any:
    kind = cb.CatBoostRegressor if task == "regression" else cb.CatBoostClassifier
    return kind(**(SMALL | settings))


def _table(name: str, task: Task, *, missing: bool = False, categorical: bool = False) -> tuple[pd.DataFrame, Any]:
    """As ``booster_tables.table``; CatBoost takes text, and a missing category only as a text of its own."""
    X, y = table(name, task, missing=missing, categorical=categorical)
    if categorical:
        X["town"] = X["town"].astype(object).where(X["town"].notna(), "nowhere")
        X["tariff"] = X["tariff"].astype(int).astype(str)
    return X, y


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "settings",
    [
        {"max_ctr_complexity": 1},
        {"one_hot_max_size": 50},
        {"one_hot_max_size": 4, "max_ctr_complexity": 3},
        {"simple_ctr": ["Buckets", "Counter"]},
        {"grow_policy": "Lossguide"},
        {"nan_mode": "Max"},
    ],
    ids=str,
)
def test_settings(task: Task, settings: dict[str, Any]) -> None:
    """One-hot splits, statistics of columns and combinations, and trees of other shapes agree."""
    X, y = _table("diabetes", task, missing=True, categorical=True)
    model = _estimator(task, cat_features=["town", "tariff"], **settings).fit(X, y)
    assert_exact(model, X, absolute=0.0 if task == "regression" else LAST_BITS)


@pytest.mark.parametrize(
    "loss", ["MAE", "Quantile:alpha=0.3", "Huber:delta=1", "Poisson", "Tweedie:variance_power=1.5"]
)
def test_losses_of_one_value(loss: str) -> None:
    """Every loss with one value a row passes through its own link."""
    X, y = _table("cancer", "regression", missing=True)
    assert_exact(_estimator("regression", loss_function=loss).fit(X, 1 / (1 + np.exp(-y))), X, absolute=LAST_BITS)


def test_one_against_all() -> None:
    """``MultiClassOneVsAll`` gives a logistic probability for each class, which do not sum to one."""
    X, y = _table("wine", "multiclass")
    model = _estimator("multiclass", loss_function="MultiClassOneVsAll").fit(X, np.array(["d", "b", "c", "a"])[y])
    assert_exact(model, X, absolute=LAST_BITS)


def test_best_iteration_and_threshold() -> None:
    """Only the rounds up to the best are kept; the label follows the probability threshold that was set."""
    X, y = _table("cancer", "binary")
    model = _estimator("binary", iterations=60)
    model.fit(X, y, eval_set=(X[::3], 1 - y[::3]), early_stopping_rounds=3, use_best_model=True)
    assert model.tree_count_ < 60
    model.set_probability_threshold(0.4)
    assert_exact(model, X, absolute=LAST_BITS)


def test_ranker() -> None:
    """A ranker's score is a value."""
    X, y = _table("cancer", "binary")
    model = cb.CatBoostRanker(**SMALL).fit(X, y, group_id=np.arange(len(y)) // 20)
    assert_exact(model, X)


def test_text_features_are_refused() -> None:
    """Text features are refused by name."""
    words = pd.DataFrame({"words": ["red car", "blue car", "red house", "blue house"] * 50, "x": np.arange(200.0)})
    model = _estimator("binary", text_features=["words"]).fit(words, np.arange(200) % 2)
    schema = learn_schema(words, target="y", task="classification", labels=[0, 1])
    with pytest.raises(NotConvertibleError, match="text features"):
        build(model, schema)


def test_in_a_pipeline_and_a_vote() -> None:
    """CatBoost behind an encoder, and beside another model in a vote, agrees."""
    X, y = _table("diabetes", "binary", categorical=True)
    encoder = ColumnTransformer([("codes", OrdinalEncoder(), ["town", "tariff"])], remainder="passthrough")
    assert_exact(Pipeline([("encode", encoder), ("model", _estimator("binary"))]).fit(X, y), X, absolute=LAST_BITS)
    numbers = X.drop(columns=["town", "tariff"])
    vote = VotingClassifier([("a", _estimator("binary")), ("b", LogisticRegression())], voting="soft").fit(numbers, y)
    schema = learn_schema(numbers, target="y", task="classification", labels=[0, 1])
    compiled = compile_pipeline(vote, schema, encode(schema, numbers), require_compiled=True)
    assert compiled.verdict.strategy == "exact"


def test_categories_behind_a_column_transformer() -> None:
    """A ColumnTransformer that keeps a DataFrame hands the categories on to CatBoost as they are."""
    X, y = _table("diabetes", "binary", missing=True, categorical=True)
    numbers = [name for name in X if name not in {"town", "tariff"}]
    parts = [("numbers", StandardScaler(), numbers), ("rest", "passthrough", ["town", "tariff"])]
    prepare = ColumnTransformer(parts, verbose_feature_names_out=False).set_output(transform="pandas")
    model = Pipeline([("prepare", prepare), ("model", _estimator("binary"))])
    assert_exact(model.fit(X, y, model__cat_features=["town", "tariff"]), X, absolute=LAST_BITS)


@pytest.mark.parametrize("name", ["calibrated", "stacking", "search", "transformed target"])
def test_wrapped(name: str) -> None:
    """Calibration, stacking, searches and transformed targets over CatBoost pass the gate as exact."""
    X, y = _table("cancer", "binary")
    model = _estimator("binary", iterations=6)
    wrapped = {
        "calibrated": CalibratedClassifierCV(model, cv=2),
        "stacking": StackingClassifier([("a", model), ("b", LogisticRegression())], cv=2),
        "search": GridSearchCV(model, {"depth": [2, 3]}, cv=2),
        "transformed target": TransformedTargetRegressor(
            _estimator("regression", iterations=6), func=np.log1p, inverse_func=np.expm1
        ),
    }[name].fit(X, y)
    classes = np.asarray(getattr(wrapped, "classes_", ())).tolist()
    schema = learn_schema(X, target="y", task="classification" if classes else "regression", labels=classes)
    compiled = compile_pipeline(wrapped, schema, encode(schema, X), require_compiled=True)
    assert compiled.verdict.strategy == "exact"

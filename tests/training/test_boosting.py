"""The presets of XGBoost, LightGBM and CatBoost: early stopping on rows set aside, and their parameters."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer

import orris
from orris.errors import MissingExtraError, TrainingError
from orris.training.boosting import LIBRARIES, early_stopped
from orris.training.learning import Task, learn_schema
from orris.training.pipelines import build
from tests.example_tables import mixed_table

TASKS: tuple[Task, ...] = ("classification", "regression")
ROUNDS = {"xgboost": "n_estimators", "lightgbm": "n_estimators", "catboost": "iterations"}


def _rows(task: Task) -> tuple[Any, Any]:
    X, y = load_breast_cancer(return_X_y=True)
    rng = np.random.default_rng(0)
    X = X[:300, :6] + rng.normal(0, 0.3, (300, 6)) * X[:300, :6].std(axis=0)
    return X, np.array(["good", "bad"])[y[:300]] if task == "classification" else X[:, 0] + rng.normal(0, 2, 300)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_early_stopping_then_all_rows(library: str, task: Task) -> None:
    """Rows set aside find the number of rounds; the model is the library's own, fitted on all rows with that number."""
    X, y = _rows(task)
    model = clone(early_stopped(library, task, 3)).fit(X, y)
    assert 1 <= model.n_rounds_ < 300
    again = type(model.estimator)(**(model.estimator.get_params() | {ROUNDS[library]: model.n_rounds_}))
    own = again.fit(X, np.unique(y, return_inverse=True)[1] if task == "classification" else y)
    answer = "predict_proba" if task == "classification" else "predict"
    np.testing.assert_array_equal(getattr(model, answer)(X), getattr(own, answer)(X))
    if task == "classification":
        assert model.classes_.tolist() == ["bad", "good"]
        assert set(model.predict(X)) == {"bad", "good"}


@pytest.mark.parametrize("library", LIBRARIES)
def test_few_rows(library: str) -> None:
    """Where too few rows could be set aside, a fixed number of rounds is fitted, also with a class of one row."""
    X, y = _rows("classification")
    y = np.where(np.arange(len(y)) == 5, "odd", y)
    model = early_stopped(library, "classification", 0).fit(X[:30], y[:30])
    assert model.n_rounds_ == 100
    assert model.predict_proba(X).shape == (300, 3)


@pytest.mark.parametrize("library", LIBRARIES)
def test_parameters(library: str) -> None:
    """Parameters go by the library's names, and an unknown one is refused with those that there are."""
    schema = learn_schema(_rows("regression")[0], target="y", task="regression")
    given = {"learning_rate": 0.3, "max_bin": 60, "n_estimators": 7, "early_stopping_rounds": 0}
    model = build(library, schema, seed=0, parameters=given)[-1]
    X, y = _rows("regression")
    assert model.fit(X, y).n_rounds_ == 7
    assert model.estimator_.get_params()["learning_rate"] == 0.3
    with pytest.raises(TrainingError, match=r"no parameter 'lerning_rate' \(is 'learning_rate' meant\?\)"):
        build(library, schema, seed=0, parameters={"lerning_rate": 1})


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_that_is_not_installed(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra and the command that installs it."""
    monkeypatch.setitem(sys.modules, library, None)
    schema = learn_schema(_rows("regression")[0], target="y", task="regression")
    with pytest.raises(MissingExtraError, match=rf"the preset '{library}' needs the extra.*install.*\[{library}\]"):
        build(library, schema, seed=0)


@pytest.mark.parametrize("library", LIBRARIES)
def test_trained_from_a_table(library: str, tmp_path: Path) -> None:
    """A table of all kinds becomes an exact model, whose report says what the library thinks of the columns."""
    bundle = orris.train(
        mixed_table(),
        target="churned",
        model=library,
        name="churn",
        store=tmp_path,
        folds=0,
        model_parameters={"n_estimators": 40},
        require_compiled=True,
    )
    assert bundle.verdict.strategy == "exact"
    assert 1 <= bundle.manifest.provenance.parameters["rounds"] <= 40
    assert library in bundle.manifest.provenance.libraries
    shares = json.loads((bundle.folder / "metrics.json").read_text())["library_importance"]["shares"]
    assert set(shares) == {"age", "visits", "member", "town", "tariff", "spend"}
    assert sum(shares.values()) == pytest.approx(1)
    assert "Feature importances by " in (bundle.folder / "report.html").read_text()
    row = {"age": None, "visits": 3, "member": True, "town": "never seen", "tariff": 30, "spend": 1.5}
    assert orris.load(bundle).predict([row])[0] in {"yes", "no"}

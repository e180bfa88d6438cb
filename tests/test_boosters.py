"""Tests of native objects and model files of XGBoost, LightGBM and CatBoost."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import catboost as cb
import httpx
import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.ensemble import VotingClassifier
from sklearn.metrics import accuracy_score
from typer.testing import CliRunner

import orris
from orris import boosters
from orris.api import package_file
from orris.cli.app import app
from orris.errors import TrainingError
from tests.compile.booster_tables import Task, table
from tests.servers import serving
from tests.waiting import PATIENCE_SECONDS

TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")
OBJECTIVES = {
    "xgboost": {"binary": "binary:logistic", "multiclass": "multi:softprob", "regression": "reg:squarederror"},
    "lightgbm": {"binary": "binary", "multiclass": "multiclass", "regression": "regression"},
    "catboost": {"binary": "Logloss", "multiclass": "MultiClass", "regression": "RMSE"},
}


def _table(library: str, task: Task) -> tuple[pd.DataFrame, Any]:
    X, y = table("iris", task, missing=True, categorical=True)
    if library == "catboost":
        X["town"] = X["town"].astype(object).where(X["town"].notna(), "nowhere")
        X["tariff"] = X["tariff"].astype(int)
    return X, y


def _trained(library: str, task: Task, X: pd.DataFrame, y: Any) -> Any:
    objective = OBJECTIVES[library][task]
    classes = {"num_class": 4} if task == "multiclass" and library != "catboost" else {}
    if library == "xgboost":
        return xgb.train(
            {"objective": objective, "nthread": 1} | classes, xgb.DMatrix(X, y, enable_categorical=True), 8
        )
    if library == "lightgbm":
        settings = {"objective": objective, "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5} | classes
        return lgb.train(settings, lgb.Dataset(X, y), 8)
    settings = {"loss_function": objective, "iterations": 8, "verbose": 0, "allow_writing_files": False}
    return cb.CatBoost(settings | {"cat_features": ["town", "tariff"], "thread_count": 1}).fit(X, y)


def _own(library: str, task: Task, model: Any, X: pd.DataFrame) -> Any:
    """Return the library's own answers: probabilities or values."""
    if library == "xgboost":
        found = model.predict(xgb.DMatrix(X, enable_categorical=True))
    elif library == "lightgbm":
        found = model.predict(X)
    else:
        found = model.predict(X, prediction_type="RawFormulaVal" if task == "regression" else "Probability")
    if task == "binary" and found.ndim == 1:
        one = np.float32(1) if library == "xgboost" else 1.0
        return np.column_stack([one - found, found])
    return found


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("library", OBJECTIVES)
def test_native_object(library: str, task: Task) -> None:
    """A native object is packaged as it is, and the loaded model answers as the object does."""
    X, y = _table(library, task)
    model = _trained(library, task, X, y)
    bundle = orris.package(model, X, y, name="native", store=None, require_compiled=True)
    assert bundle.verdict.strategy == "exact"
    loaded = orris.load(bundle)
    found = loaded.predict(X) if task == "regression" else loaded.predict_proba(X)
    exact = library == "xgboost" or task == "regression"
    np.testing.assert_allclose(found, _own(library, task, model, X), rtol=0, atol=0 if exact else 1e-15)
    versions = {"xgboost": xgb.__version__, "lightgbm": lgb.__version__, "catboost": cb.__version__}
    assert bundle.manifest.provenance.libraries[library] == versions[library]


FILES = ["xgboost.json", "xgboost.ubj", "lightgbm.txt", "catboost.cbm", "catboost.json"]


@pytest.mark.parametrize("file", FILES)
def test_model_file(file: str, tmp_path: Path) -> None:
    """``orris package`` takes a model file and a table, and publishes what answers as the library."""
    library, _, ending = file.partition(".")
    X, y = _table(library, "binary")
    if library == "xgboost":
        X["tariff"] = X["tariff"].astype(str).astype("category")
    model = _trained(library, "binary", X, y)
    save = {"format": ending} if library == "catboost" else {}
    if file == "catboost.json":
        save["pool"] = cb.Pool(X, cat_features=["town", "tariff"])
    model.save_model(str(tmp_path / file), **save)
    X.assign(answer=y).to_csv(tmp_path / "rows.csv", index=False)
    arguments = ["package", str(tmp_path / file), "--data", str(tmp_path / "rows.csv"), "--target", "answer"]
    done = CliRunner().invoke(app, [*arguments, "--store", str(tmp_path / "store"), "--json"])
    assert done.exit_code == 0, done.output + str(done.exception)
    assert json.loads(done.stdout)["verdict"]["strategy"] == "exact"
    loaded = orris.load(library, store=tmp_path / "store")
    np.testing.assert_allclose(loaded.predict_proba(X), _own(library, "binary", model, X), rtol=0, atol=1e-15)
    assert accuracy_score(y, loaded.predict(X)) > 0.7


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_base_score_of_older_versions(task: Task, tmp_path: Path) -> None:
    """A file of XGBoost before 3.1 has one base score as text; the margins start from it as the library reads it."""
    X, y = table("cancer", task)
    model = _trained("xgboost", task, X, y)
    document = json.loads(bytes(model.save_raw("json")))
    document["version"] = [2, 1, 4]
    document["learner"]["learner_model_param"]["base_score"] = "2.5E-1"
    (tmp_path / "old.json").write_text(json.dumps(document))
    old = xgb.Booster(model_file=tmp_path / "old.json")
    bundle = package_file(tmp_path / "old.json", X.assign(answer=y), target="answer", name="old", store=None)
    assert bundle.verdict.strategy == "exact"
    np.testing.assert_array_equal(orris.load(bundle).predict_proba(X), _own("xgboost", task, old, X))


def test_accelerated_failure_times() -> None:
    """``survival:aft``, which only a native XGBoost trains, is a value behind an exponential in float32."""
    X, y = table("cancer", "regression", missing=True)
    times = np.exp(y)
    data = xgb.DMatrix(X, label_lower_bound=times, label_upper_bound=np.where(y > 1, np.inf, times))
    model = xgb.train({"objective": "survival:aft", "nthread": 1}, data, 8)
    bundle = orris.package(model, X, times, name="times", store=None, require_compiled=True)
    assert bundle.verdict.strategy == "exact"
    np.testing.assert_array_equal(orris.load(bundle).predict(X), model.predict(xgb.DMatrix(X)).astype(np.float64))


def test_the_command_line_prints_the_reasons_of_refused_ways(tmp_path: Path) -> None:
    """``orris package`` and ``orris models show`` print each refused way, with what to do; steps are on stderr."""
    X, y = table("iris", "regression")
    lgb.LGBMRegressor(n_estimators=3, linear_tree=True, n_jobs=1, verbose=-1).fit(X, y).booster_.save_model(
        tmp_path / "linear.txt"
    )
    X.assign(answer=y).to_csv(tmp_path / "rows.csv", index=False)
    store = ["--store", str(tmp_path / "store")]
    arguments = ["package", str(tmp_path / "linear.txt"), "--data", str(tmp_path / "rows.csv"), "--target", "answer"]
    done = CliRunner().invoke(app, [*arguments, *store])
    assert done.exit_code == 0, done.output + str(done.exception)
    refused = (
        "not served by exact: LightGBM's linear trees (linear_tree=True) have no exact converter; to change that, "
    )
    assert refused in done.stdout
    assert "… building exact" in done.stderr
    shown = CliRunner().invoke(app, ["models", "show", "linear", *store])
    assert refused in shown.stdout


TOWNS = ["Aix", "Gent", "Köln", "Лион", "München", "Ōsaka", "São Paulo", "Zürich"]


def test_levels_beyond_ascii(tmp_path: Path) -> None:
    """XGBoost writes such levels with offsets in characters and cut off; they are matched all the same."""
    X, y = table("cancer", "binary", missing=True)
    towns = np.random.default_rng(0).integers(0, len(TOWNS), len(X))
    X["town"] = pd.Categorical(np.array(sorted(TOWNS))[towns], categories=sorted(TOWNS))
    y = ((towns % 2 == 0) ^ (y == 1)).astype(int)
    model = xgb.XGBClassifier(n_estimators=8, max_depth=4, enable_categorical=True, n_jobs=1).fit(X, y)
    bundle = orris.package(model, X, y, name="towns", store=None, require_compiled=True)
    np.testing.assert_array_equal(orris.load(bundle).predict_proba(X), model.predict_proba(X).astype(np.float64))
    model.save_model(tmp_path / "model.ubj")
    rows = X.assign(town=X["town"].astype(str), answer=y)
    bundle = package_file(tmp_path / "model.ubj", rows, target="answer", name="towns", store=None)
    assert bundle.verdict.strategy == "exact"
    np.testing.assert_array_equal(orris.load(bundle).predict_proba(rows), model.predict_proba(X).astype(np.float64))


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    """A pickle, a text and a damaged model are refused by name, and a pickle is not read."""
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(TrainingError, match="pickles are not read"):
        boosters.read_file(tmp_path / "model.pkl")
    (tmp_path / "model.txt").write_text("hello")
    with pytest.raises(TrainingError, match="no model file"):
        boosters.read_file(tmp_path / "model.txt")
    (tmp_path / "model.json").write_text('{"learner": {}}')
    with pytest.raises(TrainingError, match="xgboost does not read it"):
        boosters.read_file(tmp_path / "model.json")
    with pytest.raises(TrainingError, match="cannot be read"):
        boosters.read_file(tmp_path / "nowhere.json")


def test_targets_that_the_model_does_not_have(tmp_path: Path) -> None:
    """A native classifier numbers its classes; a table with other labels is refused with advice."""
    X, y = _table("xgboost", "binary")
    _trained("xgboost", "binary", X, y).save_model(str(tmp_path / "model.json"))
    rows = X.assign(answer=np.array(["no", "yes"])[y])
    with pytest.raises(TrainingError, match="'no'"):
        package_file(tmp_path / "model.json", rows, target="answer", name="named", store=None)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_model_without_a_converter_is_served_by_its_library(task: Task) -> None:
    """LightGBM's linear trees are served from its own model file, without scikit-learn."""
    X, y = table("iris", task, missing=True)
    names = np.array(["no", "yes"])[y] if task == "binary" else y
    kind = lgb.LGBMRegressor if task == "regression" else lgb.LGBMClassifier
    model = kind(n_estimators=8, linear_tree=True, min_child_samples=5, n_jobs=1, verbose=-1).fit(X, names)
    bundle = orris.package(model, X, names, name="linear", store=None)
    assert (bundle.verdict.strategy, bundle.manifest.model_file) == ("library-file", "model.txt")
    assert (bundle.folder / "model.txt").read_text().startswith("tree\n")
    loaded = orris.load(bundle)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    if task == "binary":
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_a_vote_over_xgboost_loads() -> None:
    """The golden rows of answers that scikit-learn computes in float32 are compared at its precision."""
    X, y = table("cancer", "binary")
    members = [(str(depth), xgb.XGBClassifier(n_estimators=5, max_depth=depth, n_jobs=1)) for depth in (2, 3, 4)]
    vote = VotingClassifier(members, voting="soft").fit(X, y)
    bundle = orris.package(vote, X, y, name="vote", store=None)
    assert bundle.verdict.family == "single"
    np.testing.assert_allclose(orris.load(bundle).predict_proba(X), vote.predict_proba(X), rtol=0, atol=1e-6)


@pytest.mark.parametrize("library", OBJECTIVES)
def test_served(library: str, tmp_path: Path) -> None:
    """A server answers named rows, with categories and missing values, as the library does."""
    X, y = _table(library, "binary")
    model = _trained(library, "binary", X, y)
    orris.package(model, X, y, name=library, store=tmp_path)
    rows = json.loads(X[:50].to_json(orient="records", double_precision=15))
    with serving(library, "--store", str(tmp_path), folder=tmp_path) as server:
        answer = httpx.post(f"{server.url}/predict", json=rows, timeout=PATIENCE_SECONDS).json()
    found = [row["probabilities"] for row in answer["predictions"]]
    np.testing.assert_allclose(found, _own(library, "binary", model, X[:50]), rtol=0, atol=1e-15)


def test_serving_needs_no_library(tmp_path: Path) -> None:
    """A served booster imports neither its library nor scikit-learn nor pandas."""
    X, y = _table("catboost", "binary")
    bundle = orris.package(_trained("catboost", "binary", X, y), X, y, name="alone", store=tmp_path)
    row = json.loads(X.iloc[[0]].to_json(orient="records"))[0]
    code = f"""
import sys, orris
model = orris.load({str(bundle.folder)!r})
assert len(model.predict([{row!r}])) == 1
loaded = {{"catboost", "lightgbm", "xgboost", "sklearn", "pandas"}} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": ""})


def test_tested_versions() -> None:
    """The documentation and the messages name the versions that these tests run with."""
    installed = {"xgboost": xgb.__version__, "lightgbm": lgb.__version__, "catboost": cb.__version__}
    text = (Path(__file__).parents[1] / "docs" / "boosters.md").read_text("utf-8")
    assert all(version in text.partition("## Versions")[2] for version in boosters.TESTED.values())
    for name, version in installed.items():
        assert version.split(".")[0] == boosters.TESTED[name].split(".")[0]


def test_converters_import_no_library() -> None:
    """Compiling a scikit-learn model imports no boosting library."""
    code = """
import sys
from sklearn.linear_model import LogisticRegression
import orris
from sklearn.datasets import load_iris
X, y = load_iris(return_X_y=True)
orris.package(LogisticRegression(max_iter=500).fit(X, y), X, y, name="iris", store=None)
loaded = {"catboost", "lightgbm", "xgboost"} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)

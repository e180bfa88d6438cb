"""Tests of presets and factories: the pipelines that they build for a schema, and their errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from orris.errors import TrainingError
from orris.schema import Schema
from orris.training.learning import Declared, Task, learn_schema, to_training_frame
from orris.training.pipelines import PRESETS, build, from_factory

TASKS: list[Task] = ["classification", "regression"]
CASES = [(task, preset) for task in TASKS for preset in PRESETS[task]]
LIMITS = {"catboost": {"iterations": 50}}
"""CatBoost's rounds take long on one thread."""

NEED_SCALES = {"logistic", "ridge", "linear", "elastic-net", "knn", "svm", "mlp"}


def plain(task: Task) -> tuple[pd.DataFrame, Any, Schema]:
    """A table of numbers, its target, its schema."""
    data = (load_iris if task == "classification" else load_diabetes)(as_frame=True)
    return data.data, data.target.to_numpy(), learn_schema(data.data, target="y", task=task)


def mixed(task: Task) -> tuple[pd.DataFrame, Any, Schema]:
    """A table of all kinds with missing values, its target, its schema."""
    rng = np.random.default_rng(0)
    n = 160
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=n),
            "whole": rng.integers(0, 9, n),
            "flag": rng.random(n) < 0.5,
            "gap": pd.array(rng.random(n) < 0.5, dtype="boolean"),
            "text": pd.Series(rng.choice(list("xyz"), n), dtype="str"),
            "code": rng.integers(0, 4, n),
        }
    )
    for step, name in ((7, "number"), (5, "gap"), (9, "text")):
        frame.loc[::step, name] = None
    value = frame["whole"] + 5.0 * (frame["text"] == "x") + 2.0 * frame["flag"]
    y = value.to_numpy() if task == "regression" else np.where(value > value.median(), "high", "low")
    schema = learn_schema(frame, target="y", task=task, declared=Declared(categorical=["code"]))
    return to_training_frame(frame, schema), y, schema


@pytest.mark.parametrize(("task", "preset"), CASES)
def test_a_preset_learns_a_table_of_numbers(task: Task, preset: str) -> None:
    """Every preset fits numbers in the shortest pipeline, without a warning, and beats the mean or the majority."""
    X, y, schema = plain(task)
    pipeline = build(preset, schema, seed=1, parameters=LIMITS.get(preset)).fit(X, y)
    assert [name for name, _ in pipeline.steps] == (["scale", "model"] if preset in NEED_SCALES else ["model"])
    assert pipeline.score(X, y) > (0.9 if task == "classification" else 0.3)


@pytest.mark.parametrize(("task", "preset"), CASES)
def test_a_preset_learns_a_table_with_gaps_and_categories(task: Task, preset: str) -> None:
    """Every preset takes missing values, booleans, text and coded categories, and answers levels it never saw."""
    X, y, schema = mixed(task)
    pipeline = build(preset, schema, seed=1, parameters=LIMITS.get(preset)).fit(X, y)
    assert pipeline.score(X, y) > (0.7 if task == "classification" else 0.3)
    odd = X.head(3).assign(text="never seen", code=99)
    assert len(pipeline.predict(odd)) == 3


@pytest.mark.parametrize(("task", "preset"), CASES)
def test_the_seed_decides_everything(task: Task, preset: str) -> None:
    """Fitted twice with one seed, a preset answers the same to the last bit."""
    X, y, schema = mixed(task)
    answer = "predict_proba" if task == "classification" else "predict"
    fitted = (build(preset, schema, seed=3, parameters=LIMITS.get(preset)).fit(X, y) for _ in range(2))
    once, again = (getattr(pipeline, answer)(X) for pipeline in fitted)
    np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("preset", PRESETS["classification"])
def test_every_classifier_gives_probabilities(preset: str) -> None:
    """Each row's probabilities add up to one, and the largest is the label's."""
    X, y, schema = mixed("classification")
    pipeline = build(preset, schema, seed=1, parameters=LIMITS.get(preset)).fit(X, y)
    probabilities = pipeline.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    assert (pipeline.classes_[probabilities.argmax(axis=1)] == pipeline.predict(X)).all()


def test_a_pipeline_for_arrays_selects_by_position() -> None:
    """A schema learned from an array gives a pipeline that is fitted on arrays."""
    X = np.array([[1.0, 0.0], [np.nan, 1.0], [3.0, 2.0], [4.0, 1.0]])
    schema = learn_schema(X, target="y", task="classification", declared=Declared(categorical=["x1"]))
    assert build("logistic", schema, seed=0).fit(X, [0, 1, 0, 1]).predict(X).shape == (4,)


def test_rare_levels_are_pooled() -> None:
    """A category with very many levels becomes a bounded number of columns."""
    frame = pd.DataFrame({"city": [f"city {i % 150}" for i in range(600)], "n": range(600)})
    y = np.arange(600) % 2
    schema = learn_schema(frame, target="y", task="classification")
    assert build("logistic", schema, seed=0).fit(frame, y)[:-1].transform(frame).shape == (600, 65)


def test_histogram_gradient_boosting_takes_more_levels_than_it_has_bins() -> None:
    """A category with four hundred levels can be fitted."""
    frame = pd.DataFrame({"city": [f"city {i % 400}" for i in range(1200)], "n": range(1200)})
    schema = learn_schema(frame, target="y", task="regression")
    assert (
        build("hist-gradient-boosting", schema, seed=0).fit(frame, np.arange(1200.0)).score(frame, np.arange(1200.0))
        > 0.9
    )


def test_parameters_reach_the_model() -> None:
    """Model parameters are set on the model, for svm on the machine inside."""
    _, _, schema = plain("classification")
    assert build("logistic", schema, seed=0, parameters={"C": 0.5})[-1].C == 0.5
    assert build("svm", schema, seed=0, parameters={"C": 0.5})[-1].estimator.C == 0.5


def test_the_default_preset_is_the_tasks_first() -> None:
    """Without a named preset the model is logistic regression, or ridge for a regression."""
    assert [type(build("", plain(task)[2], seed=0)[-1]).__name__ for task in TASKS] == ["LogisticRegression", "Ridge"]


@pytest.mark.parametrize(
    ("preset", "parameters", "message"),
    [
        ("forrest", {}, r"'forrest' is unknown \(is 'forest' meant\?\); choose one of: logistic, forest"),
        ("ridge", {}, "'ridge' is for regression, and this is classification"),
        ("logistic", {"c": 1}, r"no parameter 'c'.*it has: C, "),
    ],
)
def test_unknown_presets_and_parameters_are_refused(preset: str, parameters: dict[str, object], message: str) -> None:
    """Unknown presets and parameters are refused with the known ones."""
    with pytest.raises(TrainingError, match=message):
        build(preset, plain("classification")[2], seed=0, parameters=parameters)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working directory."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "def make(): return make_pipeline(StandardScaler(), LogisticRegression())\n"
        "def from_schema(schema, scale=True): return make().set_params(logisticregression__C=float(schema.n_columns))\n"
        "def optional(C=3.0): return LogisticRegression(C=C)\n"
        "def fails(): raise RuntimeError('no luck')\n"
        "def no_model(): return 1\n"
        "ready = make()\n"
        "number = 1\n"
    )
    (tmp_path / f"{name}_broken.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    return name


def test_a_factory_is_found_in_the_working_directory(own_module: str) -> None:
    """package.module:factory is imported and called."""
    assert isinstance(from_factory(f"{own_module}:make", plain("classification")[2]), Pipeline)


def test_a_factory_with_an_argument_gets_the_schema(own_module: str) -> None:
    """A required argument of a factory is the schema, and optional ones keep their defaults."""
    schema = plain("classification")[2]
    assert from_factory(f"{own_module}:from_schema", schema)[-1].C == 4.0
    assert from_factory(f"{own_module}:optional", schema).C == 3.0


def test_classes_and_estimators_serve_as_factories(own_module: str) -> None:
    """An estimator is copied, a class is constructed."""
    schema = plain("classification")[2]
    assert isinstance(from_factory(f"{own_module}:ready", schema), Pipeline)
    with pytest.raises(TrainingError, match="StandardScaler, which has no predict"):
        from_factory(f"{StandardScaler.__module__}:StandardScaler", schema)


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        ("", "write it as package.module:factory"),
        ("_none:make", "cannot be imported"),
        ("_broken:make", "fails when imported: ZeroDivisionError"),
        (":mak", r"has no 'mak' \(is 'make' meant"),
        (":fails", "fails when called: RuntimeError: no luck"),
        (":no_model", "gives a int, which has no fit"),
        (":number", "neither a function"),
    ],
)
def test_a_factory_that_cannot_be_used_is_named(own_module: str, suffix: str, message: str) -> None:
    """The error names the module or the attribute, and what failed."""
    with pytest.raises(TrainingError, match=message):
        from_factory(own_module + suffix, plain("classification")[2])

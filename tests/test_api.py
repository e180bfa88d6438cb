"""Orris from Python: train, package, load; the answers are the fitted pipeline's, whatever the rows come in."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import orris
from orris.api import Bundle, Model
from orris.errors import (
    GateError,
    IntegrityError,
    NotFoundError,
    RowError,
    ServingError,
    SettingsError,
    TrainingError,
    VersionExistsError,
)
from orris.training.params import TrainParams
from tests.example_tables import mixed_table


def test_a_trained_model_is_loaded_from_bundle_path_and_reference(iris: Bundle) -> None:
    """All three are the same model."""
    store = iris.folder.parents[2]
    rows = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
    answers = [
        orris.load(source, store=store).predict_proba(rows).tolist()
        for source in (iris, iris.folder, str(iris.folder), "iris", "iris@1.0.0", "iris:latest", "")
    ]
    assert all(answer == answers[0] for answer in answers)


def test_the_same_inputs_and_seed_give_the_same_digest() -> None:
    """And another seed of a random model another one."""
    digests = [orris.train(model="forest", seed=seed, store=None).manifest.digest for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_rows_may_come_as_frame_array_lists_or_objects(iris: Bundle) -> None:
    """In a frame and in objects the order of columns does not matter."""
    model = orris.load(iris)
    frame = pd.DataFrame([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], columns=list(model.schema.names))
    expected = ["setosa", "virginica"]
    assert model.predict(frame).tolist() == expected
    assert model.predict(frame[frame.columns[::-1]]).tolist() == expected
    assert model.predict(frame.to_numpy()).tolist() == expected
    assert model.predict(frame.to_numpy().tolist()).tolist() == expected
    assert model.predict(frame.to_dict("records")).tolist() == expected
    assert model.predict(frame.to_dict("records")[0]).tolist() == expected[:1]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (pd.DataFrame({"sepal_length": [1.0]}), "column is missing"),
        (np.zeros((2, 3)), "shape"),
        ([[1, 2, 3]], "4 values are needed"),
        ([[1, 2, 3, 0]], "must be positive"),
        (np.array([[1, 2, 3, 0.0]]), "must be positive"),
        (np.array([[1, 2, 3, np.nan]]), "a value is needed"),
        ([{"sepal_length": 1}], "missing"),
        (np.array([[1, 2, 3, "x"]], dtype=object), "a number is needed"),
    ],
)
def test_rows_that_a_server_refuses_are_refused_in_python(iris: Bundle, rows: Any, words: str) -> None:
    """The error says where and why."""
    with pytest.raises(RowError, match=words):
        orris.load(iris).predict(rows)


def test_a_pipeline_fitted_on_a_frame_with_text_is_packaged(tmp_path: Path) -> None:
    """The notebook case: ColumnTransformer, text categories, missing values."""
    table = mixed_table()
    features, target = table[["age", "town", "spend"]], table["churned"]
    pipeline = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "spend"]),
            (OneHotEncoder(handle_unknown="ignore"), ["town"]),
        ),
        LogisticRegression(),
    ).fit(features, target)
    bundle = orris.package(pipeline, features, target, name="churn", store=tmp_path, gates=["accuracy>=0.5"])
    model = orris.load("churn", store=tmp_path)
    assert bundle.verdict.strategy == "exact"
    assert bundle.verdict.n_label_differences == 0
    assert model.schema.target == "churned"
    assert np.abs(model.predict_proba(features) - pipeline.predict_proba(features)).max() <= 1e-12
    assert model.predict(features).tolist() == pipeline.predict(features).tolist()
    stranger = pd.DataFrame({"age": [None], "town": ["Atlantis"], "spend": [12.5]})
    assert np.abs(model.predict_proba(stranger) - pipeline.predict_proba(stranger)).max() <= 1e-12


def test_a_pipeline_fitted_on_an_array_is_packaged(tmp_path: Path) -> None:
    """With integer labels, which come back as integers."""
    X, y = load_iris(return_X_y=True)
    pipeline = RandomForestClassifier(30, random_state=0).fit(X, y)
    bundle = orris.package(pipeline, X, y, name="array-iris", store=tmp_path)
    model = orris.load(bundle)
    assert bundle.verdict.largest_difference == 0.0
    assert np.array_equal(model.predict_proba(X), pipeline.predict_proba(X))
    assert model.predict(X).dtype.kind == "i"


def test_a_regressor_is_packaged_and_has_no_probabilities(tmp_path: Path) -> None:
    """Its values are equal to the last bit for a forest."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    pipeline = RandomForestRegressor(20, random_state=0).fit(X, y)
    model = orris.load(orris.package(pipeline, X, y, name="diabetes", store=tmp_path))
    assert np.array_equal(model.predict(X), pipeline.predict(X))
    with pytest.raises(ServingError, match="no probabilities"):
        model.predict_proba(X)


def test_a_frame_is_trained_on_directly(tmp_path: Path) -> None:
    """With a name that defaults to the target's."""
    bundle = orris.train(mixed_table(), target="churned", store=tmp_path, folds=2)
    assert bundle.name == "churned"
    assert {column.kind.value for column in bundle.manifest.schema.columns} == {
        "number",
        "integer",
        "boolean",
        "category",
    }
    assert all(column.missing for column in bundle.manifest.schema.columns[:5])


def test_a_gate_that_fails_publishes_nothing(tmp_path: Path) -> None:
    """Neither from train nor from package."""
    with pytest.raises(GateError, match="accuracy"):
        orris.train(gates=["accuracy>=0.999"], store=tmp_path)
    X, y = load_iris(return_X_y=True)
    with pytest.raises(GateError, match="accuracy"):
        orris.package(
            LogisticRegression(max_iter=500).fit(X, y), X, y, name="iris", store=tmp_path, gates=["accuracy>1"]
        )
    assert orris.Store(tmp_path).models() == []


def test_a_version_is_published_once(iris: Bundle) -> None:
    """Versions are immutable."""
    with pytest.raises(VersionExistsError):
        iris.publish(iris.folder.parents[2])


def test_a_changed_bundle_is_not_loaded(tmp_path: Path) -> None:
    """The error names the file."""
    bundle = orris.train(store=tmp_path, folds=0)
    (bundle.folder / "report.md").write_text("changed")
    with pytest.raises(IntegrityError, match=r"report\.md"):
        orris.load(bundle)


def test_what_is_not_there_is_told_with_what_is(iris: Bundle) -> None:
    """A typo in a name, a version or an alias."""
    store = iris.folder.parents[2]
    for reference in ("irsi", "iris@9.9.9", "iris:prod"):
        with pytest.raises(NotFoundError):
            orris.load(reference, store=store)


def test_mistakes_of_a_caller_are_told() -> None:
    """Before anything long is done."""
    with pytest.raises(SettingsError, match="target"):
        orris.train("data/iris.csv")
    with pytest.raises(TypeError, match="modle"):
        orris.train(modle="forest")  # type: ignore[call-arg]
    with pytest.raises(TrainingError, match="no predict"):
        orris.package(StandardScaler(), [[1.0]], [1], name="x", store=None)


def test_train_takes_every_setting_by_name() -> None:
    """An editor completes them; each is a key of ``params.yaml``."""
    settings = {*TrainParams.__struct_fields__} - {"table"}
    assert settings == {*inspect.signature(orris.train).parameters} - {"table", "store", "version", "aliases"}


def test_the_store_of_the_environment_counts_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does on the command line."""
    monkeypatch.setenv("ORRIS_STORE", str(tmp_path))
    X, y = load_iris(return_X_y=True)
    orris.package(RandomForestClassifier(3, random_state=0).fit(X, y), X, y, name="here")
    assert orris.load("here").manifest.name == "here"
    assert orris.Store(tmp_path).models() == ["here"]


def test_types_of_the_public_interface(iris: Bundle) -> None:
    """What editors and type checkers see."""
    model = orris.load(iris)
    assert_type(model, Model)
    assert_type(model.predict([[5.1, 3.5, 1.4, 0.2]]), npt.NDArray[Any])
    assert_type(model.predict_proba([[5.1, 3.5, 1.4, 0.2]]), npt.NDArray[np.float64])
    assert_type(iris.metrics, dict[str, float])

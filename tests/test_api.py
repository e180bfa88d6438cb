"""Tests of Orris from Python: train, package and load, with the fitted pipeline's answers to any form of rows."""

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
    TableError,
    TrainingError,
    VersionExistsError,
)
from orris.training.params import TrainParams
from tests.example_tables import mixed_table


def test_a_trained_model_is_loaded_from_bundle_path_and_reference(iris: Bundle) -> None:
    """A bundle, its path and its reference load the same model."""
    store = iris.folder.parents[2]
    rows = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
    answers = [
        orris.load(source, store=store).predict_proba(rows).tolist()
        for source in (iris, iris.folder, str(iris.folder), "iris", "iris@1.0.0", "iris:latest", "")
    ]
    assert all(answer == answers[0] for answer in answers)


def test_the_same_inputs_and_seed_give_the_same_digest() -> None:
    """The same inputs and seed give the same digest, and another seed of a random model another one."""
    digests = [orris.train(model="forest", seed=seed, store=None).manifest.digest for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_rows_may_come_as_frame_array_lists_or_objects(iris: Bundle) -> None:
    """Frames, arrays, lists and objects get equal answers, and named columns may be in any order."""
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
    """Rows that a server refuses raise in Python, with the place and the reason."""
    with pytest.raises(RowError, match=words):
        orris.load(iris).predict(rows)


def test_a_pipeline_fitted_on_a_frame_with_text_is_packaged(tmp_path: Path) -> None:
    """A pipeline with a ColumnTransformer, text categories and missing values can be packaged."""
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
    """A pipeline fitted on an array with integer labels answers integer labels."""
    X, y = load_iris(return_X_y=True)
    pipeline = RandomForestClassifier(30, random_state=0).fit(X, y)
    bundle = orris.package(pipeline, X, y, name="array-iris", store=tmp_path)
    model = orris.load(bundle)
    assert bundle.verdict.largest_difference == 0.0
    assert np.array_equal(model.predict_proba(X), pipeline.predict_proba(X))
    assert model.predict(X).dtype.kind == "i"


def test_a_regressor_is_packaged_and_has_no_probabilities(tmp_path: Path) -> None:
    """A forest's values are equal to the last bit, and ``predict_proba`` is refused."""
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    pipeline = RandomForestRegressor(20, random_state=0).fit(X, y)
    model = orris.load(orris.package(pipeline, X, y, name="diabetes", store=tmp_path))
    assert np.array_equal(model.predict(X), pipeline.predict(X))
    with pytest.raises(ServingError, match="no probabilities"):
        model.predict_proba(X)


def test_a_frame_is_trained_on_directly(tmp_path: Path) -> None:
    """A frame can be trained on, and the model's name defaults to the target's."""
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
    """A gate that fails publishes nothing, neither in train nor in package."""
    with pytest.raises(GateError, match="accuracy"):
        orris.train(gates=["accuracy>=0.999"], store=tmp_path)
    X, y = load_iris(return_X_y=True)
    with pytest.raises(GateError, match="accuracy"):
        orris.package(
            LogisticRegression(max_iter=500).fit(X, y), X, y, name="iris", store=tmp_path, gates=["accuracy>1"]
        )
    assert orris.Store(tmp_path).models() == []


def test_a_version_is_published_once(iris: Bundle) -> None:
    """A version that is published cannot be published again."""
    with pytest.raises(VersionExistsError):
        iris.publish(iris.folder.parents[2])


def test_a_changed_bundle_is_not_loaded(tmp_path: Path) -> None:
    """A bundle with a changed byte is not loaded, and the error names the file."""
    bundle = orris.train(store=tmp_path, folds=0)
    (bundle.folder / "report.md").write_text("changed")
    with pytest.raises(IntegrityError, match=r"report\.md"):
        orris.load(bundle)


def test_an_unknown_reference_names_the_known_ones(iris: Bundle) -> None:
    """The error of an unknown name, version or alias names the known ones."""
    store = iris.folder.parents[2]
    for reference in ("irsi", "iris@9.9.9", "iris:prod"):
        with pytest.raises(NotFoundError):
            orris.load(reference, store=store)


def test_mistakes_of_a_caller_are_refused_early() -> None:
    """Mistakes in arguments are refused before training begins."""
    with pytest.raises(SettingsError, match="target"):
        orris.train("data/iris.csv")
    with pytest.raises(TypeError, match="modle"):
        orris.train(modle="forest")  # type: ignore[call-arg]
    with pytest.raises(TrainingError, match="no predict"):
        orris.package(StandardScaler(), [[1.0]], [1], name="x", store=None)


def test_the_error_of_columns_without_names_has_advice() -> None:
    """A target has a name; ``orris.package`` takes such a frame as an array."""
    with pytest.raises(TableError, match=r"the column name 0 is not text; rename it.*astype\(str\)"):
        orris.train(pd.DataFrame(np.zeros((9, 2))), target="1", store=None)


def test_train_takes_every_setting_by_name() -> None:
    """``orris.train`` has a named argument for each key of ``params.yaml``."""
    settings = {*TrainParams.__struct_fields__} - {"table"}
    assert settings == {*inspect.signature(orris.train).parameters} - {"table", "store", "version", "aliases"}


def test_the_store_of_the_environment_counts_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ORRIS_STORE sets the store in Python as on the command line."""
    monkeypatch.setenv("ORRIS_STORE", str(tmp_path))
    X, y = load_iris(return_X_y=True)
    orris.package(RandomForestClassifier(3, random_state=0).fit(X, y), X, y, name="here")
    assert orris.load("here").manifest.name == "here"
    assert orris.Store(tmp_path).models() == ["here"]


def test_types_of_the_public_interface(iris: Bundle) -> None:
    """The public interface has the types that editors and type checkers expect."""
    model = orris.load(iris)
    assert_type(model, Model)
    assert_type(model.predict([[5.1, 3.5, 1.4, 0.2]]), npt.NDArray[Any])
    assert_type(model.predict_proba([[5.1, 3.5, 1.4, 0.2]]), npt.NDArray[np.float64])
    assert_type(iris.metrics, dict[str, float])

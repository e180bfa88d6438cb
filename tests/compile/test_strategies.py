"""Tests of the ways of serving: each pipeline gets the best way that passes the gate, or an explained refusal."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from sklearn.cluster import Birch
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.decomposition import SparsePCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.impute import KNNImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.neighbors import RadiusNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, PowerTransformer
from sklearn.semi_supervised import LabelPropagation

from orris.compile import Compiled, compile_pipeline, ways
from orris.compile.parity import gate
from orris.errors import CompileError, ExhaustedError, ParityError
from orris.runtime import OnnxRuntime, SklearnRuntime, open_model
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.schema.frames import encode
from orris.training.learning import learn_schema
from tests.example_tables import mixed_table

X, Y = load_iris(return_X_y=True)
TWO = (Y > 0).astype(int)
DISEASE, PROGRESS = load_diabetes(return_X_y=True)


def packaged(model: Any, x: Any, y: Any) -> Compiled:
    """The model, fitted and compiled; ``classes_`` say whether it is a classifier."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y)
        return compile_pipeline(model, schema_of(model, x), encode(schema_of(model, x), x))


def schema_of(model: Any, x: Any) -> Schema:
    """The contract of a fitted model over the table ``x``."""
    if hasattr(model, "classes_"):
        return learn_schema(x, target="y", task="classification", labels=tuple(model.classes_.tolist()))
    return learn_schema(x, target="y", task="regression")


def assert_served_as_trained(model: Any, compiled: Compiled, x: Any, folder: Path) -> None:
    """The bundle's files, read back, answer raw rows as scikit-learn does."""
    for name, content in compiled.files.items():
        (folder / name).write_bytes(content)
    runtime = open_model(folder, compiled.model_file, compiled.schema, front_file=compiled.front_file)
    answers = runtime.run(encode(compiled.schema, x))
    if answers.values is not None:
        np.testing.assert_allclose(answers.values, np.ravel(model.predict(x)), rtol=1e-9)
        return
    assert np.asarray(compiled.schema.labels)[answers.labels].tolist() == model.predict(x).tolist()
    if answers.probabilities is not None:
        np.testing.assert_allclose(answers.probabilities, model.predict_proba(x), rtol=0, atol=1e-9)


def trees() -> dict[str, Any]:
    """Unfitted classifiers of trees."""
    return {
        "forest": RandomForestClassifier(5, random_state=0),
        "boosting": GradientBoostingClassifier(n_estimators=5, random_state=0),
        "histogram": HistGradientBoostingClassifier(max_iter=5, random_state=0),
    }


STEPS = {
    "a function": FunctionTransformer(np.log1p),
    "imputing by neighbours": KNNImputer(),
    "a power": PowerTransformer(),
}


@pytest.mark.parametrize("kind", trees())
@pytest.mark.parametrize("step", STEPS)
def test_steps_behind_one_without_a_converter_are_compiled(step: str, kind: str, tmp_path: Path) -> None:
    """scikit-learn runs the first step alone, the trees behind it are compiled, and the answers are equal."""
    model = make_pipeline(STEPS[step], trees()[kind])
    compiled = packaged(model, X, Y)
    assert compiled.verdict.strategy in {"partly-compiled", "skl2onnx-float64"}
    assert compiled.verdict.attempts[0].strategy == "exact"
    assert_served_as_trained(model, compiled, X + 0.37, tmp_path)
    if compiled.verdict.strategy == "partly-compiled":
        assert set(compiled.files) == {"front.skops", "model.onnx"}
        assert not compiled.verdict.compiled


def test_a_cut_behind_a_column_transformer_keeps_the_names_of_columns(tmp_path: Path) -> None:
    """A search's best pipeline over a DataFrame with text is cut where its first step ends."""
    table = mixed_table()[["town", "spend", "churned"]].dropna()
    features = table[["town", "spend"]]
    encode_and_scale = make_column_transformer((OneHotEncoder(), ["town"]), (PowerTransformer(), ["spend"]))
    pipeline = make_pipeline(encode_and_scale, RandomForestClassifier(5, random_state=0))
    search = GridSearchCV(pipeline, {"randomforestclassifier__max_depth": [3]}, cv=2)
    compiled = packaged(search, features, table["churned"])
    assert compiled.verdict.strategy in {"partly-compiled", "skl2onnx-float64"}
    assert_served_as_trained(search, compiled, features, tmp_path)


def test_a_row_that_the_rest_refuses_gets_no_answer() -> None:
    """A row whose first step gives NaN, which boosting refuses, gets no answer."""
    model = make_pipeline(FunctionTransformer(np.log1p), GradientBoostingClassifier(n_estimators=3))
    compiled = packaged(model, X, Y)
    with pytest.raises(ValueError, match="NaN"), np.errstate(all="ignore"):
        model.predict(X[:1] - 1e3)
    with np.errstate(all="ignore"):
        answers = compiled.runtime.run(np.concatenate([X[:1] - 1e3, X[:1]]))
    assert answers.unanswered.tolist() == [True, False]


@pytest.mark.parametrize("inner", ["linear", *trees()])
@pytest.mark.parametrize("tuned", [False, True])
def test_a_decision_threshold_is_compiled(inner: str, tuned: bool, tmp_path: Path) -> None:
    """Over a linear model, a forest and boosting, the label changes at the tuned threshold."""
    classifier = LogisticRegression() if inner == "linear" else trees()[inner]
    model = TunedThresholdClassifierCV(classifier) if tuned else FixedThresholdClassifier(classifier, threshold=0.8)
    compiled = packaged(model, X[:, :2], TWO)
    assert compiled.verdict.strategy == "exact"
    assert_served_as_trained(model, compiled, X[:, :2] + 0.05, tmp_path)


@pytest.mark.parametrize("pos_label", ["no", "yes"])
@pytest.mark.parametrize("method", ["predict_proba", "decision_function"])
def test_the_positive_class_of_a_threshold_may_be_either(pos_label: str, method: str, tmp_path: Path) -> None:
    """A threshold applies to the score of the positive class, whichever class that is."""
    model = FixedThresholdClassifier(LogisticRegression(), threshold=0.3, pos_label=pos_label, response_method=method)
    compiled = packaged(model, X[:, :2], np.where(TWO, "yes", "no"))
    assert compiled.verdict.strategy == "exact"
    assert_served_as_trained(model, compiled, X[:, :2] + 0.05, tmp_path)


OTHERS = {
    "IsolationForest": (IsolationForest(n_estimators=5, random_state=0), DISEASE, PROGRESS),
    "LabelPropagation": (LabelPropagation(kernel="knn"), X, Y),
    "RadiusNeighborsRegressor": (RadiusNeighborsRegressor(radius=9.0, algorithm="brute"), DISEASE, PROGRESS),
    "SparsePCA": (make_pipeline(SparsePCA(2), RandomForestClassifier(3, random_state=0)), X, Y),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_estimator_without_a_converter_is_served_by_scikit_learn(name: str, tmp_path: Path) -> None:
    """A pipeline without a converter is served from a skops file, whose decision trees are checked first."""
    model, x, y = OTHERS[name]
    compiled = packaged(model, x, y)
    assert compiled.verdict.strategy in {"partly-compiled", "scikit-learn"}
    assert_served_as_trained(model, compiled, x, tmp_path)


def test_an_estimator_that_no_library_writes_is_refused() -> None:
    """A Birch, which skops does not write, is refused by an error that lists every way with its reason."""
    with pytest.raises(
        CompileError, match=r"exact: no exact converter covers Birch.*partly-compiled: skops does not write.*Birch"
    ):
        packaged(make_pipeline(Birch(), LogisticRegression()), X, Y)


def test_whatever_a_library_raises_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unforeseen exception leads to the next way of serving, and the verdict holds its text."""

    def broken(*_: Any) -> Any:
        raise RuntimeError("Conflicted constraint 'T'")

    monkeypatch.setattr(ways, "COMPILED", {"exact": broken})
    compiled = packaged(LogisticRegression(), X, Y)
    assert compiled.verdict.strategy == "scikit-learn"
    assert compiled.verdict.attempts[0].reason == "RuntimeError: Conflicted constraint 'T'"


@pytest.mark.parametrize("error", [MemoryError("no"), ExhaustedError("no")])
def test_memory_that_ran_out_is_not_a_failed_proof(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """If memory runs out, the verdict says that the way was not decided, and how to retry."""

    def exhausted(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(gate, "prove", exhausted)
    with pytest.raises(CompileError, match=r"not decided, because memory ran out.*more memory is free") as caught:
        packaged(LogisticRegression(), X, Y)
    assert "differ" not in str(caught.value)


def test_a_chunk_too_large_for_the_memory_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a chunk does not fit the memory, smaller ones are compared, and all rows are covered."""
    whole = OnnxRuntime.run

    def little_memory(runtime: OnnxRuntime, rows: FloatArray) -> Any:
        if len(rows) > 500:
            raise ExhaustedError("bad allocation")
        return whole(runtime, rows)

    monkeypatch.setattr(OnnxRuntime, "run", little_memory)
    compiled = packaged(LogisticRegression(), X, Y)
    assert compiled.verdict.strategy == "exact"
    assert compiled.verdict.n_rows >= 10_000


def test_rows_that_scikit_learn_refuses_are_separated_within_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline that refuses half of all rows is called a bounded number of times."""
    calls = 0
    whole = SklearnRuntime.run

    def counted(runtime: SklearnRuntime, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return whole(runtime, *arguments)

    monkeypatch.setattr(SklearnRuntime, "run", counted)
    monkeypatch.setattr("orris.compile.parity.reference.MAX_CALLS", 50)
    model = make_pipeline(FunctionTransformer(np.log1p), GradientBoostingClassifier(n_estimators=2))
    compiled = packaged(model, X, Y)
    assert compiled.verdict.strategy == "partly-compiled"
    assert calls < 1_000


def test_large_numbers_that_scikit_learn_answers_are_taken() -> None:
    """A logarithm on the target or as the link does not limit the columns to what training held."""
    salary = np.exp(PROGRESS / 40)
    for model in (
        TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1),
        PoissonRegressor(),
    ):
        compiled = packaged(model, DISEASE * 1e3, salary)
        assert compiled.verdict.strategy == "exact"
        assert compiled.schema.max_magnitude == 1e30
        assert not compiled.golden_answers.unanswered.any()
        with np.errstate(all="ignore"):
            answers = compiled.runtime.run(np.full((1, 10), 1e9) * np.sign(np.arange(10) - 4.5))
        assert answers.unanswered.shape == (1,)


def test_a_library_that_writes_its_models_in_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate refuses what is read wrongly from a newer major version, and names the version that was tested."""
    X, y = load_iris(return_X_y=True)
    model = xgboost.XGBClassifier(n_estimators=4, n_jobs=1).fit(X, y)
    monkeypatch.setattr(xgboost, "__version__", "4.0.1")
    monkeypatch.setattr("orris.compile.converters.xgboost.below", lambda thresholds: np.asarray(thresholds, np.float64))
    schema = learn_schema(X, target="y", task="classification", labels=[0, 1, 2])
    with pytest.raises(
        ParityError, match=r"labels differ.*xgboost 4\.0\.1 is newer than the tested 3\.2\.0: fit the model with"
    ):
        compile_pipeline(model, schema, encode(schema, X), require_compiled=True)
    verdict = compile_pipeline(model, schema, encode(schema, X)).verdict
    assert verdict.strategy == "library-file"
    assert "xgboost 4.0.1 is newer" in verdict.attempts[0].remedy

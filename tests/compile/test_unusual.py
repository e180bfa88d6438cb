"""``orris.package`` of unusual steps and models: each is served as scikit-learn answers, or refused in words."""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.cluster import Birch
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.decomposition import SparsePCA
from sklearn.ensemble import (
    AdaBoostRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import KNNImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.neighbors import RadiusNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PowerTransformer, StandardScaler
from sklearn.semi_supervised import LabelPropagation

import orris
from orris.errors import CompileError

X, Y = load_iris(return_X_y=True)
TWO = (Y > 0).astype(int)
DISEASE, PROGRESS = load_diabetes(return_X_y=True)
FOREST = RandomForestClassifier(5, random_state=0)

SERVED: dict[str, tuple[Any, Any, Any]] = {
    "the logarithm before a forest": (make_pipeline(FunctionTransformer(np.log1p), FOREST), X, Y),
    "neighbours fill gaps before boosting": (
        make_pipeline(KNNImputer(), GradientBoostingClassifier(n_estimators=3)),
        np.where(np.random.default_rng(0).random(X.shape) < 0.05, np.nan, X),
        Y,
    ),
    "a power before histogram boosting": (
        make_pipeline(PowerTransformer(), HistGradientBoostingClassifier(max_iter=3)),
        X,
        Y,
    ),
    "neighbours inside a column transformer": (
        make_pipeline(make_column_transformer((KNNImputer(), [0, 1]), (StandardScaler(), [2, 3])), FOREST),
        X,
        Y,
    ),
    "a fixed threshold": (FixedThresholdClassifier(FOREST, threshold=0.3), X, TWO),
    "a tuned threshold": (TunedThresholdClassifierCV(LogisticRegression(), cv=3), X[:, :2], TWO),
    "AdaBoostRegressor": (AdaBoostRegressor(n_estimators=4, random_state=0), DISEASE, PROGRESS),
    "LabelPropagation": (LabelPropagation(), X, Y),
    "RadiusNeighborsRegressor": (RadiusNeighborsRegressor(radius=9.0), DISEASE, PROGRESS),
    "SparsePCA": (make_pipeline(SparsePCA(2), FOREST), X, Y),
}


@pytest.mark.parametrize("name", SERVED)
def test_it_is_served_as_scikit_learn_answers(name: str) -> None:
    """The served model answers as scikit-learn does, and every way refused before has a reason and advice."""
    model, x, y = SERVED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bundle = orris.package(model.fit(x, y), x, y, name="unusual", store=None)
        answers, expected = orris.load(bundle).predict(x), model.predict(x)
    np.testing.assert_allclose(answers, expected, rtol=1e-9)
    assert all(attempt.reason and attempt.remedy for attempt in bundle.verdict.attempts)


def test_a_step_inside_a_column_transformer_leaves_the_forest_compiled() -> None:
    """scikit-learn runs the column transformer alone."""
    model, x, y = SERVED["neighbours inside a column transformer"]
    bundle = orris.package(model.fit(x, y), x, y, name="unusual", store=None)
    assert bundle.verdict.strategy == "partly-compiled"
    assert (bundle.folder / "front.skops").is_file()
    assert (bundle.folder / "model.onnx").is_file()


def test_what_nothing_writes_is_refused_in_words() -> None:
    """The error is Orris's, and names each way with its reason."""
    model = make_pipeline(Birch(), LogisticRegression()).fit(X, Y)
    with pytest.raises(CompileError, match=r"exact: no exact converter covers Birch.*skops does not write.*Birch"):
        orris.package(model, X, Y, name="unusual", store=None)


class Halved(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer of the user's own."""

    def fit(self, X: Any, _: Any = None) -> Halved:
        """Learns nothing."""
        self.n_features_in_ = np.shape(X)[1]
        return self

    def transform(self, X: Any) -> Any:
        """Half of each number."""
        return np.asarray(X) / 2


class Constant(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of the user's own."""

    def fit(self, _: Any, y: Any) -> Constant:
        """Learns the classes."""
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        """Always the first class."""
        return np.full(len(X), self.classes_[0])


class TableVectorizer(Halved):
    """Stands in for a transformer of a library that Orris has no converter for."""


TableVectorizer.__module__ = "skrub._table_vectorizer"


def test_a_transformer_of_your_own_is_refused_with_its_step_and_the_ways_out() -> None:
    """The error names the class, every step around it, and what can be done."""
    inner = make_pipeline(StandardScaler(), Halved())
    model = make_pipeline(make_column_transformer((inner, [0, 1]), (StandardScaler(), [2])), LogisticRegression())
    with pytest.raises(CompileError) as caught:
        orris.package(model.fit(X, Y), X, Y, name="unusual", store=None)
    text = str(caught.value)
    assert "no exact converter covers tests.compile.test_unusual.Halved" in text
    assert "(step 'columntransformer' > 'pipeline' > 'halved')" in text
    assert "do what tests.compile.test_unusual.Halved does to the table before the pipeline" in text
    assert "write a converter for it (CONTRIBUTING.md)" in text


def test_a_model_of_your_own_is_refused_with_the_ways_out() -> None:
    """The error of a model is not the advice to do its work before the pipeline."""
    model = make_pipeline(StandardScaler(), Constant()).fit(X, Y)
    with pytest.raises(CompileError, match=r"covers tests.compile.test_unusual.Constant \(step 'constant'\)") as caught:
        orris.package(model, X, Y, name="unusual", store=None)
    assert "use a model that docs/parity.md lists in place of tests.compile.test_unusual.Constant" in str(caught.value)


def test_a_class_of_another_library_is_named_with_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public name is that under which the class is imported."""
    package, module = types.ModuleType("skrub"), types.ModuleType("skrub._table_vectorizer")
    for each in (package, module):
        each.TableVectorizer = TableVectorizer  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, each.__name__, each)
    model = make_pipeline(TableVectorizer(), LogisticRegression()).fit(X, Y)
    with pytest.raises(CompileError, match=r"covers skrub\.TableVectorizer \(step 'tablevectorizer'\)"):
        orris.package(model, X, Y, name="unusual", store=None)

"""``orris.package`` of unusual steps and models: each is served as scikit-learn answers, or refused in words."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
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

"""Tests of scikit-learn's boosting over float32 columns, which its trees compare in a precision of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import orris

MODELS = [
    HistGradientBoostingClassifier(max_iter=5),
    HistGradientBoostingRegressor(max_iter=5),
    GradientBoostingClassifier(n_estimators=5, random_state=0),
    GradientBoostingRegressor(n_estimators=5, random_state=0),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_boosting_behind_a_scaler_of_float32_is_exact(model: Any) -> None:
    """Boosting behind a scaler that was fitted on float32 is exact on unseen float32 rows too."""
    generator = np.random.default_rng(0)
    X = pd.DataFrame(generator.normal(size=(300, 3)).round(2).astype(np.float32), columns=["a", "b", "c"])
    y = np.where(X.a + X.b > 0, "yes", "no") if hasattr(model, "predict_proba") else X.a * X.b
    fitted = make_pipeline(StandardScaler(), model).fit(X, y)
    bundle = orris.package(fitted, X, y, name="single", store=None)
    assert bundle.verdict.strategy == "exact"
    new = pd.DataFrame(generator.normal(size=(2_000, 3)).round(2).astype(np.float32), columns=["a", "b", "c"])
    served = orris.load(bundle)
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(served.predict_proba(new), fitted.predict_proba(new), rtol=0, atol=1e-12)
        assert served.predict(new).tolist() == fitted.predict(new).tolist()
    else:
        np.testing.assert_allclose(served.predict(new), fitted.predict(new), rtol=1e-12)

"""Imputers and scalers over float32 columns compute in float32, and what NumPy widens is computed in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.svm import SVC

from orris.compile.build import build
from orris.compile.parity.reference import quiet
from orris.errors import NotConvertibleError
from orris.runtime import OnnxRuntime
from orris.schema.frames import encode
from orris.training.learning import learn_schema

NAMES = ["a", "b", "c", "d"]
FOREST = RandomForestClassifier(5, random_state=0)
BOOSTING = HistGradientBoostingClassifier(max_iter=5, random_state=0)

STEPS = [
    SimpleImputer(),
    SimpleImputer(strategy="median", add_indicator=True),
    SimpleImputer(strategy="most_frequent"),
    SimpleImputer(strategy="constant", fill_value=0.1),
    make_pipeline(SimpleImputer(), StandardScaler()),
    make_pipeline(SimpleImputer(), StandardScaler(with_mean=False)),
    make_pipeline(SimpleImputer(), MinMaxScaler((0.1, 0.7), clip=True)),
    make_pipeline(SimpleImputer(), MaxAbsScaler()),
    make_pipeline(SimpleImputer(), RobustScaler()),
    make_pipeline(RobustScaler(), SimpleImputer()),
    make_union(SimpleImputer(), make_pipeline(SimpleImputer(add_indicator=True), MinMaxScaler())),
    make_column_transformer(
        (SimpleImputer(), ["a", "b"]),
        (make_pipeline(SimpleImputer(strategy="median"), MinMaxScaler()), ["c"]),
        remainder=SimpleImputer(strategy="constant", fill_value=-1.7, add_indicator=True),
    ),
    make_column_transformer((SimpleImputer(), NAMES)).set_output(transform="pandas"),
]
"""Steps without missing values behind them; what they return is float32 where the table is."""

WIDENING = [
    LogisticRegression(max_iter=1000),
    RidgeClassifier(),
    MLPClassifier((5,), max_iter=20, random_state=0),
    SVC(),
    KNeighborsClassifier(3, algorithm="kd_tree"),
    AdaBoostClassifier(n_estimators=4, random_state=0),
    BaggingClassifier(n_estimators=4, random_state=0),
    ExtraTreesClassifier(5, random_state=0),
    make_pipeline(PCA(2), LogisticRegression()),
]
"""Models that compute in float64 if they were fitted on float64, whatever the rows are."""


def _table(n_rows: int, seed: int, dtype: Any) -> pd.DataFrame:
    """Decimals of very different sizes, one in ten missing."""
    draw = np.random.default_rng(seed)
    scale, shift = np.array([1.0, 10.0, 1e4, 1e-2]), np.array([0.0, 3.3, 7e4, 0.1])
    values = (draw.normal(size=(n_rows, 4)) * scale).round(3) + shift
    return pd.DataFrame(np.where(draw.random(values.shape) < 0.1, np.nan, values), columns=NAMES).astype(dtype)


def _classes(table: pd.DataFrame) -> Any:
    return np.where(table.fillna(0.0)["a"] * 8.0 + table.fillna(3.0)["b"] > 3.3, "yes", "no")


def _assert_equal(model: Any, schema_of: pd.DataFrame, rows: pd.DataFrame, tolerance: float) -> None:
    """The model, compiled for float32 columns, answers float32 rows as the fitted pipeline does."""
    schema = learn_schema(schema_of, target="y", task="classification", labels=("no", "yes"), fitted=model)
    assert all(column.dtype == "float32" for column in schema.columns)
    compiled, _ = build(model, schema)
    answers = OnnxRuntime(compiled.SerializeToString()).run(encode(schema, rows))
    with quiet():
        assert np.array(schema.labels)[answers.labels].tolist() == model.predict(rows).tolist()
        if hasattr(model, "predict_proba"):
            assert answers.probabilities is not None
            wanted = model.predict_proba(rows)
            np.testing.assert_allclose(answers.probabilities, wanted, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("fitted_on", ["float32", "float64"])
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_steps_round_as_the_fitted_ones_do(step: Any, fitted_on: str) -> None:
    """A forest behind steps over float32 rows has the same bits, wherever the steps were fitted."""
    table = _table(300, 0, fitted_on)
    rows = pd.concat([_table(300, 0, "float32"), _table(2_000, 1, "float32")])
    _assert_equal(make_pipeline(step, FOREST).fit(table, _classes(table)), rows[:300], rows, 0.0)
    _assert_equal(make_pipeline(step, BOOSTING).fit(table, _classes(table)), rows[:300], rows, 1e-15)


@pytest.mark.parametrize("model", WIDENING, ids=str)
def test_models_of_float64_widen_float32_rows(model: Any) -> None:
    """A model that was fitted on float64 multiplies float32 rows in float64, as NumPy does."""
    table = _table(300, 0, "float64")
    rows = pd.concat([_table(300, 0, "float32"), _table(500, 1, "float32")])
    prepared = make_pipeline(SimpleImputer(), StandardScaler(), model)
    with quiet():
        prepared.fit(table, _classes(table))
    _assert_equal(prepared, rows[:300], rows, 1e-12)


@pytest.mark.parametrize(
    "model", [LogisticRegression(), MLPClassifier((5,), max_iter=5), make_pipeline(PCA(2), FOREST)]
)
def test_weights_of_float32_are_refused(model: Any) -> None:
    """A model that was fitted on float32 multiplies in float32, in an order that is the machine's."""
    table = _table(300, 0, "float32")
    with quiet():
        fitted = make_pipeline(SimpleImputer(), model).fit(table, _classes(table))
    schema = learn_schema(table, target="y", task="classification", labels=("no", "yes"), fitted=fitted)
    with pytest.raises(NotConvertibleError, match="float32"):
        build(fitted, schema)

"""imbalanced-learn's pipelines and ensembles: samplers act while fitting alone, and answers are the pipeline's own."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from imblearn import FunctionSampler
from imblearn.combine import SMOTEENN
from imblearn.ensemble import (
    BalancedBaggingClassifier,
    BalancedRandomForestClassifier,
    EasyEnsembleClassifier,
    RUSBoostClassifier,
)
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

import orris
from orris.compile.parity.reference import quiet
from tests.compile.agreement import assert_agrees, run
from tests.servers import client, serving


def _table() -> tuple[pd.DataFrame, pd.Series[Any]]:
    """240 rows of numbers with gaps and a town; about one answer in six is yes."""
    draw = np.random.default_rng(4)
    table = pd.DataFrame(
        {
            "age": np.where(draw.random(240) < 0.1, np.nan, draw.integers(18, 90, 240)),
            "spend": draw.gamma(2, 30, 240).round(2),
            "town": draw.choice(["Lima", "Oslo", "Rome"], 240),
        }
    )
    likely = np.where(table["spend"] > 90.0, 0.6, np.where(table["town"] == "Rome", 0.1, 0.02))
    return table, pd.Series(np.where(draw.random(240) < likely, "yes", "no"), name="churned")


X, Y = _table()
NUMBERS = X[["spend"]].assign(age=X["age"].fillna(40.0))


def _prepared() -> Any:
    return make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "spend"]),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["town"]),
    )


SMOTED = make_pipeline(_prepared(), SMOTE(random_state=0), RandomForestClassifier(5, random_state=0))

EXACT: dict[str, Any] = {
    "SMOTE before a forest": make_pipeline(SMOTE(random_state=0), RandomForestClassifier(5, random_state=0)),
    "RandomUnderSampler before a linear model": make_pipeline(
        StandardScaler(), RandomUnderSampler(random_state=0), LogisticRegression()
    ),
    "two samplers and a step left out": make_pipeline(
        StandardScaler(), SMOTEENN(random_state=0), "passthrough", FunctionSampler(), LogisticRegression()
    ),
    "a search": GridSearchCV(
        make_pipeline(RandomOverSampler(random_state=0), StandardScaler(), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0]},
        cv=2,
    ),
    "calibration of a pipeline": CalibratedClassifierCV(
        make_pipeline(StandardScaler(), SMOTE(random_state=0), LogisticRegression()), cv=2
    ),
    "BalancedRandomForestClassifier": BalancedRandomForestClassifier(5, random_state=0),
    "RUSBoostClassifier": RUSBoostClassifier(n_estimators=4, random_state=0),
    "BalancedBaggingClassifier": BalancedBaggingClassifier(n_estimators=4, random_state=0),
    "BalancedBaggingClassifier over a linear model": BalancedBaggingClassifier(
        LogisticRegression(), n_estimators=3, max_features=1, random_state=0
    ),
    "EasyEnsembleClassifier": EasyEnsembleClassifier(n_estimators=3, random_state=0),
}

IN_PART: dict[str, tuple[Any, pd.DataFrame, str]] = {
    "a step without a converter before the sampler": (
        make_pipeline(StandardScaler(), FunctionTransformer(np.cbrt), SMOTE(random_state=0), LogisticRegression()),
        NUMBERS,
        "partly-compiled",
    ),
    "a pipeline inside an estimator that scikit-learn serves": (
        CalibratedClassifierCV(
            make_pipeline(FunctionTransformer(np.cbrt), SMOTE(random_state=0), LogisticRegression()), cv=2
        ),
        NUMBERS,
        "scikit-learn",
    ),
}


def _packaged(model: Any, rows: pd.DataFrame, store: Path | None = None) -> orris.Bundle:
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        return orris.package(model.fit(rows, Y), rows, Y, name="churn", store=store)


@pytest.mark.parametrize("name", EXACT)
def test_it_is_compiled_exactly(name: str) -> None:
    """The steps are compiled, samplers are left out, and rows are answered as the pipeline answers them."""
    rows = NUMBERS.to_numpy(np.float64)
    with quiet():
        model = EXACT[name].fit(rows, Y)
    assert_agrees(run, model, np.concatenate([rows, rows + 0.5, -rows]), absolute=1e-12)


@pytest.mark.parametrize("name", IN_PART)
def test_what_has_no_converter_is_served_without_imbalanced_learn(name: str) -> None:
    """scikit-learn runs what is not compiled, from a file that names no class of imbalanced-learn."""
    model, rows, strategy = IN_PART[name]
    bundle = _packaged(model, rows)
    assert bundle.verdict.strategy == strategy
    file = bundle.folder / ("front.skops" if strategy == "partly-compiled" else "model.skops")
    assert b"imblearn" not in file.read_bytes()
    served = orris.load(bundle)
    with quiet():
        np.testing.assert_array_equal(served.predict(rows), model.predict(rows))
        np.testing.assert_allclose(served.predict_proba(rows), model.predict_proba(rows), rtol=0, atol=1e-12)


def test_a_server_answers_as_the_pipeline(tmp_path: Path) -> None:
    """Rows over HTTP are answered as the pipeline with SMOTE answers them, one with a gap and a new town as well."""
    bundle = _packaged(SMOTED, X, tmp_path / "store")
    assert bundle.verdict.strategy == "exact"
    assert bundle.verdict.proof is not None
    assert orris.load(bundle).predict(X).tolist() == SMOTED.predict(X).tolist()
    asked = pd.concat([X.head(50), pd.DataFrame({"age": [np.nan], "spend": [70.5], "town": ["Paris"]})])
    body = [
        {name: None if value != value else value for name, value in row.items()}  # noqa: PLR0124 (NaN is missing)
        for row in asked.to_dict("records")
    ]
    with serving("churn", "--store", str(tmp_path / "store"), folder=tmp_path) as server, client(server) as http:
        answer = http.post("/api/v1/predict", json=body)
    predictions = answer.json()["predictions"]
    assert [each["prediction_label"] for each in predictions] == SMOTED.predict(asked).tolist()
    with quiet():
        assert [each["probabilities"] for each in predictions] == SMOTED.predict_proba(asked).tolist()

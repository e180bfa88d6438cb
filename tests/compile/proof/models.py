"""Fitted pipelines of every family that has a statement, each over a table that brings out what is special about it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import xgboost
from sklearn import linear_model as lm
from sklearn import preprocessing as pp
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from orris.compile.build import build
from orris.compile.parity import rows
from orris.compile.probing import complete
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.schema.frames import encode
from orris.training.learning import Task, learn_schema, to_training_frame


@dataclass(frozen=True)
class Model:
    """A fitted pipeline, its contract, its model file, encoded rows of its table, and values on its thresholds."""

    pipeline: Any
    schema: Schema
    content: bytes
    rows: FloatArray
    thresholds: Mapping[int, Sequence[FloatArray]]


def adversarial_rows(case: Model) -> FloatArray:
    """Rows that the gate draws: of the table, missing, unseen, extreme, on thresholds and beside them."""
    made = [*rows.origins(case.schema, case.rows, 0).values()]
    return np.concatenate([*made, rows.on_thresholds(case.schema, case.rows, case.thresholds, 0)])


def numbers(n_rows: int = 240, n_columns: int = 4) -> pd.DataFrame:
    """Decimals with many ties, some of them missing."""
    rng = np.random.default_rng(7)
    values = np.round(rng.normal(size=(n_rows, n_columns)), 1)
    return pd.DataFrame(values, columns=[f"x{i}" for i in range(n_columns)])


def gaps(n_rows: int = 240) -> pd.DataFrame:
    """Decimals, a tenth of them missing."""
    table = numbers(n_rows)
    return table.mask(np.random.default_rng(1).random(table.shape) < 0.1)


def mixed(n_rows: int = 240) -> pd.DataFrame:
    """Numbers, whole numbers, booleans and categories of text, some missing."""
    rng = np.random.default_rng(3)
    table = gaps(n_rows)[["x0", "x1"]]
    table["count"] = rng.integers(0, 9, n_rows)
    table["flag"] = rng.random(n_rows) < 0.4
    towns = pd.Series(rng.choice(["Oslo", "Rome", "Lima", "Bonn", "Kyiv"], n_rows))
    table["town"] = towns.mask(rng.random(n_rows) < 0.1)
    table["grade"] = rng.choice(["a", "b", "c"], n_rows)
    return table


def categories(n_rows: int = 240) -> pd.DataFrame:
    """Numbers, and columns of the ``category`` dtype: texts in an order of their own, and whole numbers."""
    table = mixed(n_rows)[["x0", "town", "count"]]
    table["town"] = pd.Categorical(table["town"], categories=["Rome", "Oslo", "Kyiv", "Lima", "Bonn"])
    table["count"] = pd.Categorical(table["count"])
    return table


def _target(table: pd.DataFrame, n_classes: int) -> Any:
    rng = np.random.default_rng(5)
    ranks = [np.unique(table[name].map(repr), return_inverse=True)[1] % 7 for name in table]
    signal = np.sum(ranks, axis=0) + rng.normal(0, 2, len(table))
    if not n_classes:
        return np.round(signal * 1.7 + 20, 2)
    position = np.searchsorted(np.quantile(signal, np.linspace(0, 1, n_classes + 1)[1:-1]), signal)
    return np.array(["a", "b", "c", "d"])[position]


_NUMBERS = make_column_selector(dtype_include=["number", "bool"])
_TEXT = make_column_selector(dtype_exclude=["number", "bool"])


def prepared(encoder: Any, scaler: Any, model: Any) -> Any:
    """Imputed and scaled numbers, imputed and encoded text, then the model."""
    text = make_pipeline(SimpleImputer(strategy="most_frequent"), encoder)
    return make_pipeline(
        ColumnTransformer(
            [("n", make_pipeline(SimpleImputer(strategy="median"), scaler), _NUMBERS), ("t", text, _TEXT)]
        ),
        model,
    )


def hot(**settings: Any) -> Any:
    """A one-hot encoder that takes unknown levels."""
    return pp.OneHotEncoder(**{"handle_unknown": "ignore", **settings})


def ordinal(**settings: Any) -> Any:
    """An ordinal encoder that takes unknown levels."""
    return pp.OrdinalEncoder(handle_unknown="use_encoded_value", **{"unknown_value": -1, **settings})


def histogram(kind: Any, **settings: Any) -> Any:
    """Histogram boosting over encoded categories, on which it splits in sets."""
    encode_text = ordinal(unknown_value=np.nan, encoded_missing_value=np.nan)
    steps = ColumnTransformer([("t", encode_text, _TEXT)], remainder="passthrough")
    return make_pipeline(steps, kind(categorical_features=[0, 1], max_iter=8, min_samples_leaf=5, **settings))


def catboosted(kind: str, **settings: Any) -> Any:
    """A small CatBoost model."""
    estimator = getattr(catboost, f"CatBoost{kind}")
    return estimator(iterations=4, depth=3, thread_count=1, verbose=0, allow_writing_files=False, **settings)


def members() -> Any:
    """A forest and a linear model, named."""
    return [("forest", RandomForestClassifier(3, max_depth=3, random_state=0)), ("linear", lm.LogisticRegression())]


Case = tuple[Callable[[], Any], Callable[[], pd.DataFrame], int]
"""An unfitted pipeline, its table, and the number of classes (0: regression)."""

CASES: dict[str, Case] = {
    "decision tree": (lambda: DecisionTreeClassifier(random_state=0), gaps, 3),
    "decision tree of one leaf": (lambda: DecisionTreeRegressor(max_leaf_nodes=2, min_samples_leaf=130), numbers, 0),
    "decision tree regressor": (lambda: DecisionTreeRegressor(max_depth=6, random_state=0), gaps, 0),
    "extra tree": (lambda: ExtraTreeClassifier(max_depth=5, random_state=0), numbers, 2),
    "extra tree regressor": (lambda: ExtraTreeRegressor(max_depth=5, random_state=0), numbers, 0),
    "forest": (lambda: RandomForestClassifier(7, max_depth=5, random_state=0), gaps, 3),
    "forest of pure leaves": (lambda: RandomForestClassifier(7, random_state=0), numbers, 3),
    "forest of float32": (
        lambda: RandomForestClassifier(5, max_depth=5, random_state=0),
        lambda: gaps().astype("float32"),
        3,
    ),
    "forest of float32 and float64": (
        lambda: make_pipeline(pp.StandardScaler(), RandomForestRegressor(4, max_depth=5, random_state=0)),
        lambda: numbers().astype({"x0": "float32", "x1": "float32"}),
        0,
    ),
    "scaled forest": (
        lambda: make_pipeline(
            SimpleImputer(), pp.StandardScaler(), RandomForestClassifier(5, max_depth=4, random_state=0)
        ),
        gaps,
        2,
    ),
    "forest regressor": (lambda: RandomForestRegressor(6, max_depth=5, random_state=0), gaps, 0),
    "forest over one-hot": (
        lambda: prepared(
            hot(sparse_output=False), pp.MinMaxScaler(), RandomForestClassifier(6, max_depth=6, random_state=0)
        ),
        mixed,
        3,
    ),
    "forest over ordinals": (
        lambda: prepared(ordinal(), pp.RobustScaler(), RandomForestRegressor(6, max_depth=6, random_state=0)),
        mixed,
        0,
    ),
    "extra trees": (lambda: ExtraTreesClassifier(6, max_depth=5, random_state=0), numbers, 3),
    "extra trees regressor": (lambda: ExtraTreesRegressor(6, max_depth=5, random_state=0), numbers, 0),
    "bagging": (
        lambda: BaggingClassifier(n_estimators=5, max_features=0.6, max_samples=20, random_state=0),
        numbers,
        4,
    ),
    "bagging regressor": (lambda: BaggingRegressor(n_estimators=5, max_features=0.6, random_state=0), numbers, 0),
    "gradient boosting": (lambda: GradientBoostingClassifier(n_estimators=8, random_state=0), numbers, 2),
    "gradient boosting, three classes": (
        lambda: GradientBoostingClassifier(n_estimators=5, random_state=0),
        numbers,
        3,
    ),
    "gradient boosting, exponential": (
        lambda: GradientBoostingClassifier(n_estimators=5, loss="exponential", random_state=0),
        numbers,
        2,
    ),
    "gradient boosting regressor": (
        lambda: make_pipeline(pp.MaxAbsScaler(), GradientBoostingRegressor(n_estimators=8, random_state=0)),
        numbers,
        0,
    ),
    "gradient boosting from zero": (
        lambda: GradientBoostingRegressor(n_estimators=4, init="zero", random_state=0),
        numbers,
        0,
    ),
    "histogram": (lambda: HistGradientBoostingClassifier(max_iter=8, min_samples_leaf=5, random_state=0), gaps, 2),
    "histogram, three classes": (
        lambda: HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5, random_state=0),
        gaps,
        3,
    ),
    "histogram regressor": (
        lambda: HistGradientBoostingRegressor(max_iter=8, min_samples_leaf=5, random_state=0),
        gaps,
        0,
    ),
    "histogram, poisson": (
        lambda: HistGradientBoostingRegressor(max_iter=6, loss="poisson", min_samples_leaf=5, random_state=0),
        gaps,
        0,
    ),
    "histogram over encoded categories": (lambda: histogram(HistGradientBoostingClassifier, random_state=0), mixed, 2),
    "histogram over categories": (
        lambda: HistGradientBoostingRegressor(
            max_iter=8, min_samples_leaf=5, categorical_features=["town", "grade"], random_state=0
        ),
        lambda: mixed().assign(town=lambda t: t.town.fillna("Paris")),
        0,
    ),
    "histogram over whole numbers": (
        lambda: HistGradientBoostingRegressor(max_iter=8, min_samples_leaf=5, categorical_features=[2], random_state=0),
        lambda: mixed()[["x0", "x1", "count"]],
        0,
    ),
    "adaboost": (lambda: AdaBoostClassifier(n_estimators=6, random_state=0), numbers, 2),
    "adaboost, three classes": (
        lambda: AdaBoostClassifier(DecisionTreeClassifier(max_depth=3), n_estimators=5, random_state=0),
        numbers,
        3,
    ),
    "logistic": (lambda: make_pipeline(pp.StandardScaler(), lm.LogisticRegression()), numbers, 2),
    "logistic, three classes": (
        lambda: prepared(hot(), pp.StandardScaler(), lm.LogisticRegression(max_iter=500)),
        mixed,
        3,
    ),
    "discriminant": (LinearDiscriminantAnalysis, numbers, 3),
    "stochastic gradient": (lambda: lm.SGDClassifier(loss="log_loss", random_state=0), numbers, 2),
    "ridge classifier": (lambda: prepared(hot(drop="first"), pp.MaxAbsScaler(), lm.RidgeClassifier()), mixed, 3),
    "linear SVC": (lambda: LinearSVC(random_state=0), numbers, 2),
    "ridge": (
        lambda: prepared(hot(min_frequency=0.2, handle_unknown="infrequent_if_exist"), pp.RobustScaler(), lm.Ridge()),
        mixed,
        0,
    ),
    "lasso": (lambda: make_pipeline(SelectKBest(k=3), pp.MinMaxScaler(clip=True), lm.Lasso(0.01)), numbers, 0),
    "target encoder": (
        lambda: prepared(pp.TargetEncoder(random_state=0), pp.StandardScaler(), lm.LinearRegression()),
        mixed,
        0,
    ),
    "poisson": (lambda: make_pipeline(pp.StandardScaler(), lm.PoissonRegressor()), numbers, 0),
    "principal components": (lambda: make_pipeline(pp.StandardScaler(), PCA(2, whiten=True), lm.Ridge()), numbers, 0),
    "network": (
        lambda: make_pipeline(pp.StandardScaler(), MLPClassifier((5, 4), max_iter=30, random_state=0)),
        numbers,
        2,
    ),
    "network, tanh": (
        lambda: make_pipeline(pp.StandardScaler(), MLPClassifier((5,), activation="tanh", max_iter=30, random_state=0)),
        numbers,
        3,
    ),
    "network regressor": (
        lambda: prepared(
            hot(),
            pp.StandardScaler(),
            MLPRegressor(hidden_layer_sizes=(6,), activation="logistic", max_iter=40, random_state=0),
        ),
        mixed,
        0,
    ),
    "LightGBM": (lambda: lightgbm.LGBMRegressor(n_estimators=8, min_child_samples=5, n_jobs=1, verbose=-1), gaps, 0),
    "LightGBM, poisson": (
        lambda: lightgbm.LGBMRegressor(n_estimators=5, objective="poisson", n_jobs=1, verbose=-1),
        numbers,
        0,
    ),
    "LightGBM of zeros, two classes": (
        lambda: lightgbm.LGBMClassifier(n_estimators=6, sigmoid=1.5, n_jobs=1, verbose=-1),
        lambda: mixed()[["x0", "count", "flag"]],
        2,
    ),
    "LightGBM, three classes": (
        lambda: make_pipeline(SimpleImputer(), lightgbm.LGBMClassifier(n_estimators=4, n_jobs=1, verbose=-1)),
        gaps,
        3,
    ),
    "LightGBM of categories": (
        lambda: lightgbm.LGBMRegressor(n_estimators=6, min_child_samples=5, cat_smooth=1, n_jobs=1, verbose=-1),
        categories,
        0,
    ),
    "LightGBM, missing zeros and a class against the others": (
        lambda: lightgbm.LGBMClassifier(
            n_estimators=3, objective="multiclassova", zero_as_missing=True, n_jobs=1, verbose=-1
        ),
        lambda: gaps().clip(lower=0),
        3,
    ),
    "XGBoost": (lambda: xgboost.XGBRegressor(n_estimators=8, max_depth=4, n_jobs=1), gaps, 0),
    "scaled XGBoost": (
        lambda: make_pipeline(
            pp.StandardScaler(), xgboost.XGBRegressor(n_estimators=5, objective="reg:absoluteerror", n_jobs=1)
        ),
        numbers,
        0,
    ),
    "XGBoost, poisson": (
        lambda: xgboost.XGBRegressor(n_estimators=5, max_depth=4, objective="count:poisson", n_jobs=1),
        gaps,
        0,
    ),
    "XGBoost of categories": (
        lambda: xgboost.XGBClassifier(
            n_estimators=6, max_depth=4, max_cat_to_onehot=3, enable_categorical=True, n_jobs=1
        ),
        categories,
        2,
    ),
    "XGBoost, three labels": (
        lambda: prepared(hot(), pp.StandardScaler(), xgboost.XGBClassifier(n_estimators=3, max_depth=3, n_jobs=1)),
        mixed,
        3,
    ),
    "XGBoost forest": (
        lambda: xgboost.XGBRFClassifier(n_estimators=5, max_depth=4, missing=0.5, n_jobs=1),
        gaps,
        2,
    ),
    "CatBoost": (lambda: catboosted("Regressor"), gaps, 0),
    "CatBoost of categories": (
        lambda: catboosted("Classifier", cat_features=["town", "count"], one_hot_max_size=20),
        lambda: mixed()[["x0", "town", "count"]].assign(
            town=lambda t: t.town.fillna("Paris"), count=lambda t: t["count"].astype(str)
        ),
        2,
    ),
    "CatBoost, three classes": (lambda: catboosted("Classifier", grow_policy="Lossguide"), gaps, 3),
    "vote": (lambda: VotingClassifier(members(), voting="soft", weights=[1, 2]), numbers, 3),
    "vote of trees": (
        lambda: VotingRegressor(
            [
                ("forest", RandomForestRegressor(3, max_depth=4, random_state=0)),
                ("tree", DecisionTreeRegressor(max_depth=3)),
            ]
        ),
        numbers,
        0,
    ),
    "stack": (lambda: StackingClassifier(members(), cv=3, passthrough=True), numbers, 2),
    "stack regressor": (
        lambda: StackingRegressor(
            [("ridge", lm.Ridge()), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))], lm.Lasso(0.01), cv=3
        ),
        numbers,
        0,
    ),
    "threshold over a forest": (
        lambda: FixedThresholdClassifier(RandomForestClassifier(5, max_depth=4, random_state=0), threshold=0.3),
        numbers,
        2,
    ),
    "tuned threshold, logistic": (
        lambda: TunedThresholdClassifierCV(lm.LogisticRegression(), response_method="decision_function", cv=3),
        numbers,
        2,
    ),
    "calibrated logistic": (lambda: CalibratedClassifierCV(lm.LogisticRegression(), ensemble=False, cv=3), numbers, 2),
    "calibrated forest, two classes": (
        lambda: CalibratedClassifierCV(RandomForestClassifier(3, max_depth=3, random_state=0), cv=2),
        numbers,
        2,
    ),
    "exponential of a ridge": (
        lambda: TransformedTargetRegressor(lm.Ridge(), func=np.log1p, inverse_func=np.expm1),
        numbers,
        0,
    ),
    "scaled back": (
        lambda: TransformedTargetRegressor(
            RandomForestRegressor(3, max_depth=4, random_state=0), transformer=pp.StandardScaler()
        ),
        numbers,
        0,
    ),
    "products": (
        lambda: make_pipeline(
            pp.PolynomialFeatures(3, include_bias=False), DecisionTreeRegressor(max_depth=5, random_state=0)
        ),
        numbers,
        0,
    ),
    "dummy": (DummyRegressor, numbers, 0),
    "indicators": (
        lambda: make_pipeline(
            SimpleImputer(add_indicator=True), pp.Binarizer(), DecisionTreeClassifier(random_state=0)
        ),
        gaps,
        2,
    ),
}


@cache
def model(name: str) -> Model:
    """The case of that name, fitted and compiled by the exact converters."""
    make, rows_of, n_classes = CASES[name]
    table = rows_of()
    target = _target(table, n_classes)
    if n_classes and name.startswith("XGBoost"):  # whose labels are numbers
        target = np.unique(target, return_inverse=True)[1]
    task: Task = "classification" if n_classes else "regression"
    labels = tuple(np.unique(target).tolist()) if n_classes else ()
    schema = learn_schema(table, target="target", task=task, labels=labels)
    pipeline = make()
    assert is_classifier(pipeline) == bool(n_classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.fit(to_training_frame(table, schema), target)
    training = encode(schema, table)
    schema = complete(pipeline, schema, training)
    built, graph = build(pipeline, schema)
    content = built.SerializeToString(deterministic=True)
    return Model(pipeline, schema, content, training, graph.thresholds)

"""Schema -> unfitted Pipeline: the named presets, or the user's own factory. After ``learning``, before ``evaluation``.

A preset is a whole pipeline: what its model needs to be done to missing values, categories and scales is decided here,
from the schema. Tables of numbers without gaps get the shortest pipeline that is right for the model.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from orris.errors import TrainingError
from orris.schema import Column, Kind, Schema
from orris.training import boosting
from orris.training.learning import Task

MODEL = "model"
"""Name of a preset pipeline's last step."""

MAX_ONE_HOT = 64
"""A category with more levels than this has its rarest pooled, and unseen levels with them."""

_MAX_ORDINAL = 200
"""Histogram gradient boosting takes at most 255 levels of a category; the rarest beyond this are pooled."""

_CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    "logistic": lambda seed: LogisticRegression(max_iter=2000, random_state=seed),
    "forest": lambda seed: RandomForestClassifier(random_state=seed),
    "extra-trees": lambda seed: ExtraTreesClassifier(random_state=seed),
    "hist-gradient-boosting": lambda seed: HistGradientBoostingClassifier(categorical_features=None, random_state=seed),
    "gradient-boosting": lambda seed: GradientBoostingClassifier(random_state=seed),
    "decision-tree": lambda seed: DecisionTreeClassifier(random_state=seed),
    "knn": lambda _: KNeighborsClassifier(algorithm="kd_tree"),
    # SVC's own probabilities are deprecated, and need not agree with its labels.
    "svm": lambda seed: CalibratedClassifierCV(SVC(random_state=seed), cv=5, ensemble=False),
    "mlp": lambda seed: MLPClassifier(max_iter=2000, random_state=seed),
}
_REGRESSORS: dict[str, Callable[[int], Any]] = {
    "ridge": lambda seed: Ridge(random_state=seed),
    "linear": lambda _: LinearRegression(),
    "elastic-net": lambda seed: ElasticNet(alpha=0.1, max_iter=10_000, random_state=seed),
    "forest": lambda seed: RandomForestRegressor(random_state=seed),
    "extra-trees": lambda seed: ExtraTreesRegressor(random_state=seed),
    "hist-gradient-boosting": lambda seed: HistGradientBoostingRegressor(categorical_features=None, random_state=seed),
    "gradient-boosting": lambda seed: GradientBoostingRegressor(random_state=seed),
    "decision-tree": lambda seed: DecisionTreeRegressor(random_state=seed),
    "knn": lambda _: KNeighborsRegressor(algorithm="kd_tree"),
    "svm": lambda _: SVR(C=100.0),
    # Targets are not scaled: a fast start and rows held out to stop by, rather than thousands of epochs.
    "mlp": lambda seed: MLPRegressor(
        learning_rate_init=0.05, early_stopping=True, n_iter_no_change=30, max_iter=2000, random_state=seed
    ),
}


def _boosting(task: Task) -> dict[str, Callable[[int], Any]]:
    return {library: partial(boosting.early_stopped, library, task) for library in boosting.LIBRARIES}


_MODELS: dict[Task, dict[str, Callable[[int], Any]]] = {
    "classification": _CLASSIFIERS | _boosting("classification"),
    "regression": _REGRESSORS | _boosting("regression"),
}
_NEED_SCALES = {"logistic", "ridge", "linear", "elastic-net", "knn", "svm", "mlp"}

PRESETS: dict[Task, tuple[str, ...]] = {task: tuple(models) for task, models in _MODELS.items()}
"""Names of the presets by task; the first is the default."""


def build(preset: str, schema: Schema, *, seed: int, parameters: Mapping[str, object] | None = None) -> Pipeline:
    """The preset's unfitted pipeline for this schema.

    Args:
        preset: One of ``PRESETS[schema.task]``; empty: the first of them.
        schema: What the table holds.
        seed: Of every random draw while fitting.
        parameters: Parameters of the model, by its library's names, that differ from the preset's.

    Raises:
        TrainingError: No such preset for this task, or no such parameter; lists what there is.
        MissingExtraError: The preset's library is not installed.
    """
    if schema.task not in {"classification", "regression"}:
        raise TrainingError(f"no preset is for {schema.task}; fit such a model yourself and give it to orris.package")
    task = schema.task
    preset = preset or PRESETS[task][0]
    if preset not in _MODELS[task]:
        other = next((task for task, models in _MODELS.items() if preset in models), None)
        wrong = f"is for {other}, and this is {task}" if other else "is unknown"
        raise TrainingError(
            f"preset '{preset}' {wrong}{_hint(preset, PRESETS[task])}; choose one of: {', '.join(PRESETS[task])}"
        )
    model = _MODELS[task][preset](seed)
    _set_parameters(preset, model, parameters or {})
    return Pipeline([*_preprocessing(preset, schema, model), (MODEL, model)])


def parameter_prefix(preset: str, task: Task) -> str:
    """The prefix of a model parameter's name in ``Pipeline.set_params``."""
    inside = preset in boosting.LIBRARIES or (preset == "svm" and task == "classification")
    return f"{MODEL}__estimator__" if inside else f"{MODEL}__"


def from_factory(spec: str, schema: Schema) -> Any:
    """The user's own unfitted estimator.

    Args:
        spec: ``package.module:factory``; the working directory is searched first. A factory that takes an argument is
            given the schema. An estimator in place of a factory is copied.
        schema: What the table holds.

    Raises:
        TrainingError: Nothing usable there; names the module or the attribute, and what failed.
    """
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute:
        raise TrainingError(f"'{spec}' does not name a pipeline factory; write it as package.module:factory")
    with _working_directory_first():
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise TrainingError(f"module '{module_name}' of '{spec}' cannot be imported: {error}") from error
        except Exception as error:
            raise TrainingError(
                f"module '{module_name}' of '{spec}' fails when imported: {type(error).__name__}: {error}"
            ) from error
        factory = getattr(module, attribute, None)
        if factory is None:
            raise TrainingError(f"module '{module_name}' has no '{attribute}'{_hint(attribute, dir(module))}")
        estimator = _call(spec, factory, schema)
    lacking = [method for method in ("fit", "predict", "get_params") if not hasattr(estimator, method)]
    if lacking:
        raise TrainingError(
            f"'{spec}' gives a {type(estimator).__name__}, which has no {lacking[0]}; a scikit-learn estimator is"
            " needed"
        )
    return estimator


def _call(spec: str, factory: Any, schema: Schema) -> Any:
    if hasattr(factory, "fit") and not isinstance(factory, type):
        return clone(factory)
    if not callable(factory):
        raise TrainingError(
            f"'{spec}' is a {type(factory).__name__}, neither a function that makes a pipeline nor a pipeline"
        )
    parameters = list(inspect.signature(factory).parameters.values())
    positional = [
        parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    wanted = [
        parameter for parameter in positional if parameter.default is parameter.empty or parameter.name == "schema"
    ]
    try:
        return factory(schema) if wanted else factory()
    except Exception as error:
        raise TrainingError(f"'{spec}' fails when called: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _working_directory_first() -> Iterator[None]:
    """The working directory leads the module search path, as it does for ``python -m``."""
    directory = os.getcwd()  # noqa: PTH109 (sys.path holds text)
    sys.path.insert(0, directory)
    try:
        yield
    finally:
        sys.path.remove(directory)


def _set_parameters(preset: str, model: Any, parameters: Mapping[str, object]) -> None:
    boosts = preset in boosting.LIBRARIES
    inner = model.estimator if isinstance(model, CalibratedClassifierCV) else model
    known = boosting.known_parameters(model) if boosts else sorted(inner.get_params(deep=False))
    for name in parameters:
        if name not in known:
            raise TrainingError(
                f"preset '{preset}' has no parameter '{name}'{_hint(name, known)}; it has: {', '.join(known)}"
            )
    if boosts:
        boosting.set_parameters(model, parameters)
    else:
        inner.set_params(**parameters)


def _hint(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (is '{near[0]}' meant?)" if near else ""


def _preprocessing(preset: str, schema: Schema, model: Any) -> list[tuple[str, Any]]:
    """The steps before the model."""
    scaled = preset in _NEED_SCALES
    categories = [column for column in schema.columns if column.kind is Kind.CATEGORY]
    if preset == "hist-gradient-boosting" or preset in boosting.LIBRARIES:
        # They take missing values as they are, and categories as whole numbers.
        return _codes_first(preset, schema, categories, model) if categories else []
    if not categories and not any(column.missing for column in schema.columns):
        return [("scale", StandardScaler())] if scaled else []
    flags = [column for column in schema.columns if column.kind is Kind.BOOLEAN]
    numbers = [column for column in schema.columns if column.kind in (Kind.NUMBER, Kind.INTEGER)]
    parts: list[tuple[str, Any, Any]] = []
    if numbers:
        parts.append(("numbers", _numbers(numbers, scaled=scaled), _select(schema, numbers)))
    if flags:
        imputed = any(column.missing for column in flags)
        step = SimpleImputer(strategy="most_frequent", keep_empty_features=True) if imputed else "passthrough"
        parts.append(("flags", step, _select(schema, flags)))
    if categories:
        # A missing value is a level of its own.
        encoder = OneHotEncoder(
            handle_unknown="infrequent_if_exist", max_categories=_limit(categories, MAX_ONE_HOT), sparse_output=False
        )
        parts.append(("categories", encoder, _select(schema, categories)))
    return [("prepare", ColumnTransformer(parts))]


def _codes_first(preset: str, schema: Schema, categories: list[Column], model: Any) -> list[tuple[str, Any]]:
    """The codes of the categories, then the other columns as they are; ``model`` is given their positions."""
    if preset in boosting.LIBRARIES:
        model.set_params(n_categories=len(categories))
    else:
        model.set_params(categorical_features=list(range(len(categories))))
    parts = [("categories", _ordinal(preset, categories), _select(schema, categories))]
    return [("prepare", ColumnTransformer(parts, remainder="passthrough", verbose_feature_names_out=False))]


def _numbers(columns: list[Column], *, scaled: bool) -> Any:
    steps: list[tuple[str, Any]] = []
    if any(column.missing for column in columns):
        # The indicator lets the model learn from the fact that a value is missing.
        steps.append(("impute", SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)))
    if scaled:
        steps.append(("scale", StandardScaler()))
    return "passthrough" if not steps else steps[0][1] if len(steps) == 1 else Pipeline(steps)


def _ordinal(preset: str, columns: list[Column]) -> OrdinalEncoder:
    nan = float("nan")
    own = preset == "catboost"  # which does not know a missing category
    return OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=boosting.UNKNOWN if own else nan,
        encoded_missing_value=boosting.MISSING if own else nan,
        max_categories=_limit(columns, _MAX_ORDINAL) if preset == "hist-gradient-boosting" else None,
    )


def _limit(columns: list[Column], most: int) -> int | None:
    return most if any(len(column.levels) > most for column in columns) else None


def _select(schema: Schema, columns: list[Column]) -> list[Any]:
    """The columns as a ColumnTransformer names them: by name in a frame, by position in an array."""
    if schema.container == "frame":
        return [column.name for column in columns]
    return [schema.columns.index(column) for column in columns]

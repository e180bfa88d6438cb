"""Converters of estimators made of estimators: pipelines, searches, column transformers, transformed targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from orris.compile.converters import arithmetic
from orris.compile.converters.levels import values
from orris.compile.dispatch import predict, transform
from orris.compile.graph import Frame, Graph, Prediction, unnamed
from orris.compile.registry import is_exactly, predictor, transformer
from orris.errors import NotConvertibleError

SEARCHES = (
    "sklearn.model_selection.GridSearchCV",
    "sklearn.model_selection.RandomizedSearchCV",
    "sklearn.model_selection.HalvingGridSearchCV",
    "sklearn.model_selection.HalvingRandomSearchCV",
)


PIPELINES = ("sklearn.pipeline.Pipeline", "imblearn.pipeline.Pipeline")


def acting(steps: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The steps of a pipeline that do anything to rows that are predicted.

    A sampler of imbalanced-learn (a step with ``fit_resample``) chooses and makes rows while fitting, and is left out
    afterwards, as ``imblearn.pipeline.Pipeline._iter`` does.
    """
    return [
        (name, step)
        for name, step in steps
        if step is not None and not (isinstance(step, str) and step == "passthrough")
        if not hasattr(step, "fit_resample")
    ]


@contextmanager
def _named_step(name: str) -> Iterator[None]:
    """Errors that are raised inside name the step."""
    try:
        yield
    except NotConvertibleError as error:
        raise error.inside(name) from error.__cause__


def _through_steps(graph: Graph, steps: Sequence[tuple[str, Any]], frame: Frame) -> Frame:
    for name, step in acting(steps):
        with _named_step(name):
            frame = transform(graph, step, frame)
    return frame


@transformer(*PIPELINES, delegates=True)
def pipeline_transform(graph: Graph, pipeline: Any, frame: Frame) -> Frame:
    """Every step in turn."""
    return _through_steps(graph, pipeline.steps, frame)


@predictor(*PIPELINES, delegates=True)
def pipeline_predict(graph: Graph, pipeline: Any, frame: Frame) -> Prediction:
    """Every step in turn, the last of which predicts."""
    name, final = pipeline.steps[-1]
    if final is None or isinstance(final, str):
        raise NotConvertibleError("the pipeline ends in no predictor")
    frame = _through_steps(graph, pipeline.steps[:-1], frame)
    with _named_step(name):
        return predict(graph, final, frame)


@transformer(*SEARCHES, delegates=True)
def search_transform(graph: Graph, search: Any, frame: Frame) -> Frame:
    """The best estimator found."""
    return transform(graph, _best(search), frame)


@predictor(*SEARCHES, delegates=True)
def search_predict(graph: Graph, search: Any, frame: Frame) -> Prediction:
    """The best estimator found."""
    return predict(graph, _best(search), frame)


@transformer("sklearn.frozen.FrozenEstimator", delegates=True)
def frozen_transform(graph: Graph, frozen: Any, frame: Frame) -> Frame:
    """The estimator inside."""
    return transform(graph, frozen.estimator, frame)


@predictor("sklearn.frozen.FrozenEstimator", delegates=True)
def frozen_predict(graph: Graph, frozen: Any, frame: Frame) -> Prediction:
    """The estimator inside."""
    return predict(graph, frozen.estimator, frame)


@predictor("sklearn.linear_model.RANSACRegressor", "sklearn.semi_supervised.SelfTrainingClassifier", delegates=True)
def inner_predict(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The estimator that was fitted inside, which has no names of columns."""
    return predict(graph, estimator.estimator_, unnamed(frame))


@predictor("sklearn.multioutput.MultiOutputRegressor", "sklearn.multioutput.RegressorChain", delegates=True)
def only_output(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The model of the only target."""
    arithmetic.require_one_target(estimator, len(estimator.estimators_))
    return predict(graph, estimator.estimators_[0], unnamed(frame))


def _best(search: Any) -> Any:
    if not hasattr(search, "best_estimator_"):
        raise NotConvertibleError(f"{type(search).__name__} was fitted with refit=False and holds no model")
    return search.best_estimator_


def _weighted(graph: Graph, frame: Frame, weight: float | None, name: str) -> Frame:
    if weight is None:
        return frame
    frame = values(graph, frame)
    if frame.coded:
        raise NotConvertibleError(f"'{name}' multiplies a column of text by a weight")
    features = tuple(replace(feature, source=None, inverse=None) for feature in frame.features)
    return replace(
        frame, tensor=graph.add("Mul", frame.tensor, graph.constant(float(weight), np.float64)), features=features
    )


@transformer("sklearn.compose.ColumnTransformer")
def column_transformer(graph: Graph, step: Any, frame: Frame) -> Frame:
    """Each fitted transformer over its own columns, side by side."""
    weights = step.transformer_weights or {}
    parts = []
    for name, inner, _ in step.transformers_:
        fitted = np.asarray(step._transformer_to_input_indices[name], dtype=np.int64).tolist()
        if (isinstance(inner, str) and inner == "drop") or not fitted:
            continue
        positions = _positions(step, fitted, frame)
        part = graph.take(frame, positions)
        if not isinstance(inner, str):
            with _named_step(name):
                part = transform(graph, inner, part)
        parts.append(_weighted(graph, part, weights.get(name), name))
    joined = _side_by_side(graph, step, parts)
    if step.sparse_output_:  # Every part went through check_array, which makes NaN of None.
        return replace(
            joined, sparse=True, features=tuple(replace(feature, missing_as="nan") for feature in joined.features)
        )
    return replace(joined, sparse=False)


def _positions(step: Any, fitted: list[int], frame: Frame) -> list[int]:
    """Where the columns that had these positions in training are now: a DataFrame's are found by name."""
    names = [feature.name for feature in frame.features]
    if not hasattr(step, "feature_names_in_") or not all(names):
        return fitted
    if len(set(names)) != len(names):
        raise NotConvertibleError("the table has two columns of the same name")
    wanted = [str(step.feature_names_in_[i]) for i in fitted]
    lost = [name for name in wanted if name not in names]
    if lost:
        raise NotConvertibleError(f"ColumnTransformer needs the columns {lost}, which the schema does not have")
    return [names.index(name) for name in wanted]


def _side_by_side(graph: Graph, step: Any, parts: Sequence[Frame]) -> Frame:
    if not any(part.width for part in parts):
        raise NotConvertibleError(f"{type(step).__name__} keeps no column")
    return graph.concat(parts)


@transformer("sklearn.pipeline.FeatureUnion")
def feature_union(graph: Graph, union: Any, frame: Frame) -> Frame:
    """Each transformer over all columns, side by side."""
    weights = union.transformer_weights or {}
    parts = []
    for name, inner in union.transformer_list:
        if isinstance(inner, str) and inner == "drop":
            continue
        with _named_step(name):
            part = frame if isinstance(inner, str) else transform(graph, inner, frame)
        parts.append(_weighted(graph, part, weights.get(name), name))
    return _side_by_side(graph, union, parts)


@predictor("sklearn.compose.TransformedTargetRegressor", delegates=True)
def transformed_target_regressor(graph: Graph, step: Any, frame: Frame) -> Prediction:
    """The regressor's value, through the inverse of the target's transformer."""
    inner = predict(graph, step.regressor_, frame)
    if inner.value is None or step._training_dim != 1:
        raise NotConvertibleError("TransformedTargetRegressor over anything but one value per row")
    return _restored(graph, step.transformer_, inner.value, inner.rounding)


def _restored(graph: Graph, step: Any, value: str, rounding: str | None) -> Prediction:
    """``transformer_.inverse_transform`` over a tensor ``(n_rows,)``, in scikit-learn's order of operations.

    The rounding follows the value: it is scaled with it, and multiplied by the exponential. Of a square root it is not
    known.
    """
    for op, number in _inverse_steps(step):
        operands = [value] if number is None else [value, graph.constant(float(number), np.float64)]
        value = graph.add(op, *operands)
        if rounding is not None and op in {"Mul", "Div"} and number is not None:
            rounding = graph.add(op, rounding, graph.constant(abs(float(number)), np.float64))
        elif rounding is not None and op == "Exp":
            rounding = graph.add("Mul", rounding, value)
        elif op == "Sqrt":
            rounding = None
    return Prediction(value=value, rounding=rounding)


_INVERSES: dict[Callable[..., Any], tuple[tuple[str, float | None], ...]] = {
    np.exp: (("Exp", None),),
    np.expm1: (
        ("Exp", None),
        ("Sub", 1.0),
    ),  # Values are compared relative to at least one, so nothing is lost near zero.
    np.sqrt: (("Sqrt", None),),
}
"""Inverse functions of the target, exact to the last bits of ``exp``."""


def _inverse_steps(step: Any) -> Sequence[tuple[str, float | None]]:
    def scaled(operations: Sequence[tuple[str, Any]]) -> list[tuple[str, float | None]]:
        return [(op, float(np.asarray(number)[0])) for op, number in operations if number is not None]

    if is_exactly(step, "sklearn.preprocessing.StandardScaler"):
        return scaled(
            [("Mul", step.scale_ if step.with_std else None), ("Add", step.mean_ if step.with_mean else None)]
        )
    if is_exactly(step, "sklearn.preprocessing.RobustScaler"):
        return scaled(
            [
                ("Mul", step.scale_ if step.with_scaling else None),
                ("Add", step.center_ if step.with_centering else None),
            ]
        )
    if is_exactly(step, "sklearn.preprocessing.MinMaxScaler"):
        return scaled([("Sub", step.min_), ("Div", step.scale_)])
    if is_exactly(step, "sklearn.preprocessing.MaxAbsScaler"):
        return scaled([("Mul", step.scale_)])
    if is_exactly(step, "sklearn.preprocessing.FunctionTransformer"):
        if step.inverse_func is None:
            return []
        if not step.inv_kw_args and step.inverse_func in _INVERSES:
            return _INVERSES[step.inverse_func]
    raise NotConvertibleError(
        f"the target is transformed by {type(step).__name__} with an inverse that has no exact converter"
    )

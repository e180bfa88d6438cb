"""Converters of estimators made of estimators, and the entry point that turns a whole fitted pipeline into an ONNX model.

A frame's features carry their names as long as scikit-learn would still hold a DataFrame there, because a
ColumnTransformer that was fitted on a DataFrame selects by name, and by position otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import onnx
import sklearn
from onnx import TensorProto
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 (makes the two halving searches importable)
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from orris.compile.converters import families
from orris.compile.converters.levels import values
from orris.compile.graph import INPUT, LABEL, PROBABILITIES, VALUE, Feature, Frame, Graph, Prediction, unnamed
from orris.compile.registry import convert_predictor, convert_transformer, predictor, transformer
from orris.errors import NotConvertibleError
from orris.schema import Column, Kind, Schema

SEARCHES = (GridSearchCV, RandomizedSearchCV, HalvingGridSearchCV, HalvingRandomSearchCV)
_ENSEMBLES = (CalibratedClassifierCV, StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor)
_HAND_ON = (Pipeline, *SEARCHES, TransformedTargetRegressor, FrozenEstimator, *_ENSEMBLES)
"""They give their rows to other estimators as they are."""

_TAKE_CODES = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_CAST_TO_SINGLE = ("DecisionTree", "ExtraTree", "RandomForest")


def convert(pipeline: Any, schema: Schema, foreign: Literal["", "float64", "float32"] = "") -> tuple[Graph, Prediction]:
    """Convert a fitted classifier, regressor or Pipeline over the encoded rows of ``schema``.

    Args:
        pipeline: The fitted estimator.
        schema: Its contract; ``labels`` are the classes of the final estimator, in its order.
        foreign: Element type in which skl2onnx may convert an estimator without an exact converter; empty: not at all.

    Raises:
        NotConvertibleError: Some step has no exact converter; says which.
    """
    families.register()
    graph = Graph(foreign=foreign)
    return graph, predict(graph, pipeline, input_frame(schema))


def build(
    pipeline: Any, schema: Schema, foreign: Literal["", "float64", "float32"] = ""
) -> tuple[onnx.ModelProto, Graph]:
    """``convert``, and the finished model with the outputs that ``graph`` describes.

    Also the graph, for its thresholds.

    Raises:
        NotConvertibleError: As ``convert``; or the prediction is not of the schema's task.
    """
    graph, prediction = convert(pipeline, schema, foreign)
    outputs: list[tuple[str, str, int, Sequence[int | str]]] = []
    if schema.task == "classification":
        if prediction.label is None:
            raise NotConvertibleError(
                f"{type(pipeline).__name__} gives no label, and the schema's task is classification"
            )
        outputs.append((prediction.label, LABEL, TensorProto.INT64, ["n_rows"]))
        if prediction.probabilities is not None:
            outputs.append(
                (prediction.probabilities, PROBABILITIES, TensorProto.DOUBLE, ["n_rows", len(schema.labels)])
            )
    elif prediction.value is None:
        raise NotConvertibleError(f"{type(pipeline).__name__} gives no value, and the schema's task is regression")
    else:
        outputs.append((prediction.value, VALUE, TensorProto.DOUBLE, ["n_rows"]))
    return graph.model(schema.n_columns, outputs), graph


def input_frame(schema: Schema) -> Frame:
    """The encoded rows, as the pipeline's first step sees them once they are decoded."""
    objects = schema.container == "array" and any(column.kind is Kind.CATEGORY for column in schema.columns)

    def feature(position: int, column: Column) -> Feature:
        holds_none = column.missing_as == "none" and (
            objects if schema.container == "array" else column.dtype in {"object", "bool"}
        )
        return Feature(
            name=column.name if schema.container == "frame" else "",
            levels=tuple(column.levels) if column.kind is Kind.CATEGORY else None,
            source=position,
            missing_as="none" if holds_none else "nan",
        )

    return Frame(INPUT, tuple(feature(i, column) for i, column in enumerate(schema.columns)))


def predict(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Append a predictor; one that takes no category codes is given integer-coded categories as numbers."""
    if not isinstance(estimator, _HAND_ON):
        if frame.single and not type(estimator).__name__.startswith(_CAST_TO_SINGLE):
            raise NotConvertibleError(
                f"{type(estimator).__name__} may compute in float32 because the step before returns float32"
            )
        if not isinstance(estimator, _TAKE_CODES):
            frame = values(graph, frame)
    return convert_predictor(graph, estimator, frame)


def transform(graph: Graph, estimator: Any, frame: Frame) -> Frame:
    """Append a transformer, and name its columns as ``set_output`` has it: an array's columns have no names."""
    out = convert_transformer(graph, estimator, frame)
    if isinstance(estimator, (Pipeline, FrozenEstimator, *SEARCHES)):
        return out
    own = getattr(estimator, "_sklearn_output_config", {}).get("transform")
    if (own or sklearn.get_config()["transform_output"]) == "default":
        return out if isinstance(estimator, FunctionTransformer) and not estimator.validate else unnamed(out)
    names = [str(name) for name in estimator.get_feature_names_out()]
    if len(names) != out.width:
        raise NotConvertibleError(f"{type(estimator).__name__} names {len(names)} columns and makes {out.width}")
    return replace(
        out, features=tuple(replace(feature, name=name) for feature, name in zip(out.features, names, strict=True))
    )


def _through_steps(graph: Graph, steps: Sequence[tuple[str, Any]], frame: Frame) -> Frame:
    for _, step in steps:
        if step is not None and step != "passthrough":
            frame = transform(graph, step, frame)
    return frame


@transformer(Pipeline)
def pipeline_transform(graph: Graph, pipeline: Any, frame: Frame) -> Frame:
    """Every step in turn."""
    return _through_steps(graph, pipeline.steps, frame)


@predictor(Pipeline)
def pipeline_predict(graph: Graph, pipeline: Any, frame: Frame) -> Prediction:
    """Every step in turn, the last of which predicts."""
    final = pipeline.steps[-1][1]
    if final is None or final == "passthrough":
        raise NotConvertibleError("the pipeline ends in no predictor")
    return predict(graph, final, _through_steps(graph, pipeline.steps[:-1], frame))


@transformer(*SEARCHES)
def search_transform(graph: Graph, search: Any, frame: Frame) -> Frame:
    """The best estimator found."""
    return transform(graph, _best(search), frame)


@predictor(*SEARCHES)
def search_predict(graph: Graph, search: Any, frame: Frame) -> Prediction:
    """The best estimator found."""
    return predict(graph, _best(search), frame)


@transformer(FrozenEstimator)
def frozen_transform(graph: Graph, frozen: Any, frame: Frame) -> Frame:
    """The estimator inside."""
    return transform(graph, frozen.estimator, frame)


@predictor(FrozenEstimator)
def frozen_predict(graph: Graph, frozen: Any, frame: Frame) -> Prediction:
    """The estimator inside."""
    return predict(graph, frozen.estimator, frame)


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


@transformer(ColumnTransformer)
def column_transformer(graph: Graph, step: Any, frame: Frame) -> Frame:
    """Each fitted transformer over its own columns, side by side."""
    weights = step.transformer_weights or {}
    parts = []
    for name, inner, _ in step.transformers_:
        positions = _positions(
            step, np.asarray(step._transformer_to_input_indices[name], dtype=np.int64).tolist(), frame
        )
        if (isinstance(inner, str) and inner == "drop") or not positions:
            continue
        part = graph.take(frame, positions)
        if not isinstance(inner, str):
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


@transformer(FeatureUnion)
def feature_union(graph: Graph, union: Any, frame: Frame) -> Frame:
    """Each transformer over all columns, side by side."""
    weights = union.transformer_weights or {}
    parts = []
    for name, inner in union.transformer_list:
        if isinstance(inner, str) and inner == "drop":
            continue
        part = frame if isinstance(inner, str) else transform(graph, inner, frame)
        parts.append(_weighted(graph, part, weights.get(name), name))
    return _side_by_side(graph, union, parts)


@predictor(TransformedTargetRegressor)
def transformed_target_regressor(graph: Graph, step: Any, frame: Frame) -> Prediction:
    """The regressor's value, through the inverse of the target's transformer."""
    inner = predict(graph, step.regressor_, frame)
    if inner.value is None or step._training_dim != 1:
        raise NotConvertibleError("TransformedTargetRegressor over anything but one value per row")
    return Prediction(value=_restored(graph, step.transformer_, inner.value))


def _restored(graph: Graph, step: Any, value: str) -> str:
    """``transformer_.inverse_transform`` over a tensor ``(n_rows,)``, in scikit-learn's order of operations."""
    for op, number in _inverse_steps(step):
        value = (
            graph.add(op, value) if number is None else graph.add(op, value, graph.constant(float(number), np.float64))
        )
    return value


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

    if type(step) is StandardScaler:
        return scaled(
            [("Mul", step.scale_ if step.with_std else None), ("Add", step.mean_ if step.with_mean else None)]
        )
    if type(step) is RobustScaler:
        return scaled(
            [
                ("Mul", step.scale_ if step.with_scaling else None),
                ("Add", step.center_ if step.with_centering else None),
            ]
        )
    if type(step) is MinMaxScaler:
        return scaled([("Sub", step.min_), ("Div", step.scale_)])
    if type(step) is MaxAbsScaler:
        return scaled([("Mul", step.scale_)])
    if type(step) is FunctionTransformer:
        if step.inverse_func is None:
            return []
        if not step.inv_kw_args and step.inverse_func in _INVERSES:
            return _INVERSES[step.inverse_func]
    raise NotConvertibleError(
        f"the target is transformed by {type(step).__name__} with an inverse that has no exact converter"
    )

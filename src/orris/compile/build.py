"""A whole fitted pipeline to an ONNX model: the entry point of the converters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto

from orris.compile.dispatch import predict
from orris.compile.graph import INPUT, LABEL, PROBABILITIES, ROUNDING, SCORE, VALUE, Feature, Frame, Graph, Prediction
from orris.errors import NotConvertibleError
from orris.metrics import TASKS_WITHOUT_TARGET
from orris.schema import Column, Kind, Schema

Foreign = Literal["", "float64", "float32"]
"""Element type in which skl2onnx may convert an estimator without an exact converter; empty: not at all."""


def convert(
    pipeline: Any, schema: Schema, foreign: Foreign = "", *, rounds_rows: bool = True
) -> tuple[Graph, Prediction]:
    """Convert a fitted classifier, regressor or Pipeline over the encoded rows of ``schema``.

    Args:
        pipeline: The fitted estimator.
        schema: Its contract; ``labels`` are the classes of the final estimator, in its order.
        foreign: See ``Foreign``.
        rounds_rows: Numbers of float32 columns are rounded to float32; otherwise the rows hold such numbers already.

    Raises:
        NotConvertibleError: Some step has no exact converter; says which.
    """
    graph = Graph(foreign=foreign)
    return graph, predict(graph, pipeline, decoded(graph, schema, rounds_rows=rounds_rows))


def build(
    pipeline: Any, schema: Schema, foreign: Foreign = "", *, rounds_rows: bool = True
) -> tuple[onnx.ModelProto, Graph]:
    """``convert``, and the finished model with the outputs that ``graph`` describes.

    Also the graph, for its thresholds.

    Raises:
        NotConvertibleError: As ``convert``; or the prediction is not of the schema's task.
    """
    graph, prediction = convert(pipeline, schema, foreign, rounds_rows=rounds_rows)
    if graph.refused:
        prediction = _answered(graph, prediction, _any_of(graph, graph.refused))
    graph.rounding = _measured(graph, prediction)
    return finished(graph, prediction, schema, schema.n_columns), graph


def build_rest(rest: Any, schema: Schema, frame: Frame, refused: Sequence[float]) -> tuple[onnx.ModelProto, Graph]:
    """The model of a pipeline's rest, over what its first steps make of the rows.

    Args:
        rest: The fitted rest.
        schema: The contract of the whole pipeline.
        frame: What the first steps return.
        refused: Of NaN, infinity and 1e300 (a number beyond float32), those that the rest refuses in scikit-learn: rows
            with such a number get no answer, which is label -1 and NaN.

    Raises:
        NotConvertibleError: As ``build``.
    """
    graph = Graph()
    prediction = predict(graph, rest, frame)
    graph.rounding = _measured(graph, prediction)
    rows = [*graph.refused, *([_holds(graph, frame.tensor, refused)] if refused else [])]
    if rows:
        prediction = _answered(graph, prediction, _any_of(graph, rows))
    return finished(graph, prediction, schema, frame.width), graph


def _any_of(graph: Graph, conditions: Sequence[str]) -> str:
    """Where one of the conditions holds, each bool ``(n_rows,)``."""
    result = conditions[0]
    for condition in conditions[1:]:
        result = str(graph.add("Or", result, condition))
    return result


def _measured(graph: Graph, prediction: Prediction) -> str | None:
    """The bound of the rounding as the gate measures differences: that of a value relative to ``max(1, |value|)``."""
    number = prediction.value or (None if prediction.probabilities else prediction.score)
    if prediction.rounding is None or number is None:
        return prediction.rounding
    size = graph.add("Max", graph.add("Abs", number), graph.constant(1.0))
    return str(graph.add("Div", prediction.rounding, size))


def _holds(graph: Graph, tensor: str, numbers: Sequence[float]) -> str:
    """Whether a row holds one of these kinds of numbers: bool ``(n_rows,)``."""
    tests = []
    for number in numbers:
        if np.isfinite(number):
            limit = graph.constant(float(np.finfo(np.float32).max))
            found = graph.add("Greater", graph.add("Abs", tensor), limit)
        else:
            found = graph.add("IsNaN" if np.isnan(number) else "IsInf", tensor)
        tests.append(graph.cast(found, TensorProto.DOUBLE))
    total = tests[0]
    for test in tests[1:]:
        total = graph.add("Add", total, test)
    largest = graph.add("ReduceMax", total, graph.constant([1], np.int64), keepdims=0)
    return str(graph.add("Greater", largest, graph.constant(0.0)))


def _answered(graph: Graph, prediction: Prediction, refused: str) -> Prediction:
    """The prediction where ``refused``, bool ``(n_rows,)``, does not hold; label -1 and NaN where it does."""

    def chosen(tensor: str | None, otherwise: str, condition: str) -> str | None:
        return None if tensor is None else str(graph.add("Where", condition, otherwise, tensor))

    nothing = graph.constant(np.nan, np.float64)
    column = graph.add("Unsqueeze", refused, graph.constant([1], np.int64))
    return Prediction(
        label=chosen(prediction.label, graph.constant(-1, np.int64), refused),
        probabilities=chosen(prediction.probabilities, nothing, column),
        value=chosen(prediction.value, nothing, refused),
        score=chosen(prediction.score, nothing, refused),
    )


def finished(graph: Graph, prediction: Prediction, schema: Schema, n_columns: int) -> onnx.ModelProto:
    """The model with the outputs of the schema's task.

    Raises:
        NotConvertibleError: The prediction is not of the schema's task.
    """
    outputs: list[tuple[str, str, int, Sequence[int | str]]] = []
    if schema.task != "regression":
        if prediction.label is None:
            raise NotConvertibleError(f"the pipeline gives no label, and the schema's task is {schema.task}")
        outputs.append((prediction.label, LABEL, TensorProto.INT64, ["n_rows"]))
        if prediction.probabilities is not None:
            outputs.append(
                (prediction.probabilities, PROBABILITIES, TensorProto.DOUBLE, ["n_rows", len(schema.labels)])
            )
        if prediction.score is not None and schema.task in TASKS_WITHOUT_TARGET:
            outputs.append((prediction.score, SCORE, TensorProto.DOUBLE, ["n_rows"]))
    elif prediction.value is None:
        raise NotConvertibleError("the pipeline gives no value, and the schema's task is regression")
    else:
        outputs.append((prediction.value, VALUE, TensorProto.DOUBLE, ["n_rows"]))
    return graph.model(n_columns, outputs)


def rounding_model(graph: Graph, n_columns: int) -> onnx.ModelProto | None:
    """The model of ``Graph.rounding``, with the output ``rounding``; ``None`` where no bound is known.

    Args:
        graph: What ``build`` or ``build_rest`` returned.
        n_columns: Width of the model's input.
    """
    if graph.rounding is None:
        return None
    return graph.model(n_columns, [(graph.rounding, ROUNDING, TensorProto.DOUBLE, ["n_rows"])])


def decoded(graph: Graph, schema: Schema, *, rounds_rows: bool = True) -> Frame:
    """The encoded rows as the pipeline is given them.

    Float32 where it was fitted on that, and as wide as an array was.
    """
    frame = input_frame(schema)
    singles = [feature.single for feature in frame.features]
    if any(singles):
        frame = replace(frame, single=all(singles))
    if any(singles) and rounds_rows:
        rounded = graph.cast(graph.cast(INPUT, TensorProto.FLOAT), TensorProto.DOUBLE)
        if not all(singles):
            chosen = graph.constant(np.array([singles], dtype=np.bool_))
            rounded = graph.add("Where", chosen, rounded, INPUT)
        frame = replace(frame, tensor=rounded)
    if not schema.table or schema.container == "frame":  # a DataFrame's columns are found by name
        return frame
    places = {name: position for position, name in enumerate(schema.names)}
    wide = graph.take(frame, [places.get(name, 0) for name in schema.table])
    known = zip(schema.table, wide.features, strict=True)
    return replace(wide, features=tuple(feature if name in places else Feature() for name, feature in known))


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
            single=column.dtype == "float32",
        )

    return Frame(INPUT, tuple(feature(i, column) for i, column in enumerate(schema.columns)))

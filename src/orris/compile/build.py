"""A whole fitted pipeline to an ONNX model: the entry point of the converters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import onnx
from onnx import TensorProto

from orris.compile.dispatch import predict
from orris.compile.graph import INPUT, LABEL, PROBABILITIES, VALUE, Feature, Frame, Graph, Prediction
from orris.errors import NotConvertibleError
from orris.schema import Column, Kind, Schema

Foreign = Literal["", "float64", "float32"]
"""Element type in which skl2onnx may convert an estimator without an exact converter; empty: not at all."""


def convert(pipeline: Any, schema: Schema, foreign: Foreign = "") -> tuple[Graph, Prediction]:
    """Convert a fitted classifier, regressor or Pipeline over the encoded rows of ``schema``.

    Args:
        pipeline: The fitted estimator.
        schema: Its contract; ``labels`` are the classes of the final estimator, in its order.
        foreign: See ``Foreign``.

    Raises:
        NotConvertibleError: Some step has no exact converter; says which.
    """
    graph = Graph(foreign=foreign)
    return graph, predict(graph, pipeline, input_frame(schema))


def build(pipeline: Any, schema: Schema, foreign: Foreign = "") -> tuple[onnx.ModelProto, Graph]:
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

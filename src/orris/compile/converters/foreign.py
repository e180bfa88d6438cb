"""Estimators without an exact converter, by way of skl2onnx: one fitted estimator at a time, inlined into our graph.

The registry comes here last. What skl2onnx computes need not be what scikit-learn computes; the parity gate decides.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from orris.compile.graph import ML_DOMAIN, Feature, Frame, Graph, Prediction
from orris.compile.registry import public_name, require_values
from orris.errors import MissingExtraError, NotConvertibleError

_INPUT = "X"
_TARGET_OPSET = {"": 21, ML_DOMAIN: 3}
"""Options for skl2onnx.

Its converters stop at version 3 of the machine-learning operators, which version 5 still reads.
"""

_ELEMENT = {"float64": TensorProto.DOUBLE, "float32": TensorProto.FLOAT}


def transform(graph: Graph, estimator: Any, frame: Frame) -> Frame:
    """Append a fitted transformer through skl2onnx.

    Args:
        graph: Its ``foreign`` says in which element type; empty refuses.
        estimator: The fitted transformer.
        frame: Its input, float64 ``(n_rows, n_features)``.

    Raises:
        NotConvertibleError: ``graph.foreign`` is empty, or skl2onnx cannot convert the estimator; says why.
    """
    model = _converted(graph, estimator, frame)
    outputs = _inlined(graph, estimator, frame, model)
    if len(outputs) != 1:
        raise NotConvertibleError(
            f"skl2onnx gives {type(estimator).__name__} {len(outputs)} outputs, where a transformer has one"
        )
    tensor = graph.cast(next(iter(outputs)), TensorProto.DOUBLE)
    return Frame(tensor, (Feature(),) * _width(estimator, model))


def predict(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Append a fitted classifier or regressor through skl2onnx; arguments and errors as ``transform``."""
    outputs = list(_inlined(graph, estimator, frame, _converted(graph, estimator, frame)).items())
    if not hasattr(estimator, "classes_"):
        value = graph.cast(outputs[0][0], TensorProto.DOUBLE)
        return Prediction(value=graph.add("Reshape", value, graph.constant([-1], np.int64)))
    if isinstance(estimator.classes_, list):
        raise NotConvertibleError(f"{type(estimator).__name__} predicts several targets; a served model has one")
    label = _position(graph, estimator, *outputs[0])
    if len(outputs) < 2 or not hasattr(estimator, "predict_proba"):
        return Prediction(label=label)
    return Prediction(label=label, probabilities=graph.cast(outputs[1][0], TensorProto.DOUBLE))


def _converted(graph: Graph, estimator: Any, frame: Frame) -> onnx.ModelProto:
    """skl2onnx's model of the estimator alone."""
    if not graph.foreign:
        raise NotConvertibleError(f"no exact converter covers {public_name(estimator)}", remedy=_remedy(estimator))
    require_values(frame, estimator)
    try:
        from skl2onnx import convert_sklearn  # noqa: PLC0415 (slow to import, and rarely needed)
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("train", f"converting {type(estimator).__name__}") from error
    kind = DoubleTensorType if graph.foreign == "float64" else FloatTensorType
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: onnx.ModelProto = convert_sklearn(
                estimator,
                initial_types=[(_INPUT, kind([None, frame.width]))],
                options=options,
                target_opset=_TARGET_OPSET,
            )
            return model
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NotConvertibleError(
            f"skl2onnx cannot convert {public_name(estimator)}: {reason}", remedy=_remedy(estimator)
        ) from error


def _remedy(estimator: Any) -> str:
    """Advice for a class of another library, or of the user, that no converter supports."""
    name = public_name(estimator)
    if "." not in name:
        return ""
    if hasattr(estimator, "predict"):
        return (
            f"use a model that docs/parity.md lists in place of {name}, or write a converter for it (CONTRIBUTING.md)"
        )
    return (
        f"do what {name} does to the table before the pipeline, and fit and package the rest; or replace it by steps"
        " that docs/parity.md lists; or write a converter for it (CONTRIBUTING.md)"
    )


def _inlined(graph: Graph, estimator: Any, frame: Frame, model: onnx.ModelProto) -> Mapping[str, int]:
    """Copy the model's nodes and constants under new names; returns its outputs' names and element types."""
    if model.functions:
        raise NotConvertibleError(
            f"skl2onnx converts {type(estimator).__name__} to a model with functions, which Orris does not inline"
        )
    graph.used_foreign.append(type(estimator).__name__)
    element = _ELEMENT[graph.foreign]
    names = {_INPUT: frame.tensor if element == TensorProto.DOUBLE else graph.cast(frame.tensor, element)}
    _copy(graph, model.graph, names)
    for opset in model.opset_import:
        graph.opsets[opset.domain] = max(graph.opsets.get(opset.domain, 1), opset.version)
    return {names[output.name]: output.type.tensor_type.elem_type for output in model.graph.output}


def _copy(graph: Graph, source: onnx.GraphProto, names: dict[str, str]) -> None:
    """Append ``source`` to the graph, giving every tensor that ``names`` does not hold a new name."""
    for initializer in source.initializer:
        names[initializer.name] = graph.constant(numpy_helper.to_array(initializer))
    for node in source.node:
        graph.nodes.append(_renamed(graph, node, names))


def _renamed(graph: Graph, node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    """A copy of the node whose inputs, outputs and subgraphs use our names; its outputs are added to ``names``."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = ""
    for attribute in copy.attribute:
        for subgraph in [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs:
            _rename_subgraph(graph, subgraph, dict(names))
    copy.input[:] = [names[name] if name else "" for name in node.input]
    for name in node.output:
        if name:
            names[name] = graph.name("foreign")
    copy.output[:] = [names[name] if name else "" for name in node.output]
    return copy


def _rename_subgraph(graph: Graph, subgraph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Rename a loop's or a branch's own tensors in place; ``names`` holds those of the graphs around it."""
    owned: list[Any] = [*subgraph.input, *subgraph.initializer]
    for own in owned:
        names[own.name] = graph.name("foreign")
        own.name = names[own.name]
    nodes = [_renamed(graph, node, names) for node in subgraph.node]
    del subgraph.node[:]
    subgraph.node.extend(nodes)
    for output in subgraph.output:
        output.name = names[output.name]


def _position(graph: Graph, estimator: Any, label: str, element: int) -> str:
    """The label that skl2onnx gives, text or number, as its position in ``classes_``: int64 ``(n_rows,)``."""
    classes = np.asarray(estimator.classes_)
    positions = list(range(len(classes)))
    if element == TensorProto.STRING:
        keys = [str(value) for value in classes]
        found = graph.add(
            "LabelEncoder", label, domain=ML_DOMAIN, keys_strings=keys, values_int64s=positions, default_int64=-1
        )
    else:
        integers = [int(value) for value in classes]
        if any(integer != value for integer, value in zip(integers, classes, strict=True)):
            raise NotConvertibleError(
                f"skl2onnx gives {type(estimator).__name__} integer labels, and its classes are no integers"
            )
        number = label if element == TensorProto.INT64 else graph.cast(label, TensorProto.INT64)
        if integers == positions:
            found = number
        else:
            found = graph.add(
                "LabelEncoder",
                number,
                domain=ML_DOMAIN,
                keys_int64s=integers,
                values_int64s=positions,
                default_int64=-1,
            )
    return str(graph.add("Reshape", found, graph.constant([-1], np.int64)))


def _width(estimator: Any, model: onnx.ModelProto) -> int:
    """Number of columns a transformer gives: from its model, or from the estimator."""
    dimensions = model.graph.output[0].type.tensor_type.shape.dim
    if len(dimensions) == 2 and dimensions[1].dim_value:
        return int(dimensions[1].dim_value)
    try:
        return len(estimator.get_feature_names_out())
    except (AttributeError, TypeError, ValueError) as error:
        raise NotConvertibleError(
            f"the number of columns that {type(estimator).__name__} gives is not known"
        ) from error

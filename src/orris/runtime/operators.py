"""Which operators an ONNX file may hold: looked at before ONNX Runtime, which computes constants while it loads.

The list is what Orris' converters and skl2onnx write, in graphs and in their bodies (``Loop``, ``Scan``, ``If``). What
reads or calls something else (files, custom domains, functions, operators with state or chance) is not on it. A loop
may still be long: ``ORRIS_CALL_SECONDS`` bounds it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orris.errors import ServingError

DOMAINS = frozenset({b"", b"ai.onnx", b"ai.onnx.ml"})
"""Domains of the operators that ONNX itself defines."""

OPERATORS = frozenset(
    """
    Abs Add And ArgMax ArgMin ArrayFeatureExtractor Binarizer Cast CastLike Ceil Clip Concat
    Constant ConstantOfShape Cos CumSum DictVectorizer Div Einsum Equal Erf Exp Expand EyeLike FeatureVectorizer
    Flatten Floor Gather GatherElements Gemm Greater GreaterOrEqual Identity If Imputer IsInf IsNaN LabelEncoder
    Less LessOrEqual LinearClassifier LinearRegressor Log Loop LpNormalization MatMul Max Min Mod Mul Neg
    Normalizer Not OneHotEncoder Or Pad Pow Reciprocal ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round SVMClassifier SVMRegressor Scaler Scan ScatterElements
    ScatterND Shape Sigmoid Sign Sin Slice Softmax Split Sqrt Squeeze StringNormalizer StringSplit Sub Sum Tanh
    TfIdfVectorizer Tile TopK Transpose TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor Unsqueeze Where
    ZipMap
    """.split()  # noqa: SIM905 (a list would be a page long)
)
"""Names of operators that a served graph may hold."""

_EXTERNAL = 1
_REPEATED, _OPTIONAL = 3, 1
_BYTES, _INT32, _MESSAGE = 12, 5, 11
_FIELDS: dict[str, tuple[tuple[str, int, int, str], ...]] = {
    "Model": (("graph", 7, _OPTIONAL, "Graph"), ("training", 20, _REPEATED, ""), ("functions", 25, _REPEATED, "")),
    "Graph": (
        ("node", 1, _REPEATED, "Node"),
        ("initializer", 5, _REPEATED, "Tensor"),
        ("sparse", 15, _REPEATED, "Sparse"),
    ),
    "Node": (("op_type", 4, _OPTIONAL, ""), ("domain", 7, _OPTIONAL, ""), ("attribute", 5, _REPEATED, "Attribute")),
    "Attribute": (
        ("g", 6, _OPTIONAL, "Graph"),
        ("graphs", 11, _REPEATED, "Graph"),
        ("t", 5, _OPTIONAL, "Tensor"),
        ("tensors", 10, _REPEATED, "Tensor"),
        ("sparse_tensor", 22, _OPTIONAL, "Sparse"),
        ("sparse_tensors", 23, _REPEATED, "Sparse"),
    ),
    "Tensor": (("external_data", 13, _REPEATED, ""), ("data_location", 14, _OPTIONAL, "int32")),
    "Sparse": (("values", 1, _OPTIONAL, "Tensor"), ("indices", 2, _OPTIONAL, "Tensor")),
}
"""The fields of ``onnx.proto`` that are looked at: name, number, label, and the message or type; empty: bytes."""


def check_operators(model: bytes | Path) -> None:
    """Raise ``ServingError`` unless an ONNX file holds known operators alone, and all of its numbers.

    Args:
        model: The serialised model, or the file that holds it.
    """
    where = "the model" if isinstance(model, bytes) else str(model)
    content = model if isinstance(model, bytes) else model.read_bytes()
    from google.protobuf.message import DecodeError  # noqa: PLC0415 (as below)

    parsed = _model_class()()
    try:
        parsed.ParseFromString(content)
    except DecodeError as error:
        raise ServingError(f"{where}: this is not an ONNX file: {error}") from None
    problem = next(_problems(parsed), "")
    if problem:
        raise ServingError(f"{where}: {problem}; Orris serves the operators that its converters and skl2onnx write")


def _problems(model: Any) -> Iterator[str]:
    if model.functions:
        yield "it defines functions of its own"
    if model.training:
        yield "it holds steps of training"
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        tensors = list(graph.initializer)
        tensors += [tensor for sparse in graph.sparse for tensor in (sparse.values, sparse.indices)]
        for node in graph.node:
            name, domain = node.op_type.decode("utf-8", "replace"), node.domain.decode("utf-8", "replace")
            if node.domain not in DOMAINS:
                yield f"the operator {name} is of the domain '{domain}', which is not ONNX's own"
            elif name not in OPERATORS:
                yield f"the operator {name} is not allowed"
            for attribute in node.attribute:
                graphs += [attribute.g] * attribute.HasField("g") + list(attribute.graphs)
                tensors += [attribute.t, *attribute.tensors]
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    tensors += [sparse.values, sparse.indices]
        if any(tensor.data_location == _EXTERNAL or tensor.external_data for tensor in tensors):
            yield "some of its numbers are in another file"


@functools.cache
def _model_class() -> Any:
    """A message class that reads the fields above and skips all others, so that a large forest is read in C."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415 (after a server's start)

    file = descriptor_pb2.FileDescriptorProto(name="orris/operators.proto", package="orris.operators", syntax="proto2")
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, number, label, kind in fields:
            field: Any = described.field.add(name=name, number=number, label=label)
            field.type = _INT32 if kind == "int32" else _MESSAGE if kind else _BYTES
            if kind and kind != "int32":
                field.type_name = f".orris.operators.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("orris.operators.Model"))

"""The written file: its bytes as nodes and constants; whatever in it could mean something else is refused.

A proof is about what ONNX Runtime will do with these bytes, so the file may hold nothing that this reader does not
interpret: no second definition of a name, no constant that an input shadows or that lies in another file, no function,
no attribute or field that is not known here, no node that nothing uses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from onnx import AttributeProto, TensorProto, numpy_helper

from orris.errors import NotProvedError

ML = "ai.onnx.ml"
OPSETS = {"": range(18, 24), ML: range(5, 6)}
"""Versions of the operator sets whose meaning this reader knows."""

_ELEMENTS = {TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.UINT8}
_MODEL_FIELDS = {"ir_version", "opset_import", "producer_name", "producer_version", "domain", "model_version", "graph"}
_GRAPH_FIELDS = {"node", "name", "initializer", "input", "output"}
_NODE_FIELDS = {"input", "output", "name", "op_type", "domain", "attribute"}
_TENSOR_FIELDS = {"dims", "data_type", "name", "raw_data", "float_data", "double_data", "int64_data", "int32_data"}
_IR_VERSIONS = range(8, 13)


@dataclass(frozen=True)
class Node:
    """One operator: its name (with the domain of ``ai.onnx.ml`` left out), the tensors it reads and makes."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Document:
    """A checked file.

    Attributes:
        input: Name of the only input, float64 ``(n_rows, n_columns)``.
        n_columns: Its width.
        constants: Constant tensors by name.
        nodes: In an order in which every node's inputs stand before it.
        outputs: Names of the outputs, with their element types.
    """

    input: str
    n_columns: int
    constants: Mapping[str, npt.NDArray[Any]]
    nodes: tuple[Node, ...]
    outputs: Mapping[str, int]


def read(content: bytes) -> Document:
    """The file's graph.

    Raises:
        NotProvedError: It is no ONNX model, or holds something that this reader does not interpret; says what.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise NotProvedError(f"the file is no ONNX model: {error}") from None
    for message in _messages(model):
        if len(UnknownFieldSet(message)):
            raise NotProvedError(f"the file holds fields that {type(message).__name__} does not have")
    _only(model, _MODEL_FIELDS, "the model")
    graph = model.graph
    _only(graph, _GRAPH_FIELDS, "the graph")
    _check_versions(model)
    if len(graph.input) != 1:
        raise NotProvedError(f"the graph has {len(graph.input)} inputs, not one")
    constants = _constants(graph)
    nodes = tuple(_node(node) for node in graph.node)
    outputs = {output.name: output.type.tensor_type.elem_type for output in graph.output}
    if len(outputs) != len(graph.output):
        raise NotProvedError("the graph has two outputs of one name")
    document = Document(graph.input[0].name, _width(graph.input[0]), constants, nodes, outputs)
    _check_names(document)
    return document


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                yield from _messages(inner)


def _only(message: Message, known: set[str], where: str) -> None:
    strange = sorted({field.name for field, _ in message.ListFields()} - known)
    if strange:
        raise NotProvedError(f"{where} has the field {', '.join(strange)}, which the proof does not interpret")


def _check_versions(model: onnx.ModelProto) -> None:
    imported = [(entry.domain, entry.version) for entry in model.opset_import]
    for domain, version in imported:
        if version not in OPSETS.get("" if domain == "ai.onnx" else domain, ()):
            raise NotProvedError(f"the proof does not know operator set {version} of '{domain or 'ai.onnx'}'")
    if len({domain for domain, _ in imported}) != len(imported) or model.ir_version not in _IR_VERSIONS:
        raise NotProvedError("the file imports an operator set twice, or has an unknown format version")


def _width(value: onnx.ValueInfoProto) -> int:
    tensor = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or tensor.elem_type != TensorProto.DOUBLE:
        raise NotProvedError("the input is no tensor of float64")
    dims = tensor.shape.dim
    if len(dims) != 2 or dims[0].HasField("dim_value") or not dims[1].HasField("dim_value"):
        raise NotProvedError("the input is not of shape (n_rows, n_columns)")
    return int(dims[1].dim_value)


def _constants(graph: onnx.GraphProto) -> dict[str, npt.NDArray[Any]]:
    made = {tensor.name: _array(tensor) for tensor in graph.initializer}
    if len(made) != len(graph.initializer):
        raise NotProvedError("two constants have one name")
    return made


def _array(tensor: TensorProto) -> npt.NDArray[Any]:
    _only(tensor, _TENSOR_FIELDS, f"the constant '{tensor.name}'")
    if tensor.data_type not in _ELEMENTS:
        raise NotProvedError(f"the constant '{tensor.name}' has an element type that the proof does not know")
    stored = [name for name in _TENSOR_FIELDS - {"dims", "data_type", "name"} if len(getattr(tensor, name))]
    if len(stored) > 1:
        raise NotProvedError(f"the constant '{tensor.name}' is stored twice")
    try:
        array = numpy_helper.to_array(tensor)
    except Exception as error:  # noqa: BLE001 (whatever the library raises, the constant cannot be read)
        raise NotProvedError(f"the constant '{tensor.name}' cannot be read: {error}") from None
    return np.asarray(array)


def _node(node: onnx.NodeProto) -> Node:
    _only(node, _NODE_FIELDS, f"a node {node.op_type}")
    if node.domain not in {"", ML}:
        raise NotProvedError(f"the operator {node.op_type} of the domain '{node.domain}' is not known to the proof")
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.name in attributes:
            raise NotProvedError(f"a node {node.op_type} has the attribute {attribute.name} twice")
        attributes[attribute.name] = _attribute(node, attribute)
    name = f"{ML}.{node.op_type}" if node.domain == ML else node.op_type
    return Node(name, tuple(node.input), tuple(node.output), attributes)


def _attribute(node: onnx.NodeProto, attribute: AttributeProto) -> Any:
    held = {field.name for field, _ in attribute.ListFields()} - {"name", "type", "doc_string"}
    kinds: dict[int, tuple[str, Any]] = {
        AttributeProto.INT: ("i", lambda: int(attribute.i)),
        AttributeProto.INTS: ("ints", lambda: np.array(attribute.ints, dtype=np.int64)),
        AttributeProto.TENSOR: ("t", lambda: _array(attribute.t)),
    }
    field, value = kinds.get(attribute.type, ("", None))
    if value is None or held - {field}:
        raise NotProvedError(
            f"the attribute {attribute.name} of {node.op_type} is of a kind that the proof does not know"
        )
    return value()


def _check_names(document: Document) -> None:
    """Every name has one definition, which stands before its uses; everything is used."""
    if document.input in document.constants:
        raise NotProvedError("a constant has the name of the input")
    defined = {document.input, *document.constants}
    used: Counter[str] = Counter(document.outputs)
    for node in document.nodes:
        lost = [name for name in node.inputs if name not in defined]
        if lost:
            raise NotProvedError(f"a node {node.op} reads '{lost[0]}', which nothing before it makes")
        again = [name for name in node.outputs if name in defined or not name]
        if again or len(set(node.outputs)) != len(node.outputs):
            raise NotProvedError(f"a node {node.op} makes '{(again or node.outputs)[0]}' a second time")
        defined.update(node.outputs)
        used.update(node.inputs)
    made = {name for node in document.nodes for name in node.outputs}
    if absent := set(document.outputs) - made:
        raise NotProvedError(f"no node makes the output '{min(absent)}'")
    idle = (made | set(document.constants)) - set(used)
    if idle:
        raise NotProvedError(f"nothing uses '{min(idle)}'")

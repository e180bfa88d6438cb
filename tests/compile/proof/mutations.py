"""Small changes of a model file, each of which changes what the model answers to some row.

Every change is deterministic: which elements are changed is drawn from a generator with the seed that is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, helper, numpy_helper

Mutation = tuple[str, bytes]
"""What was changed, and the changed file."""

_OTHER_OPERATORS = {
    "Sub": ["Add", "Mul", "Div"],
    "Add": ["Sub", "Mul"],
    "Mul": ["Div", "Add"],
    "Div": ["Mul", "Sub"],
    "Greater": ["GreaterOrEqual", "Less"],
    "GreaterOrEqual": ["Greater", "Less"],
    "Less": ["LessOrEqual", "Greater"],
    "Equal": ["Greater", "Less"],
    "Or": ["And"],
    "And": ["Or"],
    "Exp": ["Tanh", "Sigmoid"],
    "Sigmoid": ["Tanh", "Exp"],
    "Tanh": ["Sigmoid", "Relu"],
    "Relu": ["Tanh", "Abs"],
    "Neg": ["Abs", "Exp"],
    "IsNaN": ["Identity"],
    "Floor": ["Ceil", "Round"],
    "ArgMax": ["ArgMin"],
    "Softmax": ["LogSoftmax", "Hardmax"],
    "ReduceSum": ["ReduceMean", "ReduceMax"],
    "Gemm": ["MatMul"],
    "Mod": ["Sub"],
    "Reciprocal": ["Neg", "Exp"],
}
_ORDERED = {"Sub", "Div", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mod", "Where", "Concat"}


def mutations(content: bytes, seed: int, share: int = 12) -> Iterator[Mutation]:
    """Changed copies of a file: up to ``share`` of every kind of change for every place where it can be made."""
    rng = np.random.default_rng(seed)
    model = onnx.load_model_from_string(content)
    for kind in (_constants, _exchanged_constants, _operators, _inputs, _attributes, _edges, _outputs, _trees):
        for name, change in kind(model, rng, share):
            changed = onnx.ModelProto()
            changed.CopyFrom(model)
            change(changed.graph)
            yield name, changed.SerializeToString(deterministic=True)


Change = Callable[[onnx.GraphProto], Any]
Changes = Iterator[tuple[str, Change]]


def _store(tensor: onnx.TensorProto, array: npt.NDArray[Any]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


def _moved(value: Any, rng: np.random.Generator) -> Any:
    """The next number to one side; a boolean turned."""
    if value.dtype == np.bool_:
        return ~value
    if value.dtype.kind in "iu":
        return value + 1
    if np.isnan(value):
        return value.dtype.type(0.25)
    if np.isinf(value):
        return value.dtype.type(1.0)
    return np.nextafter(value, value.dtype.type(np.inf if rng.random() < 0.5 else -np.inf))


def _constants(model: onnx.ModelProto, rng: np.random.Generator, share: int) -> Changes:
    """One element of a constant, by one unit in the last place."""
    for i, tensor in enumerate(model.graph.initializer):
        array = numpy_helper.to_array(tensor)
        for place in _some(array.size, share, rng):

            def change(graph: onnx.GraphProto, i: int = i, place: int = place) -> None:
                changed = numpy_helper.to_array(graph.initializer[i]).copy()
                changed.reshape(-1)[place] = _moved(changed.reshape(-1)[place], rng)
                _store(graph.initializer[i], changed)

            yield f"constant {tensor.name}[{place}]", change


def _exchanged_constants(model: onnx.ModelProto, rng: np.random.Generator, share: int) -> Changes:
    """Two different elements of a constant exchanged."""
    for i, tensor in enumerate(model.graph.initializer):
        flat = numpy_helper.to_array(tensor).reshape(-1)
        for place in _some(len(flat) - 1, max(1, share // 3), rng):
            if _bits(flat[place]) == _bits(flat[place + 1]):
                continue

            def change(graph: onnx.GraphProto, i: int = i, place: int = place) -> None:
                changed = numpy_helper.to_array(graph.initializer[i]).copy()
                view = changed.reshape(-1)
                view[[place, place + 1]] = view[[place + 1, place]]
                _store(graph.initializer[i], changed)

            yield f"constants {tensor.name}[{place}], [{place + 1}]", change


def _bits(value: Any) -> bytes:
    return bytes(np.asarray(value).tobytes())


def _operators(model: onnx.ModelProto, _: np.random.Generator, __: int) -> Changes:
    """Another operator."""
    for i, node in enumerate(model.graph.node):
        for other in _OTHER_OPERATORS.get(node.op_type, []):

            def change(graph: onnx.GraphProto, i: int = i, other: str = other) -> None:
                graph.node[i].op_type = other

            yield f"{node.op_type} {i} -> {other}", change


def _inputs(model: onnx.ModelProto, _: np.random.Generator, __: int) -> Changes:
    """Two inputs of an operator exchanged."""
    for i, node in enumerate(model.graph.node):
        if node.op_type in _ORDERED and len(set(node.input[-2:])) == 2:

            def change(graph: onnx.GraphProto, i: int = i) -> None:
                names = list(graph.node[i].input)
                names[-2:] = names[-1], names[-2]
                del graph.node[i].input[:]
                graph.node[i].input.extend(names)

            yield f"inputs of {node.op_type} {i}", change


def _attributes(model: onnx.ModelProto, _: np.random.Generator, __: int) -> Changes:
    """An integer attribute raised by one, a list of integers turned around, an attribute that is left out."""
    for i, node in enumerate(model.graph.node):
        for k, attribute in enumerate(node.attribute):
            whole = attribute.type == AttributeProto.INT
            if not whole and (attribute.type != AttributeProto.INTS or len(set(attribute.ints)) < 2):
                continue
            if node.op_type == "TreeEnsemble" and not whole:
                continue  # ``_trees`` changes its lists

            def change(graph: onnx.GraphProto, i: int = i, k: int = k, whole: bool = whole) -> None:
                held = graph.node[i].attribute[k]
                if whole:
                    held.i += 1
                else:
                    held.ints[:] = list(held.ints)[::-1]

            yield f"{attribute.name} of {node.op_type} {i}", change


def _edges(model: onnx.ModelProto, rng: np.random.Generator, share: int) -> Changes:
    """An operator reads another tensor that is made before it."""
    constants = [tensor.name for tensor in model.graph.initializer]
    known = [model.graph.input[0].name, *constants]
    for i, node in enumerate(model.graph.node):
        for k, name in enumerate(node.input):
            others = [other for other in known if other != name]
            for place in _some(len(others), max(1, share // 3), rng):

                def change(graph: onnx.GraphProto, i: int = i, k: int = k, other: str = others[place]) -> None:
                    graph.node[i].input[k] = other

                yield f"input {k} of {node.op_type} {i} -> {others[place]}", change
        known += node.output


def _outputs(model: onnx.ModelProto, _: np.random.Generator, __: int) -> Changes:
    """An output renamed, left out, or given twice."""
    graph = model.graph

    def rename(changed: onnx.GraphProto) -> None:
        changed.output[0].name = "other"
        for node in changed.node:
            node.output[:] = ["other" if name == graph.output[0].name else name for name in node.output]

    yield "an output renamed", rename
    yield "an output left out", lambda changed: changed.output.pop()
    yield "an output twice", lambda changed: changed.output.append(changed.output[0])
    yield "a node twice", lambda changed: changed.node.append(changed.node[0])
    yield "a node left out", lambda changed: changed.node.pop()


def _trees(model: onnx.ModelProto, rng: np.random.Generator, share: int) -> Changes:
    """Every part of a TreeEnsemble: thresholds, children, columns, modes, missing values, leaves, order, members."""
    for i, node in enumerate(model.graph.node):
        if node.op_type != "TreeEnsemble":
            continue
        parts = {attribute.name: _array(attribute) for attribute in node.attribute}
        splits, roots = parts["nodes_featureids"], parts["tree_roots"]
        for place in _some(len(splits), share, rng):
            for name, change in _splits(parts, place, rng):
                yield f"{name} of split {place} of node {i}", _with(i, change)
        for place in _some(len(parts["leaf_weights"]), share, rng):
            yield f"leaf {place} of node {i}", _with(i, _one("leaf_weights", place, rng))
            if int(parts["n_targets"]) > 1:
                yield f"target of leaf {place} of node {i}", _with(i, _target(place, int(parts["n_targets"])))
        for place in _some(len(roots) - 1, share, rng):
            yield f"trees {place} and {place + 1} of node {i}", _with(i, _exchanged("tree_roots", place))
        if len(roots) > 1:
            yield f"a tree of node {i} left out", _with(i, lambda held: held.update(tree_roots=held["tree_roots"][:-1]))
        for place in np.flatnonzero(~np.isnan(parts.get("membership_values", np.empty(0)))).tolist():
            yield f"member {place} of node {i} lost", _with(i, _lost(place))
            yield f"member {place} of node {i} another", _with(i, _added("membership_values", place, 1000.0))


def _splits(parts: dict[str, Any], place: int, rng: np.random.Generator) -> Iterator[tuple[str, Any]]:
    member = parts["nodes_modes"][place] == 6
    if not member:
        yield "threshold", _one("nodes_splits", place, rng)
        yield "mode", _set("nodes_modes", place, 1)
    else:
        yield "mode", _set("nodes_modes", place, 0)
    yield "children", _children(place)
    yield "column", _added("nodes_featureids", place, 1)
    missing = parts.get("nodes_missing_value_tracks_true")
    if missing is None:
        missing = np.zeros(len(parts["nodes_modes"]), dtype=np.int64)
    turned = missing.copy()
    turned[place] = 1 - turned[place]
    yield "missing", lambda held: held.update(nodes_missing_value_tracks_true=turned)


def _array(attribute: AttributeProto) -> Any:
    if attribute.type == AttributeProto.TENSOR:
        return numpy_helper.to_array(attribute.t)
    value = helper.get_attribute_value(attribute)
    return np.array(value, dtype=np.int64) if isinstance(value, list) else value


def _with(node: int, change: Callable[[dict[str, Any]], Any]) -> Change:
    """The change, of a node's attributes as arrays."""

    def changed(graph: onnx.GraphProto) -> None:
        held = {attribute.name: _array(attribute) for attribute in graph.node[node].attribute}
        before = dict(held)
        change(held)
        for name, value in held.items():
            if value is before.get(name):
                continue
            old = [attribute for attribute in graph.node[node].attribute if attribute.name == name]
            tensor = bool(old) and old[0].type == AttributeProto.TENSOR
            made = helper.make_attribute(name, numpy_helper.from_array(value, name) if tensor else value.tolist())
            if old:
                old[0].CopyFrom(made)
            else:
                graph.node[node].attribute.append(made)

    return changed


def _one(name: str, place: int, rng: np.random.Generator) -> Callable[[dict[str, Any]], Any]:
    def change(held: dict[str, Any]) -> None:
        array = held[name].copy()
        array[place] = _moved(array[place], rng)
        held[name] = array

    return change


def _set(name: str, place: int, value: Any) -> Callable[[dict[str, Any]], Any]:
    def change(held: dict[str, Any]) -> None:
        array = held[name].copy()
        array[place] = value
        held[name] = array

    return change


def _added(name: str, place: int, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda held: _set(name, place, held[name][place] + value)(held)


def _target(place: int, n_targets: int) -> Callable[[dict[str, Any]], Any]:
    return lambda held: _set("leaf_targetids", place, (held["leaf_targetids"][place] + 1) % n_targets)(held)


def _children(place: int) -> Callable[[dict[str, Any]], Any]:
    def change(held: dict[str, Any]) -> None:
        for true, false in (("nodes_truenodeids", "nodes_falsenodeids"), ("nodes_trueleafs", "nodes_falseleafs")):
            left, right = held[true].copy(), held[false].copy()
            left[place], right[place] = right[place], left[place]
            held[true], held[false] = left, right

    return change


def _exchanged(name: str, place: int) -> Callable[[dict[str, Any]], Any]:
    def change(held: dict[str, Any]) -> None:
        array = held[name].copy()
        array[[place, place + 1]] = array[[place + 1, place]]
        held[name] = array

    return change


def _lost(place: int) -> Callable[[dict[str, Any]], Any]:
    return lambda held: held.update(membership_values=np.delete(held["membership_values"], place))


def _some(n: int, share: int, rng: np.random.Generator) -> list[int]:
    """Up to ``share`` of the positions below ``n``."""
    return [int(place) for place in np.sort(rng.permutation(max(0, n))[:share])]

"""The file's nodes, carried out on terms: what each output holds for one row, as the ONNX specification defines it.

A tensor that depends on the row is an array of terms, in which the axis that runs over rows has length one. Nothing
here knows how Orris writes graphs; a node or an attribute that is not known ends the proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from orris.compile.proof.document import Document, Node
from orris.compile.proof.forest import Forest, cuts, totals, unrounded
from orris.compile.proof.terms import Algebra, Dtype, Term
from orris.errors import NotProvedError

_DTYPES: dict[int, Dtype] = {
    TensorProto.DOUBLE: "f8",
    TensorProto.FLOAT: "f4",
    TensorProto.INT64: "i8",
    TensorProto.BOOL: "b1",
}
_KINDS: dict[Any, Dtype] = {
    np.dtype(np.float64): "f8",
    np.dtype(np.float32): "f4",
    np.dtype(np.int64): "i8",
    np.dtype(np.bool_): "b1",
}


@dataclass(frozen=True)
class Rows:
    """A tensor with one entry per row: an object array of terms whose axis ``axis`` stands for the rows."""

    terms: npt.NDArray[Any]
    axis: int

    @property
    def dtype(self) -> Dtype:
        """Element type."""
        kind: Dtype = self.terms.reshape(-1)[0].dtype
        return kind


@dataclass(frozen=True)
class Shape:
    """A shape that is not known before the rows are; ``None`` stands for their number."""

    lengths: tuple[int | None, ...]


Tensor = Rows | Shape | npt.NDArray[Any]
Carry = Callable[["Interpreter", Node, Sequence[Tensor]], Sequence[Tensor]]


class Interpreter:
    """Carries out a document's nodes.

    Attributes:
        n_trees: Trees read.
        n_splits: Their splits.
        n_leaves: Their leaves.
    """

    def __init__(self, algebra: Algebra, document: Document) -> None:
        self.algebra = algebra
        self.document = document
        self.n_trees = self.n_splits = self.n_leaves = 0

    def outputs(self) -> dict[str, Rows]:
        """The tensors of the outputs.

        Raises:
            NotProvedError: A node is not known, or does what this reader does not interpret.
        """
        document = self.document
        columns = [self.algebra.input(j) for j in range(document.n_columns)]
        made: dict[str, Tensor] = dict(document.constants)
        made[document.input] = Rows(_objects(columns, (1, len(columns))), 0)
        for node in document.nodes:
            results = self._carry_out(node, [made[name] for name in node.inputs])
            if len(results) != len(node.outputs):
                raise NotProvedError(f"a node {node.op} makes {len(node.outputs)} tensors")
            made.update(zip(node.outputs, results, strict=True))
        found = {name: made[name] for name in document.outputs}
        for name, tensor in found.items():
            if not isinstance(tensor, Rows) or tensor.axis != 0:
                raise NotProvedError(f"the output '{name}' does not depend on the row")
            if _DTYPES.get(document.outputs[name]) != tensor.dtype:
                raise NotProvedError(f"the output '{name}' is not of the element type that is declared")
        return {name: tensor for name, tensor in found.items() if isinstance(tensor, Rows)}

    def _carry_out(self, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        if node.op in _ELEMENTWISE:
            low, high = _ELEMENTWISE[node.op]
            if node.attributes.keys() - _ELEMENTWISE_ATTRIBUTES.get(node.op, set()) or not low <= len(inputs) <= high:
                raise NotProvedError(f"a node {node.op} has attributes or inputs that the proof does not know")
            return [self._elementwise(node, inputs)]
        if node.op not in _OPERATORS:
            raise NotProvedError(f"the operator {node.op} is not one that the proof knows")
        known, carry = _OPERATORS[node.op]
        if strange := node.attributes.keys() - known:
            raise NotProvedError(f"the attribute {min(strange)} of {node.op} is not one that the proof knows")
        return carry(self, node, inputs)

    def _elementwise(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        to: Dtype = "f8"
        if node.op == "Cast":
            to = _DTYPES.get(int(node.attributes["to"])) or _unknown("the element type of a Cast")
        if node.op == "Mod" and node.attributes.get("fmod") != 1:
            _unknown("Mod without fmod")
        self._require_kinds(node.op, [self.kind(tensor) for tensor in inputs])
        arrays, axis = self._broadcast(inputs)
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        flat = [np.broadcast_to(array, shape).reshape(-1) for array in arrays]
        result = [self.algebra.apply(node.op, *terms, to=to) for terms in zip(*flat, strict=True)]
        return Rows(_objects(result, shape), axis)

    @staticmethod
    def _require_kinds(op: str, kinds: Sequence[Dtype]) -> None:
        """Element types that the operator takes: logic booleans, arithmetic numbers of one type."""
        if op == "Where":
            right = kinds[0] == "b1" and kinds[1] == kinds[2]
        elif op in {"And", "Or", "Not"}:
            right = set(kinds) == {"b1"}
        elif op == "Cast":
            right = True
        else:
            right = set(kinds) in ({"f8"}, {"f4"})
        if not right:
            raise NotProvedError(f"a node {op} is given the element types {', '.join(kinds)}")

    def kind(self, tensor: Tensor) -> Dtype:
        """Element type of a tensor."""
        if isinstance(tensor, Rows):
            return tensor.dtype
        if isinstance(tensor, Shape) or tensor.dtype not in _KINDS:
            raise NotProvedError("a constant is of an element type that the proof does not know")
        return _KINDS[tensor.dtype]

    def _broadcast(self, inputs: Sequence[Tensor]) -> tuple[list[npt.NDArray[Any]], int]:
        """Arrays of terms that NumPy's rules join, and where the rows stand in the result."""
        after = {tensor.terms.ndim - tensor.axis for tensor in inputs if isinstance(tensor, Rows)}
        if len(after) != 1:
            raise NotProvedError("an operator joins tensors whose rows stand on different axes, or constants only")
        from_right = after.pop()
        arrays = []
        for tensor in inputs:
            if isinstance(tensor, Rows):
                arrays.append(tensor.terms)
                continue
            array = self.constants(tensor)
            if array.ndim >= from_right and array.shape[array.ndim - from_right] != 1:
                raise NotProvedError("a constant is joined with the axis of the rows")
            arrays.append(array)
        return arrays, max(array.ndim for array in arrays) - from_right

    def constants(self, tensor: Tensor) -> npt.NDArray[Any]:
        """A constant tensor as an array of terms."""
        kind = self.kind(tensor)
        if isinstance(tensor, Rows | Shape):
            raise NotProvedError("a constant is expected where a tensor depends on the row")
        return _objects([self.algebra.constant(value, kind) for value in tensor.reshape(-1)], tensor.shape)


def _unknown(what: str) -> Any:
    raise NotProvedError(f"{what} is not one that the proof knows")


def _objects(terms: Sequence[Term], shape: Sequence[int]) -> npt.NDArray[Any]:
    array = np.empty(len(terms), dtype=object)
    array[:] = terms
    return array.reshape(shape)


def _rows(tensor: Tensor, what: str) -> Rows:
    if not isinstance(tensor, Rows):
        raise NotProvedError(f"{what} does not depend on the row")
    return tensor


def _fixed(tensor: Tensor, what: str) -> npt.NDArray[Any]:
    if isinstance(tensor, Rows | Shape):
        raise NotProvedError(f"{what} is no constant")
    return tensor


def _matrix(tensor: Tensor, op: str) -> list[Term]:
    """The terms of a tensor ``(n_rows, k)``."""
    rows = _rows(tensor, f"what {op} is applied to")
    if rows.axis != 0 or rows.terms.ndim != 2:
        raise NotProvedError(f"what {op} is applied to is not of shape (n_rows, k)")
    return list(rows.terms[0])


def _other_axis(rows: Rows, axis: int, op: str) -> int:
    axis = axis + rows.terms.ndim if axis < 0 else axis
    if not 0 <= axis < rows.terms.ndim or axis == rows.axis:
        raise NotProvedError(f"{op} works along the axis of the rows")
    return axis


def _arity(inputs: Sequence[Tensor], *allowed: int) -> None:
    if len(inputs) not in allowed:
        raise NotProvedError("an operator has more or fewer inputs than the proof knows")


def _identity(_: Interpreter, __: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    _arity(inputs, 1)
    return inputs


def _concat(_: Interpreter, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    axis = int(node.attributes["axis"])
    if any(isinstance(tensor, Shape) for tensor in inputs) and axis == 0:
        lengths: list[int | None] = []
        for tensor in inputs:
            lengths += tensor.lengths if isinstance(tensor, Shape) else _fixed(tensor, "a shape").reshape(-1).tolist()
        return [Shape(tuple(lengths))]
    parts = [_rows(tensor, "a part of Concat") for tensor in inputs]
    if len({(part.axis, part.terms.ndim, part.dtype) for part in parts}) != 1:
        raise NotProvedError("Concat joins tensors whose rows stand on different axes")
    axis = _other_axis(parts[0], axis, "Concat")
    return [Rows(np.concatenate([part.terms for part in parts], axis=axis), parts[0].axis)]


def _split(_: Interpreter, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    _arity(inputs, 1)
    rows = _rows(inputs[0], "what Split is applied to")
    axis = _other_axis(rows, int(node.attributes.get("axis", 0)), "Split")
    n_parts = int(node.attributes["num_outputs"])
    if rows.terms.shape[axis] % n_parts:
        raise NotProvedError("Split makes parts of different lengths")
    return [Rows(part, rows.axis) for part in np.split(rows.terms, n_parts, axis=axis)]


def _gather(interpreter: Interpreter, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    _arity(inputs, 2)
    data, index = inputs
    axis = int(node.attributes.get("axis", 0))
    if isinstance(data, Rows):
        positions = _fixed(index, "the positions of Gather")
        axis = _other_axis(data, axis, "Gather")
        if positions.ndim != 1 or (positions < 0).any() or (positions >= data.terms.shape[axis]).any():
            raise NotProvedError("Gather takes columns that there are not, or not one by one")
        return [Rows(np.take(data.terms, positions, axis=axis), data.axis)]
    table, rows = _fixed(data, "a table"), _rows(index, "the position in a table")
    if axis != 0 or rows.dtype != "i8" or not table.ndim:
        raise NotProvedError("Gather reads a table along another axis than the first")
    kind = interpreter.kind(table)
    shape = (*rows.terms.shape, *table.shape[1:])
    tables = table.reshape(len(table), -1)
    made = [
        interpreter.algebra.look_up(tables[:, k], term, kind)
        for term in rows.terms.reshape(-1)
        for k in range(tables.shape[1])
    ]
    return [Rows(_objects(made, shape), rows.axis)]


def _squeeze(_: Interpreter, __: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    _arity(inputs, 2)
    rows = _rows(inputs[0], "what Squeeze is applied to")
    axes = sorted(_other_axis(rows, axis, "Squeeze") for axis in _fixed(inputs[1], "an axis").reshape(-1).tolist())
    if any(rows.terms.shape[axis] != 1 for axis in axes) or len(set(axes)) != len(axes):
        raise NotProvedError("Squeeze removes an axis that is longer than one")
    return [Rows(np.squeeze(rows.terms, tuple(axes)), rows.axis - sum(axis < rows.axis for axis in axes))]


def _unsqueeze(_: Interpreter, __: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    _arity(inputs, 2)
    rows = _rows(inputs[0], "what Unsqueeze is applied to")
    axes = _fixed(inputs[1], "an axis").reshape(-1).tolist()
    if len(axes) != 1 or not 0 <= axes[0] <= rows.terms.ndim:
        raise NotProvedError("Unsqueeze adds another number of axes than one")
    return [Rows(np.expand_dims(rows.terms, axes[0]), rows.axis + (axes[0] <= rows.axis))]


def _transpose(_: Interpreter, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    _arity(inputs, 1)
    rows = _rows(inputs[0], "what Transpose is applied to")
    order = node.attributes.get("perm", np.arange(rows.terms.ndim)[::-1]).tolist()
    return [Rows(np.transpose(rows.terms, order), order.index(rows.axis))]


def _shape(_: Interpreter, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    _arity(inputs, 1)
    rows = _rows(inputs[0], "what Shape is applied to")
    lengths = [None if axis == rows.axis else length for axis, length in enumerate(rows.terms.shape)]
    start, end = int(node.attributes.get("start", 0)), int(node.attributes.get("end", len(lengths)))
    if start < 0 or end < 0:
        raise NotProvedError("Shape counts axes from the end")
    return [Shape(tuple(lengths[start:end]))]


def _expand(interpreter: Interpreter, _: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    _arity(inputs, 2)
    if not isinstance(inputs[1], Shape):
        raise NotProvedError("Expand has a fixed shape")
    array, lengths = interpreter.constants(inputs[0]), inputs[1].lengths
    if (
        len(lengths) != array.ndim
        or list(lengths[1:]) != list(array.shape[1:])
        or lengths[0] is not None
        or len(array) != 1
    ):
        raise NotProvedError("Expand does more than repeat one row")
    return [Rows(array, 0)]


def _matmul(interpreter: Interpreter, _: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    _arity(inputs, 2)
    return [_weighted(interpreter, _matrix(inputs[0], "MatMul"), _fixed(inputs[1], "a weight"), None)]


def _gemm(interpreter: Interpreter, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    del node
    _arity(inputs, 3)
    bias = _fixed(inputs[2], "a bias")
    return [_weighted(interpreter, _matrix(inputs[0], "Gemm"), _fixed(inputs[1], "a weight"), bias)]


def _weighted(
    interpreter: Interpreter, terms: list[Term], weights: npt.NDArray[Any], bias: npt.NDArray[Any] | None
) -> Rows:
    offsets = np.zeros(weights.shape[-1]) if bias is None else bias
    kinds = {term.dtype for term in terms} | {interpreter.kind(weights), interpreter.kind(offsets)}
    if kinds != {"f8"} or weights.ndim != 2 or len(weights) != len(terms) or offsets.shape != weights.shape[1:]:
        raise NotProvedError("a matrix product is not of float64, or its shapes do not fit")
    dots = [interpreter.algebra.dot(terms, weights[:, k], offsets[k]) for k in range(weights.shape[1])]
    return Rows(_objects(dots, (1, len(dots))), 0)


def _reduce_sum(interpreter: Interpreter, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Along a leading axis slices are added one after the other; along a row, in an order that is not fixed."""
    _arity(inputs, 2)
    rows = _rows(inputs[0], "what ReduceSum is applied to")
    axes = _fixed(inputs[1], "an axis").reshape(-1).tolist()
    keeps = int(node.attributes.get("keepdims", 1))
    if keeps not in (0, 1):
        _unknown("keepdims of ReduceSum")  # ONNX Runtime takes 2 for 0
    if axes == [0] and rows.axis == 1 and not keeps:
        flat = rows.terms.reshape(len(rows.terms), -1).T
        sums = [interpreter.algebra.fold(list(column), rows.dtype) for column in flat]
        return [Rows(_objects(sums, rows.terms.shape[1:]), 0)]
    if axes == [1] and keeps:
        terms = _matrix(rows, "ReduceSum")
        total = (
            interpreter.algebra.apply("Add", *terms)
            if len(terms) == 2
            else interpreter.algebra.dot(terms, np.ones(len(terms)), 0.0)
        )
        return [Rows(_objects([total], (1, 1)), 0)]
    raise NotProvedError("ReduceSum adds along an axis for which the order of its additions is not known")


def _reduce_max(interpreter: Interpreter, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    _arity(inputs, 2)
    terms = _matrix(inputs[0], "ReduceMax")
    if _fixed(inputs[1], "an axis").reshape(-1).tolist() != [1] or int(node.attributes.get("keepdims", 1)) != 1:
        _unknown("the axis of ReduceMax")
    return [Rows(_objects([interpreter.algebra.several("Largest", terms)], (1, 1)), 0)]


def _running_sums(interpreter: Interpreter, _: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """``CumSum`` along a row: each column is the one before plus the next."""
    _arity(inputs, 2)
    rows = _rows(inputs[0], "what CumSum is applied to")
    terms = _matrix(rows, "CumSum")
    if _fixed(inputs[1], "an axis").reshape(-1).tolist() != [1]:
        _unknown("the axis of CumSum")
    sums = [interpreter.algebra.fold(terms[: k + 1], rows.dtype) for k in range(len(terms))]
    return [Rows(_objects(sums, rows.terms.shape), 0)]


def _softmax(interpreter: Interpreter, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    _arity(inputs, 1)
    terms = _matrix(inputs[0], "Softmax")
    if node.attributes.get("axis", -1) not in (1, -1):
        _unknown("the axis of Softmax")
    made = [interpreter.algebra.several("Softmax", terms, k) for k in range(len(terms))]
    return [Rows(_objects(made, (1, len(made))), 0)]


def _argmax(interpreter: Interpreter, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    _arity(inputs, 1)
    terms = _matrix(inputs[0], "ArgMax")
    if node.attributes.get("axis", 0) != 1 or node.attributes.get("keepdims", 1) != 0:
        _unknown("the axis of ArgMax")
    return [Rows(_objects([interpreter.algebra.several("ArgMax", terms)], (1,)), 0)]


def _label_encoder(interpreter: Interpreter, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    _arity(inputs, 1)
    rows = _rows(inputs[0], "what LabelEncoder is applied to")
    keys, values, default = (
        np.asarray(node.attributes[name]) for name in ("keys_tensor", "values_tensor", "default_tensor")
    )
    if {array.dtype for array in (keys, values, default)} != {np.dtype(np.float64)} or rows.dtype != "f8":
        raise NotProvedError("a LabelEncoder is not of float64")
    if keys.shape != values.shape or keys.ndim != 1 or default.size != 1:
        raise NotProvedError("a LabelEncoder has more keys than values")
    missing = np.isnan(keys)
    nan = values[missing][0] if missing.any() else default.reshape(-1)[0]
    if missing.sum() > 1:
        raise NotProvedError("a table has a key twice")
    made = []
    for term in rows.terms.reshape(-1):
        if term.op in {"Map", "Leaf", "Constant"}:
            _unknown("a LabelEncoder over what is a table already")
        made.append(interpreter.algebra.map(term, keys[~missing], values[~missing], nan, default.reshape(-1)[0]))
    return [Rows(_objects(made, rows.terms.shape), rows.axis)]


_NODE_ARRAYS = (
    "nodes_featureids",
    "nodes_splits",
    "nodes_modes",
    "nodes_truenodeids",
    "nodes_trueleafs",
    "nodes_falsenodeids",
    "nodes_falseleafs",
)
_LEQ, _LT, _MEMBER = 0, 1, 6


def _tree_ensemble(interpreter: Interpreter, node: Node, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """``TreeEnsemble`` of operator set 5: splits and leaves are numbered apart; a true split goes to its true child."""
    _arity(inputs, 1)
    attributes = node.attributes
    terms = _matrix(inputs[0], "TreeEnsemble")
    if attributes.get("aggregate_function", 1) != 1 or attributes.get("post_transform", 0) != 0:
        raise NotProvedError("a TreeEnsemble does not add up its leaves, or transforms them")
    ids, splits, modes, true, true_leaf, false, false_leaf = (np.asarray(attributes[name]) for name in _NODE_ARRAYS)
    weights, targets = np.asarray(attributes["leaf_weights"]), np.asarray(attributes["leaf_targetids"])
    roots, n_targets = np.asarray(attributes["tree_roots"]), int(attributes["n_targets"])
    n_splits, n_leaves = len(ids), len(weights)
    missing = np.asarray(attributes.get("nodes_missing_value_tracks_true", np.zeros(n_splits, np.int64)))
    single = splits.dtype == np.float32
    if any(len(part) != n_splits for part in (splits, modes, true, true_leaf, false, false_leaf, missing)):
        raise NotProvedError("the arrays of a TreeEnsemble are of different lengths")
    if len(targets) != n_leaves or {splits.dtype, weights.dtype} not in (
        {np.dtype(np.float64)},
        {np.dtype(np.float32)},
    ):
        raise NotProvedError("the leaves of a TreeEnsemble are of different lengths or element types")
    if {term.dtype for term in terms} != {"f4" if single else "f8"}:
        raise NotProvedError("a TreeEnsemble compares rows and thresholds of different element types")
    flags = np.concatenate([true_leaf, false_leaf, missing])
    if not np.isin(flags, (0, 1)).all() or not np.isin(modes, (_LEQ, _LT, _MEMBER)).all():
        raise NotProvedError("a TreeEnsemble compares in a way that the proof does not know")
    for child, leaf in ((true, true_leaf), (false, false_leaf)):
        if (child < 0).any() or (child >= np.where(leaf == 1, n_leaves, n_splits)).any():
            raise NotProvedError("a child in a TreeEnsemble is no node")
    if (roots < 0).any() or (roots >= n_splits).any() or (ids < 0).any() or (ids >= len(terms)).any():
        raise NotProvedError("a TreeEnsemble starts from a node, or tests a column, that there is not")
    interpreter.n_trees += len(roots)
    interpreter.n_splits += n_splits
    interpreter.n_leaves += n_leaves
    forest = Forest(
        columns=terms,
        feature=np.append(ids, np.zeros(n_leaves, np.int64)),
        cut=np.append(_cuts(splits, modes), np.zeros(n_leaves)),
        left=np.append(true + n_splits * true_leaf, np.zeros(n_leaves, np.int64)),
        right=np.append(false + n_splits * false_leaf, np.zeros(n_leaves, np.int64)),
        missing_left=np.append(missing, np.zeros(n_leaves, np.int64)).astype(np.bool_),
        leaf=np.append(np.full(n_splits, -1), np.arange(n_leaves)),
        members=_member_sets(interpreter.algebra, attributes, modes, terms, ids, missing),
    )
    owners = _targets_of(forest, roots, targets, n_targets)
    sums = totals(interpreter.algebra, forest, roots, weights, owners, n_targets)
    return [Rows(_objects(sums, (1, n_targets)), 0)]


def _cuts(splits: npt.NDArray[Any], modes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    made = np.zeros(len(splits))
    for strict in (False, True):
        chosen = modes == (_LT if strict else _LEQ)
        made[chosen] = cuts(splits[chosen], strict=strict)
    return made


def _member_sets(
    algebra: Algebra,
    attributes: Mapping[str, Any],
    modes: npt.NDArray[Any],
    columns: Sequence[Term],
    ids: npt.NDArray[np.int64],
    missing: npt.NDArray[np.int64],
) -> dict[int, npt.NDArray[np.float64]]:
    """The set of each member split, in the order of the nodes; NaN ends each set in the file."""
    nodes = np.flatnonzero(modes == _MEMBER).tolist()
    values = np.asarray(attributes.get("membership_values", np.empty(0)), dtype=np.float64)
    ends = np.flatnonzero(np.isnan(values)).tolist()
    if len(ends) != len(nodes) or (ends and ends[-1] != len(values) - 1) or (not ends and len(values)):
        raise NotProvedError("a TreeEnsemble has more or fewer sets of members than splits that test them")
    made, start = {}, 0
    for node, end in zip(nodes, ends, strict=True):
        members = values[start:end]
        start = end + 1
        term = unrounded(columns[ids[node]])
        if missing[node] or not algebra.is_whole(term):
            raise NotProvedError("a TreeEnsemble tests membership of numbers that may be no whole ones, or missing")
        if (members != np.floor(members)).any() or (np.abs(members) >= 2.0**31).any() or not len(members):
            raise NotProvedError("a set of members holds numbers that are no whole ones below 2**31")
        made[node] = members
    return made


def _targets_of(
    forest: Forest, roots: npt.NDArray[np.int64], targets: npt.NDArray[np.int64], n_targets: int
) -> npt.NDArray[np.int64]:
    """The target that each tree adds to, which all its leaves must name."""
    if (targets < 0).any() or (targets >= n_targets).any():
        raise NotProvedError("a leaf adds to a target that there is not")
    owner = np.full(len(forest.leaf), -1)
    nodes = roots
    owner[roots] = np.arange(len(roots))
    for _ in range(len(owner)):
        nodes = nodes[forest.leaf[nodes] < 0]
        if not len(nodes):
            break
        children = np.concatenate([forest.left[nodes], forest.right[nodes]])
        if (owner[children] >= 0).any():
            raise NotProvedError("a node is the child of two splits")
        owner[children] = np.tile(owner[nodes], 2)
        nodes = children
    leaves = np.flatnonzero(forest.leaf >= 0)
    if (owner < 0).any():
        raise NotProvedError(f"{int((owner < 0).sum())} nodes belong to no tree")
    of_tree = np.full(len(roots), -1)
    of_tree[owner[leaves]] = targets
    if (of_tree[owner[leaves]] != targets).any():
        raise NotProvedError("the leaves of one tree add to different targets")
    return of_tree


_ELEMENTWISE = {
    **dict.fromkeys(
        ("Neg", "Abs", "Sqrt", "Floor", "Round", "Exp", "Tanh", "Log", "Sigmoid", "Reciprocal", "Relu"), (1, 1)
    ),
    **dict.fromkeys(("Not", "IsNaN", "Cast"), (1, 1)),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "Min", "Pow", "And", "Or"), (2, 2)),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), (2, 2)),
    **dict.fromkeys(("Where", "Clip"), (3, 3)),
}
_ELEMENTWISE_ATTRIBUTES = {"Cast": {"to"}, "Mod": {"fmod"}}
_OPERATORS: dict[str, tuple[set[str], Carry]] = {
    "Identity": (set(), _identity),
    "Concat": ({"axis"}, _concat),
    "Split": ({"axis", "num_outputs"}, _split),
    "Gather": ({"axis"}, _gather),
    "Squeeze": (set(), _squeeze),
    "Unsqueeze": (set(), _unsqueeze),
    "Transpose": ({"perm"}, _transpose),
    "Shape": ({"start", "end"}, _shape),
    "Expand": (set(), _expand),
    "MatMul": (set(), _matmul),
    "Gemm": (set(), _gemm),
    "ReduceSum": ({"keepdims"}, _reduce_sum),
    "ReduceMax": ({"keepdims"}, _reduce_max),
    "CumSum": (set(), _running_sums),
    "Softmax": ({"axis"}, _softmax),
    "ArgMax": ({"axis", "keepdims"}, _argmax),
    "ai.onnx.ml.LabelEncoder": ({"keys_tensor", "values_tensor", "default_tensor"}, _label_encoder),
    "ai.onnx.ml.TreeEnsemble": (
        {
            *_NODE_ARRAYS,
            "nodes_missing_value_tracks_true",
            "membership_values",
            "leaf_targetids",
            "leaf_weights",
            "tree_roots",
            "n_targets",
            "aggregate_function",
            "post_transform",
        },
        _tree_ensemble,
    ),
}

"""The k nearest points of a fitted k-d tree, with scikit-learn's choice at equal distances.

Without ties, the k nearest points are unique. At a tie for the last place, scikit-learn's heap keeps the point that its
order of visits and of swaps leaves in, and this module carries out the same visits and swaps (``utils/_heap.pyx``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, TensorProto, helper

from orris.compile.converters import arithmetic
from orris.compile.graph import Graph
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray

_MAX_LEAVES = 1024

_Branch = Callable[[Graph], tuple[str, str]]
_Value = tuple[str, int, list[int]]
"""Name, element type and shape of a subgraph's input or output."""


@dataclass(frozen=True)
class Tree:
    """A fitted k-d tree.

    Attributes:
        points: Training rows in the tree's order, float64 ``(n_points, n_columns)``.
        targets: Their targets, float64 ``(n_points,)``.
        leaf_starts: First position of each leaf, left to right, int64 ``(n_leaves,)``; ``n_leaves`` is a power of two.
        lower: Smallest value of each node's box, float64 ``(2 * n_leaves - 1, n_columns)``, level by level.
        upper: Largest value, likewise.
        squared: Whether distances are Euclidean, kept squared; otherwise they are Manhattan.
    """

    points: FloatArray
    targets: FloatArray
    leaf_starts: npt.NDArray[np.int64]
    lower: FloatArray
    upper: FloatArray
    squared: bool


def nearest(body: Graph, tree: Tree, row: str, k: int) -> tuple[str, str]:
    """The points nearest to ``row``, float64 ``(n_columns,)``, nearest first.

    Returns:
        Their positions in ``tree.points``, int64 ``(k,)``, and their distances, float64 ``(k,)``, squared if
        ``tree.squared``.

    Raises:
        NotConvertibleError: The tree has too many leaves.
    """
    if len(tree.leaf_starts) > _MAX_LEAVES:
        raise NotConvertibleError(
            f"the k-d tree has {len(tree.leaf_starts)} leaves; up to {_MAX_LEAVES} are converted: raise leaf_size"
        )
    column = body.add("Unsqueeze", row, body.constant([1], np.int64))
    distances = _summed(body, body.add("Sub", column, body.constant(tree.points.T)), squared=tree.squared)
    n_points = len(tree.points)
    values, found = body.add("TopK", distances, body.constant([min(k + 1, n_points)], np.int64), largest=0, outputs=2)
    if k == n_points:
        return found, values
    first, last = body.constant([0], np.int64), body.constant([k], np.int64)
    kept, kept_values = body.add("Slice", found, first, last), body.add("Slice", values, first, last)
    kth = body.add("Gather", values, body.constant([k - 1], np.int64))
    tie = body.add("Equal", kth, body.add("Gather", values, body.constant([k], np.int64)))

    def untied(branch: Graph) -> tuple[str, str]:
        return branch.add("Identity", kept), branch.add("Identity", kept_values)

    def tied(branch: Graph) -> tuple[str, str]:
        differ = _targets_differ(branch, tree, distances, kth)
        return _either(branch, differ, lambda inner: _searched(inner, tree, column, distances, k), untied, k)

    return _either(body, _scalar(body, tie), tied, untied, k)


def _summed(body: Graph, differences: str, *, squared: bool) -> str:
    """Sum of squares or magnitudes over axis 0, float64 ``(n_columns, n)`` to ``(n,)``, one column after the other.

    ONNX Runtime sums the outermost axis row by row, so each sum is rounded as scikit-learn's loop over columns rounds
    it.
    """
    parts = body.add("Mul", differences, differences) if squared else body.add("Abs", differences)
    return str(body.add("ReduceSum", parts, body.constant([0], np.int64), keepdims=0))


def _scalar(body: Graph, tensor: str) -> str:
    """Shape ``(1,)`` becomes ``()``."""
    return str(body.add("Squeeze", tensor, body.constant([0], np.int64)))


def _either(body: Graph, condition: str, then: _Branch, otherwise: _Branch, k: int) -> tuple[str, str]:
    """An ``If`` of two branches that give positions and distances."""
    branches = []
    for name, build in (("then", then), ("otherwise", otherwise)):
        with arithmetic.nested(body) as branch:
            outputs = build(branch)
        branches.append(
            _graph(branch, name, [], [(outputs[0], TensorProto.INT64, [k]), (outputs[1], TensorProto.DOUBLE, [k])])
        )
    positions, distances = body.add("If", condition, then_branch=branches[0], else_branch=branches[1], outputs=2)
    return positions, distances


def _graph(body: Graph, name: str, inputs: list[_Value], outputs: list[_Value]) -> GraphProto:
    """The subgraph of the nodes that ``body`` has collected."""
    taken, given = ([helper.make_tensor_value_info(*value) for value in values] for values in (inputs, outputs))
    return helper.make_graph(body.nodes, name, taken, given)


def _targets_differ(body: Graph, tree: Tree, distances: str, kth: str) -> str:
    """Whether the points at the last place's distance have different targets, so that the choice matters."""
    targets = body.constant(tree.targets)
    level = body.add("Equal", distances, kth)
    lowest = body.add("ReduceMin", body.add("Where", level, targets, body.constant(np.inf)), keepdims=0)
    highest = body.add("ReduceMax", body.add("Where", level, targets, body.constant(-np.inf)), keepdims=0)
    return str(body.add("Less", lowest, highest))


def _visits(body: Graph, tree: Tree, column: str) -> str | None:
    """Positions in the order in which the tree's search visits them, int64 ``(n_points,)``.

    ``None`` if there is one leaf.

    At each inner node, the child whose box is nearer goes first, the left one if both are as near. Leaves that
    scikit-learn skips hold nothing nearer than what its heap holds by then, so visiting them changes nothing.
    """
    n_leaves = len(tree.leaf_starts)
    if n_leaves == 1:
        return None
    outside = body.add(
        "Add",
        body.add("Max", body.add("Sub", body.constant(tree.lower.T), column), body.constant(0.0)),
        body.add("Max", body.add("Sub", column, body.constant(tree.upper.T)), body.constant(0.0)),
    )
    bounds = _summed(body, outside, squared=tree.squared)
    inner = np.arange(n_leaves - 1)
    left, right = (body.add("Gather", bounds, body.constant(2 * inner + child)) for child in (1, 2))
    left_first = body.cast(body.add("LessOrEqual", left, right), TensorProto.DOUBLE)
    if_left, if_right = _ranks(n_leaves)
    ranks = body.add(
        "Add",
        body.add("MatMul", left_first, body.constant((if_left - if_right).T)),
        body.constant(if_right.sum(axis=1)),
    )
    n_points = len(tree.points)
    leaf = np.searchsorted(tree.leaf_starts, np.arange(n_points), side="right") - 1
    keys = body.add(
        "Add", body.add("Gather", ranks, body.constant(leaf)), body.constant(np.arange(n_points) / n_points)
    )
    _, order = body.add("TopK", keys, body.constant([n_points], np.int64), largest=0, outputs=2)
    return str(order)


def _ranks(n_leaves: int) -> tuple[FloatArray, FloatArray]:
    """The summand of each inner node in each leaf's rank if its left, or its right, child is visited first.

    Returns two arrays ``(n_leaves, n_leaves - 1)``.
    """
    if_left_first, if_right_first = np.zeros((2, n_leaves, n_leaves - 1))
    for leaf in range(n_leaves):
        node, weight = leaf + n_leaves - 1, 1.0
        while node:
            parent = (node - 1) // 2
            (if_left_first if node == 2 * parent + 2 else if_right_first)[leaf, parent] = weight
            node, weight = parent, weight * 2
    return if_left_first, if_right_first


def _searched(body: Graph, tree: Tree, column: str, distances: str, k: int) -> tuple[str, str]:
    """The k nearest by scikit-learn's search: positions and distances, nearest first."""
    order = _visits(body, tree, column)
    visited = distances if order is None else str(body.add("Gather", distances, order))
    n_points, size = len(tree.points), 2 * k + 1  # children of the last places are there too, at -inf
    heap = body.constant(np.concatenate([np.full(k, np.inf), np.full(k + 1, -np.inf)]))
    with arithmetic.nested(body) as loop:
        iteration, condition = loop.name("iteration"), loop.name("condition")
        values, held, here = loop.name("values"), loop.name("held"), loop.name("here")
        place = loop.constant(np.arange(n_points))
        nearer = loop.add("Less", visited, loop.add("Gather", values, loop.constant([0], np.int64)))
        ahead = loop.add("And", nearer, loop.add("Greater", place, here))
        following = loop.add(
            "ReduceMin", loop.add("Where", ahead, place, loop.constant([n_points], np.int64)), keepdims=1
        )
        found = loop.add("Less", following, loop.constant([n_points], np.int64))
        # past the end there is nothing to push: the largest value is pushed over itself, which changes nothing
        at = loop.add("Where", found, following, loop.constant([0], np.int64))
        root = loop.constant([0], np.int64)
        pushed = loop.add("Where", found, loop.add("Gather", visited, at), loop.add("Gather", values, root))
        entering = loop.add("Where", found, at, loop.add("Gather", held, root))
        new_values, new_held = _pushed(loop, (values, held), (pushed, entering), k)
        again = _scalar(loop, found)
    carried = [(TensorProto.DOUBLE, [size]), (TensorProto.INT64, [size]), (TensorProto.INT64, [1])]
    inputs: list[_Value] = [(iteration, TensorProto.INT64, []), (condition, TensorProto.BOOL, [])]
    inputs += [(name, *kind) for name, kind in zip((values, held, here), carried, strict=True)]
    outputs: list[_Value] = [(again, TensorProto.BOOL, [])]
    outputs += [(name, *kind) for name, kind in zip((new_values, new_held, following), carried, strict=True)]
    start = (body.constant(n_points + 1, np.int64), body.constant(np.array(True)), heap)
    empty = (body.constant(np.zeros(size, np.int64)), body.constant([-1], np.int64))
    final, indices, _ = body.add("Loop", *start, *empty, body=_graph(loop, "heap", inputs, outputs), outputs=3)
    first, last = body.constant([0], np.int64), body.constant([k], np.int64)
    nearest_first, rank = body.add("TopK", body.add("Slice", final, first, last), last, largest=0, outputs=2)
    positions = body.add("Gather", body.add("Slice", indices, first, last), rank)
    return str(positions if order is None else body.add("Gather", order, positions)), nearest_first


def _pushed(loop: Graph, heap: tuple[str, str], entry: tuple[str, str], k: int) -> tuple[str, str]:
    """``heap_push``: the entry takes the root's place and sinks below every larger child.

    An entry that rests stays where it is.
    """
    (values, held), (value, index) = heap, entry
    at = loop.constant([0], np.int64)
    for _ in range(int(np.log2(k))):
        left = loop.add("Add", loop.add("Add", at, at), loop.constant([1], np.int64))
        right = loop.add("Add", left, loop.constant([1], np.int64))
        left_value, right_value = loop.add("Gather", values, left), loop.add("Gather", values, right)
        larger = loop.add("Where", loop.add("Less", left_value, right_value), right, left)
        larger_value = loop.add("Gather", values, larger)
        sinks = loop.add("Less", value, larger_value)
        values = loop.add("ScatterElements", values, at, loop.add("Where", sinks, larger_value, value), axis=0)
        held = loop.add(
            "ScatterElements", held, at, loop.add("Where", sinks, loop.add("Gather", held, larger), index), axis=0
        )
        at = loop.add("Where", sinks, larger, at)
    return loop.add("ScatterElements", values, at, value, axis=0), loop.add("ScatterElements", held, at, index, axis=0)

"""Decision trees as one ``TreeEnsemble`` node (``ai.onnx.ml`` opset 5, float64), for ``trees`` and ``boosting``.

Three ways to add up the answers of many trees, tree by tree, in order, as scikit-learn does:

* ``add_totals``: every leaf holds one number and the node itself adds them per target. Exact to the last bit with one
  intra-op thread (how Orris runs a model); with more threads ONNX Runtime adds partial sums, which may differ in the
  last bits.
* ``add_votes``: every leaf holds one number per class. The node returns each tree's *leaf* (the position of its row in
  a table), the rows are looked up, and ``ReduceSum`` over the leading axis adds them one tree after the other. Exact
  with any number of threads.
* ``add_votes`` where every leaf is pure (one class has it all, as in a forest grown to the end): the votes are counts,
  so the counts of all classes are packed into the bits of one double, added by the node itself, and unpacked. Exact in
  any order, and twice as fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from orris.compile.graph import ML_DOMAIN, Frame, Graph
from orris.schema.arrays import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]

LEAF = -1
"""Stands for "no child" in ``Tree.left`` and ``Tree.right``."""

DOUBLE_BITS = 53
"""Whole numbers of up to so many bits are exact in float64."""

_SUM, _NONE = 1, 0
_BRANCH_LEQ, _BRANCH_MEMBER = 0, 6


@dataclass(frozen=True)
class Tree:
    """One binary tree; node 0 is the root.

    A row goes left where ``value <= threshold``, or where its value is a member.

    Attributes:
        feature: int64 ``(n_nodes,)``, position of the column; ignored at leaves.
        threshold: float64 ``(n_nodes,)``; ignored at leaves and at member splits.
        left: int64 ``(n_nodes,)``, position of the left child, or ``LEAF``.
        right: Likewise for the right child.
        missing_left: bool ``(n_nodes,)``, whether NaN goes left.
        values: float64 ``(n_nodes,)`` or ``(n_nodes, n_classes)``, the answer at each leaf.
        members: For nodes that split on membership instead of a threshold: the whole numbers that go left, at least
            one. Anything else, NaN too, goes right.
    """

    feature: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    missing_left: BoolArray
    values: FloatArray
    members: Mapping[int, FloatArray] = field(default_factory=dict)

    @property
    def is_leaf(self) -> BoolArray:
        """Which nodes are leaves, ``(n_nodes,)``."""
        return np.equal(self.left, LEAF)


def constant_tree(value: float) -> Tree:
    """A tree that answers ``value`` to every row."""
    none = np.full(1, LEAF, dtype=np.int64)
    return Tree(
        np.zeros(1, np.int64), np.zeros(1), none, none, np.zeros(1, np.bool_), np.full(1, value, dtype=np.float64)
    )


def add_totals(
    graph: Graph,
    tensor: str,
    trees: Sequence[Tree],
    targets: Sequence[int],
    n_targets: int,
    dtype: type[np.float32 | np.float64] = np.float64,
) -> str:
    """Sum the trees' answers per target.

    Args:
        graph: Where the node goes.
        tensor: ``(n_rows, n_features)`` of ``dtype``.
        trees: Trees with ``values`` of shape ``(n_nodes,)``, in the order in which they are added.
        targets: For each tree, the target it adds to.
        n_targets: Number of targets.
        dtype: In what the node compares and adds; thresholds and values must be exact in it.

    Returns:
        Name of a tensor ``(n_rows, n_targets)`` of ``dtype``.
    """
    weighted = list(zip(trees, targets, [tree.values[tree.is_leaf] for tree in trees], strict=True))
    return _add_node(graph, tensor, weighted, n_targets, dtype)


def add_votes(graph: Graph, tensor: str, trees: Sequence[Tree]) -> str:
    """Sum the trees' answers per class, starting from zero, in the order of ``trees``.

    Args:
        graph: Where the nodes go.
        tensor: float64 ``(n_rows, n_features)``.
        trees: Trees with ``values`` of shape ``(n_nodes, n_classes)``.

    Returns:
        Name of a float64 tensor ``(n_rows, n_classes)``.
    """
    leaves = np.concatenate([tree.values[tree.is_leaf] for tree in trees])
    n_bits = len(trees).bit_length()  # 2**n_bits > len(trees), so no count runs over into the next
    if len(trees) > 1 and n_bits * leaves.shape[1] <= DOUBLE_BITS and np.isin(leaves, (0.0, 1.0)).all():
        return _add_packed(graph, tensor, trees, 2.0**n_bits)
    # Equal leaves share a row: a small table stays in the processor's cache. (Doubles hold every index exactly.)
    table, positions = np.unique(leaves, axis=0, return_inverse=True)
    ends = np.cumsum([np.count_nonzero(tree.is_leaf) for tree in trees])
    weights = np.split(positions.reshape(-1).astype(np.float64), ends[:-1])
    chosen = _add_node(graph, tensor, list(zip(trees, range(len(trees)), weights, strict=True)), len(trees))
    if len(trees) == 1:
        index = graph.cast(graph.add("Squeeze", chosen, graph.constant([1], np.int64)), TensorProto.INT64)
        return str(graph.add("Gather", graph.constant(table, np.float64), index, axis=0))
    # Trees lead, because ReduceSum adds whole slices one after the other along the first axis; along another it sums in
    # blocks.
    index = graph.cast(graph.add("Transpose", chosen, perm=[1, 0]), TensorProto.INT64)
    votes = graph.add("Gather", graph.constant(table, np.float64), index, axis=0)
    return str(graph.add("ReduceSum", votes, graph.constant([0], np.int64), keepdims=0))


def _add_packed(graph: Graph, tensor: str, trees: Sequence[Tree], base: float) -> str:
    """Counts of class ``k`` are the digit ``k`` of a number in this ``base``, a power of two: every step is exact."""
    powers = base ** np.arange(trees[0].values.shape[1])
    packed = add_totals(
        graph, tensor, [replace(tree, values=tree.values @ powers) for tree in trees], [0] * len(trees), 1
    )
    shifted = graph.add("Floor", graph.add("Mul", packed, graph.constant(1 / powers[np.newaxis], np.float64)))
    return str(graph.add("Mod", shifted, graph.constant([[base]], np.float64), fmod=1))


def add_binary(graph: Graph, score: str) -> str:
    """Float64 ``(n_rows, 1)`` probabilities of the second class -> ``(n_rows, 2)``, the first being ``1 - p``."""
    return str(graph.add("Concat", graph.add("Sub", graph.constant([[1.0]], np.float64), score), score, axis=1))


def add_largest(graph: Graph, tensor: str) -> str:
    """Position of the largest of each row, the first among equals, as ``numpy.argmax``: int64 ``(n_rows,)``."""
    return str(graph.add("ArgMax", tensor, axis=1, keepdims=0))


def note_thresholds(graph: Graph, frame: Frame, trees: Iterable[Tree]) -> None:
    """Tell the parity gate every threshold of every column."""
    splits = [(tree.feature[chosen], tree.threshold[chosen]) for tree in trees for chosen in [_threshold_splits(tree)]]
    features = np.concatenate([np.empty(0, np.int64), *(feature for feature, _ in splits)])
    thresholds = np.concatenate([np.empty(0), *(threshold for _, threshold in splits)])
    finite = np.isfinite(thresholds)  # an infinite one parts the missing from the rest
    for feature in np.unique(features):
        graph.on_threshold(frame.features[feature], thresholds[finite & (features == feature)])


def after_rounding(tree: Tree) -> Tree:
    """The tree for float64 rows that answers as ``tree`` does for the same rows rounded to float32.

    scikit-learn's trees round every value to float32 and compare that with float64 thresholds. Rounding is monotone, so
    each threshold is moved to the largest double whose rounding still goes left; NaN stays NaN.
    """
    return replace(tree, threshold=np.where(tree.is_leaf, tree.threshold, last_rounding_below(tree.threshold)))


def last_rounding_below(threshold: FloatArray) -> FloatArray:
    """Largest float64 ``x`` with ``float32(x) <= threshold``, for ``(n,)`` thresholds, by IEEE 754 rounding."""
    below = threshold.astype(np.float32)
    with np.errstate(over="ignore"):
        below = np.where(below.astype(np.float64) > threshold, np.nextafter(below, np.float32(-np.inf)), below)
        above = np.nextafter(below, np.float32(np.inf)).astype(np.float64)
    above = np.where(np.isinf(above), 2.0**128, above)
    middle = (below.astype(np.float64) + above) / 2
    even = below.view(np.uint32) % 2 == 0
    return np.asarray(np.where(even, middle, np.nextafter(middle, -np.inf)))


def _threshold_splits(tree: Tree) -> BoolArray:
    chosen = ~tree.is_leaf
    chosen[list(tree.members)] = False
    return chosen


def _add_node(
    graph: Graph,
    tensor: str,
    weighted: Sequence[tuple[Tree, int, FloatArray]],
    n_targets: int,
    dtype: type[np.float32 | np.float64] = np.float64,
) -> str:
    """``weighted`` holds each tree, its target, and a number for each of its leaves in the order of its nodes."""
    parts: list[dict[str, npt.NDArray[Any]]] = []
    n_splits = n_leaves = 0
    for tree, target, weight in weighted:
        part = _attributes(*_with_a_split(tree, weight), target, n_splits, n_leaves)
        n_splits += len(part["nodes_featureids"])
        n_leaves += len(part["leaf_targetids"])
        parts.append(part)
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    if not joined["membership_values"].size:
        del joined["membership_values"]
    if not joined["nodes_missing_value_tracks_true"].any():
        del joined["nodes_missing_value_tracks_true"]  # ONNX Runtime then skips the test for NaN at every split
    for key in {"nodes_splits", "leaf_weights", "membership_values"} & joined.keys():
        joined[key] = joined[key].astype(dtype)
    tensors = {"nodes_splits", "nodes_modes", "leaf_weights", "membership_values"}
    settings = {"n_targets": n_targets, "aggregate_function": _SUM, "post_transform": _NONE}
    scores = str(graph.add("TreeEnsemble", tensor, domain=ML_DOMAIN, **settings))
    for key in sorted(joined):  # one after the other: as lists of Python's numbers they are large
        array = joined.pop(key)
        stored = numpy_helper.from_array(array, key) if key in tensors else array.tolist()
        graph.nodes[-1].attribute.append(helper.make_attribute(key, stored))
    return scores


def _with_a_split(tree: Tree, weight: FloatArray) -> tuple[Tree, FloatArray]:
    """The same tree with at least one split.

    ONNX Runtime misreads a root that is a leaf when it is not the first tree.
    """
    if len(weight) > 1:
        return tree, weight
    none = np.array([1, LEAF, LEAF])
    zeros = np.zeros(3)
    return Tree(none * 0, zeros, none, np.array([2, LEAF, LEAF]), zeros.astype(np.bool_), zeros), np.repeat(weight, 2)


def _attributes(
    tree: Tree, weight: FloatArray, target: int, first_split: int, first_leaf: int
) -> dict[str, npt.NDArray[Any]]:
    """This tree's share of the node's attributes; splits and leaves are numbered apart, over all trees."""
    leaf = tree.is_leaf
    split = ~leaf
    number = np.where(leaf, first_leaf + np.cumsum(leaf) - 1, first_split + np.cumsum(split) - 1)
    left, right = tree.left[split], tree.right[split]
    modes = np.full(len(leaf), _BRANCH_LEQ, dtype=np.uint8)
    modes[list(tree.members)] = _BRANCH_MEMBER
    members = [np.append(tree.members[node], np.nan) for node in sorted(tree.members)]
    return {
        "tree_roots": np.array([first_split]),
        "nodes_featureids": tree.feature[split],
        "nodes_splits": tree.threshold[split],
        "nodes_modes": modes[split],
        "nodes_truenodeids": number[left],
        "nodes_trueleafs": leaf[left].astype(np.int64),
        "nodes_falsenodeids": number[right],
        "nodes_falseleafs": leaf[right].astype(np.int64),
        "nodes_missing_value_tracks_true": tree.missing_left[split].astype(np.int64),
        "leaf_targetids": np.full(len(weight), target),
        "leaf_weights": np.asarray(weight, dtype=np.float64),
        "membership_values": np.concatenate([np.empty(0), *members]),
    }

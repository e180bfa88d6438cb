"""Exact converters for nearest neighbours in a k-d tree: classification, regression and ``LocalOutlierFactor``.

Neighbours at equal distance decide many answers on real tables, and which of them scikit-learn keeps depends on how it
searches:

* ``kd_tree``: one row after another, distances summed column by column, leaves visited nearest first, a heap of the k
  nearest. All of it is deterministic, and done here to the same bit: ``_query_single_depthfirst`` of
  ``neighbors/_binary_tree.pxi.tp``. Any ``leaf_size`` does; ``algorithm='auto'`` means ``kd_tree`` up to 15 columns
  with ``n_neighbors < n_rows // 2``.
* ``brute``: distances from a matrix product, whose last bits depend on the BLAS library, and heaps merged over threads.
  Refused.
* ``ball_tree``: refused.

With distance weights and 8 or more neighbours, numpy adds the votes for a label in another order than here: two classes
whose votes are equal but for rounding may change places.

So a preset should set ``algorithm='kd_tree'``. The heap is simulated (``tie_breaking.py``) only for rows where it can
change the answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from orris.compile.converters import arithmetic
from orris.compile.converters.tie_breaking import Tree, nearest
from orris.compile.graph import Frame, Graph, Prediction
from orris.compile.registry import predictor, require_values
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray

_MAX_NUMBERS = 4_000_000
"""Largest ``n_rows * n_columns`` of a training table that is put into a model (32 MB)."""


def _tree(estimator: Any, targets: FloatArray) -> Tree:
    """The fitted tree, with the targets ``(n_rows,)`` in its order.

    Raises:
        NotConvertibleError: The neighbours are not searched in a k-d tree, or by another metric than these two, or the
            table is too large.
    """
    name = type(estimator).__name__
    if getattr(estimator, "weights", None) not in ("uniform", "distance", None):
        raise NotConvertibleError(f"{name} with weights given as a function has no exact converter")
    if estimator._fit_method != "kd_tree":
        raise NotConvertibleError(
            f"{name} searches by '{estimator._fit_method}', whose ties cannot be reproduced; algorithm='kd_tree' is"
            " converted"
        )
    if estimator.effective_metric_ not in ("euclidean", "manhattan"):
        raise NotConvertibleError(f"{name} with the metric {estimator.effective_metric_!r} has no exact converter")
    data, order, nodes, bounds = estimator._tree.get_arrays()
    if data.size > _MAX_NUMBERS:
        raise NotConvertibleError(f"{name} holds {data.size:,} numbers, and a model takes at most {_MAX_NUMBERS:,}")
    return Tree(
        points=np.asarray(data, dtype=np.float64)[order],
        targets=targets[order],
        leaf_starts=np.asarray(nodes["idx_start"][nodes["is_leaf"].astype(bool)], dtype=np.int64),
        lower=np.asarray(bounds[0], dtype=np.float64),
        upper=np.asarray(bounds[1], dtype=np.float64),
        squared=estimator.effective_metric_ == "euclidean",
    )


def _each_row(graph: Graph, estimator: Any, frame: Frame, tree: Tree, votes: FloatArray) -> str:
    """Weighted sum of ``votes`` ``(n_points, n_votes)`` over each row's neighbours: float64 ``(n_rows, n_votes)``.

    Rows are taken one at a time, which needs the memory of one, and lets only rows with ties pay for them.
    """
    require_values(frame, estimator)
    n_columns, n_votes = tree.points.shape[1], votes.shape[1]
    with arithmetic.nested(graph) as body:
        row = body.name("row")
        positions, reduced = nearest(body, tree, row, int(estimator.n_neighbors))
        ballots = body.add("Gather", body.constant(votes), positions, axis=0)
        if estimator.weights == "distance":
            ballots = body.add(
                "Mul", ballots, body.add("Unsqueeze", _weights(body, tree, reduced), body.constant([1], np.int64))
            )
        total = body.add("ReduceSum", ballots, body.constant([0], np.int64), keepdims=0)
        scan = helper.make_graph(
            body.nodes,
            "neighbours",
            [helper.make_tensor_value_info(row, TensorProto.DOUBLE, [n_columns])],
            [helper.make_tensor_value_info(total, TensorProto.DOUBLE, [n_votes])],
        )
    return str(graph.add("Scan", frame.tensor, body=scan, num_scan_inputs=1))


def _weights(body: Graph, tree: Tree, reduced: str) -> str:
    """``_get_weights``: one over the distance, float64 ``(k,)``.

    If a distance is zero, zero distances weigh 1 and all others 0.
    """
    distances = body.add("Sqrt", reduced) if tree.squared else reduced
    inverse = body.add("Reciprocal", distances)
    infinite = body.cast(body.add("IsInf", inverse), TensorProto.DOUBLE)
    any_infinite = body.cast(body.add("ReduceMax", infinite, keepdims=1), TensorProto.BOOL)
    return str(body.add("Where", any_infinite, infinite, inverse))


@predictor("sklearn.neighbors.KNeighborsClassifier", takes_single=True)
def classifier(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``KNeighborsClassifier`` with uniform or distance weights; the first class wins an equal vote."""
    n_classes = arithmetic.require_classes(estimator.classes_, estimator, at_least=1)
    codes = np.asarray(estimator._y).ravel()
    tree = _tree(estimator, codes.astype(np.float64))
    votes = np.eye(n_classes)[tree.targets.astype(np.int64)]
    scores = _each_row(graph, estimator, frame, tree, votes)
    total = graph.add("ReduceSum", scores, graph.constant([1], np.int64), keepdims=1)
    return Prediction(label=arithmetic.largest(graph, scores), probabilities=graph.add("Div", scores, total))


@predictor("sklearn.neighbors.KNeighborsRegressor", takes_single=True)
def regressor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """``KNeighborsRegressor`` of one target with uniform or distance weights."""
    targets = np.asarray(estimator._y, dtype=np.float64)
    arithmetic.require_one_target(estimator, targets.shape[1] if targets.ndim == 2 else 1)
    tree = _tree(estimator, targets.ravel())
    votes = np.stack([tree.targets, np.ones(len(targets))], axis=1)
    sums = _each_row(graph, estimator, frame, tree, votes)
    weighted, weight = graph.add("Split", sums, graph.constant([1, 1], np.int64), axis=1, outputs=2)
    return Prediction(value=arithmetic.flat(graph, graph.add("Div", weighted, weight)))


@predictor("sklearn.neighbors.LocalOutlierFactor")
def local_outlier_factor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """The density of a row's neighbours over its own; means are added up in NumPy's order."""
    if not estimator.novelty:
        raise NotConvertibleError("LocalOutlierFactor(novelty=False) answers no new rows")
    require_values(frame, estimator)
    k = int(estimator.n_neighbors_)
    known = np.stack([estimator._lrd, estimator._distances_fit_X_[:, k - 1]], axis=1).astype(np.float64)
    kinds = np.unique(known, axis=0, return_inverse=True)[1].ravel()
    tree = _tree(estimator, kinds.astype(np.float64))
    order = estimator._tree.get_arrays()[1]
    density, reach = (np.ascontiguousarray(known[order, column]) for column in (0, 1))
    with arithmetic.nested(graph) as body:
        row = body.name("row")
        positions, reduced = nearest(body, tree, row, k)
        distances = body.add("Sqrt", reduced) if tree.squared else reduced
        reached = body.add("Max", distances, body.add("Gather", body.constant(reach), positions))
        mean = body.add("Div", _sum(body, str(reached), k), body.constant(float(k)))
        own = body.add("Div", body.constant(1.0), body.add("Add", mean, body.constant(1e-10)))
        ratios = body.add("Div", body.add("Gather", body.constant(density), positions), own)
        factor = body.add("Neg", body.add("Div", _sum(body, str(ratios), k), body.constant(float(k))))
        scan = helper.make_graph(
            body.nodes,
            "neighbours",
            [helper.make_tensor_value_info(row, TensorProto.DOUBLE, [tree.points.shape[1]])],
            [helper.make_tensor_value_info(factor, TensorProto.DOUBLE, [1])],
        )
    factors = graph.add("Scan", frame.tensor, body=scan, num_scan_inputs=1)
    decision = graph.add("Sub", factors, graph.constant(float(estimator.offset_)))
    inlier = graph.add("GreaterOrEqual", decision, graph.constant(0.0))
    return Prediction(label=arithmetic.second_if(graph, inlier), score=arithmetic.flat(graph, str(decision)))


def _sum(body: Graph, tensor: str, n: int) -> str:
    """NumPy's sum of a contiguous float64 ``(n,)``, ``n`` up to 128, in its order: ``(1,)``.

    Below 8 numbers it is one after the other; from 8 on, eight running sums are added in pairs, and then what is left
    (``pairwise_sum`` of ``numpy/_core/src/umath/loops_utils.h.src``).
    """

    def at(source: str, position: int) -> str:
        return str(body.add("Gather", source, body.constant([position], np.int64)))

    if n > 128:
        raise NotConvertibleError(f"LocalOutlierFactor of {n} neighbours; up to 128 are converted")
    whole = n - n % 8
    total = ""
    if whole:
        blocks = body.add(
            "Reshape", body.add("Slice", tensor, body.constant([0]), body.constant([whole])), body.constant([-1, 8])
        )
        sums = str(body.add("ReduceSum", blocks, body.constant([0], np.int64), keepdims=0))
        pairs = [str(body.add("Add", at(sums, i), at(sums, i + 1))) for i in (0, 2, 4, 6)]
        halves = [str(body.add("Add", pairs[i], pairs[i + 1])) for i in (0, 2)]
        total = str(body.add("Add", *halves))
    for position in range(whole, n):
        total = str(body.add("Add", total, at(tensor, position))) if total else at(tensor, position)
    return total

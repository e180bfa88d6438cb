"""Formulas that several families of converters share.

They are an affine map, the logistic function, normalisation and the winning class.

Each is the graph of one formula of scikit-learn (or scipy), in float64. Stands between ``registry.py`` and the
families' modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from orris.compile.graph import Frame, Graph, Hot
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray


def affine(graph: Graph, tensor: str, weights: npt.ArrayLike, bias: npt.ArrayLike) -> str:
    """``tensor @ weights + bias``.

    Args:
        graph: Where the node goes.
        tensor: Float64 ``(n_rows, n_features)``.
        weights: Float64 ``(n_features, n_outputs)``.
        bias: A number, or float64 ``(n_outputs,)``.

    Returns:
        Name of a float64 tensor ``(n_rows, n_outputs)``.
    """
    matrix = np.asarray(weights, dtype=np.float64)
    row = np.broadcast_to(np.asarray(bias, dtype=np.float64).ravel(), (matrix.shape[1],))
    return str(graph.add("Gemm", tensor, graph.constant(matrix), graph.constant(row)))


def linear(graph: Graph, frame: Frame, weights: npt.ArrayLike, bias: npt.ArrayLike) -> tuple[str, str]:
    """``affine`` over a frame, in which the weights of one-hot columns are looked up rather than multiplied.

    Args:
        graph: Where the nodes go.
        frame: float64 ``(n_rows, n_features)``.
        weights: Float64 ``(n_features, n_outputs)``.
        bias: A number, or float64 ``(n_outputs,)``.

    Returns:
        Names of a float64 tensor ``(n_rows, n_outputs)``, and of the largest difference over the outputs that another
        order of additions can make, float64 ``(n_rows,)``.
    """
    matrix = np.asarray(weights, dtype=np.float64)
    row = np.broadcast_to(np.asarray(bias, dtype=np.float64).ravel(), (matrix.shape[1],))
    hot = graph.hot.get(frame.tensor, (None,) * frame.width)
    dense = [i for i, column in enumerate(hot) if column is None]
    sums, sizes, n_terms = [], [], 1
    if dense:
        tensor = graph.take(frame, dense).tensor
        sums.append(affine(graph, tensor, matrix[dense], row))
        sizes.append(affine(graph, graph.add("Abs", tensor), np.abs(matrix[dense]), np.abs(row)))
        n_terms += len(dense)
    for positions, chosen in _by_positions(hot).items():
        columns = sorted({column.column for _, column in chosen})
        index, table = _table(graph, positions, columns, chosen, matrix)
        axis = graph.constant([1], np.int64)
        for parts, entries in ((sums, table), (sizes, np.abs(table))):
            found = graph.add("Gather", graph.constant(entries), index, axis=0)
            parts.append(str(graph.add("ReduceSum", found, axis, keepdims=0)))
        n_terms += len(columns)
    total, size = sums[0], sizes[0]
    for part, magnitude in zip(sums[1:], sizes[1:], strict=True):
        total, size = graph.add("Add", total, part), graph.add("Add", size, magnitude)
    if not dense:
        total, size = graph.add("Add", total, graph.constant(row)), graph.add("Add", size, graph.constant(np.abs(row)))
    largest_size = graph.add("ReduceMax", size, graph.constant([1], np.int64), keepdims=0)
    return total, str(graph.add("Mul", largest_size, graph.constant(_reordering(n_terms))))


def _reordering(n_terms: int) -> float:
    """How much two orders of adding ``n_terms`` rounded products differ at most, as a share of the sum of magnitudes.

    Each is within ``n u / (1 - n u)`` of the exact sum, with the unit roundoff ``u`` (Higham, Accuracy and Stability of
    Numerical Algorithms, section 3.1).
    """
    error = n_terms * 2.0**-53
    return 2.0 * error / (1.0 - error)


def _by_positions(hot: Sequence[Hot | None]) -> dict[str, list[tuple[int, Hot]]]:
    """The one-hot columns of a frame, with their places in it, by the tensor of positions that decides them."""
    groups: dict[str, list[tuple[int, Hot]]] = {}
    for i, column in enumerate(hot):
        if column is not None:
            groups.setdefault(column.positions, []).append((i, column))
    return groups


def _table(
    graph: Graph, positions: str, columns: Sequence[int], chosen: Sequence[tuple[int, Hot]], matrix: FloatArray
) -> tuple[str, FloatArray]:
    """Rows to look up, int64 ``(n_rows, len(columns))``, and the table with zeros for each column's -1 and beyond."""
    sizes = [3 + max(hot.position for _, hot in chosen if hot.column == column) for column in columns]
    starts = dict(zip(columns, np.concatenate([[0], np.cumsum(sizes)[:-1]]).tolist(), strict=True))
    table = np.zeros((sum(sizes), matrix.shape[1]))
    for i, hot in chosen:
        table[starts[hot.column] + 1 + hot.position] = matrix[i]
    used = graph.add("Gather", positions, graph.constant(list(columns), np.int64), axis=1)
    # A position beyond the table is that of a column that a selector has dropped.
    bounded = graph.add("Min", used, graph.constant([size - 2.0 for size in sizes]))
    shifted = graph.add("Add", bounded, graph.constant([starts[column] + 1.0 for column in columns]))
    return graph.cast(shifted, TensorProto.INT64), table


def expit_of_negated(graph: Graph, negated: str) -> str:
    """``1 / (1 + exp(negated))``: the logistic function as scipy computes it, of the negated argument.

    ONNX Runtime's ``Sigmoid`` returns 0 below -37.7, where the true value is 4e-17; after one-vs-rest normalisation
    that is an error of order one. Callers negate weights instead of the tensor, which is exact and saves a node.
    """
    exponential = graph.add("Exp", negated)
    return str(graph.add("Reciprocal", graph.add("Add", exponential, graph.constant(1.0))))


def expit(graph: Graph, tensor: str) -> str:
    """``1 / (1 + exp(-tensor))``, see ``expit_of_negated``."""
    return expit_of_negated(graph, graph.add("Neg", tensor))


def complement_and(graph: Graph, positive: str) -> str:
    """``[1 - positive, positive]``: float64 ``(n_rows, 1)`` becomes ``(n_rows, 2)``."""
    return str(graph.add("Concat", graph.add("Sub", graph.constant(1.0), positive), positive, axis=1))


def normalised(graph: Graph, scores: str, n_classes: int) -> str:
    """Each row divided by its sum; a row of zeros becomes uniform (scikit-learn's one-vs-rest normalisation)."""
    total = graph.add("ReduceSum", scores, graph.constant([1], np.int64), keepdims=1)
    empty = graph.add("Equal", total, graph.constant(0.0))
    filled = graph.add("Where", empty, graph.constant(1.0), scores)
    divisor = graph.add("Where", empty, graph.constant(float(n_classes)), total)
    return str(graph.add("Div", filled, divisor))


def largest(graph: Graph, scores: str) -> str:
    """Position of the first largest score: float64 ``(n_rows, n_classes)`` becomes int64 ``(n_rows,)``."""
    return str(graph.add("ArgMax", scores, axis=1, keepdims=0))


def second_if(graph: Graph, condition: str) -> str:
    """Position 1 where a boolean ``(n_rows, 1)`` holds, else 0: int64 ``(n_rows,)``."""
    return flat(graph, graph.cast(condition, TensorProto.INT64))


def any_in_row(graph: Graph, condition: str) -> str:
    """Whether a boolean ``(n_rows, k)`` holds anywhere in the row: bool ``(n_rows,)``."""
    found = graph.cast(condition, TensorProto.INT32)
    largest = graph.add("ReduceMax", found, graph.constant([1], np.int64), keepdims=0)
    return graph.cast(largest, TensorProto.BOOL)


def rounded(graph: Graph, tensor: str) -> str:
    """A float64 tensor rounded to float32, in float64 again."""
    return graph.cast(graph.cast(tensor, TensorProto.FLOAT), TensorProto.DOUBLE)


def flat(graph: Graph, tensor: str) -> str:
    """``(n_rows, 1)`` becomes ``(n_rows,)``."""
    return str(graph.add("Squeeze", tensor, graph.constant([1], np.int64)))


def repeated(graph: Graph, frame: Frame, row: FloatArray | npt.NDArray[np.int64]) -> str:
    """The constant ``row``, ``(k,)``, once per row of ``frame``: ``(n_rows, k)``."""
    n_rows = graph.add("Shape", frame.tensor, start=0, end=1)
    shape = graph.add("Concat", n_rows, graph.constant([len(row)], np.int64), axis=0)
    return str(graph.add("Expand", graph.constant(row[None, :]), shape))


@contextmanager
def nested(graph: Graph) -> Iterator[Graph]:
    """A graph for the body of a ``Loop``, ``Scan`` or ``If``, with new names; ``graph`` keeps its constants."""
    body = Graph(initializers=graph.initializers, _counter=graph._counter)
    yield body
    graph._counter = body._counter


def require_one_target(estimator: object, n_targets: int) -> None:
    """Raise ``NotConvertibleError`` unless an estimator predicts one target."""
    if n_targets != 1:
        raise NotConvertibleError(f"{type(estimator).__name__} predicts {n_targets} targets; a served model has one")


def squared_distances(graph: Graph, tensor: str, points: FloatArray) -> str:
    """Squared distances of rows and points, float64 ``(n_rows, n_points)``, in the memory of their result.

    They are ``|x|^2 - 2 x.p + |p|^2`` about the points' mean. A row that is as near to the mean as the points are loses
    no more than a few of the last bits of the points' spread.
    """
    centre = points.mean(axis=0)
    centred = points - centre
    rows = graph.add("Sub", tensor, graph.constant(centre))
    squares = graph.add("ReduceSum", graph.add("Mul", rows, rows), graph.constant([1], np.int64), keepdims=1)
    cross = affine(graph, rows, -2.0 * centred.T, (centred**2).sum(axis=1))
    return str(graph.add("Max", graph.add("Add", cross, squares), graph.constant(0.0)))


def require_classes(classes: Sequence[object] | npt.NDArray[np.generic], estimator: object, at_least: int = 2) -> int:
    """Number of classes of a single-output classifier.

    Raises:
        NotConvertibleError: Several outputs (``classes`` is a list of arrays), or fewer classes than ``at_least``.
    """
    name = type(estimator).__name__
    if isinstance(classes, list):
        raise NotConvertibleError(f"{name} predicts several targets; a served model has one")
    if len(classes) < at_least:
        raise NotConvertibleError(f"{name} has seen {len(classes)} class; at least {at_least} are needed")
    return len(classes)

"""Steps that map each column through a curve of its own: quantiles and splines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from orris.compile.converters.levels import numbers
from orris.compile.converters.projections import ROUNDED
from orris.compile.converters.special import normal_quantile
from orris.compile.graph import Frame, Graph
from orris.compile.registry import transformer
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray

_BOUNDS_THRESHOLD = 1e-7
"""scikit-learn's constant of this name: so near to the first or last quantile, a value counts as beyond it."""

_MAX_INTERVALS = 100_000
"""Most quantiles or knots of all columns together that are put into a model."""


def _interval(graph: Graph, column: str, edges: FloatArray) -> str:
    """Position of the last edge that is not above the value, 0 below all: int64 ``(n_rows,)``.

    Args:
        graph: Where the nodes go.
        column: float64 ``(n_rows, 1)``.
        edges: float64 ``(k,)``, ascending.
    """
    reached = graph.cast(graph.add("GreaterOrEqual", column, graph.constant(edges[1:][None, :])), TensorProto.INT32)
    count = graph.add("ReduceSum", reached, graph.constant([1], np.int64), keepdims=0)
    return graph.cast(count, TensorProto.INT64)


def _looked_up(graph: Graph, table: FloatArray, index: str) -> str:
    """``table[index]``: float64 ``(n_rows, 1)`` of a table ``(k,)``, or ``(n_rows, m)`` of one ``(k, m)``."""
    return str(graph.add("Gather", graph.constant(table.reshape(len(table), -1)), index, axis=0))


@transformer("sklearn.preprocessing.QuantileTransformer")
def quantile_transformer(graph: Graph, step: Any, frame: Frame) -> Frame:
    """The mean of two interpolations between quantiles, upwards and downwards, as equal quantiles need it.

    For the normal distribution, its quantile of that, cut off where scikit-learn cuts it off.
    """
    normal = step.output_distribution == "normal"
    if frame.sparse:
        raise NotConvertibleError("QuantileTransformer of a sparse matrix has no exact converter")
    frame = numbers(graph, frame, step)
    if step.quantiles_.size > _MAX_INTERVALS:
        raise NotConvertibleError(f"QuantileTransformer holds {step.quantiles_.size:,} quantiles")
    columns = []
    for j in range(frame.width):
        column = graph.add("Gather", frame.tensor, graph.constant([j], np.int64), axis=1)
        quantiles = np.asarray(step.quantiles_[:, j], dtype=np.float64)
        references = np.asarray(step.references_, dtype=np.float64)
        upwards = _interpolated(graph, column, quantiles, references)
        negated = graph.add("Neg", column)
        downwards = _interpolated(graph, negated, -quantiles[::-1], -references[::-1])
        middle = graph.add("Mul", graph.add("Sub", upwards, downwards), graph.constant(0.5))
        first, last = graph.constant(quantiles[0]), graph.constant(quantiles[-1])
        if normal:
            margin = graph.constant(_BOUNDS_THRESHOLD)
            at_last = graph.add("Greater", graph.add("Add", column, margin), last)
            at_first = graph.add("Less", graph.add("Sub", column, margin), first)
        else:
            at_last, at_first = graph.add("Equal", column, last), graph.add("Equal", column, first)
        middle = graph.add("Where", at_last, graph.constant(1.0), middle)
        middle = graph.add("Where", at_first, graph.constant(0.0), middle)
        middle = _normal(graph, str(middle)) if normal else middle
        columns.append(graph.add("Where", graph.add("IsNaN", column), column, middle))
    tensor = columns[0] if len(columns) == 1 else graph.add("Concat", *columns, axis=1)
    features = tuple(replace(feature, source=None, inverse=None, rounded=True) for feature in frame.features)
    return replace(frame, tensor=tensor, features=features)


def _normal(graph: Graph, column: str) -> str:
    """The normal distribution's quantile, between those of 1e-7 and 1 - 1e-7."""
    edge = float(_BOUNDS_THRESHOLD - np.spacing(1))
    from scipy.special import ndtri  # noqa: PLC0415 (a converter imports no library at its head)

    lowest, highest = float(ndtri(edge)), float(ndtri(1.0 - edge))
    low = graph.add("LessOrEqual", column, graph.constant(edge))
    high = graph.add("GreaterOrEqual", column, graph.constant(1.0 - edge))
    inside = graph.add("Where", graph.add("Or", low, high), graph.constant(0.5), column)
    found = normal_quantile(graph, str(inside))
    found = graph.add("Min", graph.add("Max", found, graph.constant(lowest)), graph.constant(highest))
    found = graph.add("Where", low, graph.constant(lowest), found)
    return str(graph.add("Where", high, graph.constant(highest), found))


def _interpolated(graph: Graph, column: str, x: FloatArray, y: FloatArray) -> str:
    """``numpy.interp`` of a column, float64 ``(n_rows, 1)``: ``slope * (value - x[i]) + y[i]``."""
    with np.errstate(all="ignore"):
        slopes = np.append(np.diff(y) / np.diff(x), 0.0)
    slopes = np.where(np.isfinite(slopes), slopes, 0.0)
    index = _interval(graph, column, x)
    rise = graph.add("Sub", column, _looked_up(graph, x, index))
    inside = graph.add("Add", graph.add("Mul", _looked_up(graph, slopes, index), rise), _looked_up(graph, y, index))
    below = graph.add("Less", column, graph.constant(x[0]))
    inside = graph.add("Where", below, graph.constant(y[0]), inside)
    beyond = graph.add("GreaterOrEqual", column, graph.constant(x[-1]))
    return str(graph.add("Where", beyond, graph.constant(y[-1]), inside))


@transformer("sklearn.preprocessing.SplineTransformer")
def spline_transformer(graph: Graph, step: Any, frame: Frame) -> Frame:
    """B-splines by de Boor's recurrence, with the value at the border, or its tangent, beyond the knots."""
    if step.extrapolation not in ("constant", "linear", "continue"):
        raise NotConvertibleError(f"SplineTransformer(extrapolation={step.extrapolation!r}) has no exact converter")
    if step.degree == 0:
        raise NotConvertibleError("SplineTransformer(degree=0) has no value beyond the knots")
    if step.degree == 1 and step.extrapolation == "linear":
        # scikit-learn 1.9 counts the degree up for every column but the first.
        raise NotConvertibleError("SplineTransformer(degree=1, extrapolation='linear') has no exact converter")
    frame = numbers(graph, frame, step)
    parts = []
    for j, spline in enumerate(step.bsplines_):
        column = str(graph.add("Gather", frame.tensor, graph.constant([j], np.int64), axis=1))
        basis = _splines(graph, step, column, spline)
        if getattr(step, "handle_missing", "error") == "zeros":
            basis = str(graph.add("Where", graph.add("IsNaN", column), graph.constant(0.0), basis))
        parts.append(basis)
    tensor = parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)
    n_splines = step.bsplines_[0].c.shape[1]
    every = Frame(tensor, (ROUNDED,) * (n_splines * len(parts)), sparse=step.sparse_output)
    if step.include_bias:
        return every
    return graph.take(every, [i for i in range(every.width) if (i + 1) % n_splines])


def _splines(graph: Graph, step: Any, column: str, spline: Any) -> str:
    """Every spline of a column, float64 ``(n_rows, n_splines)``."""
    knots, degree = np.asarray(spline.t, dtype=np.float64), int(step.degree)
    low, high = float(knots[degree]), float(knots[-degree - 1])
    if step.extrapolation == "continue":
        return _basis(graph, column, knots, degree)
    lowest, highest = graph.constant(low), graph.constant(high)
    inside = graph.add("Min", graph.add("Max", column, lowest), highest)
    basis = _basis(graph, str(inside), knots, degree)
    if step.extrapolation == "constant":
        return basis
    first = np.arange(spline.c.shape[1]) < degree  # only the splines at that border go on
    for beyond, border, op, own in (("Less", low, lowest, first), ("Greater", high, highest, first[::-1])):
        slope = graph.constant(np.where(own, spline(border, nu=1), 0.0)[None, :])
        value = graph.constant(np.where(own, spline(border), 0.0)[None, :])
        tangent = graph.add("Add", graph.add("Mul", graph.add("Sub", column, op), slope), value)
        basis = str(graph.add("Where", graph.add(beyond, column, op), tangent, basis))
    return basis


def _basis(graph: Graph, column: str, knots: FloatArray, degree: int) -> str:
    """The splines that are not zero in the value's interval, put in their places.

    Evaluated like scipy's ``_deBoor_D``, for every row in the interval that it is in, or the border's beyond the knots.
    """
    inner = knots[degree : len(knots) - degree]
    index = _interval(graph, column, inner[:-1])
    values: list[str] = [str(graph.add("Add", graph.add("Mul", column, graph.constant(0.0)), graph.constant(1.0)))]
    places = np.arange(len(inner) - 1) + degree  # position in ``knots`` of each interval's left end
    for order in range(1, degree + 1):
        previous, values = values, []
        carried = ""
        for i in range(order):
            left = knots[places + i + 1 - order]
            right = knots[places + i + 1]
            width = right - left
            share = graph.add("Div", previous[i], _looked_up(graph, np.where(width == 0.0, 1.0, width), index))
            share = graph.add("Mul", share, _looked_up(graph, (width != 0.0).astype(np.float64), index))
            rising = graph.add("Mul", share, graph.add("Sub", _looked_up(graph, right, index), column))
            values.append(str(graph.add("Add", carried, rising)) if carried else str(rising))
            carried = str(graph.add("Mul", share, graph.add("Sub", column, _looked_up(graph, left, index))))
        values.append(carried)
    n_splines = len(knots) - degree - 1
    total = ""
    for i, value in enumerate(values):
        chosen = np.equal.outer(places - degree + i, np.arange(n_splines)).astype(np.float64)
        part = graph.add("Mul", value, _looked_up(graph, chosen, index))
        total = str(graph.add("Add", total, part)) if total else str(part)
    return total

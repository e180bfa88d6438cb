"""Converters of steps over numbers: scalers, Normalizer, Binarizer, polynomials, bins, selectors.

Each appends the operations of the step's ``transform`` in float64 and in its order; scalers, polynomials, bins and
selectors are equal to the last bit, Normalizer (l1, l2) up to the order in which a sum is carried out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np
from onnx import TensorProto

from orris.compile.converters.levels import in_own_precision, numbers, stored
from orris.compile.graph import Feature, Frame, Graph
from orris.compile.registry import transformer
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray

Inverse = Callable[[FloatArray], FloatArray]


def _through(feature: Feature, undo: Inverse) -> Feature:
    """The feature after a monotone step that ``undo`` reverses."""
    before = feature.inverse
    return replace(feature, inverse=undo if before is None else lambda values: before(undo(values)))


def shifted_and_divided(graph: Graph, frame: Frame, shift: Any, scale: Any) -> Frame:
    """``(x - shift) / scale``, each result rounded where the rows are float32; ``None`` leaves that operation out.

    A sparse matrix is multiplied by the reciprocal.
    """
    shifts = np.zeros(frame.width) if shift is None else np.asarray(shift, dtype=np.float64)
    scales = np.ones(frame.width) if scale is None else np.asarray(scale, dtype=np.float64)
    tensor = frame.tensor
    if shift is not None:
        tensor = stored(graph, frame, graph.add("Sub", tensor, graph.constant(shifts)))
    if scale is not None and frame.sparse:
        tensor = graph.add("Mul", tensor, graph.constant(1.0 / scales))
    elif scale is not None:
        tensor = stored(graph, frame, graph.add("Div", tensor, graph.constant(scales)))

    def undo(a: float, b: float) -> Inverse:
        return lambda values: values * b + a

    features = tuple(
        _through(feature, undo(a, b)) for feature, a, b in zip(frame.features, shifts, scales, strict=True)
    )
    return replace(frame, tensor=tensor, features=features)


def _clipped(graph: Graph, frame: Frame, low: float, high: float) -> Frame:
    dtype = np.float32 if frame.single else np.float64
    bounds = tuple(graph.constant(float(dtype(bound)), np.float64) for bound in (low, high))
    return replace(frame, tensor=graph.add("Clip", frame.tensor, *bounds))


@transformer("sklearn.preprocessing.StandardScaler")
def standard_scaler(graph: Graph, scaler: Any, frame: Frame) -> Frame:
    """``(x - mean) / scale``, in float32 where the rows are float32."""
    frame = in_own_precision(graph, frame, scaler)
    constants = [scaler.mean_ if scaler.with_mean else None, scaler.scale_ if scaler.with_std else None]
    if frame.single:  # which the constants are rounded to first
        constants = [None if each is None else np.asarray(each, dtype=np.float32) for each in constants]
    return shifted_and_divided(graph, frame, *constants)


@transformer("sklearn.preprocessing.RobustScaler")
def robust_scaler(graph: Graph, scaler: Any, frame: Frame) -> Frame:
    """``(x - center) / scale``."""
    frame = in_own_precision(graph, frame, scaler)
    center = scaler.center_ if scaler.with_centering else None
    return shifted_and_divided(graph, frame, center, scaler.scale_ if scaler.with_scaling else None)


@transformer("sklearn.preprocessing.MaxAbsScaler")
def max_abs_scaler(graph: Graph, scaler: Any, frame: Frame) -> Frame:
    """``x / scale``, clipped to [-1, 1] if the scaler clips."""
    frame = shifted_and_divided(graph, in_own_precision(graph, frame, scaler), None, scaler.scale_)
    return _clipped(graph, frame, -1.0, 1.0) if getattr(scaler, "clip", False) else frame


@transformer("sklearn.preprocessing.MinMaxScaler")
def min_max_scaler(graph: Graph, scaler: Any, frame: Frame) -> Frame:
    """``x * scale + min``, clipped to the feature range if the scaler clips."""
    frame = in_own_precision(graph, frame, scaler)
    scales, minima = np.asarray(scaler.scale_, dtype=np.float64), np.asarray(scaler.min_, dtype=np.float64)

    def undo(a: float, b: float) -> Inverse:
        return lambda values: (values - a) / b

    features = tuple(
        _through(feature, undo(a, b)) for feature, a, b in zip(frame.features, minima, scales, strict=True)
    )
    scaled = stored(graph, frame, graph.add("Mul", frame.tensor, graph.constant(scales)))
    tensor = stored(graph, frame, graph.add("Add", scaled, graph.constant(minima)))
    frame = replace(frame, tensor=tensor, features=features)
    return _clipped(graph, frame, *map(float, scaler.feature_range)) if scaler.clip else frame


@transformer("sklearn.preprocessing.Normalizer")
def normalizer(graph: Graph, step: Any, frame: Frame) -> Frame:
    """Each row divided by its norm; a row of zeros is unchanged.

    ``l1`` and ``l2`` are exact up to the order of the sum.
    """
    frame = numbers(graph, frame, step)
    axes = graph.constant([1], np.int64)
    if step.norm == "l2":
        norm = graph.add("Sqrt", graph.add("ReduceSum", graph.add("Mul", frame.tensor, frame.tensor), axes))
    else:
        norm = graph.add("ReduceMax" if step.norm == "max" else "ReduceSum", graph.add("Abs", frame.tensor), axes)
    # scikit-learn takes a norm below ten epsilons for a zero, but only of a dense matrix.
    smallest = 0.0 if frame.sparse else 10 * np.finfo(np.float64).eps
    compare = "Equal" if frame.sparse else "Less"
    zero = graph.add(compare, norm, graph.constant(smallest, np.float64))
    divisor = graph.add("Where", zero, graph.constant(1.0, np.float64), norm)
    features = tuple(replace(feature, source=None, inverse=None) for feature in frame.features)
    return replace(frame, tensor=graph.add("Div", frame.tensor, divisor), features=features)


@transformer("sklearn.preprocessing.Binarizer")
def binarizer(graph: Graph, step: Any, frame: Frame) -> Frame:
    """1.0 above the threshold, else 0.0."""
    frame = in_own_precision(graph, frame, step)
    threshold = float(np.float32(step.threshold)) if frame.single else float(step.threshold)
    for feature in frame.features:
        graph.on_threshold(feature, np.asarray([threshold], dtype=np.float64))
    above = graph.add("Greater", frame.tensor, graph.constant(threshold, np.float64))
    return replace(
        frame, tensor=graph.cast(above, TensorProto.DOUBLE), features=tuple(Feature(f.name) for f in frame.features)
    )


@transformer("sklearn.preprocessing.PolynomialFeatures")
def polynomial_features(graph: Graph, step: Any, frame: Frame) -> Frame:
    """Products of columns, each made from one of a degree less, in the order in which scikit-learn multiplies."""
    frame = in_own_precision(graph, frame, step)
    terms = [tuple(np.repeat(np.arange(frame.width), powers).tolist()) for powers in step.powers_]
    # A dense matrix multiplies a term's tail by its first column, a sparse one its head by its last.
    known: dict[tuple[int, ...], int] = {(i,): i for i in range(frame.width)}
    tensors = [frame.tensor]
    below = frame.tensor
    positions = dict(known)
    for degree in range(2, max((len(term) for term in terms), default=0) + 1):
        wanted = _of_degree(degree, frame.width, interaction_only=step.interaction_only)
        if not wanted:
            break
        parents, factors = zip(
            *((term[:-1], term[-1]) if frame.sparse else (term[1:], term[0]) for term in wanted), strict=True
        )
        left = graph.add("Gather", below, graph.constant([positions[parent] for parent in parents], np.int64), axis=1)
        right = graph.add("Gather", frame.tensor, graph.constant(factors, np.int64), axis=1)
        below = stored(graph, frame, graph.add("Mul", left, right))
        positions = {term: i for i, term in enumerate(wanted)}
        known |= {term: len(known) + i for i, term in enumerate(wanted)}
        tensors.append(below)
    known[()] = len(known)
    tensors.append(_ones(graph, frame))
    every = Frame(graph.add("Concat", *tensors, axis=1), (Feature(),) * len(known), frame.sparse, frame.single)
    chosen = graph.take(every, [known[term] for term in terms])
    features = tuple(frame.features[term[0]] if len(term) == 1 else Feature() for term in terms)
    return replace(chosen, features=features)


def _of_degree(degree: int, width: int, *, interaction_only: bool) -> list[tuple[int, ...]]:
    return list((combinations if interaction_only else combinations_with_replacement)(range(width), degree))


def _ones(graph: Graph, frame: Frame) -> str:
    """A column of ones."""
    n_rows = graph.add("Shape", frame.tensor, start=0, end=1)
    shape = graph.add("Concat", n_rows, graph.constant([1], np.int64), axis=0)
    return str(graph.add("Expand", graph.constant([[1.0]], np.float64), shape))


@transformer("sklearn.preprocessing.KBinsDiscretizer")
def k_bins_discretizer(graph: Graph, step: Any, frame: Frame) -> Frame:
    """The number of inner bin edges that are not above the value, or a column for each bin."""
    if step.dtype is not None and np.dtype(step.dtype) != np.float64:
        raise NotConvertibleError("KBinsDiscretizer with dtype float32 rounds values before it compares them")
    frame = numbers(graph, frame, step)
    inner = [np.asarray(edges, dtype=np.float64)[1:-1] for edges in step.bin_edges_]
    for feature, edges in zip(frame.features, inner, strict=True):
        graph.on_threshold(feature, edges)
    owners = np.repeat(np.arange(frame.width), [len(edges) for edges in inner])
    if len(owners):
        spread = graph.add("Gather", frame.tensor, graph.constant(owners, np.int64), axis=1)
        reached = graph.cast(
            graph.add("GreaterOrEqual", spread, graph.constant(np.concatenate(inner))), TensorProto.DOUBLE
        )
        counted = graph.add(
            "MatMul", reached, graph.constant(np.equal.outer(owners, np.arange(frame.width)), np.float64)
        )
    else:
        counted = graph.add("Mul", _ones(graph, frame), graph.constant(np.zeros((1, frame.width))))
    if step.encode == "ordinal":
        return Frame(counted, tuple(Feature() for _ in frame.features))
    bins = np.concatenate([np.arange(len(edges) + 1) for edges in inner])
    owners = np.repeat(np.arange(frame.width), [len(edges) + 1 for edges in inner])
    spread = graph.add("Gather", counted, graph.constant(owners, np.int64), axis=1)
    hot = graph.cast(graph.add("Equal", spread, graph.constant(bins, np.float64)), TensorProto.DOUBLE)
    return Frame(hot, (Feature(),) * len(bins), sparse=step.encode == "onehot")


@transformer(
    "sklearn.feature_selection.VarianceThreshold",
    "sklearn.feature_selection.SelectKBest",
    "sklearn.feature_selection.SelectPercentile",
    "sklearn.feature_selection.SelectFpr",
    "sklearn.feature_selection.SelectFdr",
    "sklearn.feature_selection.SelectFwe",
    "sklearn.feature_selection.GenericUnivariateSelect",
    "sklearn.feature_selection.SelectFromModel",
    "sklearn.feature_selection.SequentialFeatureSelector",
    "sklearn.feature_selection.RFE",
    "sklearn.feature_selection.RFECV",
)
def selector(graph: Graph, step: Any, frame: Frame) -> Frame:
    """The columns that the fitted selector supports; they may hold codes."""
    support = step.get_support(indices=True).tolist()
    if not support:
        raise NotConvertibleError(f"{type(step).__name__} selected no column")
    return graph.take(frame, support)

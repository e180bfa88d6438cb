"""Category codes in the graph: looking codes up in tables, and turning integer-coded columns back into numbers.

Between the schema's encoded rows and the converters of steps that compute with values; ``encoding`` looks up with it
too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from orris.compile.converters import arithmetic
from orris.compile.graph import Feature, Frame, Graph
from orris.compile.registry import require_values
from orris.errors import NotConvertibleError
from orris.schema import Level
from orris.schema.frames import stand_in


def holds_numbers(levels: Sequence[Level] | None) -> bool:
    """Whether the column is a category of numbers.

    Text levels to which an imputer has added an integer are not.
    """
    return bool(levels) and not any(isinstance(level, str) for level in levels or ())


def slots(feature: Feature) -> list[Any]:
    """The values of a coded column in the order of ``lookup``'s tables: the unseen level, each level, missing."""
    levels = feature.levels or ()
    return [stand_in(levels), *levels, None if feature.missing_as == "none" else np.nan]


def lookup(graph: Graph, frame: Frame, tables: Sequence[Sequence[float]]) -> str:
    """Replace codes by entries of one table per column.

    Args:
        graph: Is appended to.
        frame: All its columns hold codes.
        tables: Per column, a number for each of its ``slots``.

    Returns:
        A float64 tensor ``(n_rows, frame.width)``.
    """
    shifts, holes, offset = [], [], 0
    for table in tables:
        shifts.append(offset + 1.0)
        offset += len(table)
        holes.append(offset - 1.0)
    moved = graph.add("Add", frame.tensor, graph.constant(shifts, np.float64))
    index = graph.add("Where", graph.add("IsNaN", frame.tensor), graph.constant(holes, np.float64), moved)
    flat = graph.constant(np.concatenate([np.asarray(table, dtype=np.float64) for table in tables]))
    return str(graph.add("Gather", flat, graph.cast(index, TensorProto.INT64), axis=0))


def values(graph: Graph, frame: Frame) -> Frame:
    """The frame with categories of numbers as the numbers themselves, as the fitted estimator saw them.

    A level never seen becomes the integer that ``decode`` makes of it, a missing value stays NaN. Columns of text stay
    coded.
    """
    coded = [i for i, feature in enumerate(frame.features) if holds_numbers(feature.levels)]
    if not coded:
        return frame
    part = graph.take(frame, coded)
    tables = [[np.nan if value is None else float(value) for value in slots(feature)] for feature in part.features]
    features = tuple(replace(feature, levels=None, source=None, inverse=None) for feature in part.features)
    decoded = replace(part, tensor=lookup(graph, part, tables), features=features)
    rest = [i for i in range(frame.width) if i not in set(coded)]
    return assembled(graph, [(coded, decoded), (rest, graph.take(frame, rest))])


def assembled(graph: Graph, parts: Sequence[tuple[Sequence[int], Frame]]) -> Frame:
    """One frame from parts of it, each given with the positions of its columns; parts of no column are left out."""
    kept = [(positions, part) for positions, part in parts if positions]
    order = [position for positions, _ in kept for position in positions]
    return graph.take(graph.concat([part for _, part in kept]), np.argsort(order).tolist())


def numbers(graph: Graph, frame: Frame, estimator: Any, weights: Any = None) -> Frame:
    """The input of a step that computes in float64: integer categories decoded, missing values as NaN.

    Args:
        graph: Is appended to.
        frame: The step's input.
        estimator: The step.
        weights: What the step multiplies its rows by first, if it does; NumPy widens float32 rows to its float64.

    Raises:
        NotConvertibleError: A column holds text, or scikit-learn would compute in float32.
    """
    frame = in_own_precision(graph, frame, estimator)
    if not frame.single:
        return frame
    if getattr(weights, "dtype", None) != np.float64:
        raise NotConvertibleError(
            f"{type(estimator).__name__} computes in float32 because the step before returns float32"
        )
    return replace(frame, single=False)


def in_own_precision(graph: Graph, frame: Frame, estimator: Any) -> Frame:
    """The input of a step that computes in float32 where its rows are float32 (``Frame.single``), otherwise float64.

    Raises:
        NotConvertibleError: A column holds text; or the rows are float32 and sparse.
    """
    frame = values(graph, frame)
    require_values(frame, estimator)
    if frame.single and frame.sparse:
        raise NotConvertibleError(f"{type(estimator).__name__} of a sparse float32 matrix has no exact converter")
    return replace(frame, features=tuple(replace(feature, missing_as="nan") for feature in frame.features))


def stored(graph: Graph, frame: Frame, tensor: str) -> str:
    """A result of one operation on the frame's numbers as NumPy stores it: rounded where they are float32.

    Sums, products and quotients of float32 numbers are the same, rounded once or by way of float64.
    """
    return arithmetic.rounded(graph, tensor) if frame.single else tensor

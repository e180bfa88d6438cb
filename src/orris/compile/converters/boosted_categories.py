"""How the category columns of a boosting library stand in the rows of a graph; read by ``xgboost`` and ``lightgbm``.

The libraries number a column's categories and split on sets of these codes. The schema numbers them too, by the levels
that training held, so each split's codes are traded for what stands in the row: the schema's code where the column is
category-coded (``Feature.levels``), otherwise the number itself, which is the library's code.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orris.compile.converters.levels import assembled, lookup, values
from orris.compile.graph import Frame, Graph
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray


@dataclass(frozen=True)
class Categories:
    """The category columns of one model.

    Attributes:
        standing: For each of them, float64 ``(n_codes,)``: what stands in the row for each code of the library; NaN
            for a code that no row has.
        limits: For those whose rows hold the library's codes as numbers: the first number that is no code. It stands
            for all others.
    """

    standing: Mapping[int, FloatArray]
    limits: Mapping[int, int]

    def in_rows(self, column: int, codes: Collection[int]) -> FloatArray:
        """The values in the rows of ``column`` for these codes of the library."""
        standing = self.standing[column]
        found = standing[[code for code in sorted(codes) if code < len(standing)]]
        return np.sort(found[~np.isnan(found)])

    def others(self, column: int, codes: Collection[int]) -> FloatArray:
        """The values that the rows of ``column`` can have beside these codes, apart from missing values."""
        rest = set(range(len(self.standing[column]))) - set(codes)
        beyond = [float(self.limits[column])] if column in self.limits else []
        return np.append(self.in_rows(column, rest), beyond)

    def guarded(self, graph: Graph, tensor: str, width: int, *, dtype: type[np.float32 | np.float64]) -> str:
        """Cut the fractions off codes that are given as numbers, and make one number of all that are no code.

        Args:
            graph: Where the nodes go.
            tensor: ``(n_rows, width)`` of ``dtype``.
            width: Columns of the row.
            dtype: float32 for XGBoost, which knows no negative codes; float64 for LightGBM, which cuts the fraction off
                first, so that -0.5 is the code 0.
        """
        if not self.limits:
            return tensor
        limits = np.array([[self.limits.get(i, 0) for i in range(width)]])
        whole = str(graph.add("Mul", graph.add("Sign", tensor), graph.add("Floor", graph.add("Abs", tensor))))
        limit = graph.constant(limits, dtype)
        negative = graph.add("Less", tensor if dtype is np.float32 else whole, graph.constant(0.0, dtype))
        wrong = graph.add("Or", negative, graph.add("Greater", whole, limit))
        coded = graph.constant(np.array([[i in self.limits for i in range(width)]]))
        return str(graph.add("Where", coded, graph.add("Where", wrong, limit, whole), tensor))


def match(
    frame: Frame, known: Mapping[int, Sequence[Any] | None], n_codes: Mapping[int, int], library: str
) -> Categories:
    """Match the library's categories with the columns of ``frame``.

    Args:
        frame: What the model is given.
        known: For each category column of the model: its categories by code, or ``None`` where it was given codes.
        n_codes: For each of them: how many codes the splits name at most.
        library: Its name, for errors.

    Raises:
        NotConvertibleError: A column of text is no category to the model.
    """
    standing, limits = {}, {}
    for column, categories in known.items():
        levels = frame.features[column].levels
        if levels is None:
            standing[column], limits[column] = np.arange(n_codes[column], dtype=np.float64), n_codes[column]
        elif categories is None:
            standing[column] = np.arange(max(len(levels), n_codes[column]), dtype=np.float64)
        else:
            position = {level: float(code) for code, level in enumerate(levels)}
            standing[column] = np.array([position.get(category, np.nan) for category in categories], np.float64)
    for column, feature in enumerate(frame.features):
        if column not in known and any(isinstance(level, str) for level in feature.levels or ()):
            raise NotConvertibleError(f"{library} is given the column of text '{feature.name}', but not as a category")
    return Categories(standing, limits)


def with_numbers(graph: Graph, frame: Frame, categories: Categories) -> Frame:
    """The frame with integer-coded columns that are no categories to the model as their integers."""
    hidden = [
        replace(feature, levels=None) if i in categories.standing else feature
        for i, feature in enumerate(frame.features)
    ]
    decoded = values(graph, replace(frame, features=tuple(hidden)))
    shown = [frame.features[i] if i in categories.standing else feature for i, feature in enumerate(decoded.features)]
    return replace(decoded, features=tuple(shown))


def as_codes(graph: Graph, frame: Frame, ordered: Mapping[int, Sequence[Any]]) -> Frame:
    """The frame with the columns of ``ordered`` as the library's codes, which are numbers to it.

    Args:
        graph: Where the nodes go.
        frame: What the model is given.
        ordered: For each of these columns, its categories by code; a level that is none of them is missing.
    """
    if not ordered:
        return frame
    columns = sorted(ordered)
    part = graph.take(frame, columns)
    tables = []
    for column, feature in zip(columns, part.features, strict=True):
        position = {category: float(code) for code, category in enumerate(ordered[column])}
        tables.append([np.nan, *(position.get(level, np.nan) for level in feature.levels or ()), np.nan])
    features = tuple(replace(feature, levels=None, source=None, inverse=None) for feature in part.features)
    decoded = replace(part, tensor=lookup(graph, part, tables), features=features)
    rest = [i for i in range(frame.width) if i not in ordered]
    return assembled(graph, [(columns, decoded), (rest, graph.take(frame, rest))])

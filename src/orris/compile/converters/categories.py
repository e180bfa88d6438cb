"""How HistGradientBoosting's categories stand in the rows of a graph; read by ``boosting.py``.

The estimator encodes its category columns itself, moves them in front of the others, and splits on sets of ordinals.
Here the columns stay where they are, and each ordinal is traded for the number that stands for it in the row: the code
of a level where the column is category-coded (``Feature.levels``), otherwise the value itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orris.compile.graph import Feature, Frame, Graph
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray

LARGEST = 2**31 - 1
"""ONNX Runtime keeps the members of a set as 32-bit integers."""


@dataclass(frozen=True)
class Values:
    """The categories of one column: ``codes[i]``, float64, stands in the row for the estimator's ``ordinals[i]``."""

    codes: FloatArray
    ordinals: tuple[int, ...]


@dataclass(frozen=True)
class Categories:
    """The changes that an estimator makes to its columns before the trees see them.

    Attributes:
        order: int64 ``(n_features,)``; the trees' feature ``i`` is the frame's column ``order[i]``.
        values: For each categorical feature of the trees: its categories.
        valued: bool ``(n_features,)``, by column of the frame: categorical, and holding values rather than codes.
    """

    order: npt.NDArray[np.int64]
    values: dict[int, Values]
    valued: npt.NDArray[np.bool_]

    def add_guard(self, graph: Graph, frame: Frame) -> str:
        """Make categories that are not whole numbers missing, because ONNX Runtime truncates before a lookup.

        Returns:
            Name of the tensor for the trees, float64 ``(n_rows, n_features)``.
        """
        if not self.valued.any():
            return frame.tensor
        whole = graph.add("Equal", frame.tensor, graph.add("Floor", frame.tensor))
        kept = graph.add("Or", whole, graph.constant(~self.valued[np.newaxis], np.bool_))
        return str(graph.add("Where", kept, frame.tensor, graph.constant(np.nan, np.float64)))


def read_categories(estimator: Any, frame: Frame) -> Categories:
    """The categories of a fitted ``HistGradientBoosting*``, matched with the columns of ``frame``.

    Raises:
        NotConvertibleError: A category-coded column is not categorical to the estimator, or its categories cannot be
            matched.
    """
    name = type(estimator).__name__
    categorical = (
        np.zeros(frame.width, np.bool_) if estimator.is_categorical_ is None else np.asarray(estimator.is_categorical_)
    )
    for feature, is_categorical in zip(frame.features, categorical, strict=True):
        if feature.levels is not None and not is_categorical:
            raise NotConvertibleError(
                f"{name} is given the category column '{feature.name}', but not as one of its categorical_features"
            )
    positions = np.flatnonzero(categorical)
    order = np.concatenate([positions, np.flatnonzero(~categorical)]).astype(np.int64)
    known = estimator._preprocessor.named_transformers_["encoder"].categories_ if len(positions) else []
    values = {i: _match(frame.features[position], known[i], position) for i, position in enumerate(positions)}
    valued = np.array([feature.levels is None for feature in frame.features], np.bool_) & categorical
    return Categories(order, values, valued)


def _match(feature: Feature, known: npt.NDArray[Any], position: Any) -> Values:
    """``known`` are the estimator's categories, by ordinal; a NaN at their end is the missing value."""
    where = f"category column '{feature.name}'" if feature.name else f"category column {position}"
    ordinals = {value: i for i, value in enumerate(known.tolist()) if value == value}  # noqa: PLR0124 (NaN is not itself)
    if None in ordinals:
        raise NotConvertibleError(
            f"HistGradientBoosting takes None for a category of its own in {where}: use NaN for missing values"
        )
    if feature.levels is not None:
        codes = [(float(code), ordinals[level]) for code, level in enumerate(feature.levels) if level in ordinals]
    elif all(isinstance(value, int | float) and value == int(value) and abs(value) <= LARGEST for value in ordinals):
        codes = sorted((float(value), ordinal) for value, ordinal in ordinals.items())
    else:
        raise NotConvertibleError(
            f"HistGradientBoosting's {where} has categories that are no whole numbers below 2**31: encode them first"
        )
    return Values(np.array([code for code, _ in codes]), tuple(ordinal for _, ordinal in codes))

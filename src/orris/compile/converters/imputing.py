"""Converters of imputers: SimpleImputer (every strategy, numbers and categories) and MissingIndicator.

The missing value of the fitted data is NaN or None (``Feature.missing_as``), and so is the imputer's
``missing_values``: a column of objects that holds None is not imputed by an imputer that looks for NaN, here as in
scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto

from orris.compile.converters.levels import assembled, in_own_precision, lookup, values
from orris.compile.graph import Feature, Frame, Graph
from orris.compile.registry import transformer
from orris.errors import NotConvertibleError
from orris.schema import UNSEEN, Level


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _takes_for_missing(feature: Feature, missing_values: Any) -> bool:
    """Whether the step treats the tensor's NaN as missing.

    ``missing_values`` may be NaN, None, pandas' NA or an ordinary value.
    """
    if type(missing_values).__name__ == "NAType":
        return True
    return missing_values is None if feature.missing_as == "none" else _is_nan(missing_values)


def _same(value: Any, missing_values: Any) -> bool:
    """Whether an ordinary value is the one that stands for missing."""
    if type(missing_values).__name__ == "NAType" or missing_values is None or _is_nan(missing_values):
        return False
    return bool(value == missing_values)


def _mask(graph: Graph, frame: Frame, missing_values: Any) -> str:
    """Which values are missing: a boolean tensor ``(n_rows, frame.width)``."""
    holes = [_takes_for_missing(feature, missing_values) for feature in frame.features]
    marks = [_marked_codes(feature, missing_values) for feature in frame.features]
    parts = []
    if all(holes):
        parts.append(graph.add("IsNaN", frame.tensor))
    elif any(holes):
        parts.append(graph.add("And", graph.add("IsNaN", frame.tensor), graph.constant(holes, np.bool_)))
    if any(mark is not None for mark in marks):
        # Codes and numbers are never infinite, so infinity stands for no such value.
        parts.append(
            graph.add(
                "Equal", frame.tensor, graph.constant([np.inf if mark is None else mark for mark in marks], np.float64)
            )
        )
    if not parts:
        return str(graph.add("And", graph.add("IsNaN", frame.tensor), graph.constant(False, np.bool_)))
    return str(parts[0] if len(parts) == 1 else graph.add("Or", *parts))


def _marked_codes(feature: Feature, missing_values: Any) -> float | None:
    """The tensor's form of an ordinary value that stands for missing, if the column can hold it."""
    if feature.levels is not None:
        return next((float(code) for code, level in enumerate(feature.levels) if _same(level, missing_values)), None)
    if isinstance(missing_values, int | float | np.number) and not _is_nan(missing_values):
        return float(missing_values)
    return None


@transformer("sklearn.impute.MissingIndicator")
def missing_indicator(graph: Graph, indicator: Any, frame: Frame) -> Frame:
    """1.0 where a value is missing, for the columns that the indicator covers."""
    frame = values(graph, frame)
    covered = graph.take(frame, np.asarray(indicator.features_).tolist())
    if not covered.width:
        raise NotConvertibleError("MissingIndicator covers no column: nothing was missing in training")
    return indicated(graph, covered, indicator.missing_values, sparse=indicator.sparse is True)


def indicated(graph: Graph, frame: Frame, missing_values: Any, *, sparse: bool) -> Frame:
    """1.0 where a value is missing, else 0.0."""
    mask = _mask(graph, frame, missing_values)
    return Frame(
        graph.cast(mask, TensorProto.DOUBLE), tuple(Feature() for _ in frame.features), sparse=sparse or frame.sparse
    )


@transformer("sklearn.impute.SimpleImputer")
def simple_imputer(graph: Graph, imputer: Any, frame: Frame) -> Frame:
    """Missing values are replaced by the column's statistic; columns without one are dropped.

    Indicators are appended if configured.
    """
    frame = values(graph, frame)
    if imputer.strategy not in {"most_frequent", "constant"}:
        frame = in_own_precision(graph, frame, imputer)
    statistics = np.asarray(imputer.statistics_, dtype=object)
    kept = list(range(frame.width))
    if not imputer.keep_empty_features:
        kept = [i for i in kept if not _is_nan(statistics[i])]
    if not kept:
        raise NotConvertibleError("SimpleImputer keeps no column: none had a value in training")
    # Older scikit-learn has no dtype of its own for this, and fills into rows of the dtype that it was fitted on.
    fill_dtype = getattr(imputer, "_fill_dtype", getattr(imputer, "_fit_dtype", None))
    fills = statistics[kept].astype(fill_dtype)
    if frame.single:  # which the filled array is
        fills = fills.astype(np.float32)
    imputed = _imputed(graph, graph.take(frame, kept), fills.tolist(), imputer.missing_values)
    imputed = replace(imputed, single=frame.single)
    if not imputer.add_indicator or not len(imputer.indicator_.features_):
        return imputed
    covered = graph.take(frame, np.asarray(imputer.indicator_.features_).tolist())
    marks = indicated(graph, covered, imputer.missing_values, sparse=False)
    return graph.concat([imputed, replace(marks, single=frame.single)])  # NumPy makes float32 of it and booleans


def _imputed(graph: Graph, frame: Frame, fills: Sequence[Any], missing_values: Any) -> Frame:
    parts = []
    for impute, coded in ((imputed_numbers, False), (_imputed_levels, True)):
        chosen = [i for i, feature in enumerate(frame.features) if (feature.levels is not None) is coded]
        if chosen:
            parts.append((chosen, impute(graph, graph.take(frame, chosen), [fills[i] for i in chosen], missing_values)))
    return assembled(graph, parts)


def imputed_numbers(graph: Graph, frame: Frame, fills: Sequence[Any], missing_values: Any) -> Frame:
    """Columns of numbers with each column's fill in place of missing values."""
    for feature, fill in zip(frame.features, fills, strict=True):
        if isinstance(fill, str):
            raise NotConvertibleError(
                f"SimpleImputer fills the column of numbers '{feature.name}' with the text '{fill}'"
            )
    filling = graph.constant([np.nan if fill is None else float(fill) for fill in fills], np.float64)
    tensor = graph.add("Where", _mask(graph, frame, missing_values), filling, frame.tensor)
    return replace(frame, tensor=tensor)


def _imputed_levels(graph: Graph, frame: Frame, fills: Sequence[Any], missing_values: Any) -> Frame:
    """Text columns: the fill becomes a level if it is none yet, and codes are mapped to it through a table."""
    tables, features = [], []
    for feature, fill in zip(frame.features, fills, strict=True):
        old: tuple[Level, ...] = feature.levels or ()
        levels, code, missing_as = old, np.nan, feature.missing_as
        if fill is None or _is_nan(fill):
            missing_as = "none" if fill is None else "nan"
        else:
            levels = old if fill in old else (*old, _level(fill))
            code = float(levels.index(fill))
        table = [UNSEEN, *(code if _same(level, missing_values) else float(i) for i, level in enumerate(old))]
        table.append(code if _takes_for_missing(feature, missing_values) else np.nan)
        tables.append(table)
        features.append(replace(feature, levels=levels, missing_as=missing_as))
    return replace(frame, tensor=lookup(graph, frame, tables), features=tuple(features))


def _level(fill: Any) -> Level:
    if isinstance(fill, str):
        return str(fill)
    if fill != int(fill):
        raise NotConvertibleError(f"SimpleImputer fills a column of text with the number {fill}")
    return int(fill)

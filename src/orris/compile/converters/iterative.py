"""Exact converter for ``IterativeImputer`` over models with a converter, after scikit-learn's ``_iterative.py``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from orris.compile.converters.imputing import imputed_numbers, indicated
from orris.compile.converters.levels import numbers
from orris.compile.dispatch import predict
from orris.compile.graph import Feature, Frame, Graph
from orris.compile.registry import transformer
from orris.errors import NotConvertibleError

_MAX_STEPS = 2_000
"""Most predictions that are put into a graph one after the other."""


@transformer("sklearn.impute.IterativeImputer")
def iterative_imputer(graph: Graph, imputer: Any, frame: Frame) -> Frame:
    """A first filling, then each column with gaps predicted from the others, in the fitted order.

    A row in which everything is missing is answered as it is among other rows; alone, scikit-learn gives it only the
    first filling.
    """
    _require_plain(imputer)
    frame = numbers(graph, frame, imputer)
    missing = graph.add("IsNaN", frame.tensor)
    fills = np.asarray(imputer.initial_imputer_.statistics_, dtype=np.float64)
    filled = imputed_numbers(graph, frame, fills.tolist(), np.nan)
    columns = [
        str(graph.add("Gather", filled.tensor, graph.constant([j], np.int64), axis=1)) for j in range(len(fills))
    ]
    gaps = [str(graph.add("Gather", missing, graph.constant([j], np.int64), axis=1)) for j in range(len(fills))]
    axis = graph.constant([1], np.int64)
    for step in imputer.imputation_sequence_:
        j, neighbours = int(step.feat_idx), np.asarray(step.neighbor_feat_idx).tolist()
        given = graph.add("Concat", *(columns[i] for i in neighbours), axis=1)
        features = tuple(Feature(rounded=True) for _ in neighbours)
        value = predict(graph, step.estimator, Frame(str(given), features)).value
        if value is None:
            raise NotConvertibleError(f"IterativeImputer over {type(step.estimator).__name__}, which gives no value")
        low, high = (graph.constant(float(bounds[j])) for bounds in (imputer._min_value, imputer._max_value))
        clipped = graph.add("Min", graph.add("Max", graph.add("Unsqueeze", value, axis), low), high)
        columns[j] = str(graph.add("Where", gaps[j], clipped, columns[j]))
    made = tuple(Feature(rounded=True) for _ in columns)
    imputed = Frame(str(graph.add("Concat", *columns, axis=1)), made)
    if not imputer.add_indicator or not len(imputer.indicator_.features_):
        return imputed
    covered = graph.take(frame, np.asarray(imputer.indicator_.features_).tolist())
    return graph.concat([imputed, replace(indicated(graph, covered, np.nan, sparse=False), sparse=False)])


def _require_plain(imputer: Any) -> None:
    """Raise for settings without an exact answer."""
    if imputer.sample_posterior:
        raise NotConvertibleError("IterativeImputer(sample_posterior=True) answers at random")
    if not (isinstance(imputer.missing_values, float) and np.isnan(imputer.missing_values)):
        raise NotConvertibleError("IterativeImputer with missing_values other than NaN has no exact converter")
    if np.any(imputer._is_empty_feature):
        raise NotConvertibleError("IterativeImputer with a column without any value in training")
    if len(imputer.imputation_sequence_) > _MAX_STEPS:
        n_steps = len(imputer.imputation_sequence_)
        raise NotConvertibleError(f"IterativeImputer makes {n_steps:,} predictions; up to {_MAX_STEPS:,} are converted")

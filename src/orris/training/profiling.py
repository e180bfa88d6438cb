"""Learns the profile of a bundle: the distribution of training rows and of the served model's answers."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from orris.runtime import Runtime
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.schema.profile import N_EXTRA, Binning, Profile, Spread, n_levels

N_BINS = 10
"""Bins of a number: deciles, or its values themselves if it has no more of them."""

N_LEVELS = 20
"""Levels with a bin of their own, the most frequent; the others share one, or a wide category would be all noise."""

MAX_ASKED_ROWS = 50_000
"""The number of training rows, spread evenly over all, on which the answers' distribution is learned."""

_CHUNK = 1_024


def learn_profile(schema: Schema, rows: FloatArray, runtime: Runtime) -> Profile:
    """The profile of training rows.

    Args:
        schema: The model's contract.
        rows: Encoded training rows, float64 ``(n_rows, n_columns)``, at least one.
        runtime: The model that is served.
    """
    columns = tuple(spread_of(column.name, rows[:, j], n_levels(column)) for j, column in enumerate(schema.columns))
    return Profile(len(rows), columns, spread_of("", _answers(rows, runtime), len(schema.labels)))


def spread_of(name: str, values: FloatArray, levels: int) -> Spread:
    """How values are spread.

    Args:
        name: The column.
        values: Encoded, ``(n_rows,)``, at least one.
        levels: Number of levels or classes; 0 for numbers.
    """
    present = values[~np.isnan(values)]
    if levels:
        counts = np.bincount(present[present >= 0].astype(np.int64), minlength=levels)
        commonest = np.argsort(-counts, kind="stable")[:N_LEVELS]
        spread = Spread(name, (), codes=tuple(sorted(commonest.tolist())))
        n_bins = len(spread.codes) + (len(spread.codes) < levels)
    else:
        spread = Spread(name, (), edges=_edges(present))
        n_bins = len(spread.edges) + 1
    empty = msgspec.structs.replace(spread, shares=(0.0,) * (n_bins + N_EXTRA))
    shares = Binning(empty, levels).count(values) / len(values)
    return msgspec.structs.replace(spread, shares=tuple(shares.tolist()))


def _edges(present: FloatArray) -> tuple[float, ...]:
    """Upper bounds of bins: deciles that are values themselves, each once.

    If the lowest bin is a single value, lower values have a bin of their own, so a constant column has three bins.
    """
    if not len(present):
        return ()
    distinct = edges = np.unique(present)
    if len(distinct) > N_BINS:
        edges = np.unique(np.quantile(present, np.arange(1, N_BINS) / N_BINS, method="inverted_cdf"))
    below = math.nextafter(distinct[0], -math.inf)
    return (*((below,) if edges[0] == distinct[0] and math.isfinite(below) else ()), *edges.tolist())


def _answers(rows: FloatArray, runtime: Runtime) -> FloatArray:
    """The model's labels or values for training rows, float64."""
    if len(rows) > MAX_ASKED_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, MAX_ASKED_ROWS).astype(np.int64)]
    found = []
    for start in range(0, len(rows), _CHUNK):
        found.append(runtime.run(np.ascontiguousarray(rows[start : start + _CHUNK])).found)
    return np.concatenate(found).astype(np.float64)

"""The rows on which the parity gate compares: where a compiled model would differ from the fitted pipeline, if it did.

All generated rows keep to the schema's hard bounds and kinds: they are rows that the server would accept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orris.schema import MAX_INTEGER, UNSEEN, Column, Kind, Schema
from orris.schema.arrays import FloatArray

MAX_TRAINING_ROWS = 100_000
MAX_THRESHOLD_ROWS = 30_000
MIN_ROWS = 10_000
_SPREAD = 200
"""Rows made for each column that may be missing or unseen."""


def origins(schema: Schema, training: FloatArray, seed: int) -> dict[str, FloatArray]:
    """Every kind of row but those on thresholds; together with the training rows at least ``MIN_ROWS``.

    Args:
        schema: The contract, complete: which columns may be missing or unseen, and the largest magnitude.
        training: Encoded training rows, float64 ``(n_rows, n_columns)``.
        seed: Seed of all draws.
    """
    rng = np.random.default_rng(seed)
    if len(training) > MAX_TRAINING_ROWS:
        training = training[np.sort(rng.choice(len(training), MAX_TRAINING_ROWS, replace=False))]
    made = {
        "training": training,
        "missing": _holes(schema, training, rng),
        "unseen": _strangers(schema, training, rng),
        "extreme": _extremes(schema, training, rng),
    }
    n_left = max(1_000, MIN_ROWS - sum(len(rows) for rows in made.values()))
    made["random"] = _random(schema, training, n_left, rng)
    return {origin: rows for origin, rows in made.items() if len(rows)}


def on_thresholds(
    schema: Schema, training: FloatArray, thresholds: Mapping[int, Sequence[FloatArray]], seed: int
) -> FloatArray:
    """Rows with columns exactly on split thresholds and one ulp to both sides.

    Rows with every column on one of its thresholds hold every threshold of the model; beside them stand rows that
    differ from a training row in one column, of which a share is drawn if they would be more than
    ``MAX_THRESHOLD_ROWS``.
    """
    rng = np.random.default_rng(seed + 1)
    values = {
        j: allowed(schema, schema.columns[j], np.unique(np.concatenate(parts))) for j, parts in thresholds.items()
    }
    values = {j: points for j, points in values.items() if len(points)}
    if not values:
        return np.empty((0, schema.n_columns))
    share = min(1.0, MAX_THRESHOLD_ROWS / sum(len(points) for points in values.values()))
    one_column = []
    for j, points in values.items():
        drawn = points if share == 1.0 else rng.choice(points, max(1, int(len(points) * share)), replace=False)
        rows = training[rng.integers(len(training), size=len(drawn))]
        rows[:, j] = drawn
        one_column.append(rows)
    n_rows = max(len(points) for points in values.values())
    every_column = training[rng.integers(len(training), size=n_rows)]
    for j, points in values.items():
        every_column[:, j] = rng.permutation(np.resize(points, n_rows))
    return np.concatenate([*one_column, every_column])


def allowed(schema: Schema, column: Column, values: FloatArray) -> FloatArray:
    """Of candidate values for a column, those that the server would accept; integers are rounded to both sides."""
    if column.kind in {Kind.BOOLEAN, Kind.CATEGORY}:
        return np.empty(0)
    largest = schema.max_magnitude
    if column.kind is Kind.INTEGER:
        largest = min(largest, MAX_INTEGER)
        values = np.unique(np.concatenate([np.floor(values), np.ceil(values)]))
    values = values[np.abs(values) <= largest]
    if column.bounds is not None:
        values = values[[column.bounds.problem(value) is None for value in values.tolist()]]
    return values


def _holes(schema: Schema, training: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Each column that may be missing, missing; then random sets of them; then all."""
    open_columns = [j for j, column in enumerate(schema.columns) if column.missing]
    if not open_columns:
        return np.empty((0, schema.n_columns))
    parts = []
    for j in open_columns:
        rows = training[rng.integers(len(training), size=_SPREAD)]
        rows[:, j] = np.nan
        parts.append(rows)
    several = training[rng.integers(len(training), size=_SPREAD)]
    several[:, open_columns] = np.where(
        rng.random((_SPREAD, len(open_columns))) < 0.5, np.nan, several[:, open_columns]
    )
    everything = training[:1].copy()
    everything[:, open_columns] = np.nan
    return np.concatenate([*parts, several, everything])


def _strangers(schema: Schema, training: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Each column that takes unseen levels, with one; then all of them."""
    open_columns = [j for j, column in enumerate(schema.columns) if column.unseen]
    if not open_columns:
        return np.empty((0, schema.n_columns))
    parts = []
    for j in open_columns:
        rows = training[rng.integers(len(training), size=_SPREAD)]
        rows[:, j] = UNSEEN
        parts.append(rows)
    everything = training[:_SPREAD].copy()
    everything[:, open_columns] = UNSEEN
    return np.concatenate([*parts, everything])


def _extremes(schema: Schema, training: FloatArray, rng: np.random.Generator) -> FloatArray:
    """One column at a time far outside the training range, at zero, at the smallest and at the largest numbers."""
    parts = [np.empty((0, schema.n_columns))]
    for j, column in enumerate(schema.columns):
        span = max(1.0, abs(column.high or 0.0), abs(column.low or 0.0))
        ladder = np.array(
            [0.0, 5e-324, 1e-300, 1.0, 10 * span, 1e3 * span, 1e6, 1e9, 1e15, schema.max_magnitude, float(MAX_INTEGER)]
        )
        points = allowed(schema, column, np.concatenate([ladder, -ladder]))
        rows = training[rng.integers(len(training), size=2 * len(points))]
        rows[:, j] = np.concatenate([points, points])
        parts.append(rows)
    return np.concatenate(parts)


def _random(schema: Schema, training: FloatArray, n_rows: int, rng: np.random.Generator) -> FloatArray:
    """Columns drawn on their own: half from training values (ties, decimals), half uniform over a wider range."""
    rows = np.empty((n_rows, schema.n_columns))
    for j, column in enumerate(schema.columns):
        seen = rng.choice(training[:, j], n_rows)
        if column.kind in {Kind.NUMBER, Kind.INTEGER}:
            low, high = column.low or 0.0, column.high or 0.0
            margin = 0.25 * (high - low) or 1.0
            drawn = rng.uniform(low - margin, high + margin, n_rows)
            if column.kind is Kind.INTEGER:
                drawn = np.rint(drawn)
            fits = np.isin(drawn, allowed(schema, column, drawn))
            rows[:, j] = np.where((rng.random(n_rows) < 0.5) & fits, drawn, seen)
        else:
            n_codes = 2 if column.kind is Kind.BOOLEAN else len(column.levels)
            rows[:, j] = np.where(rng.random(n_rows) < 0.5, rng.integers(n_codes, size=n_rows), seen)
    return rows

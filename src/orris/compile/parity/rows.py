"""The rows on which the parity gate compares: where a compiled model would differ from the fitted pipeline, if it did.

All generated rows keep to the schema's hard bounds and kinds: they are rows that the server would accept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orris.schema import MAX_INTEGER, UNSEEN, Column, Kind, Schema
from orris.schema.arrays import FloatArray, IntArray

MAX_TRAINING_ROWS = 20_000
MAX_ROWS = 4_000
"""Most rows of each further kind, but those on thresholds, and those drawn at random to make up ``MIN_ROWS``."""
MAX_THRESHOLD_ROWS = 20_000
"""Most rows in which one column is on a threshold, and again in which every column is."""
MIN_ROWS = 10_000
_MAX_CELLS = 16_000_000
"""Most numbers in the rows of one kind: 128 MB."""
_SPREAD = 200
"""Rows made for each column that may be missing or unseen, where the columns are few enough for so many."""


def origins(schema: Schema, training: FloatArray, seed: int) -> dict[str, FloatArray]:
    """Every kind of row but those on thresholds; together with the training rows at least ``MIN_ROWS``.

    The number of rows does not grow with the number of columns. The rows of each kind are in random order, so that the
    first of them, which are all that a slow pipeline is given, are of every sort.

    Args:
        schema: The contract, complete: which columns may be missing or unseen, and the largest magnitude.
        training: Encoded training rows, float64 ``(n_rows, n_columns)``.
        seed: Seed of all draws.
    """
    rng = np.random.default_rng(seed)
    limit = max(1, _MAX_CELLS // schema.n_columns)
    pool = _drawn(training, min(MAX_TRAINING_ROWS, limit), rng)
    most = min(MAX_ROWS, limit)
    made = {
        "training": pool,
        "missing": _holes(schema, pool, most, rng),
        "unseen": _strangers(schema, pool, most, rng),
        "extreme": _extremes(schema, pool, most, rng),
    }
    n_left = min(limit, max(1_000, MIN_ROWS - sum(len(rows) for rows in made.values())))
    made["random"] = _random(schema, pool, n_left, rng)
    return {origin: rng.permutation(rows) for origin, rows in made.items() if len(rows)}


def _drawn(rows: FloatArray, n_rows: int, rng: np.random.Generator) -> FloatArray:
    return rows if len(rows) <= n_rows else rows[rng.choice(len(rows), n_rows, replace=False)]


def on_thresholds(
    schema: Schema, training: FloatArray, thresholds: Mapping[int, Sequence[FloatArray]], seed: int
) -> FloatArray:
    """Rows with columns exactly on split thresholds and one ulp to both sides.

    Rows with every column on one of its thresholds stand beside rows that differ from a training row in one column. A
    share of the thresholds is drawn if there are more than ``MAX_THRESHOLD_ROWS``.
    """
    rng = np.random.default_rng(seed + 1)
    values = {
        j: allowed(schema, schema.columns[j], np.unique(np.concatenate(parts))) for j, parts in thresholds.items()
    }
    values = {j: points for j, points in values.items() if len(points)}
    if not values:
        return np.empty((0, schema.n_columns))
    most = min(MAX_THRESHOLD_ROWS, max(1, _MAX_CELLS // schema.n_columns))
    share = min(1.0, most / sum(len(points) for points in values.values()))
    one_column = []
    for j, points in values.items():
        drawn = points if share == 1.0 else rng.choice(points, max(1, int(len(points) * share)), replace=False)
        rows = training[rng.integers(len(training), size=len(drawn))]
        rows[:, j] = drawn
        one_column.append(rows)
    n_rows = min(most, max(len(points) for points in values.values()))
    every_column = training[rng.integers(len(training), size=n_rows)]
    for j, points in values.items():
        every_column[:, j] = np.resize(rng.permutation(points), n_rows)
    return np.concatenate([rng.permutation(np.concatenate(one_column)[:most]), every_column])


def allowed(schema: Schema, column: Column, values: FloatArray) -> FloatArray:
    """Of candidate values for a column, those that the server would accept; integers are rounded to both sides."""
    if column.kind in {Kind.BOOLEAN, Kind.CATEGORY}:
        return np.empty(0)
    largest = schema.max_magnitude
    if column.kind is Kind.INTEGER and not column.fractions:
        largest = min(largest, MAX_INTEGER)
        values = np.unique(np.concatenate([np.floor(values), np.ceil(values)]))
    values = values[np.abs(values) <= largest]
    if column.bounds is not None:
        values = values[[column.bounds.problem(value) is None for value in values.tolist()]]
    return values


def _spread(columns: list[int], most: int, rng: np.random.Generator) -> IntArray:
    """One column for each row: every column as often as the others, or some of them where there are too many."""
    if len(columns) > most:
        return np.asarray(rng.choice(columns, most, replace=False), dtype=np.int64)
    return np.repeat(columns, min(_SPREAD, most // len(columns))).astype(np.int64)


def _holes(schema: Schema, training: FloatArray, most: int, rng: np.random.Generator) -> FloatArray:
    """Each column that may be missing, missing; then random sets of them; then all."""
    open_columns = [j for j, column in enumerate(schema.columns) if column.missing]
    if not open_columns:
        return np.empty((0, schema.n_columns))
    chosen = _spread(open_columns, most, rng)
    single = training[rng.integers(len(training), size=len(chosen))]
    single[np.arange(len(chosen)), chosen] = np.nan
    several = training[rng.integers(len(training), size=min(_SPREAD, most))]
    several[:, open_columns] = np.where(
        rng.random((len(several), len(open_columns))) < 0.5, np.nan, several[:, open_columns]
    )
    everything = training[:1].copy()
    everything[:, open_columns] = np.nan
    return np.concatenate([single, several, everything])


def _strangers(schema: Schema, training: FloatArray, most: int, rng: np.random.Generator) -> FloatArray:
    """Each column that takes unseen levels, with one; then all of them."""
    open_columns = [j for j, column in enumerate(schema.columns) if column.unseen]
    if not open_columns:
        return np.empty((0, schema.n_columns))
    chosen = _spread(open_columns, most, rng)
    single = training[rng.integers(len(training), size=len(chosen))]
    single[np.arange(len(chosen)), chosen] = UNSEEN
    everything = training[:_SPREAD].copy()
    everything[:, open_columns] = UNSEEN
    return np.concatenate([single, everything])


def _extremes(schema: Schema, training: FloatArray, most: int, rng: np.random.Generator) -> FloatArray:
    """One column at a time far outside the training range, at zero, at the smallest and at the largest numbers."""
    columns, points = [np.empty(0, np.int64)], [np.empty(0)]
    for j, column in enumerate(schema.columns):
        span = max(1.0, abs(column.high or 0.0), abs(column.low or 0.0))
        ladder = np.array(
            [0.0, 5e-324, 1e-300, 1.0, 10 * span, 1e3 * span, 1e6, 1e9, 1e15, schema.max_magnitude, float(MAX_INTEGER)]
        )
        allowed_points = allowed(schema, column, np.concatenate([ladder, -ladder]))
        points += [allowed_points, allowed_points]
        columns.append(np.full(2 * len(allowed_points), j))
    where, values = np.concatenate(columns), np.concatenate(points)
    chosen = np.sort(rng.choice(len(where), min(most, len(where)), replace=False)) if len(where) else where
    rows = training[rng.integers(len(training), size=len(chosen))]
    rows[np.arange(len(chosen)), where[chosen]] = values[chosen]
    return rows


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
                # Where fractions are taken, a tenth of the rows has them.
                whole = rng.random(n_rows) < (0.9 if column.fractions else 1.0)
                drawn = np.where(whole, np.rint(drawn), drawn)
            fits = np.isin(drawn, allowed(schema, column, drawn))
            rows[:, j] = np.where((rng.random(n_rows) < 0.5) & fits, drawn, seen)
        else:
            n_codes = 2 if column.kind is Kind.BOOLEAN else len(column.levels)
            rows[:, j] = np.where(rng.random(n_rows) < 0.5, rng.integers(n_codes, size=n_rows), seen)
    return rows

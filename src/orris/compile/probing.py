"""Facts about columns that only the fitted pipeline has: the values that it accepts although training did not see them.

Missing values, fractions among whole numbers, unseen levels, large numbers: it is asked with training rows that are
changed in one place.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from orris.compile.parity import rows as adversary
from orris.compile.parity.reference import Reference, quiet
from orris.schema import MAX_INTEGER, UNSEEN, Kind, Schema
from orris.schema.arrays import FloatArray
from orris.schema.frames import UNSEEN_NAME

_MAGNITUDES = (1e30, 1e25, 1e20, 1e15, 1e12, 1e9, 1e6, 1e5, 1e4, 1e3, 1e2, 1e1)
_N_ROWS = 3
"""Training rows that are changed for one question."""


def complete(pipeline: Any, schema: Schema, training: FloatArray) -> Schema:
    """The schema with what the fitted pipeline was found to take, as far as no declaration forbids it.

    Args:
        pipeline: The fitted estimator.
        schema: The schema learned from its training rows.
        training: Encoded training rows, float64 ``(n_rows, n_columns)``.
    """
    reference = Reference(pipeline, schema)
    unseen = _taking_unseen(reference, schema, training)
    wanted = [j for j, c in enumerate(schema.columns) if not c.missing and not c.required]
    missing = set(_taken(reference, training, wanted, np.nan))
    wanted = [j for j, c in enumerate(schema.columns) if c.kind is Kind.INTEGER and not c.integer]
    fractions = set(_taken(reference, training, wanted, 0.5))
    columns = [
        msgspec.structs.replace(
            column,
            missing=not column.required and (column.missing or j in missing),
            seen_missing=column.missing or j not in missing,
            fractions=j in fractions,
            unseen=not column.closed and j in unseen,
        )
        for j, column in enumerate(schema.columns)
    ]
    schema = msgspec.structs.replace(schema, columns=tuple(columns))
    return msgspec.structs.replace(schema, max_magnitude=_max_magnitude(Reference(pipeline, schema), training))


def _taken(reference: Reference, training: FloatArray, columns: list[int], change: float) -> list[int]:
    """The columns in which the pipeline answers a changed value with finite numbers.

    NaN, or whole numbers plus a half.
    """
    if not columns:
        return []
    parts = []
    for j in columns:
        rows = training[:_N_ROWS].copy()
        present = np.where(np.isnan(rows[:, j]), 0.0, rows[:, j])
        rows[:, j] = change if np.isnan(change) else np.trunc(present) + change
        parts.append(rows)
    if _finite(reference, np.concatenate(parts)):
        return columns
    if len(columns) == 1:
        return []
    half = len(columns) // 2
    first, second = columns[:half], columns[half:]
    return [*_taken(reference, training, first, change), *_taken(reference, training, second, change)]


def _finite(reference: Reference, rows: FloatArray) -> bool:
    """Whether the pipeline answers every row, and with finite numbers."""
    if not reference.takes(rows):
        return False
    with quiet():
        answers = reference.runtime.run(rows)
    return all(np.isfinite(part).all() for part in answers[1:] if part is not None)


def _max_magnitude(reference: Reference, training: FloatArray) -> float:
    """The largest magnitude that the pipeline takes without an error, of those that are tried.

    An answer that is not finite is no reason to refuse the number: with other values beside it there may be one.
    """
    schema = reference.schema
    numbers = [j for j, column in enumerate(schema.columns) if column.kind in {Kind.NUMBER, Kind.INTEGER}]
    floor = float(np.nanmax(np.abs(training[:, numbers]), initial=1.0)) if numbers else 1.0
    for magnitude in _MAGNITUDES:
        if magnitude <= floor:
            break
        rows = _at(schema, training, numbers, magnitude)
        if reference.takes(rows):
            return magnitude
    return floor


def _taking_unseen(reference: Reference, schema: Schema, training: FloatArray) -> set[int]:
    """Positions of the category columns that take levels never seen: all of them at once, if the pipeline does."""

    def taken(positions: list[int]) -> bool:
        rows = training[:20].copy()
        rows[:, positions] = UNSEEN
        return _indifferent(reference, rows)

    categories = [j for j, column in enumerate(schema.columns) if column.kind is Kind.CATEGORY]
    if _splits_categories(reference.pipeline):
        return set()
    if not categories or taken(categories):
        return set(categories)
    return {j for j in categories if taken([j])}


def _splits_categories(pipeline: Any) -> bool:
    """Whether it is an XGBoost model of the table's own categories.

    XGBoost 3.2 takes an unseen level for a neighbour of it, always so where the levels are not ASCII.
    """
    model = getattr(pipeline, "best_estimator_", pipeline)
    if not type(model).__module__.startswith("xgboost"):
        return False
    return "c" in (model.get_booster().feature_types or ())


def _indifferent(reference: Reference, rows: FloatArray) -> bool:
    """Whether the pipeline answers unseen levels, and the same whatever they are called.

    One name sorts behind all plain text: XGBoost 3.2 refuses such a level, but takes others for their neighbours among
    those that it knows.
    """
    try:
        with quiet():
            first, second = (reference.runtime.run(rows, name) for name in (UNSEEN_NAME, "~another unseen level"))
    except Exception:  # noqa: BLE001 (whatever a user's step raises on a row means that it refuses the row)
        return False
    return all(
        a is None or (b is not None and np.array_equal(a, b, equal_nan=True))
        for a, b in zip(first, second, strict=True)
    )


def _at(schema: Schema, training: FloatArray, numbers: list[int], magnitude: float) -> FloatArray:
    """Training rows with one column at a time at plus and minus the magnitude, as far as the hard bounds allow it."""
    parts = [training[:1]]
    for j in numbers:
        whole = schema.columns[j].kind is Kind.INTEGER and not schema.columns[j].fractions
        top = min(magnitude, float(MAX_INTEGER)) if whole else magnitude
        points = adversary.allowed(schema, schema.columns[j], np.array([top, -top]))
        rows = np.repeat(training[:1], len(points), axis=0)
        rows[:, j] = points
        parts.append(rows)
    return np.concatenate(parts)

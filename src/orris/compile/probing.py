"""Facts about columns that only the fitted pipeline knows: unseen levels, and the largest magnitude."""

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


def complete(pipeline: Any, schema: Schema, training: FloatArray) -> Schema:
    """The schema with the limits that the fitted pipeline was found to have.

    Args:
        pipeline: The fitted estimator.
        schema: The schema learned from its training rows.
        training: Encoded training rows, float64 ``(n_rows, n_columns)``.
    """
    reference = Reference(pipeline, schema)
    unseen = _taking_unseen(reference, schema, training)
    columns = [msgspec.structs.replace(column, unseen=j in unseen) for j, column in enumerate(schema.columns)]
    schema = msgspec.structs.replace(schema, columns=tuple(columns))
    numbers = [j for j, column in enumerate(schema.columns) if column.kind in {Kind.NUMBER, Kind.INTEGER}]
    floor = float(np.nanmax(np.abs(training[:, numbers]), initial=1.0)) if numbers else 1.0
    # Only what the pipeline refuses is refused: an answer that is not finite is an error of the row that has it.
    for magnitude in _MAGNITUDES:
        if magnitude <= floor:
            break
        if reference.takes(_at(schema, training, numbers, magnitude)):
            return msgspec.structs.replace(schema, max_magnitude=magnitude)
    return msgspec.structs.replace(schema, max_magnitude=floor)


def _taking_unseen(reference: Reference, schema: Schema, training: FloatArray) -> set[int]:
    """Positions of the category columns that take levels never seen: all of them at once, if the pipeline does."""

    def taken(positions: list[int]) -> bool:
        rows = training[:20].copy()
        rows[:, positions] = UNSEEN
        return _indifferent(reference, rows)

    categories = [j for j, column in enumerate(schema.columns) if column.kind is Kind.CATEGORY]
    if not categories or taken(categories):
        return set(categories)
    return {j for j in categories if taken([j])}


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
        top = min(magnitude, float(MAX_INTEGER)) if schema.columns[j].kind is Kind.INTEGER else magnitude
        points = adversary.allowed(schema, schema.columns[j], np.array([top, -top]))
        rows = np.repeat(training[:1], len(points), axis=0)
        rows[:, j] = points
        parts.append(rows)
    return np.concatenate(parts)

"""Warnings for values that are answered although training saw nothing like them.

Values, and columns that the schema does not have.
"""

from __future__ import annotations

import numpy as np

from orris.errors import Problem
from orris.schema.arrays import FloatArray
from orris.schema.columns import UNSEEN, Kind, Schema
from orris.schema.limits import Limits

MISSING, UNSEEN_LEVEL, OUT_OF_RANGE, FRACTION = "missing", "unseen", "out_of_range", "fraction"
UNKNOWN_COLUMN = "unknown_column"
"""Kinds of warning: the label values of the metric ``orris_input_warnings_total``."""

_TEXTS = {
    MISSING: "missing; training saw missing values here",
    UNSEEN_LEVEL: "not one of the levels that training saw",
    OUT_OF_RANGE: "outside the range that training saw",
    FRACTION: "a number with a fraction; training saw whole numbers only",
}
_NEVER_MISSING = "missing; training saw no missing values here"


class Watch:
    """Finds what is unusual in encoded rows. The common case, nothing, costs one comparison of the array."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._low = np.array([_low(c.low, c.kind) for c in schema.columns])
        self._high = np.array([_high(c.high, len(c.levels), c.kind) for c in schema.columns])
        self._limits = Limits(self._low, self._high)
        self._whole = [j for j, c in enumerate(schema.columns) if c.kind is Kind.INTEGER and c.fractions]

    def usual(self, rows: FloatArray) -> bool:
        """Whether every value of ``rows`` ``(n_rows, n_columns)`` is present, known and within the learned range."""
        if not self._limits.hold(rows):
            return False
        if not self._whole:
            return True
        whole = rows[:, self._whole]
        return bool((np.rint(whole) == whole).all())

    def kinds(self, rows: FloatArray) -> list[tuple[int, int, str]]:
        """``(row, column position, kind)`` of every unusual value."""
        odd = ~((rows >= self._low) & (rows <= self._high))
        if self._whole:
            odd[:, self._whole] |= np.rint(rows[:, self._whole]) != rows[:, self._whole]
        return [(int(i), int(j), self._kind(rows[i, j], int(j))) for i, j in np.argwhere(odd)]

    def describe(self, row: int, column: int, kind: str) -> Problem:
        """The warning as the answer carries it."""
        found = self._schema.columns[column]
        text = _NEVER_MISSING if kind == MISSING and not found.seen_missing else _TEXTS[kind]
        return Problem(row, found.name, text)

    def _kind(self, value: float, column: int) -> str:
        if np.isnan(value):
            return MISSING
        if self._schema.columns[column].kind is Kind.CATEGORY and value == UNSEEN:
            return UNSEEN_LEVEL
        if self._low[column] <= value <= self._high[column]:
            return FRACTION
        return OUT_OF_RANGE


def _high(high: float | None, n_levels: int, kind: Kind) -> float:
    if kind is Kind.CATEGORY:
        return n_levels - 1.0
    return np.inf if high is None else high


def _low(low: float | None, kind: Kind) -> float:
    if kind is Kind.CATEGORY:
        return 0.0
    return -np.inf if low is None else low

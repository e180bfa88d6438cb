"""The smallest and the largest value of each column, compared with all values of many rows at once."""

from __future__ import annotations

import numpy as np

from orris.schema.arrays import FloatArray

FEW_ROWS = 8
"""So many rows are compared as they are: numpy begins anew with each row, which many rows of few columns pay for."""

CELLS = 4_096
"""Values that one comparison of many rows takes; more leave the processor's cache."""

NARROW = 64
"""Wider rows are compared as they are."""


class Limits:
    """Limits of each column, both allowed.

    Args:
        low: Smallest values, float64 ``(n_columns,)``.
        high: Largest values, likewise.
    """

    def __init__(self, low: FloatArray, high: FloatArray) -> None:
        self.low = low
        self.high = high
        self._tiled: tuple[FloatArray, FloatArray] | None = None

    def hold(self, rows: FloatArray) -> bool:
        """Whether every value of ``rows`` ``(n_rows, n_columns)`` is within its column's limits; NaN is within none."""
        n_columns = len(self.low)
        if len(rows) <= FEW_ROWS or n_columns > NARROW or not rows.flags.c_contiguous:
            return bool(((rows >= self.low) & (rows <= self.high)).all())
        low, high = self._tiled or self._tile()
        values, step = rows.reshape(-1), len(low)
        for start in range(0, len(values), step):
            part = values[start : start + step]
            if len(part) < step:
                low, high = low[: len(part)], high[: len(part)]
            # The method ``all`` calls the same reduction from Python.
            if not np.logical_and.reduce((part >= low) & (part <= high)):
                return False
        return True

    def _tile(self) -> tuple[FloatArray, FloatArray]:
        """The limits of as many rows as one comparison takes, one row behind the other."""
        n_rows = CELLS // len(self.low)
        self._tiled = np.tile(self.low, n_rows), np.tile(self.high, n_rows)
        return self._tiled

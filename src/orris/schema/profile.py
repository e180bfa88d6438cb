"""The profile: how the training rows, and the served model's answers to them, were spread.

What drift is measured against.

Training writes it into the bundle as ``profile.json``; ``telemetry/drift.py`` counts traffic in the same bins. A bundle
without one is served as any other, and its drift is not reported.

Every spread has *slots*: its bins, then one for missing values and one for levels that training never saw. Shares are
of all rows.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from orris.schema.arrays import FloatArray, IntArray
from orris.schema.columns import Column, Kind, Schema

Values = FloatArray | IntArray

N_EXTRA = 2
"""Slots behind the bins: missing, unseen."""

MAX_EDGES = 255
"""Most bounds of one spread: they are counted in bytes."""

CELLS = 65_536
"""Values that are counted at once: what fits into a processor's cache, and takes a fraction of a millisecond."""


class Spread(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the values of a column, or the answers of a model, are spread over bins.

    Attributes:
        name: The column; empty for the answers.
        edges: Of numbers: the upper bounds of the bins, inclusive, ascending; one more bin holds what is above the
            last.
        codes: Of categories, booleans and classes: the codes with a bin of their own; all other levels share one more
            bin.
        shares: Share of the training rows per slot: the bins, missing, unseen.
    """

    name: str
    shares: tuple[float, ...]
    edges: tuple[float, ...] = ()
    codes: tuple[int, ...] = ()


class Profile(msgspec.Struct, frozen=True):
    """The spreads of all columns, in schema order, and of the answers.

    Attributes:
        n_rows: Training rows that it was learned from.
        columns: One spread per column.
        predictions: The served model's answers to training rows: classes, or values.
    """

    n_rows: int
    columns: tuple[Spread, ...]
    predictions: Spread


def n_levels(column: Column) -> int:
    """Levels of a category, 2 for a boolean, 0 for numbers."""
    return {Kind.CATEGORY: len(column.levels), Kind.BOOLEAN: 2}.get(column.kind, 0)


def level_texts(column: Column) -> tuple[str, ...]:
    """The levels as text, by code."""
    return ("false", "true") if column.kind is Kind.BOOLEAN else tuple(map(str, column.levels))


class Binning:
    """Counts values in the slots of a spread.

    Args:
        spread: The bins.
        n_levels: Number of levels or classes; 0 for numbers.

    Raises:
        ValueError: The spread does not fit: says how.
    """

    def __init__(self, spread: Spread, n_levels: int) -> None:
        self._edges = np.array([*spread.edges, np.inf])
        self._slots: IntArray | None = None
        self.n_bins = len(spread.edges) + 1
        if n_levels:
            codes = spread.codes
            if len(set(codes)) != len(codes) or not all(0 <= code < n_levels for code in codes):
                raise ValueError(f"'{spread.name}' has other levels")
            self.n_bins = len(codes) + (len(codes) < n_levels)
            # The slot of each code from UNSEEN (-1) on, and of missing.
            self._slots = np.full(n_levels + 2, self.n_bins - 1, dtype=np.int64)
            self._slots[[code + 1 for code in codes]] = np.arange(len(codes))
            self._slots[[0, -1]] = self.n_bins + 1, self.n_bins
        elif not all(a < b for a, b in pairwise(spread.edges)) or len(spread.edges) > MAX_EDGES:
            raise ValueError(f"the bounds of '{spread.name}' do not ascend, or are more than {MAX_EDGES}")
        self.n_slots = self.n_bins + N_EXTRA
        if len(spread.shares) != self.n_slots:
            raise ValueError(f"'{spread.name}' has {len(spread.shares)} shares for {self.n_slots} slots")

    def count(self, values: Values) -> IntArray:
        """Values, or codes, ``(n_rows,)`` -> rows per slot, int64 ``(n_slots,)``."""
        if self._slots is not None:
            if values.dtype.kind == "f":
                values = np.where(np.isnan(values), len(self._slots) - 2, values)
            found = np.bincount(values.astype(np.int64) + 1, minlength=len(self._slots))
            return np.bincount(self._slots, weights=found, minlength=self.n_slots).astype(np.int64)
        # NaN sorts behind infinity, which is where missing values belong.
        return np.bincount(np.searchsorted(self._edges, values), minlength=self.n_slots)


class _Numbers:
    """``Binning.count`` for many columns of numbers at once, at a third of the time of a search for each value.

    All values are compared with each edge, in memory that is used again and again: pages that are new cost more than
    the comparisons.

    Args:
        spreads: The columns' spreads.
        which: Their positions in a row.
        n_columns: Width of a row.
    """

    def __init__(self, spreads: Sequence[Spread], which: Sequence[int], n_columns: int) -> None:
        sizes = [len(spread.edges) for spread in spreads]
        padded = [(*spread.edges, *[np.inf] * (max(sizes) - size)) for spread, size in zip(spreads, sizes, strict=True)]
        self._edges = np.array(padded, dtype=np.float64).T[:, :, None]
        self._which = None if len(which) == n_columns else list(which)
        self._n = len(which)
        ends = np.cumsum([size + 1 + N_EXTRA for size in sizes])
        self._missing = ends - N_EXTRA
        self._first = (self._missing - 1 - sizes)[:, None]
        self._n_slots = int(ends[-1])

    def count(self, rows: FloatArray) -> IntArray:
        """Rows ``(n_rows, n_columns)`` -> rows per slot, one spread behind the other.

        Takes at most ``CELLS`` values of these columns.
        """
        shape = self._n, len(rows)
        columns, flat, found, above = (memory[: self._n * len(rows)].reshape(shape) for memory in _memory(self._n))
        if self._which is None:
            np.copyto(columns, rows.T)
        else:
            for i, j in enumerate(self._which):
                columns[i] = rows[:, j]
        found.fill(0)
        for edges in self._edges:
            np.add(found, np.greater(columns, edges, out=above).view(np.uint8), out=found)
        counts = np.bincount(np.add(found, self._first, out=flat).reshape(-1), minlength=self._n_slots)
        # NaN is above nothing, so it was counted in the first bin.
        n_missing = np.count_nonzero(np.isnan(columns, out=above), axis=1)
        counts[self._first[:, 0]] -= n_missing
        counts[self._missing] = n_missing
        return counts


_local = threading.local()


def _memory(n_columns: int) -> tuple[FloatArray, IntArray, npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """This thread's memory for at least a row of so many columns, and for ``CELLS`` values."""
    memory: tuple[Any, ...] | None = getattr(_local, "memory", None)
    if memory is None or len(memory[0]) < n_columns:
        memory = _local.memory = tuple(
            np.empty(max(CELLS, n_columns), dtype) for dtype in (np.float64, np.int64, np.uint8, np.bool_)
        )
    return memory


class Tally:
    """Counts encoded rows and answers in all slots of a profile, one spread behind the other, the answers' last.

    Args:
        schema: The model's contract.
        profile: Its profile.

    Attributes:
        spreads: All spreads, the answers' last.
        slices: Where each spread's slots are.
        n_slots: Slots of all spreads together.
        n_rows: Rows that are counted at once.

    Raises:
        ValueError: The profile is not of this schema: says where they differ.
    """

    def __init__(self, schema: Schema, profile: Profile) -> None:
        if tuple(spread.name for spread in profile.columns) != schema.names:
            raise ValueError("its columns are not those of the model")
        self.spreads = (*profile.columns, profile.predictions)
        levels = [*map(n_levels, schema.columns), len(schema.labels)]
        binnings = [Binning(spread, n) for spread, n in zip(self.spreads, levels, strict=True)]
        ends = np.cumsum([binning.n_slots for binning in binnings]).tolist()
        self.slices = [slice(end - binning.n_slots, end) for end, binning in zip(ends, binnings, strict=True)]
        self.n_slots: int = ends[-1]
        self.n_rows = max(1, CELLS // schema.n_columns)
        which = [j for j in range(schema.n_columns) if not levels[j]]
        self._numbers = _Numbers([self.spreads[j] for j in which], which, schema.n_columns) if which else None
        self._places = np.concatenate([np.arange(self.n_slots)[self.slices[j]] for j in which] or [np.arange(0)])
        self._levels = [(j, binnings[j]) for j in range(schema.n_columns) if levels[j]]
        self._answers = binnings[-1]

    def count(self, rows: FloatArray, answers: Values) -> IntArray:
        """Rows per slot; any thread may ask.

        Args:
            rows: Encoded rows, float64 ``(n_rows, n_columns)``.
            answers: The model's: labels (positions) or values, ``(n_rows,)``.

        Returns:
            int64 ``(n_slots,)``.
        """
        counts = np.zeros(self.n_slots, dtype=np.int64)
        for start in range(0, len(rows), self.n_rows):
            part = rows[start : start + self.n_rows]
            if self._numbers is not None:
                counts[self._places] += self._numbers.count(part)
            for j, binning in self._levels:
                counts[self.slices[j]] += binning.count(part[:, j])
            counts[self.slices[-1]] += self._answers.count(answers[start : start + self.n_rows])
        return counts

"""Tests of warnings for unusual values."""

from __future__ import annotations

import numpy as np

from orris.schema import UNSEEN, Column, Kind, Schema
from orris.schema.warnings import MISSING, OUT_OF_RANGE, UNSEEN_LEVEL, Watch

SCHEMA = Schema(
    columns=(
        Column("size", Kind.NUMBER, low=1.0, high=2.0, missing=True),
        Column("town", Kind.CATEGORY, levels=("oslo", "rome"), unseen=True, missing=True),
        Column("sunny", Kind.BOOLEAN),
    ),
    target="y",
    task="regression",
)


def test_values_within_the_learned_range_are_usual() -> None:
    """A value on a bound of the learned range causes no warning."""
    assert Watch(SCHEMA).usual(np.array([[1.0, 0.0, 0.0], [2.0, 1.0, 1.0]]))


def test_every_unusual_value_is_found_with_its_kind() -> None:
    """Missing, unseen and out-of-range values are found by row and column."""
    rows = np.array([[1.5, 0.0, 1.0], [np.nan, UNSEEN, 0.0], [2.1, np.nan, 0.0]])
    watch = Watch(SCHEMA)
    assert not watch.usual(rows)
    assert watch.kinds(rows) == [(1, 0, MISSING), (1, 1, UNSEEN_LEVEL), (2, 0, OUT_OF_RANGE), (2, 1, MISSING)]


def test_a_warning_names_the_column() -> None:
    """A warning names the column and the kind of deviation, without the value."""
    problem = Watch(SCHEMA).describe(2, 0, OUT_OF_RANGE)
    assert (problem.row, problem.column, problem.problem) == (2, "size", "outside the range that training saw")

"""Tests of limits that all values of many rows are compared with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orris.schema.limits import CELLS, FEW_ROWS, NARROW, Limits


@pytest.mark.parametrize("n_columns", [1, 3, NARROW, NARROW + 1])
@pytest.mark.parametrize("n_rows", [1, FEW_ROWS, FEW_ROWS + 1, CELLS + 5])
def test_one_value_beyond_a_limit_is_found_wherever_it_stands(n_rows: int, n_columns: int) -> None:
    """Rows on their limits hold, and a value beyond one, or NaN, in the first, a middle or the last cell does not."""
    middle = np.arange(n_columns, dtype=np.float64)
    low, high = middle - 1.0, middle + 1.0
    limits = Limits(low, high)
    for edge in (low, high):
        rows = np.tile(edge, (n_rows, 1))
        assert limits.hold(rows)
        for cell in {0, rows.size // 2, rows.size - 1}:
            for wrong in (-2.0, n_columns + 1.0, np.nan):
                spoilt = rows.copy()
                spoilt.flat[cell] = wrong
                assert not limits.hold(spoilt)


@settings(max_examples=200)
@given(st.data())
def test_limits_agree_with_a_comparison_of_each_value(data: st.DataObject) -> None:
    """Any rows, contiguous or not, hold exactly if each value alone is within the limits of its column."""
    n_columns, n_rows = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 40))
    values = st.sampled_from([-2.0, -1.0, 0.0, 1.0, np.nan, np.inf])
    cells = data.draw(st.lists(values, min_size=n_rows * n_columns, max_size=n_rows * n_columns))
    rows = np.array(cells, dtype=np.float64).reshape(n_rows, n_columns)
    if data.draw(st.booleans()):
        rows = np.asfortranarray(rows)
    low, high = np.full(n_columns, -1.0), np.linspace(0.0, 1.0, n_columns)
    expected = all(low[j] <= value <= high[j] for row in rows.tolist() for j, value in enumerate(row))
    assert Limits(low, high).hold(rows) == expected

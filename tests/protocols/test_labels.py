"""Tests of the labels of many rows as bytes."""

from __future__ import annotations

import numpy as np
import pytest

from orris.protocols.labels import MANY_ROWS, MAX_GROUP_BYTES, LabelBytes


@pytest.mark.parametrize("separator", [b"", b","])
@pytest.mark.parametrize("n_labels", [1, 2, 3, 26, 5_000])
@pytest.mark.parametrize("n_rows", [0, 1, MANY_ROWS - 1, MANY_ROWS, 1_000, 1_003])
def test_labels_are_joined_in_the_order_of_their_rows(n_labels: int, n_rows: int, separator: bytes) -> None:
    """The bytes of few and of many rows, of few and of many labels, are those of each label joined."""
    labels = [b"label %d" % i for i in range(n_labels)]
    positions = np.random.default_rng(n_rows).integers(0, n_labels, n_rows)
    joined = LabelBytes(labels, separator)
    expected = separator.join([labels[i] for i in positions])
    assert joined.join(positions) == expected
    assert joined.join(positions) == expected


def test_long_labels_do_not_fill_the_memory() -> None:
    """Labels of which groups would take more than their share of memory are joined one by one."""
    labels = [b"a" * MAX_GROUP_BYTES, b"b"]
    positions = np.array([1, 0] + [1] * MANY_ROWS)
    assert LabelBytes(labels).join(positions) == b"b" + labels[0] + b"b" * MANY_ROWS

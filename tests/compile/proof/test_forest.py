"""Tests of canonical trees, and of the cuts between doubles that go left and right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orris.compile.proof.forest import Forest, canonical, cuts
from orris.compile.proof.terms import Algebra
from orris.errors import NotProvedError

SINGLE = float(np.finfo(np.float32).max)


@given(
    threshold=st.one_of(
        st.floats(allow_nan=False, width=64),
        st.floats(allow_nan=False, width=32),
        st.sampled_from([0.0, -0.0, SINGLE, -SINGLE, 2.0**128, np.inf, -np.inf, 5e-324, 1e-46]),
    ),
    strict=st.booleans(),
    single=st.booleans(),
    others=st.lists(st.floats(allow_nan=False, width=64), max_size=5),
)
@settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
def test_a_cut_parts_the_doubles_as_the_comparison_does(
    threshold: float, strict: bool, single: bool, others: list[float]
) -> None:
    """Beside the threshold and anywhere else, ``x <= cut`` is the comparison after rounding."""
    cut = cuts(np.array([threshold]), strict=strict, single=single)[0]
    with np.errstate(over="ignore"):  # beside the largest double
        near = [threshold, np.nextafter(threshold, -np.inf), np.nextafter(threshold, np.inf), cut]
    with np.errstate(all="ignore"):
        rounded = np.float64(np.float32(threshold))
        near += [rounded, np.nextafter(rounded, -np.inf), np.nextafter(rounded, np.inf), np.nextafter(cut, np.inf)]
        x = np.array([*near, *others, np.inf, -np.inf])
        x = x[~np.isnan(x)]
        seen = x.astype(np.float32).astype(np.float64) if single else x
    goes_left = seen < threshold if strict else seen <= threshold
    assert np.array_equal(x <= cut, goes_left)


def test_a_threshold_that_is_not_a_number_is_refused() -> None:
    """A threshold that is NaN is refused, because no double is on either side of it."""
    with pytest.raises(NotProvedError):
        cuts(np.array([np.nan]))


def _stump(columns: list[int], cut: float, left: int = 1, right: int = 2, *, missing: bool = False) -> Forest:
    algebra = Algebra({})
    return Forest(
        columns=[algebra.input(j) for j in columns],
        feature=np.array([0, 0, 0]),
        cut=np.array([cut, 0.0, 0.0]),
        left=np.array([left, 0, 0]),
        right=np.array([right, 0, 0]),
        missing_left=np.array([missing, False, False]),
        leaf=np.array([-1, 0, 1]),
    )


def test_the_digest_tells_apart_cut_column_and_side_of_the_missing() -> None:
    """Trees that differ in cut, column or side of the missing have different digests; node numbers do not matter."""
    algebra = Algebra({})
    same = [canonical(algebra, _stump([0], 0.5), np.array([0]))[0] for _ in range(2)]
    others = [_stump([1], 0.5), _stump([0], np.nextafter(0.5, 1)), _stump([0], 0.5, missing=True)]
    digests = {canonical(Algebra({}), forest, np.array([0]))[0].digest for forest in others[1:]}
    assert same[0].digest == same[1].digest
    assert same[0].digest not in digests
    assert len(digests) == 2


def test_exchanged_children_exchange_the_leaves() -> None:
    """The canonical order of the leaves is that of the tree, from left to right."""
    plain = canonical(Algebra({}), _stump([0], 0.5), np.array([0]))[0]
    turned = canonical(Algebra({}), _stump([0], 0.5, 2, 1), np.array([0]))[0]
    assert plain.leaves.tolist() == [0, 1]
    assert turned.leaves.tolist() == [1, 0]


def test_a_node_with_two_parents_is_refused() -> None:
    """A node with two parents is refused, because the nodes form no tree."""
    with pytest.raises(NotProvedError, match="two splits"):
        canonical(Algebra({}), _stump([0], 0.5, 1, 1), np.array([0]))

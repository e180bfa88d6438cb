"""Tests of the profile's bins: every value is counted once, in its bin, whichever way it is counted."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orris.api import Bundle
from orris.bundle import PROFILE, audit, read_manifest, read_profile
from orris.errors import BundleError
from orris.schema import UNSEEN, Column, Kind, Schema
from orris.schema.profile import CELLS, Binning, Profile, Spread, Tally, level_texts, n_levels
from orris.training.profiling import spread_of

NUMBERS = st.lists(
    st.one_of(st.floats(allow_nan=True, allow_infinity=False), st.integers(-3, 3).map(float)), min_size=1, max_size=60
)


@pytest.mark.parametrize(("value", "slot"), [(7.0, 1), (6.999, 0), (7.001, 2), (math.nan, 3)])
def test_a_constant_column_notices_any_other_value(value: float, slot: int) -> None:
    """In a constant column, lower, higher and missing values are counted apart."""
    binning = Binning(spread_of("a", np.full(50, 7.0), 0), 0)
    assert binning.count(np.array([value])).tolist() == [int(i == slot) for i in range(5)]


def test_levels_missing_and_unseen_have_slots() -> None:
    """The bins of a category are its levels in the order of the codes, missing and unseen."""
    spread = spread_of("a", np.array([0, 0, 1, math.nan]), 3)
    assert list(spread.shares) == [0.5, 0.25, 0, 0.25, 0]
    assert Binning(spread, 3).count(np.array([2, UNSEEN, math.nan, 2])).tolist() == [0, 0, 2, 1, 1]


@pytest.mark.parametrize(
    ("kind", "levels", "texts"), [(Kind.BOOLEAN, (), ("false", "true")), (Kind.CATEGORY, (10, 20), ("10", "20"))]
)
def test_levels_have_texts(kind: Kind, levels: tuple[int, ...], texts: tuple[str, ...]) -> None:
    """Levels, booleans included, have texts."""
    column = Column("a", kind, levels=levels)
    assert level_texts(column) == texts
    assert n_levels(column) == 2


@settings(deadline=None, max_examples=40)
@given(NUMBERS, NUMBERS, st.integers(1, 3))
def test_all_columns_are_counted_together_as_each_is_alone(
    training: list[float], traffic: list[float], times: int
) -> None:
    """Counting all columns at once gives the counts of each alone, also for wide, missing and many rows."""
    numbers = [spread_of(name, np.array(training[i:]), 0) for i, name in enumerate("abc"[: len(training)])]
    town = Spread("town", (1.0, 0, 0, 0), codes=(1,))
    columns = (
        *(Column(spread.name, Kind.NUMBER) for spread in numbers),
        Column("town", Kind.CATEGORY, levels=("Oslo", "Rome")),
    )
    schema = Schema(columns=columns, target="y", task="regression")
    tally = Tally(schema, Profile(len(training), (*numbers, town), numbers[0]))
    values = np.repeat(np.array(traffic), times * CELLS // 2 // len(traffic) + 1)
    codes = np.resize(np.array([0, 1, UNSEEN, math.nan]), len(values))
    counts = tally.count(np.column_stack([values] * len(numbers) + [codes]), values[::-1])
    expected = [
        *(Binning(spread, 0).count(values) for spread in numbers),
        Binning(town, 2).count(codes),
        Binning(numbers[0], 0).count(values),
    ]
    assert counts.tolist() == np.concatenate(expected).tolist()
    assert tally.n_rows < len(values)


SPREAD = Spread("a", (0.5, 0.5, 0, 0), edges=(1.0,))


@pytest.mark.parametrize(
    ("spread", "levels"),
    [
        (msgspec.structs.replace(SPREAD, shares=(1.0,)), 0),
        (msgspec.structs.replace(SPREAD, edges=(2.0, 1.0)), 0),
        (Spread("a", (0.5, 0.5, 0, 0), codes=(0, 5)), 2),
        (Spread("a", (0.5, 0.5, 0, 0), codes=(1, 1)), 2),
    ],
    ids=["shares", "order", "range", "twice"],
)
def test_a_spread_that_does_not_fit_is_refused(spread: Spread, levels: int) -> None:
    """A spread that does not fit its column is refused with the column's name."""
    with pytest.raises(ValueError, match="'a'"):
        Binning(spread, levels)


def test_an_older_bundle_has_no_profile(iris: Bundle) -> None:
    """An older bundle is read and has no profile."""
    files = {path: digest for path, digest in iris.manifest.files.items() if path != PROFILE}
    assert read_profile(iris.folder, msgspec.structs.replace(iris.manifest, files=files)) is None
    audit(iris.folder, read_manifest(iris.folder))


@pytest.mark.parametrize("content", [b"{", b"[]", b"other"], ids=["syntax", "shape", "model"])
def test_a_malformed_profile_is_refused_with_its_file_name(
    iris: Bundle, mixed: Bundle, tmp_path: Path, content: bytes
) -> None:
    """A profile that is not JSON, malformed or of another model is refused with its file's name."""
    (tmp_path / PROFILE).write_bytes((mixed.folder / PROFILE).read_bytes() if content == b"other" else content)
    with pytest.raises(BundleError, match=r"profile\.json.*publish the bundle again"):
        read_profile(tmp_path, iris.manifest)

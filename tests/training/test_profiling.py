"""What is learned of the training rows for drift.

Bins that fit the data, and the answers of the model that is served.
"""

from __future__ import annotations

import math
import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from sklearn.linear_model import LogisticRegression

import orris
from orris.api import Bundle
from orris.bundle import PROFILE, read_profile
from orris.runtime import Answers
from orris.schema import Column, Kind, Schema
from orris.schema.profile import Binning
from orris.training import profiling
from orris.training.profiling import N_BINS, N_LEVELS, spread_of
from tests.schema.test_profile import NUMBERS


def test_deciles_hold_a_tenth_each() -> None:
    """Ten bins of a continuous column, and no missing or unseen values."""
    spread = spread_of("a", np.arange(1000.0), 0)
    assert len(spread.edges) == N_BINS - 1
    assert spread.shares == pytest.approx((*[0.1] * N_BINS, 0, 0))


def test_few_distinct_values_have_a_bin_each() -> None:
    """And a bin below and above them, which training left empty."""
    spread = spread_of("a", np.array([1.0, 2, 2, 5]), 0)
    assert spread.edges[1:] == (1, 2, 5)
    assert list(spread.shares) == [0, 0.25, 0.5, 0.25, 0, 0, 0]


def test_a_column_without_values_is_all_missing() -> None:
    """One bin, which is empty."""
    assert spread_of("a", np.full(3, np.nan), 0).shares == (0, 1, 0)


def test_an_atom_at_the_lowest_value_is_told_from_what_is_below() -> None:
    """A column that is mostly zero keeps zero in a bin of its own."""
    spread = spread_of("a", np.array([0.0] * 80 + list(range(1, 21))), 0)
    binning = Binning(spread, 0)
    assert binning.count(np.array([-1.0, 0.0])).tolist()[:2] == [1, 1]
    assert spread.shares[:2] == (0, 0.8)


def test_rare_levels_of_a_wide_category_share_a_bin() -> None:
    """The most frequent ones keep theirs."""
    codes = np.concatenate([np.repeat(np.arange(30.0), 10), np.repeat(np.arange(30.0, 100), 1)])
    spread = spread_of("a", codes, 100)
    assert spread.codes == tuple(range(N_LEVELS))
    assert spread.shares[N_LEVELS] == pytest.approx((100 + 70) / 370)
    assert Binning(spread, 100).count(np.array([99.0, 0.0]))[[0, N_LEVELS]].tolist() == [1, 1]


@given(NUMBERS)
def test_the_bins_hold_what_lies_between_their_bounds(training: list[float]) -> None:
    """Above the bound before, up to their own; shares add up to one."""
    spread = spread_of("a", np.array(training), 0)
    assert sum(spread.shares) == pytest.approx(1)
    bounds = [-math.inf, *spread.edges, math.inf]
    for i, share in enumerate(spread.shares[:-2]):
        inside = [value for value in training if bounds[i] < value <= bounds[i + 1]]
        assert share == pytest.approx(len(inside) / len(training))


@pytest.mark.parametrize("model", ["linear", "knn"])
def test_the_profile_of_a_regression_has_deciles_of_the_served_models_answers(model: str) -> None:
    """Which are not the targets: a server that answers the training rows finds a tenth of its answers in each bin."""
    table = pd.DataFrame({"a": np.linspace(0, 10, 400)}).assign(y=lambda rows: rows["a"] ** 2)
    bundle = orris.train(table, target="y", name="curve", model=model, store=None, folds=0)
    profile = read_profile(bundle.folder, bundle.manifest)
    assert profile is not None
    values = orris.load(bundle).predict(table[["a"]])
    counts = Binning(profile.predictions, 0).count(values)
    assert (counts / 400).tolist() == list(profile.predictions.shares)
    assert counts[:-2] == pytest.approx(np.full(len(counts) - 2, 400 / (len(counts) - 2)), abs=4)
    shutil.rmtree(bundle.folder)


def test_a_packaged_pipeline_has_a_profile_as_well() -> None:
    """Of the rows that were handed over."""
    X, y = np.arange(120.0).reshape(60, 2), np.repeat([0, 1], 30)
    bundle = orris.package(LogisticRegression().fit(X, y), X, y, name="own", store=None)
    profile = read_profile(bundle.folder, bundle.manifest)
    assert profile is not None
    assert profile.n_rows == 60
    assert list(profile.predictions.shares) == [0.5, 0.5, 0, 0]
    shutil.rmtree(bundle.folder)


def test_of_many_rows_the_model_is_asked_an_even_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns are learned from all of them."""
    monkeypatch.setattr(profiling, "MAX_ASKED_ROWS", 100)
    asked: list[int] = []

    class Echo:
        has_probabilities = False

        def run(self, rows: np.ndarray[Any, Any]) -> Answers:
            asked.append(len(rows))
            return Answers(values=rows[:, 0])

    schema = Schema(columns=(Column("a", Kind.NUMBER),), target="y", task="regression")
    profile = profiling.learn_profile(schema, np.arange(5_000.0).reshape(-1, 1), Echo())
    assert (sum(asked), profile.n_rows) == (100, 5_000)
    assert profile.predictions.edges == pytest.approx(profile.columns[0].edges, abs=60)


def test_a_trained_bundle_carries_its_profile(mixed: Bundle) -> None:
    """Named in the manifest as every file; one spread per column, and one of the predictions."""
    profile = read_profile(mixed.folder, mixed.manifest)
    assert profile is not None
    assert PROFILE in mixed.manifest.files
    assert [spread.name for spread in profile.columns] == list(mixed.manifest.schema.names)
    assert profile.n_rows == 400
    assert sum(profile.predictions.shares) == pytest.approx(1)
    missing = {spread.name: spread.shares[-2] for spread in profile.columns}
    assert missing["spend"] == 0
    assert all(0.05 < share < 0.16 for name, share in missing.items() if name != "spend")

"""Tests of the training profile that drift is compared with: its bins, and the served model's answers."""

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
    """A continuous column has ten bins of a tenth each, and no missing or unseen values."""
    spread = spread_of("a", np.arange(1000.0), 0)
    assert len(spread.edges) == N_BINS - 1
    assert spread.shares == pytest.approx((*[0.1] * N_BINS, 0, 0))


def test_few_distinct_values_have_a_bin_each() -> None:
    """A column with few distinct values has a bin for each, and empty bins below and above."""
    spread = spread_of("a", np.array([1.0, 2, 2, 5]), 0)
    assert spread.edges[1:] == (1, 2, 5)
    assert list(spread.shares) == [0, 0.25, 0.5, 0.25, 0, 0, 0]


def test_a_column_without_values_is_all_missing() -> None:
    """A column without values has one bin, which is empty."""
    assert spread_of("a", np.full(3, np.nan), 0).shares == (0, 1, 0)


def test_a_frequent_lowest_value_has_a_bin_of_its_own() -> None:
    """A column that is mostly zero keeps zero in a bin of its own, apart from lower values."""
    spread = spread_of("a", np.array([0.0] * 80 + list(range(1, 21))), 0)
    binning = Binning(spread, 0)
    assert binning.count(np.array([-1.0, 0.0])).tolist()[:2] == [1, 1]
    assert spread.shares[:2] == (0, 0.8)


def test_rare_levels_of_a_wide_category_share_a_bin() -> None:
    """In a category with many levels the most frequent have bins of their own and the rare ones share one."""
    codes = np.concatenate([np.repeat(np.arange(30.0), 10), np.repeat(np.arange(30.0, 100), 1)])
    spread = spread_of("a", codes, 100)
    assert spread.codes == tuple(range(N_LEVELS))
    assert spread.shares[N_LEVELS] == pytest.approx((100 + 70) / 370)
    assert Binning(spread, 100).count(np.array([99.0, 0.0]))[[0, N_LEVELS]].tolist() == [1, 1]


@given(NUMBERS)
def test_the_bins_hold_the_values_between_their_bounds(training: list[float]) -> None:
    """A bin holds the values above the previous bound up to its own, and the shares add up to one."""
    spread = spread_of("a", np.array(training), 0)
    assert sum(spread.shares) == pytest.approx(1)
    bounds = [-math.inf, *spread.edges, math.inf]
    for i, share in enumerate(spread.shares[:-2]):
        inside = [value for value in training if bounds[i] < value <= bounds[i + 1]]
        assert share == pytest.approx(len(inside) / len(training))


@pytest.mark.parametrize("model", ["linear", "knn"])
def test_the_profile_of_a_regression_has_deciles_of_the_served_models_answers(model: str) -> None:
    """A regression's profile has the deciles of the served model's answers to the training rows, not of the targets."""
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
    """The profile of a packaged pipeline is that of the rows given with it."""
    X, y = np.arange(120.0).reshape(60, 2), np.repeat([0, 1], 30)
    bundle = orris.package(LogisticRegression().fit(X, y), X, y, name="own", store=None)
    profile = read_profile(bundle.folder, bundle.manifest)
    assert profile is not None
    assert profile.n_rows == 60
    assert list(profile.predictions.shares) == [0.5, 0.5, 0, 0]
    shutil.rmtree(bundle.folder)


def test_the_model_predicts_a_regular_sample_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns are profiled on all rows, and predictions on a regular sample of very many."""
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
    """The manifest names the profile, which has a spread for each column and one for the predictions."""
    profile = read_profile(mixed.folder, mixed.manifest)
    assert profile is not None
    assert PROFILE in mixed.manifest.files
    assert [spread.name for spread in profile.columns] == list(mixed.manifest.schema.names)
    assert profile.n_rows == 400
    assert sum(profile.predictions.shares) == pytest.approx(1)
    missing = {spread.name: spread.shares[-2] for spread in profile.columns}
    assert missing["spend"] == 0
    assert all(0.05 < share < 0.16 for name, share in missing.items() if name != "spend")

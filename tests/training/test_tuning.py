"""Tests of random search: reproducible, never worse than the preset, with errors for unusable input."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris

from orris.errors import TrainingError
from orris.schema import Schema
from orris.training.learning import Task, learn_schema
from orris.training.pipelines import PRESETS, build
from orris.training.tuning import tune

LIMITS = {"catboost": {"iterations": 50}}
"""CatBoost's rounds take long on one thread."""


def data(task: Task) -> tuple[pd.DataFrame, Any, Schema]:
    """A table, its target, its schema."""
    bunch = (load_iris if task == "classification" else load_diabetes)(as_frame=True)
    return bunch.data, bunch.target.to_numpy(), learn_schema(bunch.data, target="y", task=task)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_same_seed_finds_the_same(task: Task) -> None:
    """Candidates, scores and the winner are the same every time, and the preset itself is the first candidate."""
    X, y, schema = data(task)
    runs = [tune(build("decision-tree", schema, seed=1), "decision-tree", X, y, n=5, seed=3, folds=3) for _ in range(2)]
    assert runs[0][1:] == runs[1][1:]
    assert runs[0][2][0].parameters == {}
    assert len(runs[0][2]) == 6


def test_the_winner_is_the_best_candidate_and_unfitted() -> None:
    """The returned pipeline carries the parameters of the highest score."""
    X, y, schema = data("regression")
    pipeline, best, candidates = tune(build("ridge", schema, seed=1), "ridge", X, y, n=6, seed=3, folds=3)
    assert best == max(candidates, key=lambda candidate: candidate.score).parameters
    assert all(getattr(pipeline[-1], name) == value for name, value in best.items())
    assert not hasattr(pipeline[-1], "coef_")


def test_progress_is_reported_after_every_candidate() -> None:
    """The callback counts every candidate up to the total."""
    X, y, schema = data("classification")
    told: list[tuple[int, int]] = []
    tune(build("logistic", schema, seed=1), "", X, y, n=2, seed=3, folds=2, progress=lambda *step: told.append(step))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_small_space_ends_early() -> None:
    """A preset with two settings is tried twice, however many candidates are requested."""
    X, y, schema = data("regression")
    assert len(tune(build("linear", schema, seed=1), "linear", X, y, n=50, seed=3, folds=2)[2]) == 3


@pytest.mark.parametrize(
    ("task", "preset"),
    [("classification", preset) for preset in PRESETS["classification"]]
    + [("regression", p) for p in PRESETS["regression"]],
)
def test_every_preset_can_be_tuned(task: Task, preset: str) -> None:
    """Each space holds parameters that its model takes."""
    X, y, schema = data(task)
    rows = np.random.default_rng(0).permutation(len(X))[:60]
    pipeline = build(preset, schema, seed=1, parameters=LIMITS.get(preset))
    _, _, candidates = tune(pipeline, preset, X.iloc[rows], y[rows], n=1, seed=0, folds=2)
    assert np.isfinite([candidate.score for candidate in candidates]).all()


def test_folds_follow_the_smallest_class() -> None:
    """A class with two rows is cross-validated in two folds."""
    X, y, schema = data("classification")
    rows = [*range(20), 50, 51]
    _, _, candidates = tune(build("logistic", schema, seed=1), "logistic", X.iloc[rows], y[rows], n=1, seed=0, folds=5)
    assert np.isfinite(candidates[0].score)


def test_untunable_input_is_refused() -> None:
    """A class with a single row, a pipeline without a space, and candidates that all fail are refused."""
    X, y, schema = data("classification")
    pipeline = build("logistic", schema, seed=1)
    with pytest.raises(TrainingError, match="class '1' has a single row"):
        tune(pipeline, "logistic", X.iloc[:51], y[:51], n=1, seed=0, folds=5)
    with pytest.raises(TrainingError, match=r"'mine:make' has no parameters to tune.*logistic"):
        tune(pipeline, "mine:make", X, y, n=1, seed=0, folds=5)
    with pytest.raises(TrainingError, match="no candidate for 'logistic' could be fitted"):
        tune(pipeline, "logistic", X.assign(gap=np.where(np.arange(len(X)) % 2, np.nan, 1.0)), y, n=1, seed=0, folds=2)

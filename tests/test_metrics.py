"""Tests of the table of evaluation metrics: complete, and with a direction for each."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from orris import metrics
from orris.training.scores import Predictions, classification_metrics, regression_metrics, unlabelled_metrics

RNG = np.random.default_rng(0)
TRUTH = np.arange(60) % 2
PROBABILITIES = np.column_stack([np.linspace(0.9, 0.1, 60), np.linspace(0.1, 0.9, 60)])


def reported_by_training() -> dict[metrics.Task, set[str]]:
    """The names that training reports where nothing is undefined, by task."""
    values = RNG.uniform(1, 2, 60)
    classes = classification_metrics(TRUTH, Predictions(TRUTH, PROBABILITIES, PROBABILITIES), 2)
    others = {task: set(unlabelled_metrics(task, TRUTH, 2)) for task in metrics.TASKS_WITHOUT_TARGET}
    return {"classification": set(classes), "regression": set(regression_metrics(values, values + 0.1)), **others}


@pytest.mark.parametrize("task", ["classification", "regression", *metrics.TASKS_WITHOUT_TARGET])
def test_training_reports_exactly_the_metrics_of_the_table(task: metrics.Task) -> None:
    """A metric in the table is computed, and a metric that is computed is in the table."""
    assert reported_by_training()[task] == set(metrics.names_of(task, folds=False))


@pytest.mark.parametrize("name", metrics.METRICS)
def test_every_metric_has_a_direction_and_words(name: str) -> None:
    """Every metric has a direction, without which a promotion would not compare it, and a meaning."""
    metric = metrics.METRICS[name]
    assert metric.name == name
    assert metric.direction in {1, -1}
    assert metric.title
    assert metric.meaning
    assert metrics.direction(name) == metrics.direction(f"cv_{name}_mean") == metric.direction
    assert metrics.direction(f"cv_{name}_std") == 0
    assert metrics.meaning(name).endswith("lower is better") == (metric.direction < 0)


def test_the_direction_is_that_of_a_better_model() -> None:
    """Predictions nearer to the truth score better in the metric's own direction."""
    truth = RNG.uniform(1, 2, 60)
    good, bad = regression_metrics(truth, truth + 0.01), regression_metrics(truth, truth[::-1])
    sharp, flat = PROBABILITIES[np.argsort(TRUTH).argsort()], PROBABILITIES
    good |= classification_metrics(TRUTH, Predictions(TRUTH, sharp, sharp), 2)
    bad |= classification_metrics(TRUTH, Predictions(1 - TRUTH, flat, flat), 2)
    for task in metrics.TASKS_WITHOUT_TARGET:
        good |= unlabelled_metrics(task, np.arange(60) % 3, 3)
        bad |= unlabelled_metrics(task, np.zeros(60, dtype=np.int64), 3)
    assert {name for name in metrics.METRICS if (good[name] - bad[name]) * metrics.direction(name) <= 0} == set()


def test_a_metric_that_is_not_in_the_table_cannot_be_reported() -> None:
    """Reporting a metric that is not in the table is an error."""
    with pytest.raises(KeyError, match="gain"):
        metrics.reported({"accuracy": 1.0, "gain": 2.0})


def test_values_that_are_not_finite_are_left_out() -> None:
    """NaN and infinity are left out; the others stay in the order of the table."""
    found = metrics.reported({"rmse": np.inf, "mae": 1.0, "r2": float(sklearn_metrics.r2_score([1, 2], [1, 2]))})
    assert list(found) == ["r2", "mae"]


def test_an_unknown_name_has_no_direction() -> None:
    """An unknown metric, or its mean over the folds, has no direction."""
    assert metrics.direction("gain") == metrics.direction("cv_gain_mean") == 0
    assert metrics.find("cv_rmse_mean") is metrics.METRICS["rmse"]

"""Tests of the comparison of metrics: which of them count as worse, and within which tolerance."""

from __future__ import annotations

import pytest

from orris.delivery.scoring import compare
from orris.errors import SettingsError


def judged(
    live: dict[str, float], candidate: dict[str, float], tolerance: float = 0.02, names: tuple[str, ...] = ()
) -> list[str]:
    """Return the names of the metrics that are worse."""
    return [score.name for score in compare(live, candidate, tolerance, names) if score.worse]


@pytest.mark.parametrize(
    ("metric", "better", "worse"),
    [
        ("accuracy", 0.95, 0.9),
        ("roc_auc", 0.99, 0.9),
        ("r2", 0.8, 0.7),
        ("log_loss", 0.1, 0.2),
        ("rmse", 3.0, 4.0),
        ("mape", 0.1, 0.2),
    ],
)
def test_each_metric_has_its_direction(metric: str, better: float, worse: float) -> None:
    """Higher is better for a score, lower for a loss or an error."""
    assert judged({metric: better}, {metric: worse}) == [metric]
    assert judged({metric: worse}, {metric: better}) == []


def test_the_tolerance_is_a_share_of_the_live_value() -> None:
    """The tolerance is a share of the live value, so it does not depend on the metric's unit."""
    assert judged({"rmse": 1000.0, "mae": 1.0}, {"rmse": 1019.0, "mae": 1.03}) == ["mae"]
    assert judged({"accuracy": 0.5}, {"accuracy": 0.49}) == []
    assert judged({"accuracy": 0.5}, {"accuracy": 0.49}, tolerance=0) == ["accuracy"]
    assert judged({"r2": -0.5}, {"r2": -0.6}) == ["r2"]


def test_a_metric_that_is_no_longer_measured_is_worse() -> None:
    """A metric that is no longer measured counts as worse; one that is measured for the first time does not."""
    assert judged({"roc_auc": 0.9}, {"accuracy": 0.9}) == ["roc_auc"]


def test_only_known_metrics_are_compared_by_default() -> None:
    """Fold statistics repeat a metric, and a metric without a known direction is not compared."""
    live, candidate = (
        {"cv_accuracy_mean": 0.9, "cv_accuracy_std": 0.1, "gain": 2.0},
        {"cv_accuracy_mean": 0.1, "cv_accuracy_std": 9, "gain": 0.0},
    )
    assert judged(live, candidate) == []
    assert judged(live, candidate, names=("cv_accuracy_mean",)) == ["cv_accuracy_mean"]


@pytest.mark.parametrize("name", ["gain", "accuracy"])
def test_a_metric_that_cannot_be_compared_is_wrong_usage(name: str) -> None:
    """A named metric without a direction, or measured for neither version, is wrong usage."""
    with pytest.raises(SettingsError, match=name):
        compare({"gain": 1.0}, {"gain": 1.0}, 0.02, (name,))

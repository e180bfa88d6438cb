"""Tests of plots: which are drawn, that they are the same bytes every time, and that no label can break them."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Literal

import matplotlib.image
import numpy as np
import pytest

from orris.schema import Column, Kind, Schema
from orris.training.evaluation import Evaluation, LearningPoint
from orris.training.importance import Importance
from orris.training.report.plot_words import PLOTS
from orris.training.report.plots import draw
from orris.training.scores import Threshold, confusion_matrix

CLASSIFICATION = ["confusion_matrix", "roc", "precision_recall", "calibration", "class_balance", "importance"]


def schema(task: Literal["classification", "regression"] = "classification") -> Schema:
    """Two columns; labels are the evaluation's."""
    return Schema(
        (Column("width", Kind.NUMBER), Column("height", Kind.NUMBER)),
        "goods",
        "regression" if task == "regression" else "classification",
    )


def classified(labels: tuple[str, ...], n_rows: int = 300) -> Evaluation:
    """Random answers of a classifier that is often right."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, len(labels), n_rows)
    scores = generator.random((n_rows, len(labels))) + 1.5 * np.eye(len(labels))[truth] * generator.random((n_rows, 1))
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    importances = (Importance("width", 0.3, 0.05), Importance("height", -0.01, 0.02))
    return Evaluation(
        task="classification",
        labels=labels,
        metrics={},
        n_train=0,
        n_evaluated=n_rows,
        n_folds=0,
        truth=truth,
        predicted=predicted,
        probabilities=probabilities,
        scores=probabilities,
        confusion=confusion_matrix(truth, predicted, len(labels)),
        importances=importances,
    )


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG file, in pixels."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def test_classification(tmp_path: Path) -> None:
    """A classifier of three classes gets its six plots, in the order of the report, each a PNG file under its name."""
    drawn = draw(classified(("a", "b", "c")), schema(), tmp_path / "plots")
    assert list(drawn) == CLASSIFICATION
    assert all(path == tmp_path / "plots" / f"{name}.png" and min(size(path)) > 150 for name, path in drawn.items())


def test_without_probabilities(tmp_path: Path) -> None:
    """A classifier that answers labels alone has no curves and no calibration."""
    full = classified(("a", "b"))
    bare = Evaluation(
        "classification", full.labels, {}, 0, 300, 0, full.truth, full.predicted, confusion=full.confusion
    )
    assert list(draw(bare, schema(), tmp_path)) == ["confusion_matrix", "class_balance"]


def test_plots_are_of_one_size(tmp_path: Path) -> None:
    """Every plot of a task of few classes has the same width and height, so that a report shows them in even rows."""
    evaluation = replace(
        classified(("no", "yes")),
        thresholds=tuple(Threshold(step / 20, None, 0.5, 0.5, 0.5) for step in range(1, 20)),
        class_rows=(70, 30),
        learning_curve=(LearningPoint(10, 1.0, 0.5), LearningPoint(100, 0.9, 0.8)),
    )
    drawn = draw(evaluation, schema(), tmp_path)
    assert list(drawn) == [name for name in PLOTS if name not in {"predicted_actual", "residuals"}]
    assert len({size(path) for path in drawn.values()}) == 1


def test_hits_and_errors_have_different_colours(tmp_path: Path) -> None:
    """Cells of the confusion matrix on the diagonal are blue, those beside it orange."""
    counts = np.array([[6, 4], [4, 6]])
    evaluation = replace(classified(("no", "yes")), confusion=counts)
    picture = matplotlib.image.imread(draw(evaluation, schema(), tmp_path)["confusion_matrix"])[..., :3]
    red, blue = picture[..., 0], picture[..., 2]
    height, width = red.shape
    bluish, reddish = np.argwhere(blue > red + 0.3), np.argwhere(red > blue + 0.3)
    assert len(bluish) > height * width / 8
    assert len(reddish) > height * width / 8
    upper_left = [points[(points < [height / 3, width / 2]).all(axis=1)] for points in (bluish, reddish)]
    assert len(upper_left[0]) > 100 * len(upper_left[1])


def test_regression(tmp_path: Path) -> None:
    """A regressor gets predicted over true values, residuals and importances."""
    truth = np.random.default_rng(0).normal(size=7000)
    result = Evaluation(
        "regression", (), {}, 0, 7000, 0, truth, truth * 0.9, importances=(Importance("width", 0.3, 0.05),)
    )
    assert list(draw(result, schema("regression"), tmp_path)) == ["predicted_actual", "residuals", "importance"]


def test_same_bytes(tmp_path: Path) -> None:
    """The same evaluation gives the same bytes, whatever the user's matplotlib settings are."""
    import matplotlib as mpl

    first = draw(classified(("a", "b", "c")), schema(), tmp_path / "1")
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 20}):
        second = draw(classified(("a", "b", "c")), schema(), tmp_path / "2")
    assert [path.read_bytes() for path in first.values()] == [path.read_bytes() for path in second.values()]


def test_no_global_figures(tmp_path: Path) -> None:
    """Drawing leaves no figure behind and does not touch matplotlib's settings."""
    import matplotlib as mpl
    from matplotlib import _pylab_helpers

    before = dict(mpl.rcParams)
    draw(classified(("a", "b")), schema(), tmp_path)
    assert dict(mpl.rcParams) == before
    assert not _pylab_helpers.Gcf.figs


def test_many_classes_get_a_larger_matrix(tmp_path: Path) -> None:
    """Sixty classes are given more room than three, and the picture stays within bounds."""
    few = draw(classified(("a", "b", "c")), schema(), tmp_path / "few")["confusion_matrix"]
    many = draw(classified(tuple(f"class {i}" for i in range(60)), 3000), schema(), tmp_path / "many")[
        "confusion_matrix"
    ]
    assert size(few)[0] * 2 < size(many)[0] < 2400


@pytest.mark.parametrize(
    "label", ["$x^{2", r"\frac", "_hidden", "", "two\nlines", "漢字", "x" * 500, "100 %", "<b>", "\x00"]
)
def test_any_label(label: str, tmp_path: Path) -> None:
    """No label of the data breaks a plot or is read as a formula."""
    assert list(draw(classified(("plain", label), 60), schema(), tmp_path)) == CLASSIFICATION

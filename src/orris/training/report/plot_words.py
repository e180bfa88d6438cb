"""The title and the reading of each plot, in words for a reader who is not a statistician."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A short title, and one sentence."""

    title: str
    meaning: str


PLOTS: dict[str, Entry] = {
    "confusion_matrix": Entry(
        "Confusion matrix: true classes by predicted classes",
        "Right answers lie on the diagonal; shade is the share of the true class.",
    ),
    "roc": Entry(
        "ROC curve: true positive rate over false positive rate",
        "The nearer to the upper left corner, the better; the dashed line is guessing.",
    ),
    "precision_recall": Entry(
        "Precision over recall",
        "The nearer to the upper right corner, the better; more telling than ROC where a class is rare.",
    ),
    "calibration": Entry(
        "Calibration: observed shares over predicted probabilities",
        "On the dashed line, probabilities mean what they say; below it, the model is too sure.",
    ),
    "predicted_actual": Entry("Predicted values over true values", "On the dashed line, predictions are right."),
    "residuals": Entry(
        "Residuals over predicted values",
        "A shapeless cloud around zero is good; a curve or a funnel is something the model missed.",
    ),
    "importance": Entry(
        "Permutation importance of the columns",
        "What the score loses when a column's values are shuffled; bars are standard deviations over shuffles.",
    ),
}

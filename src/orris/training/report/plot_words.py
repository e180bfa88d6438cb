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
        "Blue cells on the diagonal are hits, orange cells errors; shade and percentage are shares of the true class.",
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
    "thresholds": Entry(
        "Precision, recall, F1 and share selected over the threshold",
        "What the answers would be if a row were positive from another probability than the dashed line's 0.5.",
    ),
    "class_balance": Entry(
        "Rows of each class",
        "A rare class weighs little in the accuracy: compare with the baseline, and read the metrics of each class.",
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
    "learning_curve": Entry(
        "Score over the number of rows fitted on",
        "Where the curve of held-out rows still rises, more rows would help; a gap that stays shows overfitting.",
    ),
}

"""What each metric and plot is called and what it says, in words for a reader of the report who is no statistician."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A short title, and one sentence."""

    title: str
    meaning: str


GLOSSARY: dict[str, Entry] = {
    "accuracy": Entry("accuracy", "share of rows answered with the right class"),
    "balanced_accuracy": Entry(
        "balanced accuracy", "mean recall over the classes: rare classes count as much as common ones"
    ),
    "precision_macro": Entry(
        "precision (macro)", "of the rows given a class, the share that belongs to it; mean over the classes"
    ),
    "recall_macro": Entry("recall (macro)", "of the rows of a class, the share that is found; mean over the classes"),
    "f1_macro": Entry("F1 (macro)", "harmonic mean of precision and recall; mean over the classes"),
    "f1_weighted": Entry("F1 (weighted)", "the same, classes weighted by their rows"),
    "precision": Entry("precision", "of the rows given the positive class, the share that is positive"),
    "recall": Entry("recall", "of the positive rows, the share that is found"),
    "f1": Entry("F1", "harmonic mean of precision and recall of the positive class"),
    "log_loss": Entry("log loss", "price of the probabilities given, high for being sure and wrong; lower is better"),
    "brier": Entry("Brier score", "mean squared error of the probabilities; lower is better"),
    "roc_auc": Entry("ROC area", "chance that a row of a class is ranked above a row of another; 0.5 is guessing"),
    "average_precision": Entry(
        "average precision", "precision averaged over all recalls, from the ranking of the rows"
    ),
    "r2": Entry("R²", "share of the target's variance that is explained; 0 is no better than the mean"),
    "rmse": Entry("RMSE", "root of the mean squared error, in units of the target; lower is better"),
    "mae": Entry("mean absolute error", "mean distance from the true value, in units of the target; lower is better"),
    "median_absolute_error": Entry("median absolute error", "half of the rows are nearer than this; lower is better"),
    "max_error": Entry("largest error", "the worst row; lower is better"),
    "mape": Entry("mean relative error", "mean distance from the true value as a share of it; lower is better"),
}

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

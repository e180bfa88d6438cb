"""Evaluates a pipeline, between fitting and compiling.

``evaluate`` fits a pipeline and evaluates it on rows that were held out; ``evaluate_fitted`` evaluates a pipeline that
the user fitted, on the rows that the user gives, and the notes say so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from orris.errors import TrainingError
from orris.metrics import METRICS, Task
from orris.schema import Label, Schema
from orris.schema.arrays import FloatArray, IntArray
from orris.training import scores
from orris.training.importance import MAX_COLUMNS, Importance, permutation_importance, take
from orris.training.scores import ClassMetrics, Predictions, Threshold
from orris.training.split import Split, Target, check_settings, cross_validation, holdout

Progress = Callable[[str, int, int], None]
"""Called with ``(step's description, steps done, steps in all)`` after every step."""

TRAINING_ROWS_NOTE = "Measured on the rows given, which may be training rows: on new rows the model may do worse."


LEARNING_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of the training rows on which a learning curve fits the pipeline."""


@dataclass(frozen=True)
class LearningPoint:
    """A point of a learning curve.

    Attributes:
        n_rows: Rows that the pipeline was fitted on.
        on_training: The score on these rows.
        held_out: The score on the rows that were held out.
    """

    n_rows: int
    on_training: float
    held_out: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The measurements of an evaluation. Classes are codes: positions in ``labels``.

    Attributes:
        task: What the model answers.
        labels: Names of the classes, in the order of ``predict_proba``'s columns; empty for regression.
        metrics: Finite numbers by name: of the judged rows, and ``cv_<metric>_mean`` and ``cv_<metric>_std`` over the
            folds.
        n_train: Rows the judged model was fitted on; 0 if it was fitted elsewhere.
        n_evaluated: Rows it was judged on.
        n_folds: Folds of the cross-validation; 0: none was made.
        truth: The judged rows' target: int64 codes or float64 values, ``(n_evaluated,)``.
        predicted: What the model answered, of the same type and shape.
        probabilities: float64 ``(n_evaluated, n_classes)``; ``None`` where the model has none.
        scores: The probabilities, or else the decision function as one column per class; for ROC and precision-recall
            curves.
        report: The text of scikit-learn's ``classification_report``; empty for regression.
        confusion: int64 ``(n_classes, n_classes)``, true by predicted; ``None`` for regression.
        per_class: One per class, in the order of ``labels``.
        importances: One per input column, in schema order; the loss of accuracy (or of R²) when the column is shuffled.
        baseline: The same metrics of an answer that looks at no column: the most frequent class, or the mean.
        class_rows: Rows of each class that the model was fitted on, in the order of ``labels``; empty if it was fitted
            elsewhere.
        thresholds: For two classes with probabilities: the answers at other thresholds than 0.5.
        learning_curve: Metrics by number of training rows, if they were asked for; see ``learning_curve``.
        notes: Sentences on what a reader should know before trusting the numbers.
    """

    task: Task
    labels: tuple[str, ...]
    metrics: dict[str, float]
    n_train: int
    n_evaluated: int
    n_folds: int
    truth: IntArray | FloatArray
    predicted: IntArray | FloatArray
    probabilities: FloatArray | None = None
    scores: FloatArray | None = None
    report: str = ""
    confusion: IntArray | None = None
    per_class: tuple[ClassMetrics, ...] = ()
    importances: tuple[Importance, ...] = ()
    baseline: dict[str, float] = field(default_factory=dict)
    class_rows: tuple[int, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    learning_curve: tuple[LearningPoint, ...] = ()
    notes: list[str] = field(default_factory=list)


def evaluate(
    pipeline: Any,
    X: Any,
    y: Any,
    schema: Schema,
    *,
    test_size: float = 0.2,
    folds: int = 5,
    seed: int = 0,
    learning_curve: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Fit a clone on a part of the rows, judge it on the rest, and cross-validate.

    Args:
        pipeline: Unfitted scikit-learn estimator; it stays unfitted.
        X: DataFrame or array ``(n_rows, n_columns)``, as the pipeline takes it.
        y: The target, ``(n_rows,)``: labels (text, integers, booleans) or numbers; no missing value.
        schema: The contract; its labels give the classes and their order.
        test_size: Share of the rows to judge on, between 0 and 1; stratified for classification.
        folds: Folds of the cross-validation over all rows, or 0.
        seed: Of the split, the folds and the shuffles.
        learning_curve: Fit further clones on 10 to 100 % of the training share, and score each.
        progress: Called after every fit and after the importances.

    Raises:
        SettingsError: ``test_size`` or ``folds`` is out of range.
        TrainingError: A class has a single row, a label is not in the schema, or the pipeline cannot be fitted or does
            not answer.
    """
    check_settings(test_size, folds)
    table = _Table(X, y, _target(y, schema), schema)
    split = holdout(table.target, test_size, seed, table.notes)
    splits = cross_validation(table.target, folds, seed, table.notes)
    report = _reporter(progress, len(splits) + 2 + learning_curve * len(LEARNING_SHARES))
    model = table.fit(pipeline, split.train)
    report("fitting on the training share")
    judged = _judge(model, *table.rows(split.test), seed)
    report("judging on the held-out rows, with importances")
    cv = _cross_validate(pipeline, table, splits, report)
    points = _learning_curve(pipeline, table, split, seed, report) if learning_curve else ()
    fitted, n_classes = table.target.values[split.train], len(table.target.labels)
    return replace(
        judged,
        metrics=judged.metrics | cv,
        n_train=len(split.train),
        n_folds=len(splits),
        baseline=scores.baseline_metrics(fitted, judged.truth, n_classes),
        class_rows=tuple(np.bincount(fitted.astype(np.int64), minlength=n_classes).tolist()) if n_classes else (),
        learning_curve=points,
        notes=table.distinct_notes(),
    )


def evaluate_fitted(
    pipeline: Any, X: Any, y: Any, schema: Schema, *, folds: int = 0, seed: int = 0, progress: Progress | None = None
) -> Evaluation:
    """Evaluate a pipeline that the user fitted, on the given rows; the notes say which.

    Arguments and errors as for ``evaluate``.

    With ``folds``, clones are cross-validated on the rows given; ``pipeline`` itself is never fitted again.
    """
    check_settings(None, folds)
    table = _Table(X, y, _target(y, schema), schema, [TRAINING_ROWS_NOTE])
    splits = cross_validation(table.target, folds, seed, table.notes)
    report = _reporter(progress, len(splits) + 1)
    judged = _judge(_Model(pipeline, schema, table.notes), X, table.target.values, seed)
    report("evaluation")
    cv = _cross_validate(pipeline, table, splits, report)
    return replace(
        judged,
        metrics=judged.metrics | cv,
        n_folds=len(splits),
        baseline=scores.baseline_metrics(judged.truth, judged.truth, len(table.target.labels)),
        notes=table.distinct_notes(),
    )


def summary_lines(evaluation: Evaluation) -> str:
    """The summary that training prints: accuracy and the classification report, or a regression's errors.

    A pipeline that was fitted elsewhere is judged on the rows given, and the summary says so.
    """
    metrics = evaluation.metrics
    where = "" if evaluation.n_train else " (on the rows given, which may be its training rows)"
    if evaluation.task == "classification":
        return f"Model accuracy: {metrics['accuracy']:.4f}{where}\nClassification report:\n{evaluation.report}"
    lines = [f"Model R2: {metrics['r2']:.4f}{where}"] if "r2" in metrics else []
    errors = [metric for metric in METRICS.values() if metric.direction < 0 and metric.name in metrics]
    lines += [f"{metric.title[0].upper()}{metric.title[1:]}: {metrics[metric.name]:.6g}" for metric in errors]
    return "\n".join([*lines, ""])


class _Model:
    """A fitted pipeline whose answers come in the schema's terms; warnings become notes."""

    def __init__(self, pipeline: Any, schema: Schema, notes: list[str]) -> None:
        self.pipeline, self.schema, self.notes = pipeline, schema, notes
        self.codes = {label: code for code, label in enumerate(schema.labels)}

    def predict(self, X: Any) -> IntArray | FloatArray:
        """Class codes int64 ``(n_rows,)``, or values float64 ``(n_rows,)``."""
        answers = self._call("predict", X)
        if self.schema.task == "classification":
            return _encode(answers, self.codes, "the pipeline predicted")
        values = np.asarray(answers, dtype=np.float64).reshape(len(answers), -1)[:, 0]
        if not np.isfinite(values).all():
            n_bad = int((~np.isfinite(values)).sum())
            raise TrainingError(f"the pipeline predicted a value that is not finite for {n_bad} of {len(values)} rows")
        return values

    def classify(self, X: Any) -> Predictions:
        """Codes, and probabilities or decision scores where the classifier has them."""
        codes = np.asarray(self.predict(X), dtype=np.int64)
        if hasattr(self.pipeline, "predict_proba"):
            probabilities = self._by_label(self._call("predict_proba", X))
            return Predictions(codes, probabilities, probabilities)
        if hasattr(self.pipeline, "decision_function"):
            decision = np.asarray(self._call("decision_function", X), dtype=np.float64)
            columns = np.column_stack([-decision, decision]) if decision.ndim == 1 else decision
            if columns.shape[1] == len(
                getattr(self.pipeline, "classes_", self.schema.labels)
            ):  # One-vs-one has more columns.
                return Predictions(codes, None, self._by_label(columns))
        return Predictions(codes)

    def _by_label(self, columns: Any) -> FloatArray | None:
        """Columns in the order of ``classes_`` -> columns in the order of the schema's labels.

        A class that was never fitted has 0.
        """
        columns = np.asarray(columns, dtype=np.float64)
        classes = list(getattr(self.pipeline, "classes_", self.schema.labels))
        placed = np.zeros((len(columns), len(self.schema.labels)))
        placed[:, _encode(classes, self.codes, "the pipeline was fitted on")] = columns
        return placed if np.isfinite(placed).all() else None

    def _call(self, method: str, X: Any) -> Any:
        with _warnings_noted(self.notes):
            try:
                return getattr(self.pipeline, method)(X)
            except Exception as error:
                raise TrainingError(
                    f"the fitted pipeline's {method} failed: {type(error).__name__}: {error}"
                ) from error


@dataclass(frozen=True)
class _Table:
    """The rows at hand, and the notes on what became of them."""

    X: Any
    y: Any
    target: Target
    schema: Schema
    notes: list[str] = field(default_factory=list)

    def rows(self, positions: IntArray) -> tuple[Any, Any]:
        """The rows and their target, as codes or values, at ``positions``."""
        return take(self.X, positions), self.target.values[positions]

    def fit(self, pipeline: Any, positions: IntArray) -> _Model:
        """A clone of ``pipeline``, fitted on the rows at ``positions``."""
        from sklearn.base import clone  # noqa: PLC0415 (a second to import)

        with _warnings_noted(self.notes):
            try:
                model = clone(pipeline).fit(
                    take(self.X, positions), take(self.y if hasattr(self.y, "iloc") else np.asarray(self.y), positions)
                )
            except Exception as error:
                message = f"the pipeline could not be fitted on {len(positions)} rows: {type(error).__name__}: {error}"
                raise TrainingError(message) from error
        return _Model(model, self.schema, self.notes)

    def distinct_notes(self) -> list[str]:
        """Each note once: every fold's fit may give the same warning."""
        return list(dict.fromkeys(self.notes))


def _judge(model: _Model, X: Any, truth: Any, seed: int) -> Evaluation:
    """Everything that is measured on one set of rows; ``truth`` as codes or values ``(n_rows,)``."""
    schema, notes = model.schema, model.notes
    if schema.task == "regression":
        values = np.asarray(model.predict(X), dtype=np.float64)
        metrics, importances = scores.regression_metrics(truth, values), _importances(model, X, truth, seed)
        return Evaluation("regression", (), metrics, 0, len(truth), 0, truth, values, importances=importances)
    labels = tuple(str(label) for label in schema.labels)
    predictions = model.classify(X)
    importances = _importances(model, X, truth, seed)
    absent = sorted(set(range(len(labels))) - set(truth.tolist()))
    if absent:
        notes.append(
            f"{len(absent)} of {len(labels)} classes do not occur in the rows judged on:"
            f" {_listed([labels[code] for code in absent])}."
        )
    return Evaluation(
        task="classification",
        labels=labels,
        metrics=scores.classification_metrics(truth, predictions, len(labels)),
        n_train=0,
        n_evaluated=len(truth),
        n_folds=0,
        truth=truth,
        predicted=predictions.codes,
        probabilities=predictions.probabilities,
        scores=predictions.scores,
        report=scores.classification_report(truth, predictions.codes, labels),
        confusion=scores.confusion_matrix(truth, predictions.codes, len(labels)),
        per_class=scores.class_metrics(truth, predictions, labels),
        importances=importances,
        thresholds=_thresholds(truth, predictions.probabilities),
    )


def _thresholds(truth: IntArray, probabilities: FloatArray | None) -> tuple[Threshold, ...]:
    if probabilities is None or probabilities.shape[1] != 2:
        return ()
    return scores.thresholds(truth == 1, probabilities[:, 1])


def _learning_curve(
    pipeline: Any, table: _Table, split: Split, seed: int, report: Callable[[str], None]
) -> tuple[LearningPoint, ...]:
    """Scores (accuracy, or R²) of clones that are fitted on growing parts of the training share."""
    shuffled, score = np.random.default_rng(seed).permutation(split.train), _score_of(table.schema)
    points = []
    for share in LEARNING_SHARES:
        positions = np.sort(shuffled[: max(2, round(share * len(shuffled)))])
        values = table.target.values[positions]
        if not table.target.labels or len(np.unique(values)) == len(np.unique(table.target.values[split.train])):
            model = table.fit(pipeline, positions)
            parts = (table.rows(part) for part in (positions, split.test))
            on_training, held_out = (score(model.predict(rows), truth) for rows, truth in parts)
            points.append(LearningPoint(len(positions), on_training, held_out))
        report("learning curve")
    return tuple(points)


def _score_of(schema: Schema) -> Callable[[Any, Any], float]:
    """``(predicted, truth) -> score``: the accuracy, or R²."""
    return _accuracy if schema.task == "classification" else _r2


def _importances(model: _Model, X: Any, truth: Any, seed: int) -> tuple[Importance, ...]:
    """Permutation importances of a model that answers ``X`` itself.

    None, and a note, of too many columns, or where the pipeline refuses a row of values that are mixed anew.
    """
    n_columns = model.schema.n_columns
    if n_columns > MAX_COLUMNS:
        model.notes.append(f"Permutation importance is left out: {n_columns} columns are more than {MAX_COLUMNS}.")
    try:
        return permutation_importance(model.predict, _score_of(model.schema), X, truth, schema=model.schema, seed=seed)
    except TrainingError as error:
        model.notes.append(f"Permutation importance is left out: on shuffled values, {error}.")
        return ()


def _cross_validate(
    pipeline: Any, table: _Table, splits: list[Split], report: Callable[[str], None]
) -> dict[str, float]:
    folds: list[dict[str, float]] = []
    for split in splits:
        model = table.fit(pipeline, split.train)
        rows, truth = table.rows(split.test)
        if table.target.labels:
            folds.append(scores.classification_metrics(truth, model.classify(rows), len(table.target.labels)))
        else:
            folds.append(scores.regression_metrics(truth, np.asarray(model.predict(rows), dtype=np.float64)))
        report("cross-validation")
    return scores.summarize(folds)


def _target(y: Any, schema: Schema) -> Target:
    values = np.asarray(y)
    if values.ndim != 1:
        raise TrainingError(
            f"target '{schema.target}': one value per row is needed, not an array of shape {values.shape}"
        )
    if not len(values):
        raise TrainingError(f"target '{schema.target}': there are no rows to evaluate on")
    if schema.task == "classification":
        codes = {label: code for code, label in enumerate(schema.labels)}
        return Target(_encode(values, codes, f"target '{schema.target}' holds"), schema.labels)
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TrainingError(f"target '{schema.target}': a regression needs numbers: {error}") from error
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise TrainingError(f"target '{schema.target}', row {row}: a finite number is needed, not {numbers[row]}")
    return Target(numbers)


def _encode(labels: Any, codes: dict[Label, int], who: str) -> IntArray:
    try:
        return np.fromiter((codes[label] for label in np.asarray(labels).reshape(-1).tolist()), dtype=np.int64)
    except KeyError as error:
        raise TrainingError(
            f"{who} the label {error.args[0]!r}, which is not among the schema's: {_listed(map(repr, codes))}"
        ) from error


def _listed(names: Iterable[str], limit: int = 8) -> str:
    shown = list(names)
    return ", ".join(shown[:limit]) + (f" and {len(shown) - limit} more" if len(shown) > limit else "")


def _accuracy(predicted: Any, truth: Any) -> float:
    return float(np.mean(predicted == truth))


def _r2(predicted: Any, truth: Any) -> float:
    return scores.regression_metrics(truth, predicted).get("r2", 0.0)


def _reporter(progress: Progress | None, n_steps: int) -> Callable[[str], None]:
    """Counts the steps done and reports them to ``progress``."""
    done = 0

    def report(what: str) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(what, done, n_steps)

    return report


@contextmanager
def _warnings_noted(notes: list[str]) -> Iterator[None]:
    """Collect the libraries' warnings for the report, where they stand next to the numbers that they may explain."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        first = str(warning.message).strip().split("\n")[0]
        notes.append(f"While fitting or predicting, {warning.category.__name__}: {first}")

"""Tests of evaluation: holdout, cross-validation, metrics and permutation importance equal scikit-learn's."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets, metrics
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.dummy import DummyClassifier
from sklearn.inspection import permutation_importance as reference_importance
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from orris.errors import SettingsError, TrainingError
from orris.schema import Column, Kind, Label, Schema
from orris.training.evaluation import TRAINING_ROWS_NOTE, Evaluation, evaluate, evaluate_fitted, summary_lines
from orris.training.scores import classification_metrics, curve, regression_metrics
from orris.training.split import Target, cross_validation, holdout

IRIS = datasets.load_iris()
SPECIES = np.array(["setosa", "versicolor", "virginica"])[IRIS.target]


def schema_of(names: list[str], labels: tuple[Label, ...], container: Any = "array") -> Schema:
    """A contract of numbers."""
    columns = tuple(Column(name, Kind.NUMBER) for name in names)
    return Schema(columns, "target", "classification" if labels else "regression", labels, container)


IRIS_SCHEMA = schema_of(["sl", "sw", "pl", "pw"], ("setosa", "versicolor", "virginica"))


def logistic() -> Any:
    """A small classifier."""
    return make_pipeline(StandardScaler(), LogisticRegression())


@pytest.fixture(scope="module")
def iris() -> Evaluation:
    """Logistic regression on iris."""
    return evaluate(logistic(), IRIS.data, SPECIES, IRIS_SCHEMA, seed=3)


def test_summary_is_the_reference_projects(iris: Evaluation) -> None:
    """The summary is the accuracy line and scikit-learn's classification report over the labels' names."""
    labels = np.array(iris.labels)
    report = metrics.classification_report(labels[iris.truth.astype(int)], labels[iris.predicted.astype(int)])
    given = evaluate_fitted(logistic().fit(IRIS.data, SPECIES), IRIS.data, SPECIES, IRIS_SCHEMA)
    assert summary_lines(given).startswith(
        "Model accuracy: 0.9733 (on the rows given, which may be its training rows)\n"
    )
    assert summary_lines(iris) == f"Model accuracy: {iris.metrics['accuracy']:.4f}\nClassification report:\n{report}"


def test_holdout_is_stratified_and_unseen(iris: Evaluation) -> None:
    """A fifth of the rows is held out, each class in its proportion."""
    assert (iris.n_train, iris.n_evaluated) == (120, 30)
    assert np.bincount(iris.truth.astype(int)).tolist() == [10, 10, 10]


def test_metrics_are_scikit_learns(iris: Evaluation) -> None:
    """Every metric of the holdout equals scikit-learn's function of that name."""
    truth, predicted, probabilities = iris.truth, iris.predicted, iris.probabilities
    assert probabilities is not None
    expected = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, predicted),
        "precision_macro": metrics.precision_score(truth, predicted, average="macro"),
        "recall_macro": metrics.recall_score(truth, predicted, average="macro"),
        "f1_macro": metrics.f1_score(truth, predicted, average="macro"),
        "f1_weighted": metrics.f1_score(truth, predicted, average="weighted"),
        "log_loss": metrics.log_loss(truth, probabilities),
        "brier": np.mean(np.sum((probabilities - np.eye(3)[truth.astype(int)]) ** 2, axis=1)),
        "roc_auc": metrics.roc_auc_score(truth, probabilities, multi_class="ovr"),
        "average_precision": metrics.average_precision_score(truth, probabilities),
    }
    assert {name: iris.metrics[name] for name in expected} == pytest.approx(expected, rel=1e-12)


def test_cross_validation_is_scikit_learns(iris: Evaluation) -> None:
    """The folds' mean and deviation are those of a seeded, shuffled, stratified k-fold."""
    values = cross_val_score(logistic(), IRIS.data, IRIS.target, cv=StratifiedKFold(5, shuffle=True, random_state=3))
    assert iris.metrics["cv_accuracy_mean"] == pytest.approx(values.mean())
    assert iris.metrics["cv_accuracy_std"] == pytest.approx(values.std())
    assert iris.n_folds == 5


def test_confusion_and_per_class_agree(iris: Evaluation) -> None:
    """The confusion matrix is scikit-learn's, and each class's recall is its diagonal share."""
    assert iris.confusion is not None
    assert iris.confusion.tolist() == metrics.confusion_matrix(iris.truth, iris.predicted).tolist()
    recalls = np.diag(iris.confusion) / iris.confusion.sum(axis=1)
    assert [each.recall for each in iris.per_class] == pytest.approx(recalls.tolist())
    assert [each.label for each in iris.per_class] == ["setosa", "versicolor", "virginica"]


def test_metrics_are_json(iris: Evaluation) -> None:
    """Every metric is a plain finite float."""
    assert json.loads(json.dumps(iris.metrics, allow_nan=False)) == iris.metrics
    assert all(type(value) is float for value in iris.metrics.values())


def test_same_seed_same_evaluation(iris: Evaluation) -> None:
    """The same rows and seed give the same numbers to the last bit; another seed gives other rows."""
    again = evaluate(logistic(), IRIS.data, SPECIES, IRIS_SCHEMA, seed=3)
    assert (again.metrics, again.importances) == (iris.metrics, iris.importances)
    assert evaluate(logistic(), IRIS.data, SPECIES, IRIS_SCHEMA, seed=4).metrics != iris.metrics


def test_pipeline_stays_unfitted() -> None:
    """Evaluation fits clones only."""
    pipeline = DecisionTreeClassifier()
    evaluate(pipeline, IRIS.data, SPECIES, IRIS_SCHEMA, folds=2)
    assert not hasattr(pipeline, "tree_")


@pytest.mark.parametrize(
    ("y", "labels"),
    [
        (IRIS.target == 2, (False, True)),
        (IRIS.target + 7, (7, 8, 9)),
        (pd.Series(SPECIES), IRIS_SCHEMA.labels),
        (pd.Categorical(SPECIES), IRIS_SCHEMA.labels),
    ],
    ids=["booleans", "integers", "series", "categorical"],
)
def test_kinds_of_labels(y: Any, labels: tuple[Label, ...]) -> None:
    """Labels of any kind are evaluated, under their own names."""
    result = evaluate(logistic(), IRIS.data, y, schema_of(["a", "b", "c", "d"], labels), folds=0)
    assert result.labels == tuple(map(str, labels))
    assert result.metrics["accuracy"] > 0.9
    assert all(f" {label} " in result.report for label in labels)


def test_binary_has_metrics_of_the_positive_class() -> None:
    """With two classes precision, recall, F1, ROC area and Brier score are of the second one."""
    data = datasets.load_breast_cancer()
    result = evaluate(logistic(), data.data, data.target, schema_of([f"x{i}" for i in range(30)], (0, 1)), folds=0)
    assert result.probabilities is not None
    assert result.metrics["precision"] == pytest.approx(metrics.precision_score(result.truth, result.predicted))
    assert result.metrics["recall"] == pytest.approx(metrics.recall_score(result.truth, result.predicted))
    assert result.metrics["roc_auc"] == pytest.approx(metrics.roc_auc_score(result.truth, result.probabilities[:, 1]))
    assert result.metrics["brier"] == pytest.approx(metrics.brier_score_loss(result.truth, result.probabilities[:, 1]))


def test_curve_areas_with_ties() -> None:
    """Areas under the curves equal scikit-learn's on scores with many ties."""
    generator = np.random.default_rng(0)
    positive, scores = generator.random(500) < 0.3, generator.integers(0, 8, 500) / 8
    drawn = curve(positive, scores)
    assert drawn is not None
    assert drawn.roc_auc == pytest.approx(metrics.roc_auc_score(positive, scores), rel=1e-12)
    assert drawn.average_precision == pytest.approx(metrics.average_precision_score(positive, scores), rel=1e-12)


def test_without_probabilities() -> None:
    """A classifier with a decision function alone is ranked by it and has no metric of probabilities."""
    result = evaluate(
        make_pipeline(StandardScaler(), LinearSVC()),
        IRIS.data,
        IRIS.target == 2,
        schema_of(["a", "b", "c", "d"], (False, True)),
        folds=0,
    )
    assert result.probabilities is None
    assert result.metrics["roc_auc"] > 0.9
    assert not {"log_loss", "brier"} & set(result.metrics)


def test_single_row_class_is_named() -> None:
    """A class of one row cannot be split; the error names the class and the count."""
    y = np.append(SPECIES[:-1], "rara")
    with pytest.raises(TrainingError, match=r"class 'rara' has 1 row each, and 2 are needed"):
        evaluate(logistic(), IRIS.data, y, schema_of(["a", "b", "c", "d"], ("rara", *IRIS_SCHEMA.labels)))


def test_fewer_folds_for_a_rare_class() -> None:
    """A class with fewer rows than folds leads to as many folds as it has rows, and a note that says so."""
    rows = [*range(50), *range(50, 53)]
    schema = schema_of(["a", "b", "c", "d"], ("setosa", "versicolor"))
    result = evaluate(logistic(), IRIS.data[rows], SPECIES[rows], schema)
    assert result.n_folds == 3
    assert "Cross-validation uses 3 folds rather than 5: class 'versicolor' has 3 rows." in result.notes


def test_more_rows_held_out_for_many_classes() -> None:
    """When the share holds fewer rows than there are classes, one row of each class is held out, and a note says so."""
    notes: list[str] = []
    split = holdout(Target(np.repeat(np.arange(30), 3), tuple(range(30))), 0.2, 0, notes)
    assert len(split.test) == 30
    assert "30 of 90 rows are held out rather than 18" in notes[0]


def test_one_class_is_refused() -> None:
    """A target of one class is refused."""
    with pytest.raises(TrainingError, match="one class only"):
        evaluate(logistic(), IRIS.data[:50], SPECIES[:50], schema_of(["a", "b", "c", "d"], ("setosa",)))


def test_splits_are_disjoint_and_whole() -> None:
    """Holdout and folds each cover all rows, and no row is on both sides."""
    target = Target(IRIS.target.astype(np.int64), (0, 1, 2))
    splits = [holdout(target, 0.3, 1, []), *cross_validation(target, 4, 1, [])]
    for split in splits:
        assert sorted([*split.train, *split.test]) == list(range(150))


@pytest.mark.parametrize(("setting", "value"), [("test_size", 0.0), ("test_size", 1.0), ("folds", 1), ("folds", -2)])
def test_settings_out_of_range(setting: str, value: Any) -> None:
    """A test size or a number of folds that makes no sense is refused by name."""
    with pytest.raises(SettingsError, match=f"{setting} is {value}"):
        evaluate(logistic(), IRIS.data, SPECIES, IRIS_SCHEMA, **{setting: value})


def test_label_not_in_schema() -> None:
    """A label that the schema does not know is named."""
    with pytest.raises(TrainingError, match="target 'target' holds the label 'sinensis'"):
        evaluate(logistic(), IRIS.data, np.append(SPECIES[:-1], "sinensis"), IRIS_SCHEMA)


def test_regression() -> None:
    """Regression metrics and folds equal scikit-learn's."""
    data = datasets.load_diabetes()
    result = evaluate(LinearRegression(), data.data, data.target, schema_of(list(data.feature_names), ()), seed=1)
    truth, predicted = result.truth, result.predicted
    expected = {
        "r2": metrics.r2_score(truth, predicted),
        "rmse": metrics.root_mean_squared_error(truth, predicted),
        "mae": metrics.mean_absolute_error(truth, predicted),
        "median_absolute_error": metrics.median_absolute_error(truth, predicted),
        "max_error": metrics.max_error(truth, predicted),
        "mape": metrics.mean_absolute_percentage_error(truth, predicted),
        "cv_r2_mean": cross_val_score(
            LinearRegression(), data.data, data.target, cv=KFold(5, shuffle=True, random_state=1)
        ).mean(),
    }
    assert {name: result.metrics[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert summary_lines(result).startswith(f"Model R2: {expected['r2']:.4f}\nRoot mean squared error (RMSE): ")


def test_mape_needs_no_zero() -> None:
    """The relative error is left out where a true value is zero, and R² where all are equal."""
    assert "mape" not in regression_metrics(np.array([0.0, 1.0]), np.array([1.0, 1.0]))
    assert "r2" not in regression_metrics(np.array([2.0, 2.0]), np.array([1.0, 2.0]))


def test_overflow_is_left_out() -> None:
    """A metric that overflows is left out rather than written as infinity."""
    reported = regression_metrics(np.array([1e308, -1e308]), np.array([-1e308, 1e308]))
    assert all(np.isfinite(value) for value in reported.values())


def test_importance_is_near_scikit_learns() -> None:
    """Importances rank the columns as scikit-learn's do, for a DataFrame as for an array."""
    frame = pd.DataFrame(IRIS.data, columns=["sl", "sw", "pl", "pw"])
    model = DecisionTreeClassifier(random_state=0, max_depth=3).fit(frame, SPECIES)
    of_frame = evaluate_fitted(model, frame, SPECIES, IRIS_SCHEMA).importances
    of_array = evaluate_fitted(
        DecisionTreeClassifier(random_state=0, max_depth=3).fit(IRIS.data, SPECIES), IRIS.data, SPECIES, IRIS_SCHEMA
    ).importances
    assert of_frame == of_array
    reference = reference_importance(model, frame, SPECIES, n_repeats=50, random_state=0).importances_mean
    assert [each.mean for each in of_frame] == pytest.approx(reference, abs=0.06)
    assert [each.column for each in of_frame] == ["sl", "sw", "pl", "pw"]


def test_a_fitted_pipeline_is_evaluated_on_the_given_rows() -> None:
    """A fitted pipeline is evaluated on the given rows, as a note says, and is not fitted again."""
    model = logistic().fit(IRIS.data, SPECIES)
    before = model[-1].coef_.copy()
    result = evaluate_fitted(model, IRIS.data, SPECIES, IRIS_SCHEMA)
    assert result.notes == [TRAINING_ROWS_NOTE]
    assert result.metrics["accuracy"] == model.score(IRIS.data, SPECIES)
    assert (result.n_train, result.n_folds, result.n_evaluated) == (0, 0, 150)
    assert (model[-1].coef_ == before).all()


def test_a_fitted_pipeline_can_be_cross_validated() -> None:
    """With folds, clones of a fitted pipeline are cross-validated."""
    result = evaluate_fitted(logistic().fit(IRIS.data, SPECIES), IRIS.data, SPECIES, IRIS_SCHEMA, folds=3)
    assert result.n_folds == 3
    assert result.metrics["cv_accuracy_mean"] > 0.9


def test_fitted_on_some_classes() -> None:
    """Rows that hold some of the classes only are judged without the averages that would need all."""
    result = evaluate_fitted(logistic().fit(IRIS.data, SPECIES), IRIS.data[:60], SPECIES[:60], IRIS_SCHEMA)
    assert "roc_auc" not in result.metrics
    assert any("do not occur in the rows judged on: virginica" in note for note in result.notes)


class Warns(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Warns on every fit, and always answers the first class."""

    def fit(self, X: Any, y: Any) -> Warns:  # noqa: ARG002
        """Remember the classes."""
        import warnings

        warnings.warn("did not converge", RuntimeWarning, stacklevel=1)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        """Return the first class for every row."""
        return np.full(len(X), self.classes_[0])


def test_warnings_become_notes() -> None:
    """A library's warning while fitting becomes one note and is not printed."""
    result = evaluate(Warns(), IRIS.data, SPECIES, IRIS_SCHEMA)
    assert [note for note in result.notes if "did not converge" in note] == [
        "While fitting or predicting, RuntimeWarning: did not converge"
    ]
    assert result.scores is None


class Diverges(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Answers infinity."""

    def fit(self, X: Any, y: Any) -> Diverges:  # noqa: ARG002
        """Learn nothing."""
        self.fitted_ = True
        return self

    def predict(self, X: Any) -> Any:
        """Return infinity for every row."""
        return np.full(len(X), np.inf)


def test_predictions_that_are_not_finite() -> None:
    """A regressor that answers infinity is refused with the number of rows."""
    data = datasets.load_diabetes()
    with pytest.raises(TrainingError, match="not finite for 89 of 89 rows"):
        evaluate(Diverges(), data.data, data.target, schema_of(list(data.feature_names), ()))


def test_fit_failure_is_a_training_error() -> None:
    """A pipeline that cannot be fitted is a training error with the library's message."""
    X = IRIS.data.copy()
    X[:, 0] = np.nan
    with pytest.raises(TrainingError, match=r"could not be fitted on 120 rows: ValueError: Input X contains NaN"):
        evaluate(logistic(), X, SPECIES, IRIS_SCHEMA, seed=1)


def test_progress_counts_every_step() -> None:
    """Progress is reported after every fit, up to the number of steps."""
    told: list[tuple[str, int, int]] = []
    evaluate(logistic(), IRIS.data, SPECIES, IRIS_SCHEMA, folds=3, progress=lambda *step: told.append(step))
    assert [done for _, done, _ in told] == [1, 2, 3, 4, 5]
    assert {total for _, _, total in told} == {5}


def test_certain_and_wrong_is_finite() -> None:
    """A probability of zero for the true class costs a finite log loss, as in scikit-learn."""
    from orris.training.scores import Predictions

    probabilities = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    truth = np.array([0, 1, 1])
    reported = classification_metrics(truth, Predictions(probabilities.argmax(axis=1), probabilities, probabilities), 2)
    assert reported["log_loss"] == pytest.approx(metrics.log_loss(truth, probabilities))


def test_baseline_is_scikit_learns_dummy(iris: Evaluation) -> None:
    """The baseline of a classification equals the metrics of scikit-learn's ``DummyClassifier`` on the same split."""
    X, y = datasets.load_breast_cancer(return_X_y=True)
    names = [f"c{i}" for i in range(X.shape[1])]
    evaluation = evaluate(DecisionTreeClassifier(max_depth=2), X, y, schema_of(names, (0, 1)), folds=0, seed=3)
    split = holdout(Target(y, (0, 1)), 0.2, 3, [])
    dummy = DummyClassifier(strategy="prior").fit(X[split.train], y[split.train])
    truth, answers = y[split.test], np.asarray(dummy.predict(X[split.test]))
    shares = dummy.predict_proba(X[split.test])
    assert evaluation.baseline["accuracy"] == metrics.accuracy_score(truth, answers)
    assert evaluation.baseline["f1_macro"] == pytest.approx(metrics.f1_score(truth, answers, average="macro"))
    assert evaluation.baseline["log_loss"] == pytest.approx(metrics.log_loss(truth, shares), rel=1e-12)
    assert evaluation.baseline["roc_auc"] == 0.5
    assert evaluation.class_rows == tuple(np.bincount(y[split.train]).tolist())
    assert iris.baseline["accuracy"] == pytest.approx(1 / 3)


def test_baseline_of_a_regression_is_the_training_mean() -> None:
    """The baseline of a regression answers the mean of the rows that the model was fitted on."""
    X, y = datasets.load_diabetes(return_X_y=True)
    evaluation = evaluate(LinearRegression(), X, y, schema_of([f"c{i}" for i in range(10)], ()), folds=0, seed=3)
    split = holdout(Target(y), 0.2, 3, [])
    mean = np.full(len(split.test), y[split.train].mean())
    assert evaluation.baseline["mae"] == pytest.approx(metrics.mean_absolute_error(y[split.test], mean), rel=1e-12)
    assert evaluation.baseline["r2"] == pytest.approx(metrics.r2_score(y[split.test], mean), rel=1e-9)


def test_thresholds_are_scikit_learns() -> None:
    """Precision, recall and F1 at every threshold equal scikit-learn's for the labels that the threshold gives."""
    X, y = datasets.load_breast_cancer(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    evaluation = evaluate_fitted(pipeline, X, y, schema_of([f"c{i}" for i in range(30)], (0, 1)))
    probabilities = pipeline.predict_proba(X)[:, 1]
    assert [each.threshold for each in evaluation.thresholds] == [step / 20 for step in range(1, 20)]
    for each in evaluation.thresholds:
        selected = probabilities >= each.threshold
        assert each.precision == pytest.approx(metrics.precision_score(y, selected))
        assert each.recall == pytest.approx(metrics.recall_score(y, selected))
        assert each.f1 == pytest.approx(metrics.f1_score(y, selected))
        assert each.selected == selected.mean()


def test_learning_curve_grows_to_the_training_share() -> None:
    """The last point of a learning curve is fitted on the whole training share, and scores as the evaluation does."""
    X, y = datasets.load_iris(return_X_y=True)
    tree = DecisionTreeClassifier(random_state=0)
    steps: list[tuple[str, int, int]] = []
    evaluation = evaluate(
        tree,
        X,
        y,
        schema_of(["a", "b", "c", "d"], (0, 1, 2)),
        folds=0,
        learning_curve=True,
        progress=lambda *step: steps.append(step),
    )
    points = evaluation.learning_curve
    assert [point.n_rows for point in points] == [12, 30, 60, 90, 120]
    assert points[-1].held_out == evaluation.metrics["accuracy"]
    assert all(point.on_training == 1.0 for point in points)
    assert steps[-1][1] == steps[-1][2]

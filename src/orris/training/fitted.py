"""Facts that a fitted pipeline has about its columns: those that it reads, and the levels of its encoders.

Found by following the rows through estimators that hand their columns on: nothing is asked of the pipeline here. Used
by ``learning``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orris.errors import TrainingError

Columns = Sequence[int]


@dataclass
class Use:
    """How the pipeline uses one column.

    Attributes:
        levels: Levels in the fitted encoders that are given the column as it is; missing values are left out.
        encoded: Some encoder is given the column as it is.
        otherwise: Something other than an encoder is.
        strict: An encoder raises on levels that it does not hold.
    """

    levels: dict[Any, None] = field(default_factory=dict)
    encoded: bool = False
    otherwise: bool = False
    strict: bool = False


def uses(pipeline: Any, n_columns: int) -> dict[int, Use]:
    """How a fitted pipeline uses each of its ``n_columns`` columns, by position; a column it never reads is absent."""
    found: dict[int, Use] = {}
    _follow(pipeline, range(n_columns), found)
    return found


def is_fitted(estimator: Any) -> bool:
    """Whether an estimator is fitted, as scikit-learn tells it; one that does not say counts as fitted."""
    from sklearn.exceptions import NotFittedError  # noqa: PLC0415
    from sklearn.utils.validation import check_is_fitted  # noqa: PLC0415

    if hasattr(estimator, "steps") and estimator.steps:  # a Pipeline is as fitted as its last step
        return is_fitted(estimator.steps[-1][1])
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    except TypeError:
        return True
    return True


def single_target(pipeline: Any) -> Any:
    """The fitted model of one target: of a MultiOutputClassifier or ClassifierChain over a single one, that inside.

    Raises:
        TrainingError: The model answers several targets, or several labels, a row.
    """
    name = type(pipeline).__name__
    members: Sequence[Any] = getattr(pipeline, "estimators_", [])
    if name in {"MultiOutputClassifier", "ClassifierChain"} and len(members) == 1:
        return members[0]
    last = pipeline.steps[-1][1] if hasattr(pipeline, "steps") else pipeline
    classes = getattr(last, "classes_", None)
    n_targets = len(classes) if isinstance(classes, list) else 1
    if classes is None:  # of a neural classifier, they are its classes
        n_targets = max(n_targets, _whole(getattr(last, "n_outputs_", 1)))
    if getattr(last, "multilabel_", False) is True:
        n_targets = max(n_targets, len(last.classes_))
    if name in {"MultiOutputRegressor", "RegressorChain"}:
        n_targets = max(n_targets, len(members))
    if n_targets > 1:
        raise TrainingError(
            f"{type(last).__name__} answers {n_targets} targets a row, and a served model answers one: fit and package"
            " one model for each target"
        )
    return pipeline


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int | np.integer) else 1


def _follow(estimator: Any, columns: Columns, found: dict[int, Use]) -> None:
    """Note how an estimator that is given ``columns`` uses them."""
    name = type(estimator).__name__
    if name in _HANDED_ON:
        for inner in _HANDED_ON[name](estimator):
            _follow(inner, columns, found)
    elif name == "Pipeline":
        _through_steps(estimator, columns, found)
    elif name == "ColumnTransformer":
        for part, inner, _ in estimator.transformers_:
            if not (isinstance(inner, str) and inner == "drop"):
                positions = np.asarray(estimator._transformer_to_input_indices[part], dtype=np.int64)
                _follow(inner, [columns[i] for i in positions], found)
    elif name in {"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"}:
        _note(columns, found)
        if getattr(estimator, "_preprocessor", None) is not None:
            encoder = estimator._preprocessor.named_transformers_["encoder"]
            positions = estimator._preprocessor._transformer_to_input_indices["encoder"]
            _encoded(encoder.categories_, [columns[i] for i in positions], found, strict=False)
    elif len(getattr(estimator, "categories_", ())) == len(columns) and len(columns):
        strict = getattr(estimator, "handle_unknown", "ignore") == "error"
        _encoded(estimator.categories_, columns, found, strict=strict)
    else:
        _note(columns, found)


def _through_steps(pipeline: Any, columns: Columns, found: dict[int, Use]) -> None:
    """The first step, and what follows for as long as the columns stay what they were."""
    passing = (None, "passthrough")  # as does a sampler of imbalanced-learn, which only acts while fitting
    steps = [step for _, step in pipeline.steps if not (hasattr(step, "fit_resample") or step in passing)]
    for step in steps:
        # An imputer is no use of its own: what the next step makes of the column counts.
        if step is steps[-1] or not _keeps_columns(step, len(columns)):
            _follow(step, columns, found)
            return


def _keeps_columns(step: Any, n_columns: int) -> bool:
    if type(step).__name__ != "SimpleImputer" or step.add_indicator:
        return False
    return len(step.get_feature_names_out()) == n_columns


def _encoded(categories: Sequence[Any], columns: Columns, found: dict[int, Use], *, strict: bool) -> None:
    for levels, column in zip(categories, columns, strict=True):
        use = found.setdefault(column, Use())
        use.encoded = True
        use.strict |= strict
        # NaN is the only value that differs from itself.
        use.levels |= dict.fromkeys(
            level
            for level in np.asarray(levels, dtype=object).tolist()
            if level is not None and level == level  # noqa: PLR0124
        )


def _note(columns: Columns, found: dict[int, Use]) -> None:
    for column in columns:
        found.setdefault(column, Use()).otherwise = True


def _of_union(union: Any) -> Iterable[Any]:
    return (inner for _, inner in union.transformer_list if not (isinstance(inner, str) and inner == "drop"))


def _of_ensemble(ensemble: Any) -> Iterable[Any]:
    return ("passthrough", *ensemble.estimators_) if getattr(ensemble, "passthrough", False) else ensemble.estimators_


_SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
_HANDED_ON: dict[str, Callable[[Any], Iterable[Any]]] = {
    **dict.fromkeys(_SEARCHES, lambda search: [search.best_estimator_]),
    **dict.fromkeys(("VotingClassifier", "VotingRegressor", "StackingClassifier", "StackingRegressor"), _of_ensemble),
    **dict.fromkeys(("FixedThresholdClassifier", "TunedThresholdClassifierCV"), lambda model: [model.estimator_]),
    "CalibratedClassifierCV": lambda model: [inner.estimator for inner in model.calibrated_classifiers_],
    "FeatureUnion": _of_union,
    "FrozenEstimator": lambda frozen: [frozen.estimator],
    "TransformedTargetRegressor": lambda model: [model.regressor_],
}
"""Estimators that give their columns to others as they are, by class name, and these others."""

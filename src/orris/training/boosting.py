"""The presets of XGBoost, LightGBM and CatBoost: each library's estimator behind one that stops early.

``pipelines`` puts it at the end of a preset's pipeline. A part of the rows that it is fitted on is set aside to find
the number of rounds; the estimator is then fitted once more, on all of them, with that number. A library is imported
only when its preset is built.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from orris.errors import MissingExtraError
from orris.schema.arrays import FloatArray, IntArray
from orris.training.learning import Task

LIBRARIES = ("xgboost", "lightgbm", "catboost")
"""Names of the presets, of the libraries and of the extras that install them."""

VALIDATION_SHARE = 0.2
MIN_VALIDATION_ROWS = 10
"""With fewer rows set aside, where to stop would be chance."""

ROUNDS_WITHOUT_VALIDATION = 100

UNKNOWN, MISSING = -1, -2
"""The text that CatBoost's preset receives for a level that training did not see, and for a missing category."""

_MAX_ROUNDS = 1000
_PATIENCE = 30
_LEAST_GAIN = 1e-3


class _EarlyStopped(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A boosting library's estimator with the number of rounds that rows set aside ask for.

    Attributes:
        estimator: Unfitted; its number of rounds is the most there may be.
        n_categories: The first so many columns hold codes of categories.
        early_stopping_rounds: It stops when so many rounds have not improved the rows set aside; 0: no row is set
            aside.
        seed: Of the draw of these rows.
        estimator_: A copy of ``estimator``, fitted on all rows.
        n_rounds_: The number of its rounds.
        n_levels_: For each column of categories, the number of its codes.
    """

    estimator_: Any
    n_rounds_: int

    def __init__(
        self, estimator: Any, *, n_categories: int = 0, early_stopping_rounds: int = _PATIENCE, seed: int = 0
    ) -> None:
        self.estimator = estimator
        self.n_categories = n_categories
        self.early_stopping_rounds = early_stopping_rounds
        self.seed = seed

    def __sklearn_clone__(self) -> Self:
        # CatBoost copies its arguments, so scikit-learn's own clone refuses it.
        own = self.get_params(deep=False)
        return type(self)(**(own | {"estimator": _copy(own["estimator"])}))

    @property
    def library(self) -> str:
        """The estimator's library."""
        return type(self.estimator).__module__.split(".")[0]

    def _fit(self, X: Any, target: npt.NDArray[Any], classes: IntArray) -> None:
        """Find the number of rounds and fit; ``classes`` ``(n_rows,)`` are all 0 for regression."""
        library, categories = _LIBRARIES[self.library], list(range(self.n_categories))
        rows = np.asarray(X, dtype=np.float64)
        self.n_levels_ = [int(np.nanmax(column, initial=0.0)) + 1 for column in rows.T[: self.n_categories]]
        n_rounds = int(self.estimator.get_params().get(library.rounds) or ROUNDS_WITHOUT_VALIDATION)
        if self.early_stopping_rounds:
            validation = _set_aside(classes, self.seed)
            if validation.sum() >= MIN_VALIDATION_ROWS:
                train, judged = [(self._prepared(rows[part]), target[part]) for part in (~validation, validation)]
                patience = int(self.early_stopping_rounds)
                n_rounds = library.stop(_copy(self.estimator), train, judged, categories, patience)
            else:
                n_rounds = min(n_rounds, ROUNDS_WITHOUT_VALIDATION)
        self.n_rounds_ = n_rounds
        final = _copy(self.estimator).set_params(**{library.rounds: n_rounds})
        self.estimator_ = library.fit(final, (self._prepared(rows), target), categories)

    def _answer(self, method: str, X: Any) -> npt.NDArray[Any]:
        return np.asarray(getattr(self.estimator_, method)(self._prepared(np.asarray(X, dtype=np.float64))))

    def _prepared(self, rows: FloatArray) -> Any:
        """The rows as the library takes them: CatBoost wants categories as integers, which an array cannot hold."""
        if self.library != "catboost" or not self.n_categories:
            return rows
        import pandas as pd  # noqa: PLC0415 (part of the library's extra)

        return pd.DataFrame(rows).astype(dict.fromkeys(range(self.n_categories), np.int64))


class EarlyStoppedClassifier(ClassifierMixin, _EarlyStopped):  # type: ignore[misc]
    """The same for classes of any type; the library is given their positions in ``classes_``."""

    def fit(self, X: Any, y: Any) -> Self:
        """Fit on rows ``(n_rows, n_columns)`` and labels ``(n_rows,)``."""
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        self._fit(X, codes.astype(np.int64), codes.astype(np.int64))
        return self

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Labels ``(n_rows,)``."""
        labels: npt.NDArray[Any] = self.classes_[self._answer("predict", X).reshape(-1).astype(np.int64)]
        return labels

    def predict_proba(self, X: Any) -> npt.NDArray[Any]:
        """Probabilities ``(n_rows, n_classes)``, float32 of XGBoost and float64 of the others."""
        return self._answer("predict_proba", X)


class EarlyStoppedRegressor(RegressorMixin, _EarlyStopped):  # type: ignore[misc]
    """The same for numbers."""

    def fit(self, X: Any, y: Any) -> Self:
        """Fit on rows ``(n_rows, n_columns)`` and values ``(n_rows,)``."""
        target = np.asarray(y, dtype=np.float64)
        self._fit(X, target, np.zeros(len(target), dtype=np.int64))
        return self

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Values ``(n_rows,)``, float32 of XGBoost and float64 of the others."""
        return self._answer("predict", X)


def early_stopped(library: str, task: Task, seed: int) -> EarlyStoppedClassifier | EarlyStoppedRegressor:
    """The model of the preset ``library``, unfitted.

    Raises:
        MissingExtraError: The library is not installed.
    """
    try:
        estimator = _ESTIMATORS[library](task, seed)
    except ImportError as error:
        raise MissingExtraError(library, f"the preset '{library}'") from error
    return (EarlyStoppedClassifier if task == "classification" else EarlyStoppedRegressor)(estimator, seed=seed)


def set_parameters(model: EarlyStoppedClassifier | EarlyStoppedRegressor, parameters: Mapping[str, object]) -> None:
    """Set parameters that ``known_parameters`` has; ``early_stopping_rounds`` is the model's own."""
    for name, value in parameters.items():
        if name == "early_stopping_rounds":
            model.early_stopping_rounds = 0 if value is None else int(str(value))
        else:
            own = _CATBOOST_SYNONYMS.get(name, name) if model.library == "catboost" else name
            model.estimator.set_params(**{own: value})


def known_parameters(model: EarlyStoppedClassifier | EarlyStoppedRegressor) -> list[str]:
    """Names of the library's parameters."""
    names = {*model.estimator.get_params(), "early_stopping_rounds"}
    if model.library == "lightgbm":
        names |= set(_LIGHTGBM_FURTHER)
    elif model.library == "catboost":
        names |= set(inspect.signature(type(model.estimator).__init__).parameters) - {"self"}
    return sorted(names)


def _xgboost(task: Task, seed: int) -> Any:
    import xgboost  # noqa: PLC0415

    kind = xgboost.XGBClassifier if task == "classification" else xgboost.XGBRegressor
    return kind(n_estimators=_MAX_ROUNDS, learning_rate=0.1, n_jobs=1, random_state=seed)


def _lightgbm(task: Task, seed: int) -> Any:
    import lightgbm  # noqa: PLC0415

    kind = lightgbm.LGBMClassifier if task == "classification" else lightgbm.LGBMRegressor
    return kind(
        n_estimators=_MAX_ROUNDS,
        learning_rate=0.1,
        subsample_freq=1,  # without which subsample has no effect
        n_jobs=1,
        random_state=seed,
        verbose=-1,
    )


def _catboost(task: Task, seed: int) -> Any:
    import catboost  # noqa: PLC0415

    kind = catboost.CatBoostClassifier if task == "classification" else catboost.CatBoostRegressor
    # CatBoost would choose a learning rate by the number of rounds, another one for each of the two fits.
    return kind(
        iterations=_MAX_ROUNDS,
        learning_rate=0.1,
        thread_count=1,
        random_seed=seed,
        verbose=False,
        allow_writing_files=False,
    )


_ESTIMATORS: dict[str, Callable[[Task, int], Any]] = {
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
}

_LIGHTGBM_FURTHER = (
    "cat_l2",
    "cat_smooth",
    "extra_trees",
    "feature_fraction_bynode",
    "is_unbalance",
    "linear_tree",
    "max_bin",
    "max_cat_threshold",
    "max_cat_to_onehot",
    "max_delta_step",
    "min_data_in_bin",
    "min_data_per_group",
    "monotone_constraints",
    "path_smooth",
    "scale_pos_weight",
    "use_missing",
    "zero_as_missing",
)
"""Parameters that LightGBM's estimators take beside their arguments; a name that it does not know is ignored by it."""

_CATBOOST_SYNONYMS = {
    **dict.fromkeys(("n_estimators", "num_boost_round", "num_trees"), "iterations"),
    "colsample_bylevel": "rsm",
    "eta": "learning_rate",
    "max_bin": "border_count",
    "max_depth": "depth",
    "objective": "loss_function",
    "random_state": "random_seed",
    "reg_lambda": "l2_leaf_reg",
}
"""Names of which CatBoost takes only one at a time."""


Part = tuple[Any, npt.NDArray[Any]]
"""Rows as the library takes them, and their targets."""


@dataclass(frozen=True)
class _Library:
    """How a library is fitted.

    Attributes:
        rounds: Its name for the number of rounds.
        fit: ``(estimator, rows, columns of categories) -> estimator``, fitted.
        stop: ``(estimator, rows, rows set aside, columns of categories, patience) -> number of rounds``.
    """

    rounds: str
    fit: Callable[[Any, Part, list[int]], Any]
    stop: Callable[[Any, Part, Part, list[int], int], int]


def _xgboost_typed(estimator: Any, train: Part, categories: list[int]) -> Any:
    if not categories:
        return estimator
    n_numbers = train[0].shape[1] - len(categories)
    return estimator.set_params(enable_categorical=True, feature_types=["c"] * len(categories) + ["q"] * n_numbers)


def _xgboost_fit(estimator: Any, train: Part, categories: list[int]) -> Any:
    return _xgboost_typed(estimator, train, categories).fit(*train)


def _xgboost_stop(estimator: Any, train: Part, validation: Part, categories: list[int], patience: int) -> int:
    from xgboost.callback import EarlyStopping  # noqa: PLC0415

    stopping = EarlyStopping(rounds=patience, save_best=False, min_delta=_least_gain(estimator, train[1]))
    estimator = _xgboost_typed(estimator, train, categories).set_params(callbacks=[stopping])
    estimator.fit(*train, eval_set=[validation], verbose=False)
    return int(estimator.best_iteration) + 1


def _lightgbm_fit(estimator: Any, train: Part, categories: list[int]) -> Any:
    return estimator.fit(*train, categorical_feature=categories or "auto")


def _lightgbm_stop(estimator: Any, train: Part, validation: Part, categories: list[int], patience: int) -> int:
    import lightgbm  # noqa: PLC0415

    # The argument is another since LightGBM 4.7.
    newer = "eval_X" in inspect.signature(estimator.fit).parameters
    judged = {"eval_X": validation[0], "eval_y": validation[1]} if newer else {"eval_set": [validation]}
    stopping = lightgbm.early_stopping(patience, verbose=False, min_delta=_least_gain(estimator, train[1]))
    estimator.fit(*train, categorical_feature=categories or "auto", callbacks=[stopping], **judged)
    return int(estimator.best_iteration_)


def _catboost_fit(estimator: Any, train: Part, categories: list[int]) -> Any:
    return estimator.fit(*train, cat_features=categories or None)


def _catboost_stop(estimator: Any, train: Part, validation: Part, categories: list[int], patience: int) -> int:
    estimator.fit(
        *train,
        cat_features=categories or None,
        eval_set=validation,
        early_stopping_rounds=patience,
        use_best_model=True,
        callbacks=[_CatBoostStopping(patience, _least_gain(estimator, train[1]))],
    )
    return int(estimator.tree_count_)


class _CatBoostStopping:
    """Stops where the loss on the rows set aside hardly falls; CatBoost's own stopping counts every fall."""

    def __init__(self, patience: int, least_gain: float) -> None:
        self.patience, self.least_gain = patience, least_gain
        self.best, self.since = np.inf, 0

    def after_iteration(self, info: Any) -> bool:
        """Whether to go on; ``info`` holds the losses after each round."""
        losses = [of for name, of in info.metrics["validation"].items() if name in {"Logloss", "MultiClass"}]
        gained = not losses or losses[0][-1] < self.best - self.least_gain
        self.best, self.since = (losses[0][-1] if losses else 0.0, 0) if gained else (self.best, self.since + 1)
        return self.since < self.patience


_LIBRARIES = {
    "xgboost": _Library("n_estimators", _xgboost_fit, _xgboost_stop),
    "lightgbm": _Library("n_estimators", _lightgbm_fit, _lightgbm_stop),
    "catboost": _Library("iterations", _catboost_fit, _catboost_stop),
}


def _least_gain(estimator: Any, target: npt.NDArray[Any]) -> float:
    """By how much the loss must fall to count: for classes, a share of the entropy of ``target``; for numbers, at all.

    The logarithmic loss of classes that are well separated falls without end.
    """
    if not hasattr(estimator, "predict_proba"):
        return 0.0
    shares = np.unique(target, return_counts=True)[1] / len(target)
    return _LEAST_GAIN * float(-(shares * np.log(shares)).sum())


def _copy(estimator: Any) -> Any:
    return type(estimator)(**estimator.get_params())


def _set_aside(classes: IntArray, seed: int) -> npt.NDArray[np.bool_]:
    """Which rows find the number of rounds: of each class the same share, and of none the last row."""
    chosen = np.zeros(len(classes), dtype=np.bool_)
    order = np.random.default_rng(seed).permutation(len(classes))
    for one in np.unique(classes):
        rows = order[classes[order] == one]
        chosen[rows[: int(len(rows) * VALIDATION_SHARE)]] = True
    return chosen

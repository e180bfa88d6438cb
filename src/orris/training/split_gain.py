"""Feature importances that a boosting library itself gives of its fitted model; for the report.

They say what the trees use. Permutation importance (``importance``) says what the answers on held-out rows depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class LibraryImportance:
    """A library's own importance of the columns that its model receives, after the steps in front of it.

    Attributes:
        library: Its name.
        measure: What the shares are shares of.
        shares: ``(column, share)``, the largest first; the shares add up to one.
    """

    library: str
    measure: str
    shares: tuple[tuple[str, float], ...]


def library_importance(pipeline: Any, names: Sequence[str]) -> LibraryImportance | None:
    """The importances of the XGBoost, LightGBM or CatBoost model that a fitted pipeline ends in.

    Args:
        pipeline: A fitted pipeline or model, also in a search or an early-stopped preset.
        names: Names of the table's columns.

    Returns:
        ``None`` for any other model, and where the library or a step in front of it does not say.
    """
    try:
        model, columns = _model(pipeline, list(names))
        reader = _READERS.get(_library(model))
        values = None if reader is None else reader[2](model)
    except Exception:  # noqa: BLE001 (a report without this table is better than no bundle)
        return None
    if reader is None or values is None or len(values) != len(columns) or not values.sum() > 0:
        return None
    shares = (values / values.sum()).tolist()
    ranked = sorted(zip(columns, shares, strict=True), key=lambda pair: -pair[1])
    return LibraryImportance(reader[0], reader[1], tuple(ranked))


def _model(estimator: Any, names: list[str]) -> tuple[Any, list[str]]:
    """The model that answers, and the names of the columns that it is given."""
    for holder in ("best_estimator_", "estimator_"):
        if hasattr(estimator, holder):
            return _model(getattr(estimator, holder), names)
    if not hasattr(estimator, "steps"):
        return estimator, names
    if len(estimator.steps) > 1:
        names = [str(name) for name in estimator[:-1].get_feature_names_out()]
    return _model(estimator.steps[-1][1], names)


def _library(model: Any) -> str:
    return "lightgbm" if hasattr(model, "booster_") else type(model).__module__.split(".")[0]


def _of_xgboost(model: Any) -> npt.NDArray[np.float64]:
    booster = model.get_booster()
    gains = booster.get_score(importance_type="total_gain")
    names = booster.feature_names or [f"f{i}" for i in range(booster.num_features())]
    return np.array([gains.get(name, 0.0) for name in names], dtype=np.float64)


def _of_lightgbm(model: Any) -> npt.NDArray[np.float64]:
    return np.asarray(model.booster_.feature_importance(importance_type="gain"), dtype=np.float64)


def _of_catboost(model: Any) -> npt.NDArray[np.float64]:
    return np.asarray(model.get_feature_importance(), dtype=np.float64)


_GAIN = "total gain of the splits on it"
_READERS: dict[str, tuple[str, str, Callable[[Any], npt.NDArray[np.float64]]]] = {
    "xgboost": ("XGBoost", _GAIN, _of_xgboost),
    "lightgbm": ("LightGBM", _GAIN, _of_lightgbm),
    "catboost": ("CatBoost", "change of the prediction (PredictionValuesChange)", _of_catboost),
}
"""By module: the library's name, its measure, and where it gives it."""

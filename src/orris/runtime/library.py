"""A booster that its own library answers, from the library's own model file: what could not be compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from orris import boosters
from orris.errors import ServingError, TrainingError
from orris.runtime.answers import Answers
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.schema.frames import decode


class LibraryRuntime:
    """A model of XGBoost, LightGBM or CatBoost in its library.

    Args:
        estimator: What ``boosters.read_file`` gave; a class is answered by its position.
        schema: Says how encoded rows become what the model was trained on.
    """

    def __init__(self, estimator: Any, schema: Schema) -> None:
        self._estimator = estimator
        self._schema = schema
        self.has_probabilities = schema.task == "classification" and hasattr(estimator, "predict_proba")

    @classmethod
    def load(cls, file: Path, schema: Schema) -> LibraryRuntime:
        """Read ``model.txt``, ``model.ubj`` or ``model.cbm``: data of LightGBM, XGBoost and CatBoost."""
        try:
            return cls(boosters.read_file(file), schema)
        except TrainingError as error:
            raise ServingError(str(error)) from error

    def run(self, rows: FloatArray) -> Answers:
        """Answer float64 ``(n_rows, n_columns)``, or, behind steps of scikit-learn, ``(n_rows, n_features)``."""
        table = decode(self._schema, rows) if rows.shape[1] == self._schema.n_columns else rows
        if self._schema.task == "regression":
            return Answers(values=np.asarray(self._estimator.predict(table), np.float64).reshape(len(rows)))
        probabilities = np.asarray(self._estimator.predict_proba(table), np.float64)
        position = {label: i for i, label in enumerate(np.asarray(self._estimator.classes_).tolist())}
        named = np.asarray(self._estimator.predict(table)).reshape(len(rows)).tolist()
        return Answers(np.array([position[label] for label in named], np.int64), probabilities)

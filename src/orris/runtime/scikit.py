"""A fitted pipeline in scikit-learn, which is imported only for a model that could not be compiled whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from orris import trust
from orris.errors import MissingExtraError, ServingError
from orris.metrics import TASKS_WITHOUT_TARGET
from orris.runtime.answers import Answers, Runtime
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.schema.frames import UNSEEN_NAME, decode

_WITH_PROBABILITIES = ("classification", "clustering")


class SklearnRuntime:
    """A fitted scikit-learn pipeline, given what it was fitted on.

    Args:
        pipeline: The fitted classifier, regressor or Pipeline.
        schema: Says how encoded rows become the frame or array that the pipeline takes.
    """

    def __init__(self, pipeline: Any, schema: Schema) -> None:
        self._pipeline = pipeline
        self._schema = schema
        self._position = {label: i for i, label in enumerate(schema.labels)}
        self.has_probabilities = schema.task in _WITH_PROBABILITIES and hasattr(pipeline, "predict_proba")
        self._score = scoring(pipeline) if schema.task in TASKS_WITHOUT_TARGET else None

    @classmethod
    def load(cls, file: Path, schema: Schema) -> SklearnRuntime:
        """Read ``model.skops``: only what ``trust.py`` allows is constructed, whatever the file asks for."""
        return cls(_read(file), schema)

    def run(self, rows: FloatArray, unseen_name: str = UNSEEN_NAME) -> Answers:
        """Answer float64 ``(n_rows, n_columns)``; ``unseen_name`` stands in for a level that training never saw."""
        try:
            return self._run(rows, unseen_name)
        except ValueError:
            if len(rows) != 1:
                raise
            # Some steps (SparsePCA) make a vector of a table of one row, which the next step refuses.
            return self._run(np.repeat(rows, 2, axis=0), unseen_name).at(slice(1))

    def _run(self, rows: FloatArray, unseen_name: str) -> Answers:
        table = decode(self._schema, rows, unseen_name)
        # One job: several add up a forest's trees in an order that changes from call to call.
        with one_job():
            predicted = np.asarray(self._pipeline.predict(table))
            if self._schema.task == "regression":
                return Answers(values=np.asarray(predicted, dtype=np.float64).reshape(len(rows)))
            # CatBoost answers several classes as one column.
            named = predicted.reshape(len(rows)).tolist()
            labels = np.array([self._position[label] for label in named], dtype=np.int64)
            probabilities = (
                np.asarray(self._pipeline.predict_proba(table), dtype=np.float64) if self.has_probabilities else None
            )
            scores = None if self._score is None else self._score(table)
        return Answers(labels, probabilities, scores=scores)


def scoring(pipeline: Any) -> Callable[[Any], FloatArray] | None:
    """Scores rows beside the label: ``(table) -> float64 (n_rows,)``; ``None`` where the model has no score.

    It is ``decision_function`` of a detector of outliers (below zero: an outlier), ``score_samples`` of a mixture (the
    logarithm of the density), or of other clusterers the distance to the nearest center.
    """
    for name in ("decision_function", "score_samples"):
        method = getattr(pipeline, name, None)
        if method is not None:
            return partial(_flat, method)
    distances = getattr(pipeline, "transform", None)
    if distances is None:
        return None
    return lambda table: np.asarray(distances(table), dtype=np.float64).min(axis=1)


def _flat(method: Callable[[Any], Any], table: Any) -> FloatArray:
    return np.asarray(method(table), dtype=np.float64).reshape(-1)


class FrontRuntime:
    """A pipeline of which scikit-learn runs the first steps, and another runtime the rest.

    Args:
        front: The fitted first steps.
        rest: The rest, compiled or in its library. Its input is what the front makes of the rows, float64
            ``(n_rows, n_features)``.
        schema: Says how encoded rows become the frame or array that the front takes.
    """

    def __init__(self, front: Any, rest: Runtime, schema: Schema) -> None:
        self._front = front
        self._rest = rest
        self.has_probabilities = rest.has_probabilities
        self._schema = schema

    @classmethod
    def load(cls, front: Path, rest: Runtime, schema: Schema) -> FrontRuntime:
        """Read ``front.skops`` as ``SklearnRuntime.load`` reads ``model.skops``."""
        return cls(_read(front), rest, schema)

    def run(self, rows: FloatArray) -> Answers:
        """Answer float64 ``(n_rows, n_columns)``."""
        return self._rest.run(self.features(rows))

    def features(self, rows: FloatArray) -> FloatArray:
        """The output of the first steps for float64 ``(n_rows, n_columns)``: float64 ``(n_rows, n_features)``."""
        with one_job():
            made = self._front.transform(decode(self._schema, rows))
        features = np.ascontiguousarray(made.toarray() if hasattr(made, "toarray") else made, dtype=np.float64)
        return features.reshape(len(rows), -1)  # some steps (SparsePCA) make a vector of a table of one row


def one_job() -> Any:
    """A context in which scikit-learn starts no threads: several add up a forest's trees in an order that changes."""
    import joblib  # noqa: PLC0415

    return joblib.parallel_config("sequential")


def _read(file: Path) -> Any:
    try:
        return trust.read(file.read_bytes())
    except ImportError:
        raise MissingExtraError("sklearn", "serving a model that could not be compiled whole") from None
    except (OSError, ServingError) as error:
        raise ServingError(f"{file}: {error}") from error

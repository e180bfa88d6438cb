"""The answers to encoded rows, and what gives them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from orris.schema.arrays import BoolArray, FloatArray, IntArray


class Answers(NamedTuple):
    """The answers to ``n_rows`` rows.

    Attributes:
        labels: Classification: int64 ``(n_rows,)``, position in ``Schema.labels``.
        probabilities: Classification, where the model has them: float64 ``(n_rows, n_classes)``.
        values: Regression: float64 ``(n_rows,)``.
        scores: Beside the labels of outlier detection and clustering, where the model has them: float64 ``(n_rows,)``.
    """

    labels: IntArray | None = None
    probabilities: FloatArray | None = None
    values: FloatArray | None = None
    scores: FloatArray | None = None

    @property
    def found(self) -> IntArray | FloatArray:
        """The labels of a classifier, the values of a regressor."""
        found = self.values if self.labels is None else self.labels
        assert found is not None  # noqa: S101 (a runtime gives one of them)
        return found

    def at(self, chosen: slice | BoolArray) -> Answers:
        """The answers to some of the rows: a slice, or bool ``(n_rows,)``."""
        return Answers(
            None if self.labels is None else self.labels[chosen],
            None if self.probabilities is None else self.probabilities[chosen],
            None if self.values is None else self.values[chosen],
            None if self.scores is None else self.scores[chosen],
        )

    @property
    def unanswered(self) -> BoolArray:
        """Rows without a finite answer, bool ``(n_rows,)``: the label is negative, or a number is not finite."""
        if self.values is not None:
            return ~np.isfinite(self.values)
        assert self.labels is not None  # noqa: S101 (a runtime gives one of them)
        missing = self.labels < 0
        if self.scores is not None:
            missing = missing | ~np.isfinite(self.scores)
        return missing if self.probabilities is None else missing | ~np.isfinite(self.probabilities).all(axis=1)


class Runtime(Protocol):
    """Anything that turns encoded rows into answers.

    Attributes:
        has_probabilities: Whether answers hold probabilities.
    """

    has_probabilities: bool

    def run(self, rows: FloatArray) -> Answers:
        """Answer float64 ``(n_rows, n_columns)``; raises ``ServingError`` if the model fails."""

"""The reference: the fitted pipeline's own answers, with which every way of serving is compared."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from orris.errors import CompileError
from orris.runtime import Answers, SklearnRuntime
from orris.schema import Schema
from orris.schema.arrays import FloatArray


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings: the gate uses rows far from all training rows, of which numpy and scikit-learn complain."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


@dataclass
class Reference:
    """The fitted pipeline's answers, computed once for each origin of rows.

    Rows that scikit-learn itself refuses are left out; ``ask`` returns the rows that were answered.
    """

    pipeline: Any
    schema: Schema

    def __post_init__(self) -> None:
        self.runtime = SklearnRuntime(self.pipeline, self.schema)

    def ask(self, rows: FloatArray) -> tuple[FloatArray, Answers]:
        """The rows that scikit-learn answers, and its answers."""
        with quiet():
            parts = self._parts(rows)
        if not parts:
            return rows[:0], Answers()
        answered = np.concatenate([part for part, _ in parts])
        columns = [
            None if column[0] is None else np.concatenate(column)
            for column in zip(*(answers for _, answers in parts), strict=True)
        ]
        return answered, Answers(*columns)

    def _parts(self, rows: FloatArray) -> list[tuple[FloatArray, Answers]]:
        if not len(rows):
            return []
        try:
            return [(rows, self.runtime.run(rows))]
        except Exception:  # noqa: BLE001 (whatever a user's transformer raises on a row means that it refuses the row)
            if len(rows) == 1:
                return []
            half = len(rows) // 2
            return [*self._parts(rows[:half]), *self._parts(rows[half:])]

    def takes(self, rows: FloatArray) -> bool:
        """Whether scikit-learn answers every one of ``rows``, with finite numbers."""
        answered, answers = self.ask(rows)
        finite = [np.isfinite(part).all() for part in (answers.probabilities, answers.values) if part is not None]
        return len(answered) == len(rows) and all(finite)


def require_answers(reference: Reference, training: FloatArray) -> None:
    """Raise ``CompileError`` unless the fitted pipeline answers every training row."""
    answered, _ = reference.ask(training)
    if len(answered) == len(training):
        return
    try:
        reference.runtime.run(training)
    except Exception as error:
        raise CompileError(f"the fitted pipeline does not answer its own training rows: {error}") from error

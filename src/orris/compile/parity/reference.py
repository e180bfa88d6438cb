"""The fitted pipeline's own answers to rows: what every way of serving is compared with.

Rows are given to it in chunks that bound the memory, within a budget of time; rows that it refuses are separated by
halving, within a budget of calls.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from orris.errors import CompileError, ExhaustedError
from orris.runtime import Answers, SklearnRuntime
from orris.runtime.onnx import CHUNK_BYTES
from orris.schema import Schema
from orris.schema.arrays import FloatArray

MAX_CALLS = 2_000
"""Most calls of the pipeline that separate refused rows from answered ones, for each kind of row."""

SECONDS = 120.0
"""Most time that the fitted pipeline is given for all kinds of rows together."""

_FIRST_ROWS = 256
"""Rows of the first call, from which the time of the others is estimated; they are asked whatever it takes."""

_T = TypeVar("_T")


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings: the gate uses rows far from all training rows, of which numpy and scikit-learn complain."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def in_chunks(
    answer: Callable[[FloatArray], _T], rows: FloatArray, widest: int, seconds: float
) -> Iterator[tuple[FloatArray, _T]]:
    """Chunks of ``rows`` and what ``answer`` gives for them, until the time is spent.

    Args:
        answer: Is given chunks, float64 ``(n, n_columns)``.
        rows: float64 ``(n_rows, n_columns)``.
        widest: Columns of the widest table that a row becomes on its way, which bounds the rows of a chunk.
        seconds: Time after which no further chunk is begun; the first is answered whatever it takes.

    Raises:
        ExhaustedError: Memory ran out even for a single row.
    """
    largest = max(1, CHUNK_BYTES // (8 * max(1, widest)))
    start, done, size = time.perf_counter(), 0, min(_FIRST_ROWS, largest)
    while done < len(rows):
        spent = time.perf_counter() - start
        if done and spent >= seconds:
            return
        if done:
            size = min(largest, max(1, int((seconds - spent) * done / max(spent, 1e-9))))
        chunk = rows[done : done + size]
        try:
            found = answer(chunk)
        except (MemoryError, ExhaustedError) as error:
            if len(chunk) == 1:
                raise ExhaustedError(f"memory ran out for a single row ({error})") from error
            largest = size = max(1, len(chunk) // 4)
            continue
        done += len(chunk)
        yield chunk, found


class Reference:
    """The fitted pipeline's answers to rows.

    Args:
        pipeline: The fitted estimator.
        schema: Its contract.
    """

    def __init__(self, pipeline: Any, schema: Schema) -> None:
        self.pipeline = pipeline
        self.schema = schema
        self.runtime = SklearnRuntime(pipeline, schema)
        self.widest = max(schema.n_columns, _widest(pipeline))

    def ask(self, rows: FloatArray, seconds: float = SECONDS) -> tuple[FloatArray, Answers]:
        """The rows that scikit-learn answers, as far as the time reaches, and its answers.

        Raises:
            ExhaustedError: Memory ran out even for a single row.
        """
        budget = [MAX_CALLS]
        with quiet():
            chunks = in_chunks(lambda chunk: self._answered(chunk, budget), rows, self.widest, seconds)
            parts = [part for _, found in chunks for part in found]
        if not parts:
            return rows[:0], Answers()
        answered = np.concatenate([part for part, _ in parts])
        columns = [
            None if column[0] is None else np.concatenate(column)
            for column in zip(*(answers for _, answers in parts), strict=True)
        ]
        return answered, Answers(*columns)

    def _answered(self, rows: FloatArray, budget: list[int]) -> list[tuple[FloatArray, Answers]]:
        """The parts of ``rows`` that are answered; what the budget of calls leaves undecided is left out."""
        found, left = [], deque([rows])
        while left and budget[0] > 0:
            part = left.popleft()
            try:
                found.append((part, self.runtime.run(part)))
            except (MemoryError, ExhaustedError):
                raise
            except Exception:  # noqa: BLE001 (whatever a user's step raises on a row means that it refuses the row)
                budget[0] -= 1
                if len(part) > 1:
                    left.extend((part[: len(part) // 2], part[len(part) // 2 :]))
        return found

    def takes(self, rows: FloatArray) -> bool:
        """Whether scikit-learn answers every one of ``rows``."""
        try:
            with quiet():
                return all(self.runtime.run(chunk) for chunk, _ in in_chunks(len, rows, self.widest, np.inf))
        except Exception:  # noqa: BLE001 (as in ``_answered``)
            return False


def require_answers(reference: Reference, training: FloatArray) -> None:
    """Raise ``CompileError`` unless the fitted pipeline answers the training rows."""
    try:
        with quiet():
            for _ in in_chunks(reference.runtime.run, training, reference.widest, SECONDS):
                pass
    except ExhaustedError:
        raise
    except Exception as error:
        raise CompileError(f"the fitted pipeline does not answer its own training rows: {error}") from error


def estimators_in(root: Any) -> Iterator[Any]:
    """Every fitted estimator in an estimator, itself among them, each once."""
    seen, left = set(), [root]
    while left:
        part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, list | tuple):
            left += part[:1000]
        elif isinstance(part, dict):
            left += part.values()
        elif hasattr(part, "get_params") and hasattr(part, "__dict__"):
            yield part
            left += vars(part).values()


def _widest(root: Any) -> int:
    """The largest number of columns that an estimator in ``root`` was fitted on; 0 where they are a sparse matrix."""
    widest = 0
    joined: list[bool] = []
    encoded: list[bool] = []
    for part in estimators_in(root):
        width = getattr(part, "n_features_in_", 0)
        widest = max(widest, width if isinstance(width, int) else 0)
        if hasattr(part, "sparse_output_"):
            joined.append(bool(part.sparse_output_))  # a ColumnTransformer
        elif hasattr(part, "sparse_output"):
            encoded.append(bool(part.sparse_output))
    return 0 if any(joined or encoded) else widest

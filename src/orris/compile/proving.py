"""The proof beside the gate: its findings on a candidate, the rounding it allows, and how it enters the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from orris.compile.parity import gate
from orris.compile.proof import Proved, prove
from orris.compile.ways import Candidate
from orris.errors import NotProvedError
from orris.runtime import Runtime
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.verdict import Verdict

N_ROWS_PROVED = 3_000
"""Rows of each kind that are compared where every bit is proved: they test what the proof assumes."""

_N_SAMPLE = 1_000


@dataclass
class Examination:
    """The result of the proof for a candidate.

    Attributes:
        proved: The proof, if there is one.
        reason: Otherwise why not.
    """

    proved: Proved | None
    reason: str
    _largest: list[float] = field(default_factory=list)

    @property
    def most_rows(self) -> int | None:
        """Most rows of each kind that need to be compared; ``None``: all that the gate draws."""
        return N_ROWS_PROVED if self.proved is not None and self.proved.facts.equality == "bits" else None

    def rounding(self, runtime: Runtime, kind: gate.Family) -> gate.Rounding | None:
        """Bounds each row's rounding error as the gate measures differences; ``None`` where no bound is known."""
        proved = self.proved
        if proved is None or proved.facts.equality == "bits":
            return None

        def bound(rows: FloatArray) -> FloatArray:
            found = _scaled(proved, runtime, rows, kind)
            self._largest.append(float(np.max(found, initial=0.0, where=np.isfinite(found))))
            return found

        return bound

    def recorded(self, verdict: Verdict, runtime: Runtime, training: FloatArray) -> Verdict:
        """The verdict with the proof; without it, if the compared rows contradict what it assumes."""
        if self.proved is None:
            return msgspec.structs.replace(verdict, unproved=self.reason)
        allowed = max([verdict.tolerance if not self._largest else 0.0, *self._largest])
        if self.proved.facts.equality == "bits":
            allowed = 0.0
        if verdict.largest_difference > allowed:
            return msgspec.structs.replace(
                verdict,
                unproved=f"the file computes the formula, but rows differ by {verdict.largest_difference:.3g} where"
                f" rounding accounts for {allowed:.3g}: an assumption of the proof does not hold here",
            )
        sample = _scaled(self.proved, runtime, training[:_N_SAMPLE], verdict.family)
        largest = float(np.max(sample, initial=0.0, where=np.isfinite(sample)))
        return msgspec.structs.replace(
            verdict, proof=msgspec.structs.replace(self.proved.facts, largest_rounding=largest)
        )


def examine(candidate: Candidate, pipeline: Any, schema: Schema) -> Examination:
    """Prove the candidate's file, or say why nothing is proved of it."""
    if candidate.model_file != "model.onnx":
        return Examination(None, "the fitted pipeline itself is served")
    if candidate.front_file:
        return Examination(None, "scikit-learn runs the first steps")
    try:
        return Examination(prove(candidate.files[candidate.model_file], pipeline, schema), "")
    except NotProvedError as error:
        return Examination(None, str(error))


def _scaled(proved: Proved, runtime: Runtime, rows: FloatArray, kind: gate.Family) -> FloatArray:
    """The bound of each row, ``(n_rows,)``, in the gate's measure; infinite where none is known."""
    answers = runtime.run(rows)
    found = proved.rounding(rows, answers)
    numbers = answers.probabilities if answers.values is None else answers.values
    if found is None or numbers is None:
        return np.full(len(rows), np.inf)
    with np.errstate(all="ignore"):
        relative = found / gate.scale(numbers, kind, relative=answers.values is not None)
    return np.asarray(np.nan_to_num(relative, nan=np.inf).reshape(len(rows), -1).max(axis=1))

"""The order in which ways of serving are tried, until one passes the parity gate.

Exact, skl2onnx in double, in float; then partly compiled, the library's own file, scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from orris import boosters
from orris.compile import ways
from orris.compile.parity import gate
from orris.compile.parity import rows as adversary
from orris.compile.parity.reference import SECONDS, Reference, require_answers
from orris.compile.probing import complete
from orris.compile.proving import examine
from orris.errors import CompileError, ExhaustedError, MissingExtraError, NotConvertibleError, OrrisError, ParityError
from orris.runtime import Answers, Runtime
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.verdict import Attempt, FrontFile, ModelFile, Strategy, Verdict

_N_GOLDEN = 32


@dataclass(frozen=True)
class Compiled:
    """A model that may be served.

    Attributes:
        files: Names of its files in the bundle, and their bytes.
        model_file: Which of them is the model.
        front_file: Which of them holds the first steps, if scikit-learn runs them.
        runtime: Answers as a server would.
        schema: The schema, completed with what the fitted pipeline was found to take (unseen levels, magnitude).
        verdict: What the gate found.
        golden_rows: Encoded rows, float64 ``(n, n_columns)``, for readiness.
        golden_answers: The fitted pipeline's answers to them, all of them finite.
    """

    files: Mapping[str, bytes]
    model_file: ModelFile
    front_file: FrontFile
    runtime: Runtime
    schema: Schema
    verdict: Verdict
    golden_rows: FloatArray
    golden_answers: Answers

    @property
    def content(self) -> bytes:
        """The model file's bytes."""
        return self.files[self.model_file]


def compile_pipeline(
    pipeline: Any,
    schema: Schema,
    training: FloatArray,
    *,
    seed: int = 0,
    require_compiled: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Compiled:
    """Compile a fitted pipeline and prove the result.

    Args:
        pipeline: A fitted scikit-learn classifier, regressor or Pipeline.
        schema: The schema learned from its training rows.
        training: Encoded training rows, float64 ``(n_rows, n_columns)``.
        seed: Seed of the rows that the gate draws.
        require_compiled: Raise rather than fall back to a library in the server.
        progress: Is given what is being done.

    Raises:
        CompileError: The pipeline does not answer its own training rows, or nothing passes the gate; lists why each
            way was refused.
        ParityError: ``require_compiled``, and nothing compiled passes; likewise.
    """
    progress("asking the fitted pipeline what it takes")
    require_answers(Reference(pipeline, schema), training[: adversary.MAX_TRAINING_ROWS])
    schema = complete(pipeline, schema, training)
    trial = _Trial(Reference(pipeline, schema), training, gate.family(pipeline), seed, progress)
    attempts: list[Attempt] = []
    compiled = trial.first(ways.COMPILED, attempts)
    if compiled is None and require_compiled:
        raise ParityError(
            f"no compiled model passes the parity gate ({_listed(attempts)}); without --require-compiled it is served"
            " by scikit-learn"
        )
    compiled = compiled or trial.first(ways.OTHERS, attempts)
    if compiled is None:
        raise CompileError(f"this pipeline can be served in no way: {_listed(attempts)}")
    return compiled


def _listed(attempts: list[Attempt]) -> str:
    """The reasons, and behind them what to do, each advice once."""
    reasons = "; ".join(f"{attempt.strategy}: {attempt.reason}" for attempt in attempts)
    return f"{reasons}. What to do: {'; or '.join(dict.fromkeys(attempt.remedy for attempt in attempts))}"


def _refused(strategy: Strategy, error: Exception, pipeline: Any) -> Attempt:
    """Why a way was refused, in words, and what to do about it; a boosting library that is too new is named."""
    attempt, untested = _explained(strategy, error), boosters.untested_versions(pipeline)
    if not untested:
        return attempt
    return Attempt(strategy, attempt.reason, f"{untested}: fit the model with that version, or {attempt.remedy}")


def _explained(strategy: Strategy, error: Exception) -> Attempt:
    """Why a way was refused, in words, and what to do about it."""
    if isinstance(error, MemoryError | ExhaustedError):
        return Attempt(
            strategy, f"not decided, because memory ran out: {error}", "package it where more memory is free"
        )
    if isinstance(error, MissingExtraError):
        return Attempt(strategy, str(error), "install the extra, and package again")
    if isinstance(error, ParityError):
        return Attempt(strategy, str(error), "report the pipeline and this row as a fault of Orris")
    if isinstance(error, NotConvertibleError):
        usual = "use a step that docs/parity.md lists, or write a converter for this one"
        return Attempt(strategy, str(error), error.remedy or usual)
    if isinstance(error, OrrisError):
        unread = isinstance(error, CompileError)
        advice = "use steps of scikit-learn that are compiled, or that skops trusts" if unread else "see the message"
        return Attempt(strategy, str(error), advice)
    reason = " ".join(str(error).split())[:300]
    return Attempt(strategy, f"{type(error).__name__}: {reason}", "report the pipeline as a fault of Orris")


class _Trial:
    """One pipeline in front of the gate: what was asked of it, and how each way of serving it answers."""

    def __init__(
        self,
        reference: Reference,
        training: FloatArray,
        family: gate.Family,
        seed: int,
        progress: Callable[[str], None],
    ) -> None:
        self._reference = reference
        self._training = training
        self._family = family
        self._seed = seed
        self._progress = progress
        self._rows = adversary.origins(reference.schema, training, seed)
        self._asked: dict[int | None, dict[str, tuple[FloatArray, Answers]]] = {}

    def first(self, tried: Mapping[Strategy, ways.Way], attempts: list[Attempt]) -> Compiled | None:
        """The first way that passes; those that do not are added to ``attempts``, each reason once."""
        for strategy, way in tried.items():
            try:
                compiled = self._run(strategy, way, tuple(attempts))
            except Exception as error:  # noqa: BLE001 (whatever a library raises is a reason to try the next way)
                attempt = _refused(strategy, error, self._reference.pipeline)
                if not attempts or attempts[-1].reason != attempt.reason:
                    attempts.append(attempt)
            else:
                if compiled is not None:
                    return compiled
        return None

    def _run(self, strategy: Strategy, way: ways.Way, attempts: tuple[Attempt, ...]) -> Compiled | None:
        """Build and prove one way of serving; raises why it is refused."""
        reference = self._reference
        self._progress(f"building {strategy}")
        candidate = way(reference.pipeline, reference.schema, self._training)
        if candidate is None:
            return None
        self._progress(f"reading the file of {strategy} back")
        examination = examine(candidate, reference.pipeline, reference.schema)
        rounding = candidate.rounding or examination.rounding(candidate.runtime, self._family)
        rows = adversary.on_thresholds(reference.schema, self._training, candidate.thresholds, self._seed)
        rows = np.random.default_rng(self._seed).permutation(rows)[: examination.most_rows]
        asked = self._drawn(examination.most_rows) | (self._ask({"threshold": rows}) if len(rows) else {})
        n_rows = sum(len(rows) for rows, _ in asked.values())
        self._progress(f"proving {strategy} on {n_rows:,} rows")
        verdict = gate.prove(strategy, candidate.runtime, reference, asked, self._family, attempts, rounding=rounding)
        verdict = examination.recorded(verdict, candidate.runtime, self._training)
        return Compiled(
            candidate.files,
            candidate.model_file,
            candidate.front_file,
            candidate.runtime,
            reference.schema,
            verdict,
            *self._golden(),
        )

    def _drawn(self, most: int | None) -> dict[str, tuple[FloatArray, Answers]]:
        """The rows of every kind but those on thresholds, at most so many of each, and scikit-learn's answers."""
        if most not in self._asked:
            self._asked[most] = self._ask({origin: rows[:most] for origin, rows in self._rows.items()})
        return self._asked[most]

    def _ask(self, rows: Mapping[str, FloatArray]) -> dict[str, tuple[FloatArray, Answers]]:
        """scikit-learn's answers to each kind of row; kinds to which it has none are left out."""
        total = sum(map(len, rows.values()))
        asked = {}
        for origin, part in rows.items():
            self._progress(f"asking the fitted pipeline {len(part):,} {origin} rows")
            answered, answers = self._reference.ask(part, SECONDS * len(part) / total)
            if len(answered):
                asked[origin] = (answered, answers)
        return asked

    def _golden(self) -> tuple[FloatArray, Answers]:
        """Rows spread over every kind of row, chosen whatever the time allowed, and scikit-learn's answers to them."""
        chosen = [
            rows[np.linspace(0, len(rows) - 1, min(len(rows), _N_GOLDEN // len(self._rows))).astype(int)]
            for rows in self._rows.values()
        ]
        rows, answers = self._reference.ask(np.unique(np.concatenate(chosen), axis=0))
        finite = ~answers.unanswered
        return rows[finite], answers.at(finite)

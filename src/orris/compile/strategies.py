"""The order in which ways of serving are tried, until one passes the parity gate.

Exact, skl2onnx in double, in float, scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from orris.compile import ways
from orris.compile.parity import gate
from orris.compile.parity import rows as adversary
from orris.compile.parity.reference import Reference, require_answers
from orris.compile.probing import complete
from orris.errors import MissingExtraError, NotConvertibleError, ParityError, ServingError
from orris.runtime import Answers
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.verdict import Attempt, Strategy, Verdict

_N_GOLDEN = 32


@dataclass(frozen=True)
class Compiled:
    """A model that may be served.

    Attributes:
        content: The model file's bytes.
        model_file: Its name in the bundle.
        schema: The schema, completed with what the fitted pipeline was found to take (unseen levels, magnitude).
        verdict: What the gate found.
        golden_rows: Encoded rows, float64 ``(n, n_columns)``, for readiness.
        golden_answers: The fitted pipeline's answers to them.
    """

    content: bytes
    model_file: ways.ModelFile
    schema: Schema
    verdict: Verdict
    golden_rows: FloatArray
    golden_answers: Answers


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
        require_compiled: Raise rather than fall back to scikit-learn.
        progress: Is given what is being done.

    Raises:
        CompileError: The pipeline does not answer its own training rows, or nothing passes the gate.
        ParityError: ``require_compiled``, and nothing compiled passes; lists why each way was refused.
    """
    require_answers(Reference(pipeline, schema), training[: adversary.MAX_TRAINING_ROWS])
    schema = complete(pipeline, schema, training)
    reference = Reference(pipeline, schema)
    progress("asking the fitted pipeline")
    asked = {origin: reference.ask(rows) for origin, rows in adversary.origins(schema, training, seed).items()}
    trial = _Trial(reference, asked, gate.family(pipeline), training, seed)
    attempts: list[Attempt] = []
    for strategy, way in ways.COMPILED.items():
        progress(f"proving {strategy}")
        try:
            return trial.run(strategy, way, tuple(attempts))
        except (NotConvertibleError, ParityError, ServingError, MissingExtraError) as error:
            reason = str(error)
            if not attempts or attempts[-1].reason != reason:
                attempts.append(Attempt(strategy, reason))
    refused = "; ".join(f"{attempt.strategy}: {attempt.reason}" for attempt in attempts)
    if require_compiled:
        raise ParityError(
            f"no compiled model passes the parity gate ({refused}); without --require-compiled it is served by"
            " scikit-learn"
        )
    progress("proving scikit-learn from a skops file")
    return trial.run("scikit-learn", ways.scikit_learn, tuple(attempts))


@dataclass
class _Trial:
    """One pipeline in front of the gate: what was asked of it, and how each way of serving it answers."""

    reference: Reference
    asked: dict[str, tuple[FloatArray, Answers]]
    family: gate.Family
    training: FloatArray
    seed: int

    def run(self, strategy: Strategy, way: ways.Way, attempts: tuple[Attempt, ...]) -> Compiled:
        """Build and prove one way of serving; raises why it is refused."""
        schema = self.reference.schema
        candidate = way(self.reference.pipeline, schema)
        rows = adversary.on_thresholds(schema, self.training, candidate.thresholds, self.seed)
        asked = self.asked | ({"threshold": self.reference.ask(rows)} if len(rows) else {})
        verdict = gate.prove(strategy, candidate.runtime, self.reference, asked, self.family, attempts)
        return Compiled(candidate.content, candidate.model_file, schema, verdict, *self.golden())

    def golden(self) -> tuple[FloatArray, Answers]:
        """Rows spread over every kind of row that was compared, and scikit-learn's answers."""
        chosen = [
            rows[np.linspace(0, len(rows) - 1, min(len(rows), _N_GOLDEN // len(self.asked))).astype(int)]
            for rows, _ in self.asked.values()
        ]
        return self.reference.ask(np.unique(np.concatenate(chosen), axis=0))

"""The ways to serve a fitted pipeline, tried until one passes the parity gate.

Exact, skl2onnx in double, in float, scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from orris import trust
from orris.compile.parity import gate as parity
from orris.compile.parity import rows as adversary
from orris.errors import CompileError, MissingExtraError, NotConvertibleError, ParityError, ServingError
from orris.runtime import Answers, OnnxRuntime, SklearnRuntime
from orris.schema import MAX_INTEGER, UNSEEN, Kind, Schema
from orris.schema.arrays import FloatArray
from orris.verdict import Attempt, Strategy, Verdict

_FOREIGN: dict[Strategy, Literal["", "float64", "float32"]] = {
    "exact": "",
    "skl2onnx-float64": "float64",
    "skl2onnx-float32": "float32",
}
_MAGNITUDES = (1e30, 1e25, 1e20, 1e15, 1e12, 1e9, 1e6, 1e5, 1e4, 1e3, 1e2, 1e1)
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
    model_file: Literal["model.onnx", "model.skops"]
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
        progress: Told what is being done.

    Raises:
        CompileError: The pipeline does not answer its own training rows, or nothing passes the gate.
        ParityError: ``require_compiled``, and nothing compiled passes; lists why each way was refused.
    """
    parity.require_answers(parity.Reference(pipeline, schema), training[: adversary.MAX_TRAINING_ROWS])
    schema = complete(pipeline, schema, training)
    reference = parity.Reference(pipeline, schema)
    progress("asking the fitted pipeline")
    asked = {origin: reference.ask(rows) for origin, rows in adversary.origins(schema, training, seed).items()}
    gate = _Gate(reference, asked, parity.family(pipeline), training, seed)
    attempts: list[Attempt] = []
    for strategy in _FOREIGN:
        progress(f"proving {strategy}")
        try:
            content, verdict = gate.onnx(strategy, tuple(attempts))
        except (NotConvertibleError, ParityError, ServingError, MissingExtraError) as error:
            reason = str(error)
            if not attempts or attempts[-1].reason != reason:
                attempts.append(Attempt(strategy, reason))
            continue
        return gate.compiled(content, "model.onnx", verdict)
    refused = "; ".join(f"{attempt.strategy}: {attempt.reason}" for attempt in attempts)
    if require_compiled:
        raise ParityError(
            f"no compiled model passes the parity gate ({refused}); without --require-compiled it is served by"
            " scikit-learn"
        )
    progress("proving scikit-learn from a skops file")
    content = to_skops(pipeline)
    return gate.compiled(content, "model.skops", gate.skops(content, tuple(attempts)))


@dataclass
class _Gate:
    """One pipeline in front of the gate: what was asked of it, and how each way of serving it answers."""

    reference: parity.Reference
    asked: dict[str, tuple[FloatArray, Answers]]
    family: parity.Family
    training: FloatArray
    seed: int

    def onnx(self, strategy: Strategy, attempts: tuple[Attempt, ...]) -> tuple[bytes, Verdict]:
        """Build and prove one compiled model."""
        from orris.compile.converters.composition import build  # noqa: PLC0415 (imports every family of scikit-learn)

        model, graph = build(self.reference.pipeline, self.reference.schema, _FOREIGN[strategy])
        if strategy != "exact" and not graph.used_foreign:
            raise NotConvertibleError("no estimator needs skl2onnx")
        content = model.SerializeToString(deterministic=True)
        rows = adversary.on_thresholds(self.reference.schema, self.training, graph.thresholds, self.seed)
        asked = self.asked | ({"threshold": self.reference.ask(rows)} if len(rows) else {})
        return content, parity.prove(strategy, OnnxRuntime(content), self.reference, asked, self.family, attempts)

    def skops(self, content: bytes, attempts: tuple[Attempt, ...]) -> Verdict:
        """Prove that the pipeline read back from its skops file answers as before."""
        runtime = SklearnRuntime(trust.read(content), self.reference.schema)
        return parity.prove("scikit-learn", runtime, self.reference, self.asked, self.family, attempts)

    def compiled(self, content: bytes, model_file: Literal["model.onnx", "model.skops"], verdict: Verdict) -> Compiled:
        """The result, with golden rows spread over every kind of row that was compared."""
        chosen = [
            rows[np.linspace(0, len(rows) - 1, min(len(rows), _N_GOLDEN // len(self.asked))).astype(int)]
            for rows, _ in self.asked.values()
        ]
        golden, answers = self.reference.ask(np.unique(np.concatenate(chosen), axis=0))
        return Compiled(content, model_file, self.reference.schema, verdict, golden, answers)


def complete(pipeline: Any, schema: Schema, training: FloatArray) -> Schema:
    """The schema with what only the fitted pipeline knows.

    Whether unseen levels are taken, and the largest magnitude.
    """
    reference = parity.Reference(pipeline, schema)
    columns = []
    for j, column in enumerate(schema.columns):
        rows = training[:20].copy()
        rows[:, j] = UNSEEN
        unseen = column.kind is Kind.CATEGORY and _indifferent(reference, rows)
        columns.append(msgspec.structs.replace(column, unseen=unseen))
    schema = msgspec.structs.replace(schema, columns=tuple(columns))
    numbers = [j for j, column in enumerate(schema.columns) if column.kind in {Kind.NUMBER, Kind.INTEGER}]
    floor = float(np.nanmax(np.abs(training[:, numbers]), initial=1.0)) if numbers else 1.0
    for magnitude in _MAGNITUDES:
        if magnitude <= floor:
            break
        if reference.takes(_at(schema, training, numbers, magnitude)):
            return msgspec.structs.replace(schema, max_magnitude=magnitude)
    return msgspec.structs.replace(schema, max_magnitude=floor)


def _indifferent(reference: parity.Reference, rows: FloatArray) -> bool:
    """Whether the pipeline answers unseen levels, and the same whatever they are called."""
    if not reference.takes(rows):
        return False
    with parity.quiet():
        first, second = (reference.runtime.run(rows, name) for name in ("unseen", "another"))
    return all(
        a is None or (b is not None and np.array_equal(a, b, equal_nan=True))
        for a, b in zip(first, second, strict=True)
    )


def _at(schema: Schema, training: FloatArray, numbers: list[int], magnitude: float) -> FloatArray:
    """Training rows with one column at a time at plus and minus the magnitude, as far as the hard bounds allow it."""
    parts = [training[:1]]
    for j in numbers:
        top = min(magnitude, float(MAX_INTEGER)) if schema.columns[j].kind is Kind.INTEGER else magnitude
        points = adversary.allowed(schema, schema.columns[j], np.array([top, -top]))
        rows = np.repeat(training[:1], len(points), axis=0)
        rows[:, j] = points
        parts.append(rows)
    return np.concatenate(parts)


def to_skops(pipeline: Any) -> bytes:
    """The fitted pipeline as a skops file: data, never code.

    Raises:
        CompileError: It holds a type that a server would not construct; names it.
    """
    from skops.io import dumps  # noqa: PLC0415

    content = bytes(dumps(pipeline))
    refused = trust.untrusted(content)
    if refused:
        raise CompileError(
            f"this pipeline can neither be compiled nor be read back safely: it holds {', '.join(refused)}; "
            "use steps of scikit-learn that are compiled, or that skops trusts"
        )
    return content

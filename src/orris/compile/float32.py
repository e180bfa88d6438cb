"""The model for tables of float32 where the pipeline was fitted on float64 (decision 0022).

scikit-learn computes in the precision of the rows that it is given: scalers and imputers round a float32 table's
results to float32, so the same pipeline answers it otherwise than the table in float64. Requests hold numbers of
float64; only ``orris.load(…).predict`` meets such a table. Here it is found out, once, how the served model answers one
as the fitted pipeline does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from orris.compile import ways
from orris.compile.build import build
from orris.compile.parity import gate
from orris.compile.parity import rows as adversary
from orris.compile.parity.reference import Reference, quiet
from orris.compile.strategies import Compiled
from orris.runtime import Answers, OnnxRuntime
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.verdict import Float32

_N_ROWS = 300
"""Rows of each kind that are compared: the converters are those of the model that has passed the gate."""
_SECONDS = 20.0


def examine(pipeline: object, compiled: Compiled, training: FloatArray, seed: int = 0) -> tuple[Float32, bytes]:
    """How tables of float32 are answered, and the file that does, if it takes one.

    Args:
        pipeline: The fitted estimator.
        compiled: What is served.
        training: Encoded training rows, float64 ``(n_rows, n_columns)``.
        seed: Of the rows that are drawn.
    """
    schema = compiled.schema.in_float32()
    if schema == compiled.schema:
        return "", b""
    if compiled.model_file == "model.skops":
        return "library", b""  # the fitted pipeline itself is given the table in float32
    if compiled.verdict.strategy == "exact":
        try:
            model, graph = build(pipeline, schema, rounds_rows=False)
            content = model.SerializeToString(deterministic=True)
            asked = dict(_asked(pipeline, schema, training, seed))
            rounding = ways.rounding_of(graph, schema.n_columns)
            reference = Reference(pipeline, schema)
            family = compiled.verdict.family
            gate.prove("exact", OnnxRuntime(content), reference, asked, family, rounding=rounding, seconds=_SECONDS)
        except Exception:  # noqa: BLE001, S110 (whatever it is: the model of float64 may still answer every row alike)
            pass
        else:
            return ("same", b"") if content == compiled.content else ("file", content)
    # One kind of rows after the other: the first that differ decide.
    kinds = (answered for _, answered in _asked(pipeline, schema, training, seed))
    return "same" if all(_answers_alike(compiled, rows, answers) for rows, answers in kinds) else "refused", b""


def _answers_alike(compiled: Compiled, rows: FloatArray, expected: Answers) -> bool:
    """Whether there are rows, and the served model gives every number of their answers."""
    try:
        found = compiled.runtime.run(rows)
    except Exception:  # noqa: BLE001 (whatever it raises means that it refuses a row)
        return False
    return len(rows) > 0 and all(
        a is None or (b is not None and np.array_equal(a, b, equal_nan=True))
        for a, b in zip(expected, found, strict=True)
    )


def _asked(
    pipeline: object, schema: Schema, training: FloatArray, seed: int
) -> Iterator[tuple[str, tuple[FloatArray, Answers]]]:
    """Each kind of rows, with floats of float32, and the fitted pipeline's answers to them as such a table.

    Training rows come first, and are there in any case.
    """
    floats = [i for i, column in enumerate(schema.columns) if column.dtype == "float32"]
    reference = Reference(pipeline, schema)
    for origin, rows in adversary.origins(schema, training, seed).items():
        drawn = np.random.default_rng(seed).permutation(rows)[:_N_ROWS]
        with quiet():
            drawn[:, floats] = drawn[:, floats].astype(np.float32)
        answered, answers = reference.ask(drawn, _SECONDS / 4)
        if len(answered) or origin == "training":
            yield origin, (answered, answers)

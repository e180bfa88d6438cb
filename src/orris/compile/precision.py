"""The models for tables whose floats have another precision than those of the fitted pipeline (decision 0022).

scikit-learn computes in the precision of the rows that it is given: scalers and imputers round a float32 table's
results to float32, so the same pipeline answers it otherwise than the table in float64. Requests hold numbers of the
contract's precision; only ``orris.load(…).predict`` meets such a table. Here it is found out, once, how the served
model answers one as the fitted pipeline does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orris.compile import ways
from orris.compile.build import build
from orris.compile.parity import gate
from orris.compile.parity import rows as adversary
from orris.compile.parity.reference import Reference, estimators_in, quiet
from orris.compile.strategies import Compiled
from orris.runtime import Answers, OnnxRuntime
from orris.schema import Kind, Schema
from orris.schema.arrays import FloatArray
from orris.schema.frames import decode
from orris.verdict import NUMBERS, Mixture, Precision

_N_ROWS = 300
"""Rows of each kind that are compared: the converters are those of the model that has passed the gate."""
_SECONDS = 20.0
_N_OF_MIXTURES = 60
_SECONDS_OF_MIXTURES = 5.0
"""CPU time, so that a busy machine finds the same."""
_NUMBERS = (Kind.NUMBER, Kind.INTEGER)
_N_GOLDEN = 4
"""Golden rows of each kind."""


@dataclass(frozen=True)
class Whole:
    """The model for tables whose floats are all of one other precision.

    Attributes:
        kind: See ``orris.verdict.Precision``.
        content: The model file of kind ``file``, otherwise empty.
        golden_rows: Rows of such tables, float64 ``(n, n_columns)``, where there is a file.
        golden_answers: The fitted pipeline's answers to them.
    """

    kind: Precision = ""
    content: bytes = b""
    golden_rows: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    golden_answers: Answers = field(default_factory=Answers)


@dataclass(frozen=True)
class Precisions:
    """The models for tables of floats that are not the contract's.

    Attributes:
        float32: Tables whose floats are all float32.
        float64: Tables whose floats are all float64.
        others: Where other types of numbers may stand without another answer than that to a table of float64; a type
            that is not there is refused.
    """

    float32: Whole
    float64: Whole
    others: Mapping[str, Mixture]


def examine(pipeline: Any, compiled: Compiled, training: FloatArray, seed: int = 0) -> Precisions:
    """How tables of other floats are answered, and the files that do, if it takes any.

    Args:
        pipeline: The fitted estimator.
        compiled: What is served.
        training: Encoded training rows, float64 ``(n_rows, n_columns)``.
        seed: Of the rows that are drawn.
    """
    schema = compiled.schema
    return Precisions(
        _whole(pipeline, compiled, schema.in_float32(), training, seed),
        _whole(pipeline, compiled, schema.in_float64(), training, seed),
        _others(pipeline, schema.in_float64(), np.random.default_rng(seed).permutation(training)[:_N_OF_MIXTURES]),
    )


def _whole(pipeline: Any, compiled: Compiled, schema: Schema, training: FloatArray, seed: int) -> Whole:
    """The model for the tables that ``schema`` describes, which differs from the contract in its floats alone."""
    if schema == compiled.schema:
        return Whole()
    if compiled.model_file == "model.skops":
        return Whole("library")  # the fitted pipeline itself is given the table in its own precision
    if compiled.verdict.strategy == "exact":
        try:
            model, graph = build(pipeline, schema, rounds_rows=False)
            content = model.SerializeToString(deterministic=True)
            asked = dict(_asked(pipeline, schema, training, seed))
            rounding = ways.rounding_of(graph, schema.n_columns)
            reference = Reference(pipeline, schema)
            family = compiled.verdict.family
            gate.prove("exact", OnnxRuntime(content), reference, asked, family, rounding=rounding, seconds=_SECONDS)
        except Exception:  # noqa: BLE001, S110 (whatever it is: the served model may still answer every row alike)
            pass
        else:
            return Whole("same") if content == compiled.content else Whole("file", content, *_golden(asked, compiled))
    # One kind of rows after the other: the first that differ decide.
    kinds = (answered for _, answered in _asked(pipeline, schema, training, seed))
    return Whole("same" if all(_answers_alike(compiled, rows, answers) for rows, answers in kinds) else "refused")


def _golden(asked: dict[str, tuple[FloatArray, Answers]], compiled: Compiled) -> tuple[FloatArray, Answers]:
    """A few rows of each kind, first those to which ``model.onnx`` gives another answer, and the pipeline's answers."""
    rows, parts = [], []
    for drawn, answers in asked.values():
        found = compiled.runtime.run(drawn)
        expected, other = (
            each.found if each.probabilities is None else each.probabilities for each in (answers, found)
        )
        differs = (expected != other).reshape(len(drawn), -1).any(axis=1)
        chosen = np.zeros(len(drawn), dtype=bool)
        chosen[np.argsort(~differs, kind="stable")[:_N_GOLDEN]] = True
        rows.append(drawn[chosen])
        parts.append(answers.at(chosen))
    columns = [None if part[0] is None else np.concatenate(part) for part in zip(*parts, strict=True)]
    return np.concatenate(rows), Answers(*columns)


def _answers_alike(compiled: Compiled, rows: FloatArray, expected: Answers) -> bool:
    """Whether there are rows, and the served model gives every number of their answers."""
    try:
        found = compiled.runtime.run(rows)
    except Exception:  # noqa: BLE001 (whatever it raises means that it refuses a row)
        return False
    return len(rows) > 0 and _same_bits(expected, found)


def _same_bits(expected: Answers, found: Answers) -> bool:
    return all(
        a is None or (b is not None and np.array_equal(a, b, equal_nan=True))
        for a, b in zip(expected, found, strict=True)
    )


def _asked(
    pipeline: Any, schema: Schema, training: FloatArray, seed: int
) -> Iterator[tuple[str, tuple[FloatArray, Answers]]]:
    """Each kind of rows, in the precision of the schema, and the fitted pipeline's answers to them as such a table.

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


def _others(pipeline: Any, schema: Schema, rows: FloatArray) -> dict[str, Mixture]:
    """The other types of numbers that the pipeline itself answers as it answers float64 and integers of 64 bits.

    Each type is tried in every column of numbers, where it may stand ``anywhere``; and in all columns but one, where it
    may stand ``beside`` the contract's. These decide for all other tables: a step computes in the type that all of its
    columns have together, or column by column. Time that runs out decides nothing.
    """
    numbers = frozenset(i for i, column in enumerate(schema.columns) if column.kind in _NUMBERS)
    if not numbers or (schema.container == "array" and len(numbers) < schema.n_columns):
        return {}
    end = time.process_time() + _SECONDS_OF_MIXTURES
    found: dict[str, Mixture] = {
        dtype: "anywhere" for dtype in NUMBERS if _takes_alike(pipeline, schema, rows, dtype, numbers)
    }
    alone = _one_of_each_part(pipeline, schema, sorted(numbers))
    beside = [numbers - {i} for i in alone] if schema.container == "frame" and len(numbers) > 1 else []
    for dtype in ("float32", "float16") if beside else ():
        if dtype not in found and all(
            time.process_time() < end and _takes_alike(pipeline, schema, rows, dtype, chosen) for chosen in beside
        ):
            found[dtype] = "beside"
    return found


def _one_of_each_part(pipeline: Any, schema: Schema, numbers: list[int]) -> list[int]:
    """A column of each set of columns that the parts of the ``ColumnTransformer``s do not tell apart.

    All columns, where a ``ColumnTransformer`` is given others than those of the table.
    """
    table = schema.table or schema.names
    parts: list[set[str]] = []
    for transformer in estimators_in(pipeline):
        if not hasattr(transformer, "_transformer_to_input_indices"):
            continue
        if transformer.n_features_in_ != len(table):
            return numbers
        indices = transformer._transformer_to_input_indices.values()
        parts += [{table[i] for i in np.arange(len(table))[chosen]} for chosen in indices]
    by_parts = {tuple(schema.names[i] in part for part in parts): i for i in numbers}
    return sorted(by_parts.values())


def _takes_alike(pipeline: Any, schema: Schema, rows: FloatArray, dtype: str, chosen: frozenset[int]) -> bool:
    """Whether the pipeline answers rows alike, whether the chosen columns are of this type or of the contract's.

    What the steps before the last return must be alike, too: a tree behind them notices few of the roundings.
    """
    positions = sorted(chosen)
    held = np.dtype(dtype.lower())
    limits = np.iinfo(held) if held.kind == "i" else np.finfo(held)
    with quiet():
        rounded = rows.copy()
        within = np.clip(rows[:, positions], limits.min, limits.max)
        missing = np.zeros(within.shape, dtype=bool) if held.kind == "i" else np.isnan(within)
        rounded[:, positions] = np.where(missing, np.nan, np.nan_to_num(within).astype(held).astype(np.float64))
        try:
            table: Any = decode(schema, rounded)
            names = [schema.names[i] for i in positions]
            other = table.astype(dict.fromkeys(names, dtype) if hasattr(table, "columns") else dtype)
            known, found = (list(_computed(pipeline, each)) for each in (table, other))
        except Exception:  # noqa: BLE001 (whatever a step raises: it does not take such a table)
            return False
    return all(_same(a, b) for a, b in zip(known, found, strict=True))


def _computed(pipeline: Any, table: Any) -> Iterator[Any]:
    """What a pipeline computes of a table: before its last step, and its answers."""
    if hasattr(pipeline, "steps") and len(pipeline.steps) > 1:
        before = pipeline[:-1].transform(table)
        yield np.asarray(before.toarray() if hasattr(before, "toarray") else before, dtype=np.float64)
    yield np.asarray(pipeline.predict(table))
    if hasattr(pipeline, "predict_proba"):
        yield np.asarray(pipeline.predict_proba(table), dtype=np.float64)


def _same(known: Any, found: Any) -> bool:
    return bool(np.array_equal(known, found, equal_nan=known.dtype.kind == "f"))

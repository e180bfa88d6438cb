"""A compiled model in ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from orris.errors import ExhaustedError, MissingExtraError, ServingError
from orris.runtime.answers import Answers
from orris.runtime.operators import check_operators
from orris.schema.arrays import FloatArray

WIDEST = "orris.widest"
"""Key of a model's metadata: columns of the widest table that its rows become."""

CHUNK_BYTES = 64 * 2**20
"""Largest table of float64 that a chunk of rows may become on its way through a model."""

_OUTPUTS = ("label", "probabilities", "value", "score")
"""Names of a model's outputs, in the order of ``Answers``; a model has some of them."""

_NO_MEMORY = ("bad allocation", "bad_alloc", "Failed to allocate memory")
"""Texts of ONNX Runtime's errors where memory ran out; it has no separate class for them."""


def open_session(model: bytes | Path, threads: int = 1) -> Any:
    """An ``onnxruntime.InferenceSession`` that computes what the graph says, node by node.

    ONNX Runtime's graph optimizers are off. They are made for float32: one keeps the factor beside a ``MatMul`` in
    float32, another drops a ``Mul`` by 1 + 1e-9. Graphs of Orris leave them nothing to gain: with all of them one row
    takes 0.2 to 1.8 microseconds (2 to 4 %) less, 1,000 rows take the same time, and loading takes up to three times as
    long.

    Args:
        model: The serialised model, or the file that holds it.
        threads: Threads for one call.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ServingError: The model holds an operator that is not allowed, or ONNX Runtime does not load it.
    """
    try:
        os.environ.setdefault(
            "ORT_DISABLE_TELEMETRY", "1"
        )  # it would report to its makers, and write a device's number to disk
        import onnxruntime as ort  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError("serve", "answering with a compiled model") from None
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry(
        "session.load_model_format", "ONNX"
    )  # not ONNX Runtime's own, which is not checked
    source = model if isinstance(model, bytes) else str(model)
    check_operators(model)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ServingError(f"ONNX Runtime does not load the model: {error}") from error


class OnnxRuntime:
    """A compiled model in ONNX Runtime.

    Args:
        model: The serialised model, or the file that holds it.
        threads: Threads for one call; 1 is fastest for few rows, and keeps the order of additions fixed.
    """

    def __init__(self, model: bytes | Path, threads: int = 1) -> None:
        self._session = open_session(model, threads)
        names = [output.name for output in self._session.get_outputs()]
        self._names = names
        self.has_probabilities = "probabilities" in names
        widest = int(self._session.get_modelmeta().custom_metadata_map.get(WIDEST, 0))
        self._most_rows = max(1, CHUNK_BYTES // (8 * widest)) if widest else 0
        self._order = [names.index(name) if name in names else None for name in _OUTPUTS]

    def run(self, rows: FloatArray) -> Answers:
        """Answer float64 ``(n_rows, n_columns)``; a model whose rows become wide tables takes them in chunks."""
        if self._most_rows and len(rows) > self._most_rows:
            starts = range(0, len(rows), self._most_rows)
            parts = [self._run(rows[start : start + self._most_rows]) for start in starts]
            return Answers(*(None if part[0] is None else np.concatenate(part) for part in zip(*parts, strict=True)))
        return self._run(rows)

    def _run(self, rows: FloatArray) -> Answers:
        try:
            outputs = self._session.run(self._names, {"rows": rows})
        except Exception as error:
            if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
                raise ExhaustedError(f"ONNX Runtime has no memory left for {len(rows):,} rows: {error}") from error
            raise ServingError(f"the model failed: {error}") from error
        return Answers(*(None if i is None else outputs[i] for i in self._order))

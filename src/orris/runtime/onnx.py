"""A compiled model in ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from orris.errors import ExhaustedError, MissingExtraError, ServingError
from orris.runtime.answers import Answers
from orris.schema.arrays import FloatArray

_NO_MEMORY = ("bad allocation", "bad_alloc", "Failed to allocate memory")
"""What ONNX Runtime's errors say where memory ran out; it has no class of its own for them."""


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
        ServingError: It does not load the model.
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
    source = model if isinstance(model, bytes) else str(model)
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
        self._order = [names.index(name) if name in names else None for name in ("label", "probabilities", "value")]

    def run(self, rows: FloatArray) -> Answers:
        """Answer float64 ``(n_rows, n_columns)``."""
        try:
            outputs = self._session.run(self._names, {"rows": rows})
        except Exception as error:
            if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
                raise ExhaustedError(f"ONNX Runtime has no memory left for {len(rows):,} rows: {error}") from error
            raise ServingError(f"the model failed: {error}") from error
        return Answers(*(None if i is None else outputs[i] for i in self._order))

"""Models that answer encoded rows: a compiled model in ONNX Runtime, or a fitted pipeline in scikit-learn.

The parity gate and the server use these same classes, so what was proven is what is served. scikit-learn is imported
only for a model that could not be compiled.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from orris import trust
from orris.errors import MissingExtraError, ServingError
from orris.schema import Schema
from orris.schema.arrays import FloatArray, IntArray
from orris.schema.frames import decode


class Answers(NamedTuple):
    """The answers to ``n_rows`` rows.

    Attributes:
        labels: Classification: int64 ``(n_rows,)``, position in ``Schema.labels``.
        probabilities: Classification, where the model has them: float64 ``(n_rows, n_classes)``.
        values: Regression: float64 ``(n_rows,)``.
    """

    labels: IntArray | None = None
    probabilities: FloatArray | None = None
    values: FloatArray | None = None

    @property
    def found(self) -> IntArray | FloatArray:
        """The labels of a classifier, the values of a regressor."""
        found = self.values if self.labels is None else self.labels
        assert found is not None  # noqa: S101 (a runtime gives one of them)
        return found


class Runtime(Protocol):
    """Anything that turns encoded rows into answers."""

    def run(self, rows: FloatArray) -> Answers:
        """Answer float64 ``(n_rows, n_columns)``; raises ``ServingError`` if the model fails."""


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
        self._order = [names.index(name) if name in names else None for name in ("label", "probabilities", "value")]

    def run(self, rows: FloatArray) -> Answers:
        """Answer float64 ``(n_rows, n_columns)``."""
        try:
            outputs = self._session.run(self._names, {"rows": rows})
        except Exception as error:
            raise ServingError(f"the model failed: {error}") from error
        return Answers(*(None if i is None else outputs[i] for i in self._order))


class SklearnRuntime:
    """A fitted scikit-learn pipeline, given what it was fitted on.

    Args:
        pipeline: The fitted classifier, regressor or Pipeline.
        schema: Says how encoded rows become the frame or array that the pipeline takes.
    """

    def __init__(self, pipeline: Any, schema: Schema) -> None:
        self._pipeline = pipeline
        self._schema = schema
        self._position = {label: i for i, label in enumerate(schema.labels)}
        self._has_probabilities = schema.task == "classification" and hasattr(pipeline, "predict_proba")

    @classmethod
    def load(cls, file: Path, schema: Schema) -> SklearnRuntime:
        """Read ``model.skops``. Only the types that ``trust.py`` allows are constructed, whatever the file names."""
        try:
            return cls(trust.read(file.read_bytes()), schema)
        except ImportError:
            raise MissingExtraError("sklearn", "serving a model that could not be compiled") from None
        except (OSError, ServingError) as error:
            raise ServingError(f"{file}: {error}") from error

    def run(self, rows: FloatArray, unseen_name: str = "unseen") -> Answers:
        """Answer float64 ``(n_rows, n_columns)``; ``unseen_name`` stands in for a level that training never saw."""
        import joblib  # noqa: PLC0415

        table = decode(self._schema, rows, unseen_name)
        # One job: several add up a forest's trees in an order that changes from call to call.
        with joblib.parallel_config("sequential"):
            predicted = np.asarray(self._pipeline.predict(table))
            if self._schema.task == "regression":
                return Answers(values=np.asarray(predicted, dtype=np.float64).reshape(len(rows)))
            # CatBoost answers several classes as one column.
            named = predicted.reshape(len(rows)).tolist()
            labels = np.array([self._position[label] for label in named], dtype=np.int64)
            probabilities = (
                np.asarray(self._pipeline.predict_proba(table), dtype=np.float64) if self._has_probabilities else None
            )
        return Answers(labels, probabilities)

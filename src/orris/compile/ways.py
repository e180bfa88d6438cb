"""The ways to serve a fitted pipeline, each building the model files and the runtime that a server would use.

A way raises ``OrrisError`` with the reason where it cannot serve the pipeline; ``strategies`` then tries the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from orris import trust
from orris.compile import skopsfile
from orris.compile.build import Foreign, build
from orris.errors import NotConvertibleError
from orris.runtime import OnnxRuntime, Runtime, SklearnRuntime
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.verdict import Strategy

ModelFile = Literal["model.onnx", "model.skops"]


@dataclass(frozen=True)
class Candidate:
    """A model that could be served, before the parity gate.

    Attributes:
        content: The model file's bytes.
        model_file: Its name in the bundle.
        runtime: Answers as a server would that had loaded the file.
        thresholds: Per input column: values on split thresholds, where the gate places rows.
    """

    content: bytes
    model_file: ModelFile
    runtime: Runtime
    thresholds: Mapping[int, Sequence[FloatArray]] = field(default_factory=dict)


Way = Callable[[Any, Schema], Candidate]
"""``(fitted pipeline, its schema) -> candidate``; raises ``OrrisError`` with the reason if there is none."""


def compiled(foreign: Foreign) -> Way:
    """ONNX: every step by an exact converter, or, where ``foreign`` names an element type, by skl2onnx."""

    def build_model(pipeline: Any, schema: Schema) -> Candidate:
        model, graph = build(pipeline, schema, foreign)
        if foreign and not graph.used_foreign:
            raise NotConvertibleError("no estimator needs skl2onnx")
        content = model.SerializeToString(deterministic=True)
        return Candidate(content, "model.onnx", OnnxRuntime(content), graph.thresholds)

    return build_model


def scikit_learn(pipeline: Any, schema: Schema) -> Candidate:
    """The fitted pipeline itself, read back from a skops file."""
    content = skopsfile.write(pipeline)
    return Candidate(content, "model.skops", SklearnRuntime(trust.read(content), schema))


COMPILED: Mapping[Strategy, Way] = {
    "exact": compiled(""),
    "skl2onnx-float64": compiled("float64"),
    "skl2onnx-float32": compiled("float32"),
}
"""Ways that need no scikit-learn in the server, in the order in which they are tried."""

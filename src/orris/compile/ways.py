"""The ways to serve a fitted pipeline, each building the model files and the runtime that a server would use.

A way raises ``OrrisError`` with the reason where it cannot serve the pipeline; ``strategies`` then tries the next.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from orris import trust
from orris.compile import skopsfile
from orris.compile.build import Foreign, build, build_rest, rounding_model
from orris.compile.cutting import Cut, cuts, frame_behind, refused_numbers
from orris.compile.graph import INPUT, ROUNDING, Graph
from orris.compile.parity.gate import Rounding
from orris.compile.parity.reference import quiet
from orris.compile.registry import library_file_of
from orris.errors import NotConvertibleError
from orris.runtime import FrontRuntime, OnnxRuntime, Runtime, SklearnRuntime, open_model, open_session
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.schema.frames import decode
from orris.verdict import FrontFile, ModelFile, Strategy

_SAMPLE_ROWS = 20


@dataclass(frozen=True)
class Candidate:
    """A model that could be served, before the parity gate.

    Attributes:
        files: Names of its files in the bundle, and their bytes.
        model_file: Which of them is the model.
        runtime: Answers as a server would that had loaded the files.
        front_file: Which of them holds the first steps, if scikit-learn runs them.
        thresholds: Per input column: values on split thresholds, where the gate places rows.
        rounding: Bounds, for each row, what the order of additions alone may change of its answer.
    """

    files: Mapping[str, bytes]
    model_file: ModelFile
    runtime: Runtime
    front_file: FrontFile = ""
    thresholds: Mapping[int, Sequence[FloatArray]] = field(default_factory=dict)
    rounding: Rounding | None = None


Way = Callable[[Any, Schema, FloatArray], Candidate | None]
"""``(fitted pipeline, its schema, encoded training rows) -> candidate``.

Raises with the reason if the way cannot serve the pipeline; ``None`` where the way has nothing to do with it.
"""


def compiled(foreign: Foreign) -> Way:
    """ONNX: every step by an exact converter, or, where ``foreign`` names an element type, by skl2onnx."""

    def way(pipeline: Any, schema: Schema, _: FloatArray) -> Candidate | None:
        model, graph = build(pipeline, schema, foreign)
        if foreign and not graph.used_foreign:
            return None
        if foreign == "float32" and any(node.op_type == "TreeEnsemble" for node in model.graph.node):
            raise NotConvertibleError(
                f"skl2onnx computes {', '.join(graph.used_foreign)} in float32, and the trees split float64 numbers"
            )
        content = model.SerializeToString(deterministic=True)
        rounding = rounding_of(graph, schema.n_columns)
        runtime = OnnxRuntime(content)
        return Candidate({"model.onnx": content}, "model.onnx", runtime, "", graph.thresholds, rounding)

    return way


def partly_compiled(pipeline: Any, schema: Schema, sample: FloatArray) -> Candidate | None:
    """The first steps by scikit-learn, from a skops file, and the longest rest that has exact converters by ONNX."""
    reason: NotConvertibleError | None = None
    for cut in cuts(pipeline):
        try:
            content, graph, width = _rest(cut, schema, sample)
        except NotConvertibleError as error:
            reason = error
            continue
        front = skopsfile.write(cut.front)
        runtime = FrontRuntime(trust.read(front), OnnxRuntime(content), schema)
        files = {"front.skops": front, "model.onnx": content}
        behind = rounding_of(graph, width)
        rounding = None if behind is None else _behind(runtime, behind)
        return Candidate(files, "model.onnx", runtime, "front.skops", rounding=rounding)
    if reason is None:
        return None
    raise NotConvertibleError(f"no part of the pipeline that ends it can be compiled: {reason}", remedy=reason.remedy)


def _rest(cut: Cut, schema: Schema, sample: FloatArray) -> tuple[bytes, Graph, int]:
    """The compiled rest, its graph, and the width of what the first steps make of the rows."""
    with quiet():
        made = cut.front.transform(decode(schema, sample[:_SAMPLE_ROWS]))
    frame = frame_behind(made)
    model, graph = build_rest(cut.rest, schema, frame, refused_numbers(cut.rest, made))
    return model.SerializeToString(deterministic=True), graph, frame.width


def rounding_of(graph: Graph, n_columns: int) -> Rounding | None:
    """The function that gives the gate a bound of each row's rounding, if the graph has one."""
    model = rounding_model(graph, n_columns)
    if model is None:
        return None
    session = open_session(model.SerializeToString())
    return lambda rows: np.asarray(session.run([ROUNDING], {INPUT: rows})[0])


def _behind(runtime: FrontRuntime, rounding: Rounding) -> Rounding:
    return lambda rows: rounding(runtime.features(rows))


def library_file(pipeline: Any, schema: Schema, _: FloatArray) -> Candidate | None:
    """The library's own model file, with the steps in front of the model, if there are any, run by scikit-learn."""
    for cut in [Cut(None, pipeline), *cuts(pipeline)]:
        writer = library_file_of(cut.rest)
        if writer is None:
            continue
        name, content = writer(cut.rest)
        files = {name: content} | ({} if cut.front is None else {"front.skops": skopsfile.write(cut.front)})
        front_file: FrontFile = "" if cut.front is None else "front.skops"
        with tempfile.TemporaryDirectory(prefix="orris-") as folder:
            for file, data in files.items():
                (Path(folder) / file).write_bytes(data)
            runtime = open_model(Path(folder), name, schema, front_file=front_file)
        return Candidate(files, cast(ModelFile, name), runtime, front_file)
    return None


def scikit_learn(pipeline: Any, schema: Schema, _: FloatArray) -> Candidate:
    """The fitted pipeline itself, read back from a skops file."""
    content = skopsfile.write(pipeline)
    return Candidate({"model.skops": content}, "model.skops", SklearnRuntime(trust.read(content), schema))


COMPILED: Mapping[Strategy, Way] = {
    "exact": compiled(""),
    "skl2onnx-float64": compiled("float64"),
    "skl2onnx-float32": compiled("float32"),
}
"""Ways that need no library but ONNX Runtime in the server, in the order in which they are tried."""

OTHERS: Mapping[Strategy, Way] = {
    "partly-compiled": partly_compiled,
    "library-file": library_file,
    "scikit-learn": scikit_learn,
}
"""Ways that need the model's library in the server, tried after those."""

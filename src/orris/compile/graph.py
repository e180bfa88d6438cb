"""A small builder for ONNX graphs, and the values that travel through it while a pipeline is converted.

The compiled model has one input, ``rows``: the encoded rows of the schema, float64 ``(n_rows, n_columns)``. Its outputs
are

* classification: ``label`` int64 ``(n_rows,)``, the position of the class in ``Schema.labels``, and, where the
  classifier has ``predict_proba``, ``probabilities`` float64 ``(n_rows, n_classes)``;
* regression: ``value`` float64 ``(n_rows,)``;
* outlier detection and clustering: ``label``, and, where the model has them, ``probabilities`` and ``score`` float64
  ``(n_rows,)``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from orris.errors import NotConvertibleError
from orris.runtime.onnx import WIDEST
from orris.schema import Level
from orris.schema.arrays import FloatArray

OPSET = 21
ML_OPSET = 5
IR_VERSION = 10
"""Read by every ONNX Runtime since 1.20."""

ML_DOMAIN = "ai.onnx.ml"
INPUT, LABEL, PROBABILITIES, VALUE, SCORE = "rows", "label", "probabilities", "value", "score"
ROUNDING = "rounding"

MAX_THRESHOLDS = 20_000
"""Most split thresholds of one column that are remembered for the parity gate; of more, a share is drawn."""

WIDE = 1024
"""A model whose rows become tables wider than this says so, and is run in chunks of few rows."""


@dataclass(frozen=True)
class Feature:
    """Facts about one column of a tensor during the conversion.

    Attributes:
        name: Its name, where the step before has named it (a table's column name); otherwise empty.
        levels: If not ``None``, the tensor does not hold the value itself but the code of a category (see
            ``orris.schema``): the fitted estimator saw ``levels[code]``; NaN is missing, -1 a level never seen.
        source: Position of the input column that this feature is a monotone function of, if it is of exactly one.
        inverse: Maps values of this feature, float64 ``(k,)``, back to values of that input column; the parity gate
            uses it to place rows on split thresholds.
        missing_as: What the fitted estimator sees where the tensor is NaN: NaN, or None (in object columns only).
        single: It is a column of the table, and is float32 there; see ``Frame.single``.
        rounded: It may differ from scikit-learn's in the last bits, so nothing may compare it with a threshold.
        finite: A finite number in the table stays one here; otherwise it may have become NaN or infinite.
    """

    name: str = ""
    levels: tuple[Level, ...] | None = None
    source: int | None = None
    inverse: Callable[[FloatArray], FloatArray] | None = None
    missing_as: Literal["nan", "none"] = "nan"
    single: bool = False
    rounded: bool = False
    finite: bool = True


@dataclass(frozen=True)
class Frame:
    """A float64 tensor ``(n_rows, len(features))`` in the graph, and what each of its columns is.

    Attributes:
        tensor: Its name.
        features: Its columns.
        sparse: scikit-learn holds it as a sparse matrix: some steps carry out other operations then.
        single: scikit-learn holds it in float32 (the values are exact in it), and would go on computing in float32.
    """

    tensor: str
    features: tuple[Feature, ...]
    sparse: bool = False
    single: bool = False

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.features)

    @property
    def coded(self) -> bool:
        """Whether any column holds category codes rather than values."""
        return any(feature.levels is not None for feature in self.features)


@dataclass(frozen=True)
class Prediction:
    """Names of the tensors a converted predictor ends in.

    Attributes:
        label: Classification: int64 ``(n_rows,)``, position in the estimator's ``classes_``.
        probabilities: Classification with ``predict_proba``: float64 ``(n_rows, n_classes)``.
        decision: Classification, where an estimator around this one may ask for it: ``decision_function``, float64
            ``(n_rows,)`` for two classes, else ``(n_rows, n_classes)``.
        value: Regression: float64 ``(n_rows,)``.
        score: Outlier detection and clustering: float64 ``(n_rows,)``.
        rounding: Where a bound is known: by how much the probabilities or the value may differ from scikit-learn's for
            the order of additions alone, float64 ``(n_rows,)``. The parity gate computes it; the served model does not.
    """

    label: str | None = None
    probabilities: str | None = None
    value: str | None = None
    decision: str | None = None
    score: str | None = None
    rounding: str | None = None


class Hot(NamedTuple):
    """A column of a tensor that is 1 where ``positions[:, column] == position``, and otherwise 0.

    Attributes:
        positions: Name of a float64 tensor ``(n_rows, n)`` of whole numbers from -1 on.
        column: Which of its columns.
        position: The number that stands for the column.
    """

    positions: str
    column: int
    position: int


@dataclass
class Graph:
    """Collects nodes and constants; every method returns the name of the tensor it made."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    thresholds: dict[int, list[FloatArray]] = field(default_factory=dict)
    """Per input column: raw values that lie on a split threshold of some tree, for the parity gate."""
    foreign: Literal["", "float64", "float32"] = ""
    """Element type in which skl2onnx may convert an estimator that has no exact converter; empty: not at all."""
    hot: dict[str, tuple[Hot | None, ...]] = field(default_factory=dict)
    """Per tensor made by one-hot encoding, also beside others and in part: what each of its columns stands for."""
    parts: dict[str, tuple[Frame, ...]] = field(default_factory=dict)
    """Per tensor with one-hot columns that was put together from frames side by side: those frames."""
    used_foreign: list[str] = field(default_factory=list)
    """Class names of the estimators that skl2onnx converted."""
    widest: int = 0
    """Columns of the widest frame."""
    refused: list[str] = field(default_factory=list)
    """Tensors, bool ``(n_rows,)``: rows of which a step makes what a later one refuses, so that they get no answer."""
    rounding: str | None = None
    """``Prediction.rounding`` of the whole pipeline, as the parity gate measures differences."""
    opsets: dict[str, int] = field(default_factory=lambda: {"": OPSET, ML_DOMAIN: ML_OPSET})
    _counter: int = 0

    def name(self, stem: str) -> str:
        """A tensor name not used before."""
        self._counter += 1
        return f"{stem}_{self._counter}"

    def constant(self, array: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> str:
        """A constant tensor; equal constants are stored once."""
        value = np.ascontiguousarray(array, dtype=dtype).reshape(np.shape(array))
        digest = hashlib.sha256(value.tobytes()).hexdigest()[:16]
        key = f"c_{value.dtype}_{'x'.join(map(str, value.shape))}_{digest}"
        if key not in self.initializers:
            self.initializers[key] = numpy_helper.from_array(value, key)
        return key

    def add(self, op: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any) -> Any:
        """Append a node; returns its output's name, or a tuple of names when ``outputs > 1``."""
        names = [self.name(op.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, domain=domain, **attributes))
        return names[0] if outputs == 1 else tuple(names)

    def cast(self, tensor: str, to: int) -> str:
        """``Cast`` to an ``onnx.TensorProto`` element type."""
        return str(self.add("Cast", tensor, to=to))

    def take(self, frame: Frame, positions: Sequence[int]) -> Frame:
        """The columns at ``positions``, in that order."""
        chosen = tuple(frame.features[i] for i in positions)
        if list(positions) == list(range(frame.width)):
            return frame
        if frame.tensor in self.parts and list(positions) == sorted(positions):
            # From each part alone, so that the wide table need not be made for the columns beside it.
            taken = self._from_parts(frame, positions)
            return replace(frame, tensor=taken.tensor, features=chosen)
        index = self.constant(np.asarray(positions, dtype=np.int64))
        tensor = self.add("Gather", frame.tensor, index, axis=1)
        if frame.tensor in self.hot:
            self.hot[tensor] = tuple(self.hot[frame.tensor][i] for i in positions)
        # Columns of a table are float32 to scikit-learn if all that it takes together are.
        single = frame.single or (bool(chosen) and all(feature.single for feature in chosen))
        return replace(frame, tensor=tensor, features=chosen, single=single)

    def _from_parts(self, frame: Frame, positions: Sequence[int]) -> Frame:
        taken, start = [], 0
        for part in self.parts[frame.tensor]:
            inside = [i - start for i in positions if start <= i < start + part.width]
            start += part.width
            if inside:
                taken.append(self.take(part, inside))
        return self.concat(taken)

    def concat(self, frames: Sequence[Frame]) -> Frame:
        """The frames side by side; frames of no column are dropped."""
        kept = [frame for frame in frames if frame.width]
        self.widest = max(self.widest, sum(frame.width for frame in kept))
        if len(kept) == 1:
            return kept[0]
        tensor = self.add("Concat", *(frame.tensor for frame in kept), axis=1)
        if any(frame.tensor in self.hot for frame in kept):
            hot = [self.hot.get(frame.tensor, (None,) * frame.width) for frame in kept]
            self.hot[tensor] = tuple(column for part in hot for column in part)
            self.parts[tensor] = tuple(kept)
        features = tuple(feature for frame in kept for feature in frame.features)
        return Frame(tensor, features, any(frame.sparse for frame in kept), all(frame.single for frame in kept))

    def on_threshold(self, feature: Feature, thresholds: FloatArray) -> None:
        """Remember that the model splits ``feature`` at ``thresholds``, float64 ``(k,)``; see ``parity.py``.

        Raises:
            NotConvertibleError: The feature may differ from scikit-learn's in the last bits, which decide here.
        """
        if feature.rounded and len(thresholds):
            raise NotConvertibleError(
                "a step compares with thresholds what a step before it rounds in another way than scikit-learn"
            )
        if feature.source is None or feature.levels is not None or not len(thresholds):
            return
        inverse = feature.inverse or (lambda values: values)
        unique = np.unique(thresholds)
        if len(unique) > MAX_THRESHOLDS:
            unique = np.random.default_rng(len(unique)).choice(unique, MAX_THRESHOLDS, replace=False)
        with np.errstate(over="ignore"):
            single = unique.astype(np.float32)
            spread = [
                unique,
                np.nextafter(unique, -np.inf),
                np.nextafter(unique, np.inf),
                single.astype(np.float64),
                np.nextafter(single, np.float32(-np.inf)).astype(np.float64),
                np.nextafter(single, np.float32(np.inf)).astype(np.float64),
            ]
        raw = inverse(np.concatenate(spread))
        around = np.concatenate([raw, np.nextafter(raw, -np.inf), np.nextafter(raw, np.inf)])
        self.thresholds.setdefault(feature.source, []).append(np.unique(around[np.isfinite(around)]))

    def model(self, n_columns: int, outputs: Sequence[tuple[str, str, int, Sequence[int | str]]]) -> onnx.ModelProto:
        """The finished model.

        Args:
            n_columns: Width of the encoded rows.
            outputs: ``(tensor, public name, element type, shape)`` of each output; a text dimension is variable.

        Raises:
            NotConvertibleError: onnx refuses the graph, as it does where skl2onnx uses an operator that a version of
                ours no longer has.
        """
        for tensor, public, _, _ in outputs:
            self.nodes.append(helper.make_node("Identity", [tensor], [public]))
        nodes, used = _needed(self.nodes, [public for _, public, _, _ in outputs])
        graph = helper.make_graph(
            nodes,
            "orris",
            [helper.make_tensor_value_info(INPUT, TensorProto.DOUBLE, ["n_rows", n_columns])],
            [helper.make_tensor_value_info(public, kind, list(shape)) for _, public, kind, shape in outputs],
            [stored for name, stored in self.initializers.items() if name in used],
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in sorted(self.opsets.items())]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="orris")
        if self.widest > WIDE:
            helper.set_model_props(model, {WIDEST: str(self.widest)})
        try:
            onnx.checker.check_model(model)
        except Exception as error:
            raise NotConvertibleError(f"onnx refuses the graph: {' '.join(str(error).split())[:300]}") from error
        return model


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes that the outputs depend on, in order, and the names that they use.

    ONNX Runtime would run the other nodes too.
    """
    used = set(outputs)
    kept = []
    for node in reversed(nodes):
        if used.intersection(node.output):
            used |= _inputs(node)
            kept.append(node)
    return kept[::-1], used


def _inputs(node: onnx.NodeProto) -> set[str]:
    """Names a node reads, also those that its subgraphs read."""
    names = set(node.input)
    for attribute in node.attribute:
        for subgraph in [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs:
            names |= {output.name for output in subgraph.output}
            for inner in subgraph.node:
                names |= _inputs(inner)
    return names


def unnamed(frame: Frame) -> Frame:
    """The same frame with its columns' names forgotten, as after a step that returns an array."""
    return replace(frame, features=tuple(replace(feature, name="") for feature in frame.features))

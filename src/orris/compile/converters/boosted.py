"""The computation of a boosting library's model, as one table without any library or ONNX.

The readers (``xgboost``, ``lightgbm``, ``catboost``) make the table from what the library says of its model;
``add_scores`` writes it into the graph; a proof can hold the two side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orris.compile.converters.tree_ensemble import Tree, add_totals, after_rounding, constant_tree, note_thresholds
from orris.compile.graph import Frame, Graph
from orris.schema.arrays import FloatArray


@dataclass(frozen=True)
class Boosted:
    """A model's raw scores: from ``base``, tree by tree, each added to its target, every step rounded to ``dtype``.

    Attributes:
        trees: In the order in which they are added, with ``values`` ``(n_nodes,)``.
        targets: For each tree, the target that it adds to.
        base: float64 ``(n_targets,)``, what each target starts from.
        dtype: In what the library compares and adds.
        link: What the library makes of the raw scores: the name of its objective.
    """

    trees: Sequence[Tree]
    targets: Sequence[int]
    base: FloatArray
    dtype: type[np.float32 | np.float64]
    link: str

    @property
    def n_targets(self) -> int:
        """Number of raw scores of a row."""
        return len(self.base)

    @property
    def in_order(self) -> tuple[list[Tree], list[int]]:
        """The trees as the node adds them, the base as a first tree of each target; and their targets.

        A target that starts from zero needs none: adding to zero changes nothing.
        """
        first = [target for target, base in enumerate(self.base) if base or target not in set(self.targets)]
        return (
            [*(constant_tree(float(self.base[target])) for target in first), *self.trees],
            [*first, *self.targets],
        )


def add_scores(graph: Graph, tensor: str, boosted: Boosted) -> str:
    """Append the trees: ``(n_rows, n_features)`` of their ``dtype`` becomes ``(n_rows, n_targets)`` of the same."""
    trees, targets = boosted.in_order
    return add_totals(graph, tensor, trees, targets, boosted.n_targets, boosted.dtype)


def note(graph: Graph, frame: Frame, boosted: Boosted) -> None:
    """Tell the gate the thresholds, as they are and as float64 values are rounded to them."""
    note_thresholds(graph, frame, boosted.trees)
    if boosted.dtype is np.float32:
        note_thresholds(graph, frame, [after_rounding(tree) for tree in boosted.trees])


def below(thresholds: npt.NDArray[np.float32]) -> FloatArray:
    """float32 thresholds of ``value < threshold`` as those of ``value <= threshold``, held in float64."""
    return np.nextafter(thresholds, np.float32(-np.inf)).astype(np.float64)

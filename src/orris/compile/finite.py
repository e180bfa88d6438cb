"""Numbers that a step makes NaN or infinite, such as the logarithm of zero, and the steps behind it that refuse them.

scikit-learn raises an error for such a row; a graph would go on computing. The rows are marked in the graph, and get
no answer. Used by ``dispatch`` before each step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from orris.compile.converters import arithmetic
from orris.compile.graph import Frame, Graph
from orris.compile.parity.reference import quiet
from orris.compile.registry import is_exactly
from orris.errors import NotConvertibleError


def guarded(graph: Graph, estimator: Any, frame: Frame) -> Frame:
    """The frame that ``estimator`` is given, once rows that it refuses are marked in ``graph.refused``.

    Raises:
        NotConvertibleError: A column may hold NaN or infinity, and what the estimator makes of it is not known.
    """
    doubtful = [i for i, feature in enumerate(frame.features) if not feature.finite]
    if not doubtful or _takes_anything(estimator):
        return frame
    nan, infinity = (_refuses(estimator, frame.width, doubtful[0], number) for number in (np.nan, np.inf))
    tensor = graph.take(frame, doubtful).tensor
    for refused, test in ((nan, "IsNaN"), (infinity, "IsInf")):
        if refused:
            graph.refused.append(arithmetic.any_in_row(graph, graph.add(test, tensor)))
    if not (nan and infinity):
        return frame
    return replace(frame, features=tuple(replace(feature, finite=True) for feature in frame.features))


def _takes_anything(estimator: Any) -> bool:
    return is_exactly(estimator, "sklearn.preprocessing.FunctionTransformer") and not estimator.validate


def _refuses(estimator: Any, width: int, column: int, number: float) -> bool:
    """Whether a fitted estimator raises an error for a row with ``number`` in a column, and for one of ones does not.

    Raises:
        NotConvertibleError: It raises an error for the row of ones too.
    """
    method = estimator.predict if hasattr(estimator, "predict") else estimator.transform
    row = np.ones((2, width))
    with quiet():
        try:
            method(row)
        except Exception as error:
            name = type(estimator).__name__
            raise NotConvertibleError(
                f"{name} is given numbers that may not be finite, and raises {type(error).__name__} for an ordinary row"
            ) from error
        row[:, column] = number
        try:
            method(row)
        except Exception:  # noqa: BLE001 (whatever it raises means that it refuses the row)
            return True
    return False

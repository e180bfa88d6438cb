"""Where a pipeline can be cut in two: first steps that scikit-learn still runs, and a rest that is compiled.

One step without a converter then costs only itself and the steps before it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from orris.compile.converters.composition import PIPELINES, SEARCHES, acting
from orris.compile.graph import INPUT, Feature, Frame
from orris.compile.parity.reference import quiet
from orris.compile.registry import is_exactly
from orris.errors import NotConvertibleError


@dataclass(frozen=True)
class Cut:
    """A fitted pipeline in two parts: ``rest.predict(front.transform(table))`` is what it answers.

    Attributes:
        front: A Pipeline of the first steps.
        rest: A predictor, or a Pipeline that ends in one.
    """

    front: Any
    rest: Any


def cuts(pipeline: Any) -> Iterator[Cut]:
    """Every place where the pipeline can be cut, the one that leaves the longest rest first."""
    if is_exactly(pipeline, *SEARCHES):
        yield from cuts(getattr(pipeline, "best_estimator_", None))
    elif is_exactly(pipeline, "sklearn.frozen.FrozenEstimator"):
        yield from cuts(pipeline.estimator)
    elif is_exactly(pipeline, "sklearn.compose.TransformedTargetRegressor"):
        for cut in cuts(pipeline.regressor_):
            around = copy.copy(pipeline)
            around.regressor_ = cut.rest
            yield Cut(cut.front, around)
    elif is_exactly(pipeline, *PIPELINES):
        from sklearn.pipeline import Pipeline  # noqa: PLC0415 (needed only for a pipeline, which has imported it)

        steps = acting(pipeline.steps)
        for i in range(1, len(steps)):
            rest = steps[i:]
            yield Cut(Pipeline(steps[:i]), Pipeline(rest) if len(rest) > 1 else rest[0][1])


def frame_behind(made: Any) -> Frame:
    """The tensor that a front's output is given to the rest as.

    Args:
        made: What the front makes of some rows: an array, a DataFrame or a sparse matrix, ``(n_rows, n_features)``.

    Raises:
        NotConvertibleError: It holds anything but numbers.
    """
    names = [str(name) for name in made.columns] if hasattr(made, "columns") else [""] * made.shape[1]
    kinds = {np.dtype(kind) for kind in made.dtypes} if hasattr(made, "dtypes") else {made.dtype}
    if not all(kind.kind in "fiub" for kind in kinds) or made.shape[1] == 0:
        raise NotConvertibleError("the steps in front of the cut return columns that are no numbers")
    single = all(kind.kind == "f" and kind.itemsize < 8 for kind in kinds)
    return Frame(INPUT, tuple(Feature(name) for name in names), hasattr(made, "toarray"), single)


def refused_numbers(rest: Any, made: Any) -> tuple[float, ...]:
    """Which of NaN, infinity and a number beyond float32 the rest refuses, of those that a front could return.

    Args:
        rest: The fitted rest.
        made: What the front makes of some rows.
    """
    refused = []
    for number in (np.nan, np.inf, 1e300):
        row: Any = made[:1].toarray() if hasattr(made, "toarray") else made[:1].copy()
        try:
            filled = row.astype(np.float64)
            if hasattr(filled, "iloc"):
                filled.iloc[0, 0] = number
            else:
                filled[0, 0] = number
            with quiet():
                rest.predict(filled)
        except Exception:  # noqa: BLE001 (whatever it raises means that it refuses the row)
            refused.append(number)
    return tuple(refused)

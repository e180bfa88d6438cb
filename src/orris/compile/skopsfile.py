"""Writing a fitted pipeline as a skops file; ``orris.trust`` reads it back and says which types it may hold."""

from __future__ import annotations

import copy
from typing import Any

from orris import trust
from orris.compile.converters.composition import SEARCHES, acting
from orris.compile.registry import is_exactly
from orris.errors import CompileError
from orris.trust.compiled import parts


def write(pipeline: Any) -> bytes:
    """The fitted pipeline as a skops file: data, never code.

    Raises:
        CompileError: It holds a type that a server would not construct, which the message names, or one that skops
            cannot write.
    """
    from skops.io import dumps  # noqa: PLC0415

    try:
        content = bytes(dumps(_answering(pipeline)))
        refused = trust.untrusted(content)
    except Exception as error:
        raise CompileError(f"skops does not write this pipeline: {type(error).__name__}: {error}") from error
    if refused:
        raise CompileError(
            f"this pipeline can neither be compiled nor be read back safely: it holds {', '.join(refused)}"
        )
    return content


def _answering(pipeline: Any) -> Any:
    """The part of a fitted pipeline that answers rows.

    Of a search it is the best estimator. A pipeline of imbalanced-learn becomes one of scikit-learn without the
    samplers, which only act while fitting, so that a server needs no imbalanced-learn.
    """
    while is_exactly(pipeline, *SEARCHES):
        pipeline = pipeline.best_estimator_
    if is_exactly(pipeline, "imblearn.pipeline.Pipeline"):
        pipeline = _without_samplers(pipeline)
    inner = [part for part in parts(pipeline) if is_exactly(part, "imblearn.pipeline.Pipeline")]
    return copy.deepcopy(pipeline, {id(part): _without_samplers(part) for part in inner}) if inner else pipeline


def _without_samplers(pipeline: Any) -> Any:
    from sklearn.pipeline import Pipeline  # noqa: PLC0415

    return Pipeline(acting(pipeline.steps))

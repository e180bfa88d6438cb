"""Which converter handles which estimator. A family's module registers its converters on import.

A converter appends to the graph the operations that the fitted estimator carries out, in float64 and in the same order,
so that the answers are the same to the last bits. It raises ``NotConvertibleError`` for a setting that it cannot
reproduce: never approximate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from orris.compile.graph import Frame, Graph, Prediction
from orris.errors import NotConvertibleError

TransformerConverter = Callable[[Graph, Any, Frame], Frame]
PredictorConverter = Callable[[Graph, Any, Frame], Prediction]
_T = TypeVar("_T", bound=Callable[..., Any])

_transformers: dict[type, TransformerConverter] = {}
_predictors: dict[type, PredictorConverter] = {}


def transformer(*estimators: type) -> Callable[[_T], _T]:
    """Register a converter ``(graph, fitted estimator, frame) -> frame`` for exactly these classes."""

    def register(converter: _T) -> _T:
        _transformers.update(dict.fromkeys(estimators, converter))
        return converter

    return register


def predictor(*estimators: type) -> Callable[[_T], _T]:
    """Register a converter ``(graph, fitted estimator, frame) -> prediction`` for exactly these classes."""

    def register(converter: _T) -> _T:
        _predictors.update(dict.fromkeys(estimators, converter))
        return converter

    return register


def convert_transformer(graph: Graph, estimator: Any, frame: Frame) -> Frame:
    """Append a fitted transformer. Subclasses are not taken for their base: they may have changed anything.

    Raises:
        NotConvertibleError: No converter covers it, and ``graph.foreign`` does not allow skl2onnx, or skl2onnx cannot
            either.
    """
    converter = _transformers.get(type(estimator))
    if converter is not None:
        return converter(graph, estimator, frame)
    from orris.compile.converters import foreign  # noqa: PLC0415 (skl2onnx is slow to import and rarely needed)

    return foreign.transform(graph, estimator, frame)


def convert_predictor(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Append a fitted classifier or regressor; raises as ``convert_transformer``."""
    converter = _predictors.get(type(estimator))
    if converter is not None:
        return converter(graph, estimator, frame)
    from orris.compile.converters import foreign  # noqa: PLC0415

    return foreign.predict(graph, estimator, frame)


def require_values(frame: Frame, estimator: Any) -> None:
    """Raise ``NotConvertibleError`` if a column still holds category codes where the estimator computes with values."""
    for feature in frame.features:
        if feature.levels is not None:
            raise NotConvertibleError(
                f"{type(estimator).__name__} is given the category column '{feature.name}' without an encoder before it"
            )

"""A fitted estimator to its converter, or to skl2onnx where that is allowed; used by converters of nested estimators.

A frame's features carry their names as long as scikit-learn would still hold a DataFrame there, because a
ColumnTransformer that was fitted on a DataFrame selects by name, and by position otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from orris.compile.converters import foreign
from orris.compile.converters.levels import values
from orris.compile.finite import guarded
from orris.compile.graph import Frame, Graph, Prediction, unnamed
from orris.compile.registry import is_exactly, predictor_of, transformer_of
from orris.errors import NotConvertibleError


def predict(graph: Graph, estimator: Any, frame: Frame) -> Prediction:
    """Append a fitted classifier or regressor. Subclasses are not taken for their base: they may have changed anything.

    Raises:
        NotConvertibleError: No converter covers it, and ``graph.foreign`` does not allow skl2onnx, or skl2onnx cannot
            either.
    """
    converter = predictor_of(estimator)
    if frame.single and not (converter and _takes_single(converter.takes_single, estimator)):
        raise NotConvertibleError(
            f"{type(estimator).__name__} may compute in float32 because the step before returns float32"
        )
    if not (converter and converter.takes_codes):
        frame = values(graph, frame)
    if not (converter and converter.delegates):
        frame = guarded(graph, estimator, frame)
    return foreign.predict(graph, estimator, frame) if converter is None else converter.convert(graph, estimator, frame)


def _takes_single(declared: bool | str, estimator: Any) -> bool:
    """Whether rows of float32 reach what is computed in float64 or is the same in both; see ``Converter``."""
    if isinstance(declared, bool):
        return declared
    fitted = getattr(estimator, declared)
    parts = fitted if isinstance(fitted, list) else [fitted]
    return all(part.dtype == np.float64 for part in parts)


def transform(graph: Graph, estimator: Any, frame: Frame) -> Frame:
    """Append a fitted transformer, and name its columns as ``set_output`` has it: an array's columns have no names.

    Raises:
        NotConvertibleError: As ``predict``.
    """
    converter = transformer_of(estimator)
    if converter is None:
        frame = guarded(graph, estimator, frame)
        return _named(estimator, _inherited(foreign.transform(graph, estimator, frame), frame))
    if converter.delegates:
        out = converter.convert(graph, estimator, frame)
        graph.widest = max(graph.widest, out.width)
        return out
    frame = guarded(graph, estimator, frame)
    out = converter.convert(graph, estimator, frame)
    graph.widest = max(graph.widest, out.width)
    return _named(estimator, _inherited(out, frame))


def _inherited(out: Frame, frame: Frame) -> Frame:
    """Mark the output of a step whose input differs from scikit-learn's in the last bits, or may not be finite."""
    rounded = any(feature.rounded for feature in frame.features)
    finite = all(feature.finite for feature in frame.features)
    if finite and not rounded:
        return out
    features = (
        replace(feature, rounded=feature.rounded or rounded, finite=feature.finite and finite)
        for feature in out.features
    )
    return replace(out, features=tuple(features))


def _named(estimator: Any, out: Frame) -> Frame:
    import sklearn  # noqa: PLC0415 (a converter must not need it)

    own = getattr(estimator, "_sklearn_output_config", {}).get("transform")
    if (own or sklearn.get_config()["transform_output"]) == "default":
        keeps = is_exactly(estimator, "sklearn.preprocessing.FunctionTransformer") and not estimator.validate
        if keeps:
            return out
        features = tuple(replace(feature, single=out.single) for feature in out.features)  # an array has one dtype
        return unnamed(replace(out, features=features))
    names = [str(name) for name in estimator.get_feature_names_out()]
    if len(names) != out.width:
        raise NotConvertibleError(f"{type(estimator).__name__} names {len(names)} columns and makes {out.width}")
    return replace(
        out, features=tuple(replace(feature, name=name) for feature, name in zip(out.features, names, strict=True))
    )

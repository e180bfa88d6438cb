"""Functions of single numbers: ``FunctionTransformer`` with NumPy's own functions, ``PowerTransformer``.

``sqrt``, ``square``, ``abs``, ``floor``, ``round`` and their like are equal to the last bit. Logarithms, exponentials
and circular functions are not the same program in NumPy and in ONNX Runtime, and differ in the last bits: their
columns are marked as ``rounded``, so that no tree compares them with a threshold. Near zero, ``log1p`` and ``expm1``
keep their relative precision by Kahan's formulas (Higham, Accuracy and Stability of Numerical Algorithms, section
1.14.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orris.compile.converters import arithmetic
from orris.compile.converters.levels import numbers, values
from orris.compile.converters.preprocessing import shifted_and_divided
from orris.compile.graph import Frame, Graph
from orris.compile.registry import transformer
from orris.errors import NotConvertibleError

_LARGEST_EXPONENT = 709.78
"""Beyond it scipy's ``boxcox`` computes the exponential and the division in another order."""


@dataclass(frozen=True)
class Function:
    """A function of NumPy as nodes of the graph.

    Attributes:
        add: ``(graph, tensor, keyword arguments) -> tensor``.
        exact: It is equal to NumPy's to the last bit.
        finite: It makes a finite number of every number that NumPy does not overflow on.
        keywords: Keyword arguments that it takes.
    """

    add: Callable[[Graph, str, Mapping[str, Any]], str]
    exact: bool = True
    finite: bool = True
    keywords: tuple[str, ...] = ()


def log1p(graph: Graph, tensor: str) -> str:
    """``log(1 + x)``: Kahan's ``log(u) * x / (u - 1)`` with ``u = 1 + x``, which needs no precise ``u``."""
    one = graph.constant(1.0)
    sum_ = graph.add("Add", tensor, one)
    log = graph.add("Log", sum_)
    corrected = graph.add("Div", graph.add("Mul", log, tensor), graph.add("Sub", sum_, one))
    small = graph.add("Where", graph.add("Equal", sum_, one), tensor, corrected)
    # Beyond 2 the correction is nothing, and log(u) * x may overflow; below, x = -1 gives minus infinity.
    large = graph.add("Greater", graph.add("Abs", tensor), graph.constant(2.0))
    return str(graph.add("Where", graph.add("Or", large, graph.add("IsInf", log)), log, small))


def expm1(graph: Graph, tensor: str) -> str:
    """``exp(x) - 1``: Kahan's ``(u - 1) * x / log(u)`` with ``u = exp(x)``."""
    one = graph.constant(1.0)
    power = graph.add("Exp", tensor)
    less = graph.add("Sub", power, one)
    corrected = graph.add("Div", graph.add("Mul", less, tensor), graph.add("Log", power))
    near = graph.add("Where", graph.add("Equal", power, one), tensor, corrected)
    far = graph.add("Greater", graph.add("Abs", tensor), graph.constant(1.0))
    return str(graph.add("Where", far, less, near))


def _operator(op: str) -> Callable[[Graph, str, Mapping[str, Any]], str]:
    return lambda graph, tensor, _: str(graph.add(op, tensor))


def _logarithm(base: float) -> Callable[[Graph, str, Mapping[str, Any]], str]:
    def add(graph: Graph, tensor: str, _: Mapping[str, Any]) -> str:
        return str(graph.add("Div", graph.add("Log", tensor), graph.constant(np.log(base))))

    return add


def _square(graph: Graph, tensor: str, _: Mapping[str, Any]) -> str:
    return str(graph.add("Mul", tensor, tensor))


def _sign(graph: Graph, tensor: str, _: Mapping[str, Any]) -> str:
    """ONNX Runtime's ``Sign`` makes 0 of NaN."""
    return str(graph.add("Where", graph.add("IsNaN", tensor), tensor, graph.add("Sign", tensor)))


def _truncated(graph: Graph, tensor: str, _: Mapping[str, Any]) -> str:
    below = graph.add("Less", tensor, graph.constant(0.0))
    return str(graph.add("Where", below, graph.add("Ceil", tensor), graph.add("Floor", tensor)))


def _round(graph: Graph, tensor: str, keywords: Mapping[str, Any]) -> str:
    """``numpy.round``: the nearest even whole number, of ``x * 10**decimals`` where decimals are given."""
    decimals = int(keywords.get("decimals", 0))
    if decimals == 0:
        return str(graph.add("Round", tensor))
    power = graph.constant(10.0 ** abs(decimals))
    first, second = ("Mul", "Div") if decimals > 0 else ("Div", "Mul")
    return str(graph.add(second, graph.add("Round", graph.add(first, tensor, power)), power))


def _clip(graph: Graph, tensor: str, keywords: Mapping[str, Any]) -> str:
    """``numpy.clip``; NaN stays NaN."""
    low = keywords.get("a_min", keywords.get("min"))
    high = keywords.get("a_max", keywords.get("max"))
    clipped = tensor
    for op, bound in (("Max", low), ("Min", high)):
        if bound is not None:
            limit = np.asarray(bound, dtype=np.float64)
            if limit.ndim > 1 or np.isnan(limit).any():
                raise NotConvertibleError("FunctionTransformer with numpy.clip and bounds that are no numbers")
            clipped = str(graph.add(op, clipped, graph.constant(limit)))
    return str(graph.add("Where", graph.add("IsNaN", tensor), tensor, clipped))


FUNCTIONS: dict[Callable[..., Any], Function] = {
    np.abs: Function(_operator("Abs")),
    np.fabs: Function(_operator("Abs")),
    np.ceil: Function(_operator("Ceil")),
    np.clip: Function(_clip, keywords=("a_min", "a_max", "min", "max")),
    np.cos: Function(_operator("Cos"), exact=False),
    np.exp: Function(_operator("Exp"), exact=False, finite=False),
    np.expm1: Function(lambda graph, tensor, _: expm1(graph, tensor), exact=False, finite=False),
    np.fix: Function(_truncated),
    np.floor: Function(_operator("Floor")),
    np.log: Function(_operator("Log"), exact=False, finite=False),
    np.log10: Function(_logarithm(10.0), exact=False, finite=False),
    np.log1p: Function(lambda graph, tensor, _: log1p(graph, tensor), exact=False, finite=False),
    np.log2: Function(_logarithm(2.0), exact=False, finite=False),
    np.negative: Function(_operator("Neg")),
    np.positive: Function(lambda _, tensor, __: tensor),
    np.reciprocal: Function(_operator("Reciprocal"), finite=False),
    np.rint: Function(_operator("Round")),
    np.round: Function(_round, keywords=("decimals",)),
    np.sign: Function(_sign),
    np.sin: Function(_operator("Sin"), exact=False),
    np.sqrt: Function(_operator("Sqrt"), finite=False),
    np.square: Function(_square, finite=False),
    np.tanh: Function(_operator("Tanh"), exact=False),
    np.trunc: Function(_truncated),
}
"""NumPy's functions that have an exact converter."""


@transformer("sklearn.preprocessing.FunctionTransformer")
def function_transformer(graph: Graph, step: Any, frame: Frame) -> Frame:
    """The identity, and the functions of ``FUNCTIONS``; another function cannot be looked into."""
    if step.func is None:
        return numbers(graph, frame, step) if step.validate and not frame.single else frame
    function = FUNCTIONS.get(step.func)
    if function is None:
        name = getattr(step.func, "__name__", type(step.func).__name__)
        raise NotConvertibleError(
            f"FunctionTransformer with the function {name}, which has no exact converter; those of NumPy that have one"
            f" are {', '.join(sorted(known.__name__ for known in FUNCTIONS))}"
        )
    keywords = step.kw_args or {}
    if not set(keywords) <= set(function.keywords):
        raise NotConvertibleError(f"FunctionTransformer with {step.func.__name__} and {', '.join(keywords)}")
    frame = numbers(graph, frame, step)
    tensor = function.add(graph, frame.tensor, keywords)
    features = tuple(
        replace(
            feature,
            source=None,
            inverse=None,
            rounded=feature.rounded or not function.exact,
            finite=feature.finite and function.finite,
        )
        for feature in frame.features
    )
    return replace(frame, tensor=tensor, features=features)


@transformer("sklearn.preprocessing.PowerTransformer")
def power_transformer(graph: Graph, step: Any, frame: Frame) -> Frame:
    """Yeo and Johnson's or Box and Cox's power transformation, then ``StandardScaler``'s if it standardizes."""
    frame = numbers(graph, values(graph, frame), step)
    powers = np.asarray(step.lambdas_, dtype=np.float64)
    transformed = _box_cox if step.method == "box-cox" else _yeo_johnson
    tensor = transformed(graph, frame.tensor, powers)
    features = tuple(
        replace(feature, source=None, inverse=None, rounded=True, finite=False) for feature in frame.features
    )
    frame = replace(frame, tensor=tensor, features=features)
    if not step.standardize:
        return frame
    return shifted_and_divided(graph, frame, step._scaler.mean_, step._scaler.scale_)


def _yeo_johnson(graph: Graph, tensor: str, powers: Any) -> str:
    """``expm1(p * log1p(x)) / p`` of numbers from zero on, the same of ``-x`` with ``2 - p``, negated, below."""
    below = graph.add("Less", tensor, graph.constant(0.0))
    log = log1p(graph, str(graph.add("Abs", tensor)))
    upper = _power_of(graph, log, powers)
    lower = graph.add("Neg", _power_of(graph, log, 2.0 - powers))
    return str(graph.add("Where", below, lower, upper))


def _power_of(graph: Graph, log: str, powers: Any) -> str:
    """``expm1(p * log) / p``, and ``log`` where p is zero."""
    zero = np.abs(powers) < np.finfo(np.float64).eps
    divisor = graph.constant(np.where(zero, 1.0, powers))
    power = graph.add("Div", expm1(graph, str(graph.add("Mul", log, divisor))), divisor)
    return str(graph.add("Where", graph.constant(zero), log, power)) if zero.any() else str(power)


def _box_cox(graph: Graph, tensor: str, powers: Any) -> str:
    """Scipy's ``boxcox``; a row with a number that is not positive gets no answer, as scikit-learn refuses it."""
    graph.refused.append(_any_not_positive(graph, tensor))
    log = str(graph.add("Log", tensor))
    exponent = graph.add("Mul", log, graph.constant(powers))
    signs = np.where(powers == 0.0, 1.0, np.sign(powers))
    sizes = np.where(powers == 0.0, 1.0, np.abs(powers))
    large = graph.add("Exp", graph.add("Sub", exponent, graph.constant(np.log(sizes))))
    moved = graph.add("Sub", graph.add("Mul", large, graph.constant(signs)), graph.constant(signs / sizes))
    beyond = graph.add("Greater", exponent, graph.constant(_LARGEST_EXPONENT))
    return str(graph.add("Where", beyond, moved, _power_of(graph, log, powers)))


def _any_not_positive(graph: Graph, tensor: str) -> str:
    found = graph.add("LessOrEqual", tensor, graph.constant(0.0))
    return arithmetic.any_in_row(graph, str(found))

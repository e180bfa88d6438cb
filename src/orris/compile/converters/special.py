"""The error function and the normal distribution's quantiles, which ONNX Runtime does not have in float64.

Both are the rational approximations of Cephes (S. L. Moshier, *Methods and Programs for Mathematical Functions*,
``ndtr.c`` and ``ndtri.c``), which SciPy computes: the same coefficients, and the same operations in the same order.
Only the last bits of exponentials and logarithms may differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orris.compile.graph import Graph


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split()))


_ERF = (
    _numbers(
        "9.60497373987051638749e0 9.00260197203842689217e1 2.23200534594684319226e3 7.00332514112805075473e3 "
        "5.55923013010394962768e4"
    ),
    _numbers(
        "3.35617141647503099647e1 5.21357949780152679795e2 4.59432382970980127987e3 2.26290000613890934246e4 "
        "4.92673942608635921086e4"
    ),
)
"""Numerator and denominator of ``erf(x) / x`` up to 1, in ``x * x``, highest power first."""

_ERFC = (
    _numbers(
        "2.46196981473530512524e-10 5.64189564831068821977e-1 7.46321056442269912687e0 4.86371970985681366614e1 "
        "1.96520832956077098242e2 5.26445194995477358631e2 9.34528527171957607540e2 1.02755188689515710272e3 "
        "5.57535335369399327526e2"
    ),
    _numbers(
        "1.32281951154744992508e1 8.67072140885989742329e1 3.54937778887819891062e2 9.75708501743205489753e2 "
        "1.82390916687909736289e3 2.24633760818710981792e3 1.65666309194161350182e3 5.57535340817727675546e2"
    ),
)
"""Of ``erfc(x) * exp(x * x)`` from 1 to 8. Beyond 6, ``1 - erfc(x)`` is 1."""

_MIDDLE = (
    _numbers(
        "-5.99633501014107895267e1 9.80010754185999661536e1 -5.66762857469070293439e1 1.39312609387279679503e1 "
        "-1.23916583867381258016e0"
    ),
    _numbers(
        "1.95448858338141759834e0 4.67627912898881538453e0 8.63602421390890590575e1 -2.25462687854119370527e2 "
        "2.00260212380060660359e2 -8.20372256168333339912e1 1.59056225126211695515e1 -1.18331621121330003142e0"
    ),
)
"""Of the quantile of a probability that is not near 0 or 1, in the square of its distance from a half."""

_TAIL = (
    _numbers(
        "4.05544892305962419923e0 3.15251094599893866154e1 5.71628192246421288162e1 4.40805073893200834700e1 "
        "1.46849561928858024014e1 2.18663306850790267539e0 -1.40256079171354495875e-1 -3.50424626827848203418e-2 "
        "-8.57456785154685413611e-4"
    ),
    _numbers(
        "1.57799883256466749731e1 4.53907635128879210584e1 4.13172038254672030440e1 1.50425385692907503408e1 "
        "2.50464946208309415979e0 -1.42182922854787788574e-1 -3.80806407691578277194e-2 -9.33259480895457427372e-4"
    ),
)
"""Of what the quantile of a probability from ``exp(-32)`` to ``exp(-2)`` differs from its first approximation."""

_EXP_MINUS_2 = 0.13533528323661269189
_ROOT_OF_2_PI = 2.50662827463100050242


def error_function(graph: Graph, tensor: str) -> str:
    """``scipy.special.erf``: float64 of any shape."""
    size = graph.add("Min", graph.add("Abs", tensor), graph.constant(8.0))
    square = graph.add("Mul", tensor, tensor)
    small = graph.add(
        "Div", graph.add("Mul", tensor, _polynomial(graph, square, _ERF[0])), _monic(graph, square, _ERF[1])
    )
    power = graph.add("Exp", graph.add("Neg", graph.add("Mul", size, size)))
    rest = graph.add("Div", graph.add("Mul", power, _polynomial(graph, size, _ERFC[0])), _monic(graph, size, _ERFC[1]))
    large = graph.add("Mul", graph.add("Sign", tensor), graph.add("Sub", graph.constant(1.0), rest))
    return str(graph.add("Where", graph.add("Greater", size, graph.constant(1.0)), large, small))


def normal_quantile(graph: Graph, tensor: str) -> str:
    """``scipy.special.ndtri`` of probabilities from ``exp(-32)`` to ``1 - exp(-32)``: float64 of any shape."""
    one = graph.constant(1.0)
    high = graph.add("Greater", tensor, graph.constant(1.0 - _EXP_MINUS_2))
    below = graph.add("Where", high, graph.add("Sub", one, tensor), tensor)
    distance = graph.add("Sub", below, graph.constant(0.5))
    square = graph.add("Mul", distance, distance)
    ratio = graph.add(
        "Div", graph.add("Mul", square, _polynomial(graph, square, _MIDDLE[0])), _monic(graph, square, _MIDDLE[1])
    )
    middle = graph.add("Add", distance, graph.add("Mul", distance, ratio))
    middle = graph.add("Mul", middle, graph.constant(_ROOT_OF_2_PI))
    root = graph.add("Sqrt", graph.add("Mul", graph.add("Log", below), graph.constant(-2.0)))
    first = graph.add("Sub", root, graph.add("Div", graph.add("Log", root), root))
    inverse = graph.add("Div", one, root)
    second = graph.add(
        "Div", graph.add("Mul", inverse, _polynomial(graph, inverse, _TAIL[0])), _monic(graph, inverse, _TAIL[1])
    )
    tail = graph.add("Sub", first, second)
    tail = graph.add("Where", high, tail, graph.add("Neg", tail))
    return str(graph.add("Where", graph.add("Greater", below, graph.constant(_EXP_MINUS_2)), middle, tail))


def _polynomial(graph: Graph, x: str, coefficients: Sequence[float]) -> str:
    """Horner's scheme, highest power first (``polevl``)."""
    total = graph.constant(np.float64(coefficients[0]))
    for coefficient in coefficients[1:]:
        total = graph.add("Add", graph.add("Mul", total, x), graph.constant(float(coefficient)))
    return str(total)


def _monic(graph: Graph, x: str, coefficients: Sequence[float]) -> str:
    """The same with a highest coefficient of one that is not listed (``p1evl``)."""
    total = graph.add("Add", x, graph.constant(float(coefficients[0])))
    for coefficient in coefficients[1:]:
        total = graph.add("Add", graph.add("Mul", total, x), graph.constant(float(coefficient)))
    return str(total)

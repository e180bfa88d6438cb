"""The error function and the normal distribution's quantiles agree with SciPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import erf, ndtri

from orris.compile.converters.special import error_function, normal_quantile
from orris.compile.graph import INPUT, Feature, Frame, Graph
from orris.schema.arrays import FloatArray


def _run(run_graph: Any, function: Callable[[Graph, str], str], x: FloatArray) -> FloatArray:
    graph = Graph()
    frame = Frame(function(graph, INPUT), (Feature(),))
    return np.asarray(run_graph(graph, frame, 1, x[:, np.newaxis])["frame"][:, 0])


def test_the_error_function_is_scipys(run_graph: Any) -> None:
    """Up to 1 it has the same bits; beyond, the exponential may differ in the last one."""
    x = np.concatenate([np.linspace(-9.0, 9.0, 100_001), 10.0 ** np.linspace(-300.0, 300.0, 601), [0.0, -0.0]])
    found = _run(run_graph, error_function, x)
    small = np.abs(x) <= 1.0
    np.testing.assert_array_equal(found[small], erf(x[small]))
    np.testing.assert_allclose(found, erf(x), rtol=0.0, atol=2.3e-16)


def test_the_normal_quantile_is_scipys(run_graph: Any) -> None:
    """Between the tails it has the same bits; in them, the logarithm may differ in the last one."""
    x = np.concatenate([np.linspace(1e-9, 1.0 - 1e-9, 100_001), 10.0 ** np.linspace(-13.0, -1.0, 601)])
    found = _run(run_graph, normal_quantile, x)
    middle = (x > 0.136) & (x < 0.864)
    np.testing.assert_array_equal(found[middle], ndtri(x[middle]))
    np.testing.assert_allclose(found, ndtri(x), rtol=1e-15, atol=0.0)

"""Float32 arithmetic as XGBoost's C++ carries it out: every step rounds to float32, in the library's order.

ONNX Runtime's own ``Exp``, ``Sigmoid`` and ``Softmax`` of float32 are other approximations than the C library's
``expf`` that XGBoost calls, and differ from it in the last bits; a sum over an axis adds in blocks. Here ``expf`` is
rebuilt from float64 operators, and sums are taken one after the other.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from orris.compile.graph import Graph

_TABLE_SIZE = 32
# By C's pow: NumPy's is not rounded correctly on every processor (AVX-512).
_POWERS = np.array([math.pow(2.0, i / _TABLE_SIZE) for i in range(_TABLE_SIZE)])
_PER_LOG2 = float.fromhex("0x1.71547652b82fep+0") * _TABLE_SIZE
_CUBIC = (
    float.fromhex("0x1.c6af84b912394p-5") / _TABLE_SIZE**3,
    float.fromhex("0x1.ebfce50fac4f3p-3") / _TABLE_SIZE**2,
    float.fromhex("0x1.62e42ff0c52d6p-1") / _TABLE_SIZE,
)
"""Constants of ``expf`` in glibc 2.27 and later (sysdeps/ieee754/flt-32/e_expf.c, by Szabolcs Nagy)."""


def constant(graph: Graph, value: npt.ArrayLike) -> str:
    """A float32 constant."""
    return graph.constant(value, np.float32)


def expf(graph: Graph, tensor: str) -> str:
    """``expf`` of the C library glibc, float32 to float32, bit for bit.

    exp(x) = 2**(k/32) * 2**r with k the nearest integer to 32 x / ln 2: a table, and a cubic in r, all in float64.
    """
    number = graph.constant
    scaled = graph.add("Mul", graph.cast(tensor, TensorProto.DOUBLE), number(_PER_LOG2))
    nearest = graph.add("Round", scaled)
    rest = graph.add("Sub", scaled, nearest)
    whole = graph.add("Floor", graph.add("Mul", nearest, number(1 / _TABLE_SIZE)))
    position = graph.add("Sub", nearest, graph.add("Mul", whole, number(float(_TABLE_SIZE))))
    # An infinite or missing exponent has no position; its result does not depend on the table.
    position = graph.add("Where", graph.add("IsNaN", position), number(0.0), position)
    index = graph.cast(position, TensorProto.INT64)
    scale = graph.add("Mul", graph.add("Gather", number(_POWERS), index), graph.add("Pow", number(2.0), whole))
    high = graph.add("Add", graph.add("Mul", rest, number(_CUBIC[0])), number(_CUBIC[1]))
    low = graph.add("Add", graph.add("Mul", rest, number(_CUBIC[2])), number(1.0))
    polynomial = graph.add("Add", graph.add("Mul", high, graph.add("Mul", rest, rest)), low)
    return graph.cast(graph.add("Mul", polynomial, scale), TensorProto.FLOAT)


def rounded_exp(graph: Graph, tensor: str) -> str:
    """The float64 exponential of a float32 number, rounded to float32."""
    return graph.cast(graph.add("Exp", graph.cast(tensor, TensorProto.DOUBLE)), TensorProto.FLOAT)


def sigmoid(graph: Graph, tensor: str) -> str:
    """XGBoost's ``common::Sigmoid``: ``1 / (expf(min(-x, 88.7)) + 1 + 1e-16)``, float32."""
    negated = graph.add("Min", graph.add("Neg", tensor), constant(graph, 88.7))
    divisor = graph.add("Add", graph.add("Add", expf(graph, negated), constant(graph, 1.0)), constant(graph, 1e-16))
    return str(graph.add("Div", constant(graph, 1.0), divisor))


def softmax(graph: Graph, tensor: str, n_classes: int) -> str:
    """XGBoost's ``common::Softmax`` of each row: exponentials in float32, their sum in float64, float32 quotients."""
    largest = graph.add("ReduceMax", tensor, graph.constant([1], np.int64), keepdims=1)
    exponentials = expf(graph, str(graph.add("Sub", tensor, largest)))
    total = add_up(graph, graph.cast(exponentials, TensorProto.DOUBLE), n_classes)
    return str(graph.add("Div", exponentials, graph.cast(total, TensorProto.FLOAT)))


def add_up(graph: Graph, tensor: str, n_columns: int) -> str:
    """The sum of each row from left to right, each step rounded: ``(n_rows, n_columns)`` to ``(n_rows, 1)``.

    ``CumSum`` adds one column after the other; ``ReduceSum`` does not.
    """
    sums = graph.add("CumSum", tensor, graph.constant(1, np.int64))
    return str(graph.add("Gather", sums, graph.constant([n_columns - 1], np.int64), axis=1))

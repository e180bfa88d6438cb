"""How far two correct computations of one formula may lie apart because they round differently.

Both scikit-learn's and ONNX Runtime's results lie within ``error`` of the real value of the formula over the same exact
arguments, so they lie within ``2 * error`` of each other. The errors are those of Higham, Accuracy and Stability of
Numerical Algorithms (2nd edition), section 3.1: with ``u = 2**-53``, a sum of ``n`` products in any order is within
``gamma(n) * sum(|product|)`` of the real one, where ``gamma(n) = n * u / (1 - n * u)``. Errors of arguments are carried
through each operation by its largest slope (running error analysis, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orris.compile.proof.terms import Term
from orris.errors import NotProvedError
from orris.schema.arrays import FloatArray

UNIT = 2.0**-53
"""Half the distance from 1.0 to the next double."""

FUNCTION_ULPS = 8
"""Assumed of ``exp``, ``tanh`` and the logistic function, in either library: within so many units of the last place."""

ABSOLUTE = 2.0**-52
"""Assumed of the logistic function besides: ONNX Runtime's ``Sigmoid`` returns 0 below -37.7."""


def gamma(n: int) -> float:
    """Relative error of ``n`` roundings in a row."""
    return n * UNIT / (1 - n * UNIT)


@dataclass
class Errors:
    """Values of terms on some rows, and how far a computation may lie from them.

    Attributes:
        rows: Encoded rows, float64 ``(n_rows, n_columns)``.
        known: Values of terms that were computed elsewhere, by the terms' numbers: the answers of a model.
    """

    rows: FloatArray
    known: dict[int, FloatArray] = field(default_factory=dict)
    _values: dict[int, FloatArray] = field(default_factory=dict)
    _errors: dict[int, FloatArray] = field(default_factory=dict)
    _matrices: dict[tuple[Any, ...], FloatArray] = field(default_factory=dict)

    def difference(self, term: Term) -> FloatArray:
        """Largest distance of two correct computations, float64 ``(n_rows,)``; 0 where every bit is determined."""
        with np.errstate(all="ignore"):
            return 2 * self.error(term)

    def value(self, term: Term) -> FloatArray:
        """The term's value, computed in float64.

        Raises:
            NotProvedError: It is the answer of trees, which is not worked out here.
        """
        if term.number not in self._values:
            found = self.known.get(term.number)
            found = self._value(term) if found is None else found
            self._values[term.number] = np.broadcast_to(found, (len(self.rows),))
        return self._values[term.number]

    def error(self, term: Term) -> FloatArray:
        """Distance of a computation from the real value, at most."""
        if term.number not in self._errors:
            found = np.zeros(1) if term.exact else self._error(term)
            self._errors[term.number] = np.broadcast_to(found, (len(self.rows),))
        return self._errors[term.number]

    def _value(self, term: Term) -> Any:  # noqa: PLR0911 (a table)
        if term.op == "Input":
            return self.rows[:, term.payload]
        if term.op == "Constant":
            return np.asarray(term.payload)
        if term.op == "Map":
            return self._mapped(term)
        if term.op == "Dot":
            weights, bias = term.payload
            return self._matrix(term.args, self.value) @ weights + bias
        args = [self.value(arg) for arg in term.args] if term.op != "Softmax" else []
        if term.op == "Softmax":
            scores = np.stack([self.value(arg) for arg in term.args])
            powers = np.exp(scores - scores.max(axis=0))
            return powers[term.payload] / powers.sum(axis=0)
        if term.op == "Expit":
            return 1 / (1 + np.exp(-args[0]))
        if term.op == "Cast" and term.args[0].dtype in {"b1", "i8"}:
            return args[0].astype(np.float64)
        plain: dict[str, Callable[..., Any]] = {
            "Add": np.add,
            "Sub": np.subtract,
            "Mul": np.multiply,
            "Div": np.divide,
            "Abs": np.abs,
            "Sqrt": np.sqrt,
            "Max": np.maximum,
            "Clip": np.clip,
            "Where": np.where,
            "IsNaN": np.isnan,
            "Equal": np.equal,
            "Greater": np.greater,
            "GreaterOrEqual": np.greater_equal,
            "Exp": np.exp,
            "Tanh": np.tanh,
        }
        if term.op not in plain:
            raise NotProvedError(f"no bound is known for {term.op}")
        return plain[term.op](*args)

    def _mapped(self, term: Term) -> Any:
        base = self.value(term.args[0])
        held = term.payload
        if not len(held.keys):
            return np.where(np.isnan(base), held.nan, held.default)
        place = np.minimum(np.searchsorted(held.keys, base), len(held.keys) - 1)
        found = np.where(held.keys[place] == base, held.values[place], held.default)
        return np.where(np.isnan(base), held.nan, found)

    def _error(self, term: Term) -> Any:  # noqa: PLR0911 (a table)
        """Of a term that rounds, or stands on one that does."""
        if term.op == "Dot":
            return self._dot_error(term)
        if term.op == "Softmax":
            return self._softmax_error(term)
        if term.op == "Where":
            if not term.args[0].exact:
                raise NotProvedError("a choice depends on a rounded number")
            return np.where(self.value(term.args[0]), self.error(term.args[1]), self.error(term.args[2]))
        first = self.error(term.args[0])
        second = self.error(term.args[1]) if len(term.args) > 1 else np.zeros(1)
        if term.op == "Expit":
            return 0.25 * first + FUNCTION_ULPS * 2 * UNIT + ABSOLUTE
        if term.op == "Tanh":
            return first + FUNCTION_ULPS * 2 * UNIT
        if term.op == "Exp":
            value = np.abs(self.value(term)) * (1 + 4 * FUNCTION_ULPS * UNIT)
            return value * (np.expm1(first) + np.exp(first) * FUNCTION_ULPS * 2 * UNIT)
        if term.op in {"Max", "Clip"}:
            return np.maximum(first, second)
        if term.op in {"Add", "Sub"}:
            return first + second + UNIT * (np.abs(self.value(term)) + first + second)
        if term.op == "Mul":
            a, b = (np.abs(self.value(arg)) for arg in term.args)
            carried = a * second + b * first + first * second
            return carried + UNIT * (a * b + carried)
        if term.op == "Div" and term.args[1].op == "Constant":
            carried = first / np.abs(self.value(term.args[1]))
            return carried + UNIT * (np.abs(self.value(term)) + carried)
        raise NotProvedError(f"no bound is known for {term.op}")

    def _dot_error(self, term: Term) -> Any:
        """Each product is rounded once, and at most ``n`` additions follow it, the intercept's among them."""
        weights, bias = term.payload
        errors = self._matrix(term.args, self.error)
        magnitudes = np.abs(self._matrix(term.args, self.value)) + errors
        sizes = np.abs(weights)
        return errors @ sizes + gamma(len(weights) + 1) * (magnitudes @ sizes + abs(bias))

    def _matrix(self, terms: tuple[Term, ...], of: Callable[[Term], FloatArray]) -> FloatArray:
        """The result of ``of`` for each term, side by side, ``(n_rows, n_terms)``; a layer's sums share it."""
        key = (of.__name__, *(term.number for term in terms))
        if key not in self._matrices:
            self._matrices[key] = np.stack([of(term) for term in terms], axis=1)
        return self._matrices[key]

    def _softmax_error(self, term: Term) -> Any:
        """The soft-max's slopes are at most 1/4 and 1/2 in all; a difference, an exponential, a sum, a quotient round.

        Each exponent ``x - max(x)`` rounds relative to itself, and ``exp(-d) * d`` is at most ``1/e``.
        """
        carried = sum((self.error(arg) for arg in term.args), np.zeros(1))
        n = len(term.args)
        return 0.5 * carried + (2 * FUNCTION_ULPS * 2 + n + 4) * UNIT


def require_continuous(term: Term) -> None:
    """Raise ``NotProvedError`` if a rounded number is compared, looked up or split on.

    Its last bit could change the answer.
    """
    smooth = {"Dot", "Exp", "Expit", "Softmax", "Tanh", "Max", "Clip", "Add", "Sub", "Mul", "Div", "Where"}
    seen = set()
    stack = [term]
    while stack:
        node = stack.pop()
        if node.number in seen or node.exact:
            continue
        seen.add(node.number)
        if node.op not in smooth or (node.op == "Where" and not node.args[0].exact):
            raise NotProvedError("a number that is equal only up to rounding is compared or split on within the model")
        stack += node.args

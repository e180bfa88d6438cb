"""Gates: conditions on the metrics that a model must meet to be published. After ``evaluation``, before ``compile``.

A gate is written as on the command line, ``accuracy>=0.9``; a model that fails one is not published.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orris import metrics
from orris.errors import GateError, SettingsError

EXAMPLE = "accuracy>=0.9"

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_SYNTAX = re.compile(r"\s*(?P<metric>[A-Za-z_]\w*)\s*(?P<comparison>>=|<=|==|>|<)\s*(?P<threshold>[^\s<>=]+)\s*")


@dataclass(frozen=True)
class Gate:
    """``metric`` ``comparison`` ``threshold``, for example accuracy >= 0.9."""

    metric: str
    comparison: str
    threshold: float

    def holds(self, value: float) -> bool:
        """Whether a measured ``value`` passes. Values are compared as they are, unrounded."""
        return _COMPARISONS[self.comparison](value, self.threshold)

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.threshold!r}"


@dataclass(frozen=True)
class GateResult:
    """A gate's finding."""

    gate: Gate
    value: float
    passed: bool


def parse_gate(text: str) -> Gate:
    """``"accuracy >= 0.9"`` -> a gate; the comparisons are ``>=``, ``>``, ``<=``, ``<`` and ``==``.

    Raises: SettingsError: The text is not such a condition; the message gives an example.
    """
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise SettingsError(
            f"gate {text!r} is not METRIC, one of {' '.join(_COMPARISONS)}, and a number: write it as {EXAMPLE}"
        )
    try:
        threshold = float(match["threshold"])
    except ValueError:
        threshold = math.nan
    if not math.isfinite(threshold):
        raise SettingsError(f"gate {text!r}: {match['threshold']!r} is not a finite number: write it as {EXAMPLE}")
    return Gate(match["metric"], match["comparison"], threshold)


def check_metrics(gates: Sequence[Gate], task: metrics.Task, *, n_classes: int, folds: int) -> None:
    """Let training begin only if every gate names a metric that it will report.

    Metrics of probabilities are let pass: whether there are any is known when the pipeline is fitted.

    Args:
        gates: The conditions.
        task: What the model predicts.
        n_classes: Classes of the target.
        folds: Folds of the cross-validation; 0: none.

    Raises:
        SettingsError: A gate names another metric; lists those that there are, the nearest name first.
    """
    known = [
        name
        for name in metrics.names_of(task, folds=folds > 0)
        if (metric := metrics.find(name)) is not None and (metric.needs != "two classes" or n_classes == 2)
    ]
    for gate in gates:
        if gate.metric not in known:
            of_folds = gate.metric.startswith("cv_")
            nearest = _nearest_first(gate.metric, [name for name in known if name.startswith("cv_") == of_folds])
            listed = ", ".join(nearest) if nearest else "none without a cross-validation (folds: 0)"
            raise SettingsError(f"gate {gate}: there is no metric '{gate.metric}' of this {task}; there are {listed}")


def measure_gates(gates: Sequence[Gate], measured: Mapping[str, float]) -> tuple[GateResult, ...]:
    """Hold each gate against its metric.

    Raises:
        GateError: A gate names a metric that was not reported; lists those that were, the nearest name first.
    """
    for gate in gates:
        if gate.metric not in measured:
            raise GateError(
                f"gate {gate}: there is no metric '{gate.metric}'. Reported:"
                f" {', '.join(_nearest_first(gate.metric, measured))}"
            )
    return tuple(GateResult(gate, measured[gate.metric], gate.holds(measured[gate.metric])) for gate in gates)


def check_gates(gates: Sequence[Gate], measured: Mapping[str, float]) -> None:
    """Let a model pass only if every gate holds.

    Raises:
        GateError: Lists every gate that does not hold with the value measured, or names a metric that was not reported.
    """
    failed = [result for result in measure_gates(gates, measured) if not result.passed]
    if failed:
        # repr, not rounded: 0.8999 must not read as 0.90 beside a gate of >=0.9.
        listed = "; ".join(f"{result.gate} (measured {result.value!r})" for result in failed)
        raise GateError(
            f"{len(failed)} of {len(gates)} gate{'s' * (len(gates) != 1)} failed: {listed}. Nothing is published"
        )


def _nearest_first(name: str, known_names: Iterable[str]) -> list[str]:
    def likeness(known: str) -> float:
        return difflib.SequenceMatcher(None, name.lower(), known).ratio()

    return sorted(known_names, key=likeness, reverse=True)

"""Conditions that a run has to meet: ``p99<20ms``, ``errors==0``, ``errors<=1%``, ``throughput>=500``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from orris.errors import SettingsError
from orris.loadtest.run import Part

_FORM = re.compile(r"\s*([a-z]+(?:\d+(?:\.\d+)?)?)\s*(<=|>=|==|!=|<|>)\s*(\d+(?:\.\d+)?)\s*(us|ms|s|%|/s)?\s*")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
WORDS = "p50, p99.9 (any percentile), mean or max with us, ms or s; errors with a number or %; throughput; answered"


@dataclass(frozen=True)
class Assertion:
    """A condition.

    Attributes:
        text: As it was written.
        name: What is compared: ``p99``, ``mean``, ``max``, ``errors``, ``throughput`` or ``answered``.
        comparison: ``<``, ``<=``, ``>``, ``>=``, ``==`` or ``!=``.
        limit: In seconds, a share, a number, or requests a second.
        unit: As it was written.
    """

    text: str
    name: str
    comparison: str
    limit: float
    unit: str


@dataclass(frozen=True)
class Finding:
    """The result of an assertion on a run.

    Attributes:
        text: The assertion.
        measured: The number, with its unit.
        passed: Whether it holds; a latency of a run without answers meets no condition.
    """

    text: str
    measured: str
    passed: bool


def parse_assertion(text: str) -> Assertion:
    """Read an assertion.

    Raises:
        SettingsError: It is malformed; says what can be written.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise SettingsError(
            f"'{text}' is no assertion; write NAME, a comparison and a number, such as  p99<20ms: {WORDS}"
        )
    name, comparison, number, unit = match.group(1), match.group(2), float(match.group(3)), match.group(4) or ""
    percentile = re.fullmatch(r"p(\d+(?:\.\d+)?)", name)
    if percentile and not 0 <= float(percentile.group(1)) <= 100:
        raise SettingsError(f"'{text}': a percentile lies between p0 and p100")
    allowed = {"errors": {"", "%"}, "throughput": {"", "/s"}, "answered": {""}}
    units = allowed.get(name, set(_SECONDS) if percentile or name in {"mean", "max"} else None)
    if units is None:
        raise SettingsError(f"'{text}': there is no number '{name}'; there are {WORDS}")
    if unit not in units:
        needed = " or ".join(sorted(each for each in units if each)) or "no unit"
        raise SettingsError(f"'{text}': '{name}' is written with {needed}")
    factor = _SECONDS.get(unit, 0.01 if unit == "%" else 1.0)
    return Assertion(text.strip(), name, comparison, number * factor, unit)


def judge(assertion: Assertion, part: Part) -> Finding:
    """Compare a run's number with an assertion's limit."""
    value, shown = _measured(assertion, part)
    return Finding(assertion.text, shown, value == value and _COMPARE[assertion.comparison](value, assertion.limit))  # noqa: PLR0124 (NaN)


def _measured(assertion: Assertion, part: Part) -> tuple[float, str]:
    name, latency = assertion.name, part.latency
    if name == "errors" and assertion.unit == "%":
        return part.error_share, f"{part.error_share:.3%}"
    if name == "errors":
        return part.n_errors, f"{part.n_errors:,}"
    if name == "answered":
        return part.answered, f"{part.answered:,}"
    if name == "throughput":
        return part.throughput_per_second, f"{part.throughput_per_second:,.1f}/s"
    if name == "mean":
        value = latency.mean_seconds
    elif name == "max":
        value = latency.max_seconds if latency.count else float("nan")
    else:
        value = latency.quantile_seconds(float(name[1:]) / 100)
    return value, f"{value * 1e3:,.3f} ms" if latency.count else "no answer"

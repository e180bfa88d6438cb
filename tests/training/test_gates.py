"""Tests of gates: parsing, boundaries, and messages."""

from __future__ import annotations

import pytest

from orris.errors import GateError, SettingsError
from orris.training.gates import Gate, check_gates, measure_gates, parse_gate


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("accuracy>=0.9", Gate("accuracy", ">=", 0.9)),
        ("accuracy > .9", Gate("accuracy", ">", 0.9)),
        ("  log_loss<=0.35 ", Gate("log_loss", "<=", 0.35)),
        ("rmse <1e3", Gate("rmse", "<", 1000.0)),
        ("r2>=-1", Gate("r2", ">=", -1.0)),
        ("accuracy==1", Gate("accuracy", "==", 1.0)),
    ],
)
def test_parse(text: str, gate: Gate) -> None:
    """A gate is a metric, a comparison and a number, with or without spaces."""
    assert parse_gate(text) == gate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "accuracy",
        "accuracy=0.9",
        "accuracy=>0.9",
        "accuracy>=",
        ">=0.9",
        "accuracy>=0.9>1",
        "a b>=1",
        "accuracy>=high",
    ],
)
def test_parse_unknown_syntax(text: str) -> None:
    """Anything else is refused with what was found and an example."""
    with pytest.raises(SettingsError, match=r"accuracy>=0\.9") as caught:
        parse_gate(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("threshold", ["nan", "inf", "-inf", "90%"])
def test_parse_threshold_not_finite(threshold: str) -> None:
    """A threshold that no metric could be compared with is refused."""
    with pytest.raises(SettingsError, match="not a finite number"):
        parse_gate(f"accuracy>={threshold}")


@pytest.mark.parametrize(
    ("text", "passes"),
    [("m>=0.9", True), ("m<=0.9", True), ("m==0.9", True), ("m>0.9", False), ("m<0.9", False)],
)
def test_boundary(text: str, passes: bool) -> None:
    """A value that equals the threshold passes the comparisons that include it, and no other."""
    assert parse_gate(text).holds(0.9) is passes


def test_no_rounding() -> None:
    """A value one ulp below the threshold fails, and the message shows every digit of it."""
    below = 0.8999999999999999
    with pytest.raises(GateError, match=r"0\.8999999999999999"):
        check_gates([parse_gate("accuracy>=0.9")], {"accuracy": below})


def test_all_hold() -> None:
    """A model that meets every gate passes."""
    check_gates([parse_gate("accuracy>=0.9"), parse_gate("log_loss<0.3")], {"accuracy": 0.95, "log_loss": 0.1})


def test_every_failure_is_listed() -> None:
    """Each gate that fails is listed with the measured value, and those that hold are not."""
    gates = [parse_gate(text) for text in ("accuracy>=0.9", "log_loss<=0.1", "f1_macro>=0.5")]
    with pytest.raises(GateError) as caught:
        check_gates(gates, {"accuracy": 0.8, "log_loss": 0.4, "f1_macro": 0.7})
    message = str(caught.value)
    assert "2 of 3 gates failed" in message
    assert "accuracy>=0.9 (measured 0.8)" in message
    assert "log_loss<=0.1 (measured 0.4)" in message
    assert "f1_macro" not in message


def test_unknown_metric_lists_nearest_first() -> None:
    """A gate on a metric that was not reported lists those that were, the nearest name first."""
    with pytest.raises(GateError, match=r"no metric 'acuracy'\. Reported: accuracy, "):
        check_gates([parse_gate("acuracy>=0.9")], {"log_loss": 0.1, "balanced_accuracy": 0.9, "accuracy": 0.9})


def test_measure_reports_all() -> None:
    """Measuring gives each gate's value and verdict without raising on a failure."""
    results = measure_gates([parse_gate("accuracy>=0.9"), parse_gate("accuracy<0.9")], {"accuracy": 0.95})
    assert [(str(result.gate), result.value, result.passed) for result in results] == [
        ("accuracy>=0.9", 0.95, True),
        ("accuracy<0.9", 0.95, False),
    ]

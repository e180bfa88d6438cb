"""Tests of the parity verdict as text."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from orris.verdict import Attempt, Verdict, duration

VERDICT = Verdict("exact", "linear", 10_000, {}, 0, 0.0, 1e-12, 10.0, 2000.0)


@pytest.mark.parametrize(
    ("served", "fitted", "words"),
    [
        (10.0, 2000.0, "(200 times faster)"),
        (10.0, 15.0, "(1.5 times faster)"),
        (13.0, 10.0, "(1.3 times slower)"),
        (10.0, 10.1, "(equally fast)"),
    ],
)
def test_speed_reads_well_in_both_directions(served: float, fitted: float, words: str) -> None:
    """A served model that is slower is not called 0 times faster."""
    verdict = replace(VERDICT, one_row_microseconds=served, one_row_microseconds_reference=fitted)
    assert verdict.sentence().endswith(words)


@pytest.mark.parametrize(
    ("microseconds", "words"),
    [
        (0.4, "0.40 µs"),
        (9.5, "9.50 µs"),
        (46.12, "46.1 µs"),
        (163.9, "164 µs"),
        (163_903.0, "164 ms"),
        (999.7, "1.00 ms"),
        (2.5e6, "2.50 s"),
    ],
)
def test_durations_have_three_digits_and_a_fitting_unit(microseconds: float, words: str) -> None:
    """A duration is shown in microseconds, milliseconds or seconds, with three significant digits."""
    assert duration(microseconds) == words


def test_refused_ways_have_reasons_and_advice() -> None:
    """Each refused way of serving has its reason and advice, and there is none if the first way passed."""
    attempts = (Attempt("exact", "SVC has no exact converter", "use LinearSVC"),)
    refused = replace(VERDICT, strategy="scikit-learn", attempts=attempts)
    assert refused.reasons() == [
        "not served by exact: SVC has no exact converter; to change that, use LinearSVC",
    ]
    assert VERDICT.reasons() == []
    compared = replace(VERDICT, unproved="there is no statement of what SVC computes")
    assert compared.reasons() == ["compared on rows, not proved: there is no statement of what SVC computes"]

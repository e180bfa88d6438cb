"""Tests of the conditions that a run has to meet."""

from __future__ import annotations

import pytest

from orris.errors import SettingsError
from orris.loadtest.assertions import judge, parse_assertion
from tests.loadtest.runs import made_run

RUN = made_run([[0.001 * (i + 1) for i in range(100)]] * 2, errors={"HTTP 503": 2})


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("p99<100ms", True),
        ("p99<90ms", False),
        ("p50 <= 0.051 s", True),
        ("p99.9>=100ms", True),
        ("mean<50000us", False),
        ("max<=100ms", True),
        ("errors==2", True),
        ("errors==0", False),
        ("errors<1%", True),
        ("errors<0.5%", False),
        ("throughput>=100/s", True),
        ("throughput>100", False),
        ("answered!=200", False),
    ],
)
def test_assertions_compare_a_number(text: str, passed: bool) -> None:
    """Percentiles, mean, maximum, errors, throughput and answers are compared with a limit in its unit."""
    assert judge(parse_assertion(text), RUN.whole).passed is passed


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("fast", "is no assertion"),
        ("p99", "is no assertion"),
        ("p99<20", "'p99' is written with ms or s or us"),
        ("p101<1s", "between p0 and p100"),
        ("errors<3ms", "'errors' is written with %"),
        ("speed>3", "there is no number 'speed'"),
        ("throughput>5%", "'throughput' is written with /s"),
        ("p99<20ms; rm", "is no assertion"),
    ],
)
def test_what_is_no_assertion_is_refused(text: str, problem: str) -> None:
    """A malformed assertion is refused with what can be written."""
    with pytest.raises(SettingsError, match=problem):
        parse_assertion(text)


@pytest.mark.parametrize("text", ["p99<1s", "p99>1s", "max<1s", "mean!=1s"])
def test_a_run_without_answers_meets_no_latency(text: str) -> None:
    """Without an answer there is no latency, and no condition on it holds."""
    finding = judge(parse_assertion(text), made_run([[]]).whole)
    assert not finding.passed
    assert finding.measured == "no answer"

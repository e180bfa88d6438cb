"""Tests of gates in cases that a sound, freshly trained version never reaches."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from orris.delivery.environment import Pins
from orris.delivery.gates import Policy, Version, image_gate, succession_gates, version_gates
from orris.schema import Schema
from orris.verdict import Verdict
from tests.delivery.gitops import IMAGE

VERDICT = Verdict("exact", "linear", 10_000, {}, 0, 1e-16, 1e-12, 5.0, 500.0)
SCHEMA = Schema((), "species", "classification")
VERSION = Version("iris", "1.0.0", "d1", SCHEMA, VERDICT, metrics={"accuracy": 0.9}, n_files=3)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"n_rows": 0}, "no row was compared"),
        ({"n_label_differences": 1}, "1 labels differ"),
        ({"largest_difference": 1e-6}, "largest difference 1e-06 (allowed 1e-12)"),
        ({"largest_difference": math.nan}, "largest difference nan"),
    ],
    ids=["nothing-compared", "label", "difference", "nan"],
)
def test_without_a_parity_verdict_no_version_passes(found: dict[str, Any], words: str) -> None:
    """A version passes only with a verdict whose comparisons are finite numbers."""
    assert version_gates(VERSION)[-1].passed
    gate = version_gates(replace(VERSION, verdict=msgspec.structs.replace(VERDICT, **found)))[-1]
    assert (gate.name, gate.passed) == ("parity", False)
    assert words in gate.found


def test_zeros_are_no_image() -> None:
    """An image digest of zeros, as before the first promotion, does not pass."""
    assert not image_gate(Pins("sha256:" + "0" * 64, "1.0.0"), "image").passed
    assert image_gate(Pins(IMAGE, "1.0.0"), "image").passed


def test_a_live_version_without_metrics_blocks_no_successor() -> None:
    """A model that was packaged without metrics does not block its successor."""
    gate = succession_gates(VERSION, replace(VERSION, metrics={}), Policy()).gates[-1]
    assert (gate.passed, gate.found) == (True, "1.0.0 has no metrics to compare with")


def test_without_metrics_no_measured_version_is_replaced() -> None:
    """A version without metrics counts as worse than a measured one."""
    gate = succession_gates(replace(VERSION, metrics={}), VERSION, Policy()).gates[-1]
    assert not gate.passed
    assert "accuracy 0.9 -> not measured" in gate.found

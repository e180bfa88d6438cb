"""Tests of thousands of changed model files, none of which the proof accepts for the right one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from orris.compile.proof import Claim
from orris.errors import NotProvedError, ServingError
from orris.runtime import OnnxRuntime
from orris.schema.arrays import FloatArray
from tests.compile.proof.models import CASES, Model, adversarial_rows, model
from tests.compile.proof.mutations import mutations


@pytest.mark.parametrize("name", CASES)
def test_a_changed_file_is_caught_unless_no_row_is_answered_otherwise(name: str) -> None:
    """Of all changed files, the proof lets only those pass that answer every adversarial row with the same bits."""
    case = model(name)
    claim = Claim(case.pipeline, case.schema)
    claim.prove(case.content)
    n_changes, passed = 0, []
    for what, content in mutations(case.content, seed=len(name)):
        n_changes += 1
        try:
            claim.prove(content)
        except NotProvedError:
            continue
        passed.append((what, content))
    assert n_changes > 20
    if name != "decision tree of one leaf":  # Its file holds a split with two equal leaves, of which nothing matters.
        assert len(passed) <= 0.15 * n_changes, [what for what, _ in passed]
    rows = adversarial_rows(case)
    right = _answers(case.content, rows)
    for what, content in passed:
        assert _same(right, _answers(content, rows)), what


@pytest.mark.parametrize("name", ["forest", "histogram over categories", "gradient boosting, three classes", "ridge"])
def test_most_changes_that_are_caught_do_change_an_answer(name: str) -> None:
    """For most of them, ONNX Runtime answers some adversarial row otherwise, or refuses the file."""
    case = model(name)
    rows = adversarial_rows(case)
    right = _answers(case.content, rows)
    changed = [_differs(content, rows, right) for _, content in mutations(case.content, seed=1, share=4)]
    assert np.mean(changed) > 0.6


def _differs(content: bytes, rows: FloatArray, right: list[Any]) -> bool:
    try:
        return not _same(right, _answers(content, rows))
    except ServingError:
        return True


def _answers(content: bytes, rows: FloatArray) -> list[Any]:
    return list(OnnxRuntime(content).run(rows))


def _same(left: list[Any], right: list[Any]) -> bool:
    return all(
        (a is None) == (b is None) and (a is None or np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
        for a, b in zip(left, right, strict=True)
    )


def test_every_case_has_the_part_that_it_is_named_after() -> None:
    """Cases of categories hold member splits, and the forests hold trees that send missing values to the left."""
    for name, attribute in (
        ("histogram over encoded categories", "membership_values"),
        ("histogram over categories", "membership_values"),
        ("histogram over whole numbers", "membership_values"),
        ("LightGBM of categories", "membership_values"),
        ("XGBoost of categories", "membership_values"),
        ("CatBoost of categories", "membership_values"),
        ("forest", "nodes_missing_value_tracks_true"),
    ):
        assert attribute in _attributes(model(name)), name


def _attributes(case: Model) -> set[str]:
    graph = onnx.load_model_from_string(case.content).graph
    return {attribute.name for node in graph.node for attribute in node.attribute}

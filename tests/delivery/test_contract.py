"""What callers would notice of another version, and what of that breaks them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orris.delivery.contract import ColumnFacts, Contract, differences

AGE = ColumnFacts("age", "integer", missing=True, bounds={"minimum": 0})
PLAN = ColumnFacts("plan", "category", levels=("basic", "plus"))
LIVE = Contract((AGE, PLAN), "classification", ("no", "yes"))


def changed(**columns: ColumnFacts) -> Contract:
    """The live contract with other columns."""
    return replace(LIVE, columns=tuple(columns.get(column.name, column) for column in LIVE.columns))


@pytest.mark.parametrize(
    ("candidate", "change", "breaks"),
    [
        (replace(LIVE, columns=(AGE,)), "column 'plan' is gone", True),
        (replace(LIVE, columns=(AGE, PLAN, ColumnFacts("city", "category"))), "column 'city' is new", True),
        (
            replace(LIVE, columns=(AGE, PLAN, ColumnFacts("city", "category", missing=True))),
            "column 'city' is new, and may be missing",
            False,
        ),
        (replace(LIVE, columns=(PLAN, AGE)), "the columns are in another order", True),
        (changed(age=replace(AGE, kind="number")), "column 'age' was integer and is number", False),
        (changed(age=replace(AGE, kind="category")), "column 'age' was integer and is category", True),
        (changed(age=replace(AGE, missing=False)), "column 'age' takes no missing values now", True),
        (changed(plan=replace(PLAN, missing=True)), "column 'plan' takes missing values now", False),
        (changed(age=replace(AGE, bounds={"minimum": 18})), "column 'age' had the bounds", True),
        (changed(age=replace(AGE, bounds={"exclusive_minimum": 0})), "column 'age' had the bounds", True),
        (changed(age=replace(AGE, bounds={"minimum": 0, "maximum": 120})), "column 'age' had the bounds", True),
        (changed(age=replace(AGE, bounds={"minimum": -1})), "column 'age' had the bounds", False),
        (changed(age=replace(AGE, bounds={})), "and has none", False),
        (changed(plan=replace(PLAN, levels=("basic", "plus", "pro"))), "column 'plan' also knows pro", False),
        (changed(plan=replace(PLAN, levels=("plus",))), "column 'plan' no longer knows basic", True),
        (changed(plan=replace(PLAN, unseen=True)), "column 'plan' takes unseen levels now", False),
        (replace(LIVE, labels=("yes", "no")), "the classes were no, yes and are yes, no", True),
        (replace(LIVE, task="regression", labels=()), "the task was classification and is regression", True),
    ],
)
def test_a_difference_is_named_and_judged(candidate: Contract, change: str, breaks: bool) -> None:
    """It breaks callers if what the live version answers is refused, or means something else."""
    found = differences(LIVE, candidate)
    named = [difference for difference in found if change in str(difference)]
    assert [difference.breaks for difference in named] == [breaks]
    assert any(difference.breaks for difference in found) == breaks


def test_equal_contracts_do_not_differ() -> None:
    """Nothing to notice."""
    assert differences(LIVE, Contract((replace(AGE), replace(PLAN)), "classification", ("no", "yes"))) == []


def test_a_level_that_is_gone_breaks_nobody_where_unseen_levels_are_answered() -> None:
    """The model answers, with a warning."""
    columns: dict[str, Any] = {"plan": replace(PLAN, levels=("plus",), unseen=True)}
    assert not any(difference.breaks for difference in differences(LIVE, changed(**columns)))

"""Tests of the differences between two schemas, and of which of them break callers."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from orris.schema import Bounds, Column, Kind, Schema
from orris.schema.compatibility import compatible, differences

AGE = Column("age", Kind.INTEGER, missing=True, bounds=Bounds(minimum=0))
PLAN = Column("plan", Kind.CATEGORY, levels=("basic", "plus"))
CITY = Column("city", Kind.CATEGORY, levels=("Lima",))
LIVE = Schema((AGE, PLAN), "churn", "classification", ("no", "yes"))


def changed(**columns: Column) -> Schema:
    """The live schema with other columns."""
    return replace(LIVE, columns=tuple(columns.get(column.name, column) for column in LIVE.columns))


@pytest.mark.parametrize(
    ("candidate", "change", "breaks"),
    [
        (replace(LIVE, columns=(AGE,)), "column 'plan' is gone", True),
        (replace(LIVE, columns=(AGE, PLAN, CITY)), "column 'city' is new", True),
        (
            replace(LIVE, columns=(AGE, PLAN, replace(CITY, missing=True))),
            "column 'city' is new, and may be missing",
            False,
        ),
        (replace(LIVE, columns=(PLAN, AGE)), "the columns are in another order", True),
        (changed(age=replace(AGE, kind=Kind.NUMBER)), "column 'age' was integer and is number", False),
        (changed(age=replace(AGE, kind=Kind.CATEGORY)), "column 'age' was integer and is category", True),
        (changed(age=replace(AGE, missing=False)), "column 'age' takes no missing values now", True),
        (changed(plan=replace(PLAN, missing=True)), "column 'plan' takes missing values now", False),
        (changed(age=replace(AGE, bounds=Bounds(minimum=18))), "column 'age' had the bounds", True),
        (changed(age=replace(AGE, bounds=Bounds(exclusive_minimum=0))), "column 'age' had the bounds", True),
        (changed(age=replace(AGE, bounds=Bounds(minimum=0, maximum=120))), "column 'age' had the bounds", True),
        (changed(age=replace(AGE, bounds=Bounds(minimum=-1))), "column 'age' had the bounds", False),
        (changed(age=replace(AGE, bounds=Bounds())), "and has none", False),
        (changed(plan=replace(PLAN, levels=("basic", "plus", "pro"))), "column 'plan' also knows pro", False),
        (changed(plan=replace(PLAN, levels=("plus",))), "column 'plan' no longer knows basic", True),
        (changed(plan=replace(PLAN, unseen=True)), "column 'plan' takes unseen levels now", False),
        (replace(LIVE, labels=("yes", "no")), "the classes were no, yes and are yes, no", True),
        (replace(LIVE, labels=(False, True)), "the classes were no, yes and are false, true", True),
        (replace(LIVE, target="price"), "the target was 'churn' and is 'price'", True),
        (changed(plan=replace(PLAN, levels=(1, 2), unseen=True)), "column 'plan' had levels of text", True),
        (replace(LIVE, task="regression", labels=()), "the task was classification and is regression", True),
    ],
)
def test_a_difference_is_named_and_judged(candidate: Schema, change: str, breaks: bool) -> None:
    """A difference breaks callers if a request would now be refused, or its answer would change its meaning."""
    found = differences(LIVE, candidate)
    named = [difference for difference in found if change in str(difference)]
    assert [difference.breaks for difference in named] == [breaks]
    assert compatible(LIVE, candidate) == (not breaks)


def test_equal_schemas_do_not_differ() -> None:
    """A caller notices nothing of a schema that is equal, or that has the same bounds written in another way."""
    assert differences(LIVE, Schema((replace(AGE), replace(PLAN)), "churn", "classification", ("no", "yes"))) == []
    assert differences(changed(age=replace(AGE, bounds=None)), changed(age=replace(AGE, bounds=Bounds()))) == []


def test_labels_of_another_type_are_other_labels() -> None:
    """JSON writes True and 1 differently, though Python has them equal."""
    assert not compatible(replace(LIVE, labels=(0, 1)), replace(LIVE, labels=(False, True)))


def test_a_removed_level_is_compatible_if_unseen_levels_are_answered() -> None:
    """The model answers a removed level as an unseen one, with a warning."""
    assert compatible(LIVE, changed(plan=replace(PLAN, levels=("plus",), unseen=True)))

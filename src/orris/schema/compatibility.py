"""The compatibility of two schemas: the differences that callers of one version meet when the next one answers.

``delivery`` checks it before a promotion, and ``orris models compare`` shows it.

A difference *breaks* callers when the second version would refuse a request that the first version answers, or when its
answer would mean something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from orris.schema.columns import Bounds, Column, Kind, Schema

_LOWER = ("minimum", "exclusive_minimum")
_UPPER = ("maximum", "exclusive_maximum")
_SIGNS = {"minimum": "≥", "exclusive_minimum": ">", "maximum": "≤", "exclusive_maximum": "<"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: the column (empty: the model as a whole), what changed, and whether it breaks callers."""

    column: str
    change: str
    breaks: bool

    def __str__(self) -> str:
        return f"column '{self.column}' {self.change}" if self.column else self.change


def differences(before: Schema, after: Schema) -> list[Difference]:
    """Differences of ``after`` that callers of ``before`` notice: the model as a whole, then the columns in order."""
    old = {column.name: column for column in before.columns}
    new = {column.name: column for column in after.columns}
    found = _answer_differences(before, after)
    for name, column in old.items():
        found += _column_differences(column, new[name]) if name in new else [Difference(name, "is gone", breaks=True)]
    for name, column in new.items():
        if name not in old:
            change = "is new" + (", and may be missing" if column.missing else "")
            found.append(Difference(name, change, breaks=not column.missing))
    if [name for name in old if name in new] != [name for name in new if name in old]:
        change = "the columns are in another order, which `features` and `instances` rely on"
        found.append(Difference("", change, breaks=True))
    return found


def compatible(before: Schema, after: Schema) -> bool:
    """Whether no difference breaks callers."""
    return not any(difference.breaks for difference in differences(before, after))


def _answer_differences(before: Schema, after: Schema) -> list[Difference]:
    """The meaning of rows and answers: task, target, labels with types and order, and the rules for text."""
    found = []
    if before.task != after.task:
        found.append(Difference("", f"the task was {before.task} and is {after.task}", breaks=True))
    if before.target != after.target:
        found.append(Difference("", f"the target was '{before.target}' and is '{after.target}'", breaks=True))
    if _typed(before.labels) != _typed(after.labels):
        change = f"the classes were {_listed(before.labels)} and are {_listed(after.labels)}"
        found.append(Difference("", change, breaks=True))
    if before.reading != after.reading:
        old, new = before.reading, after.reading
        kept = new.trim >= old.trim and {*old.missing, *old.missing_numbers} <= {*new.missing, *new.missing_numbers}
        same_marks = (old.decimal, old.thousands) == (new.decimal, new.thousands)
        change = "text is read by other rules (space around it, missing values, decimal marks)"
        found.append(Difference("", change, breaks=not (kept and same_marks)))
    return found


def _column_differences(before: Column, after: Column) -> list[Difference]:
    name = before.name
    if before.kind is not after.kind:
        wider = (before.kind, after.kind) == (Kind.INTEGER, Kind.NUMBER)
        return [Difference(name, f"was {before.kind} and is {after.kind}", breaks=not wider)]
    found = _level_differences(before, after)
    if before.missing != after.missing:
        change = f"takes {'' if after.missing else 'no '}missing values now"
        found.append(Difference(name, change, breaks=before.missing))
    if before.fractions != after.fractions:
        change = f"takes {'' if after.fractions else 'no '}numbers with a fraction now"
        found.append(Difference(name, change, breaks=before.fractions))
    if _limits(before.bounds) != _limits(after.bounds):
        change = f"had the bounds {_bounds_text(before.bounds)} and has {_bounds_text(after.bounds)}"
        found.append(Difference(name, change, breaks=_tighter(_limits(before.bounds), _limits(after.bounds))))
    return found


def _level_differences(before: Column, after: Column) -> list[Difference]:
    name = before.name
    if _types(before) != _types(after):
        # Text is refused where levels are numbers, and the other way round, whether or not unseen levels are taken.
        return [Difference(name, f"had levels {_types(before)} and has {_types(after)}", breaks=True)]
    found = []
    gone = [level for level in before.levels if level not in after.levels]
    new = [level for level in after.levels if level not in before.levels]
    if gone:
        found.append(Difference(name, f"no longer knows {_listed(gone)}", breaks=not after.unseen))
    if new:
        found.append(Difference(name, f"also knows {_listed(new)}", breaks=False))
    if before.unseen != after.unseen:
        change = f"takes {'' if after.unseen else 'no '}unseen levels now"
        found.append(Difference(name, change, breaks=before.unseen))
    return found


def _limits(bounds: Bounds | None) -> dict[str, float]:
    """The limits that are set, by the names of ``Bounds``."""
    if bounds is None:
        return {}
    return {name: limit for name, limit in msgspec.to_builtins(bounds).items() if name in _SIGNS and limit is not None}


def _tighter(before: dict[str, float], after: dict[str, float]) -> bool:
    """Whether a value within the bounds before may be outside those after."""
    for names, sign in ((_LOWER, 1.0), (_UPPER, -1.0)):
        old, new = _edge(before, names, sign), _edge(after, names, sign)
        if new is not None and (old is None or new > old):
            return True
    return False


def _edge(bounds: dict[str, float], names: tuple[str, str], sign: float) -> tuple[float, bool] | None:
    """How tight one side is: the strictest bound, exclusive before inclusive at the same value; ``None``: open."""
    edges = [(sign * bounds[name], name.startswith("exclusive")) for name in names if name in bounds]
    return max(edges, default=None)


def _bounds_text(bounds: Bounds | None) -> str:
    return ", ".join(f"{_SIGNS[name]} {limit:g}" for name, limit in _limits(bounds).items()) or "none"


def _typed(labels: Sequence[Any]) -> list[tuple[type, Any]]:
    """Labels with their types: ``true`` in JSON is not ``1``, though Python has them equal."""
    return [(type(label), label) for label in labels]


def _types(column: Column) -> str:
    return "of text" if any(isinstance(level, str) for level in column.levels) else "of numbers"


def _listed(values: Sequence[Any], most: int = 6) -> str:
    shown = ", ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in values[:most])
    return f"{shown} and {len(values) - most} more" if len(values) > most else shown or "none"

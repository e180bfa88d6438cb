"""The contract between a model and its callers: what a request that one version answers may run into with the next.

Read by ``gates``.

A difference *breaks* callers when a request that the live version answers would be refused, or its answer would mean
something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_LOWER = ("minimum", "exclusive_minimum")
_UPPER = ("maximum", "exclusive_maximum")


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """One column of a version's schema, as plain values (``orris.schema.Column`` has them).

    Attributes:
        name: The column's name.
        kind: ``number``, ``integer``, ``boolean`` or ``category``.
        levels: For a category: the levels that training saw.
        missing: A missing value is answered.
        unseen: A level that training never saw is answered.
        bounds: Hard bounds, by the names of ``orris.schema.Bounds``.
    """

    name: str
    kind: str
    levels: tuple[str | int, ...] = ()
    missing: bool = False
    unseen: bool = False
    bounds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contract:
    """What callers rely on: the columns in their order, the task and, for classification, the labels in their order."""

    columns: tuple[ColumnFacts, ...]
    task: str
    labels: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: the column (empty: the model as a whole), what changed, and whether it breaks callers."""

    column: str
    change: str
    breaks: bool

    def __str__(self) -> str:
        return f"column '{self.column}' {self.change}" if self.column else self.change


def differences(live: Contract, candidate: Contract) -> list[Difference]:
    """What callers of ``live`` would notice of ``candidate``, in the order of the columns."""
    before = {column.name: column for column in live.columns}
    after = {column.name: column for column in candidate.columns}
    found: list[Difference] = []
    if live.task != candidate.task:
        found.append(Difference("", f"the task was {live.task} and is {candidate.task}", breaks=True))
    if live.labels != candidate.labels:
        found.append(
            Difference("", f"the classes were {_listed(live.labels)} and are {_listed(candidate.labels)}", breaks=True)
        )
    for name, column in before.items():
        found += (
            _column_differences(column, after[name]) if name in after else [Difference(name, "is gone", breaks=True)]
        )
    for name, column in after.items():
        if name not in before:
            found.append(
                Difference(
                    name, "is new" + (", and may be missing" if column.missing else ""), breaks=not column.missing
                )
            )
    kept = [name for name in before if name in after]
    if kept != [name for name in after if name in before]:
        found.append(
            Difference("", "the columns are in another order, which `features` and `instances` rely on", breaks=True)
        )
    return found


def _column_differences(live: ColumnFacts, candidate: ColumnFacts) -> list[Difference]:
    name, found = live.name, []
    if live.kind != candidate.kind:
        wider = (live.kind, candidate.kind) == ("integer", "number")
        return [Difference(name, f"was {live.kind} and is {candidate.kind}", breaks=not wider)]
    gone = [level for level in live.levels if level not in candidate.levels]
    new = [level for level in candidate.levels if level not in live.levels]
    if gone:
        found.append(Difference(name, f"no longer knows {_listed(gone)}", breaks=not candidate.unseen))
    if new:
        found.append(Difference(name, f"also knows {_listed(new)}", breaks=False))
    if live.unseen != candidate.unseen:
        found.append(
            Difference(name, f"takes {'' if candidate.unseen else 'no '}unseen levels now", breaks=live.unseen)
        )
    if live.missing != candidate.missing:
        found.append(
            Difference(name, f"takes {'' if candidate.missing else 'no '}missing values now", breaks=live.missing)
        )
    if live.bounds != candidate.bounds:
        change = f"had the bounds {live.bounds or 'none'} and has {candidate.bounds or 'none'}"
        found.append(Difference(name, change, breaks=_tighter(live.bounds, candidate.bounds)))
    return found


def _tighter(live: dict[str, float], candidate: dict[str, float]) -> bool:
    """Whether a value within the live bounds may be outside the candidate's."""
    for names, sign in ((_LOWER, 1.0), (_UPPER, -1.0)):
        before, after = _edge(live, names, sign), _edge(candidate, names, sign)
        if after is not None and (before is None or after > before):
            return True
    return False


def _edge(bounds: dict[str, float], names: tuple[str, str], sign: float) -> tuple[float, bool] | None:
    """How tight one side is: the strictest bound, exclusive before inclusive at the same value; ``None``: open."""
    edges = [(sign * bounds[name], name.startswith("exclusive")) for name in names if name in bounds]
    return max(edges, default=None)


def _listed(values: Sequence[Any], most: int = 6) -> str:
    shown = ", ".join(map(str, values[:most]))
    return f"{shown} and {len(values) - most} more" if len(values) > most else shown or "none"

"""Names of columns: which column of the schema a caller's name means, and what names mean that no column has.

A name that no column has is ignored, with a warning, unless a column is absent: then one is taken for a misspelling of
the other, and the row is refused. Other columns of the training table are known, and ignored without a word.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from orris.errors import Problem
from orris.schema import refusals
from orris.schema.columns import Schema

MAX_UNKNOWN = 20
"""Unknown columns that one request's warnings name."""


@dataclass(frozen=True)
class Names:
    """The names that a schema knows.

    Attributes:
        schema: The contract.
        known: Names of its columns.
        others: Other names of the training table: the target, and what the pipeline never reads.
    """

    schema: Schema
    known: frozenset[str]
    others: frozenset[str]

    @classmethod
    def of(cls, schema: Schema) -> Names:
        """The names of a schema."""
        known = frozenset(schema.names)
        return cls(schema, known, frozenset((*schema.table, *schema.others, schema.target)) - known)

    def meant(self, name: str) -> str:
        """The name as the schema has it: without the space around it, if the training table's names were trimmed."""
        return name if name in self.known else self.schema.reading.trimmed(name)

    def is_unknown(self, name: str) -> bool:
        """Whether neither the schema nor the training table has such a column (``name`` as ``meant`` returns it)."""
        return name not in self.known and name not in self.others

    def problems(self, row: int | None, given: Collection[str], unknown: Iterable[str]) -> list[Problem]:
        """The problems of the names of a row.

        Args:
            row: The row, or ``None`` for all of them.
            given: The columns that it has.
            unknown: Its names that no column has.
        """
        absent = [column for column in self.schema.columns if column.name not in given]
        names = [column.name for column in absent]
        found = [Problem(row, name[:100], _misspelt(name, names)) for name in unknown] if absent else []
        return found + [Problem(row, column.name, refusals.absent(column)) for column in absent if not column.missing]


def unknown_columns(names: Sequence[str]) -> list[Problem]:
    """The warnings of an answer about columns that were ignored."""
    text = "this column is not in the model's schema; it was ignored"
    return [Problem(None, name[:100], text) for name in names[:MAX_UNKNOWN]]


def _misspelt(name: str, absent: list[str]) -> str:
    near = difflib.get_close_matches(name, absent, n=1, cutoff=0.5)
    folded = [other for other in absent if other.strip().casefold() == name.strip().casefold()]
    meant = (folded or near or (absent if len(absent) == 1 else []))[:1]
    hint = f"did you mean '{meant[0]}'?" if meant else f"did you mean one of {', '.join(map(repr, absent[:5]))}?"
    return f"this column is not in the model's schema, while {_listed(absent)} missing; {hint}"


def _listed(absent: list[str]) -> str:
    return f"column '{absent[0]}' is" if len(absent) == 1 else f"{len(absent)} of its columns are"

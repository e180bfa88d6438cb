"""How a table is to be read, and the rules by which it was read: plain records, importable without pandas.

``files`` follows the options and returns the rules; whoever reads the same values later (requests, batches) follows the
rules, so that a raw value has one meaning.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from orris.errors import TableError


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """The user's declarations about a table.

    Attributes:
        categorical: Columns that are categories whatever their values look like; also several names in one text,
            separated by commas.
        drop: Columns that are left out, in the same form; nothing is said about their values.
        decimal: The decimal mark, ``.`` or ``,``; empty: found out.
        thousands: What separates thousands, such as ``,``; empty: nothing does.
        strict: What would be a notice about values is an error.
        skip_bad_lines: Lines with too few or too many values are left out and counted, instead of refused.
    """

    categorical: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    decimal: str = ""
    thousands: str = ""
    strict: bool = False
    skip_bad_lines: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules by which the text of a table became values. Without a file (a DataFrame, Parquet) there are none.

    Attributes:
        trim: White space around names and text values was cut off.
        missing: Texts without quotation marks that were taken as missing values in every column.
        missing_numbers: Further texts that were taken as missing values in columns of numbers and booleans.
        decimal: The decimal mark of numbers.
        thousands: What separates thousands in numbers; empty: nothing does.
        delimiter: What separates the values of a line.
    """

    trim: bool = False
    missing: tuple[str, ...] = ()
    missing_numbers: tuple[str, ...] = ()
    decimal: str = "."
    thousands: str = ""
    delimiter: str = ","


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a reader of the results should know of the table, and that did not stop the training.

    Attributes:
        column: The column; empty: the table as a whole.
        text: One sentence, with what to do about it.
    """

    column: str
    text: str

    def __str__(self) -> str:
        return f"column '{self.column}' {self.text}" if self.column else self.text


def resolve_names(given: Sequence[str], names: Sequence[str], option: str) -> tuple[str, ...]:
    """Column names as they were declared: each a column, or several columns separated by commas.

    Args:
        given: What was declared.
        names: The table's columns.
        option: Where it was declared, such as ``--drop``, for the message.

    Raises:
        TableError: A name that no column has; suggests the nearest one.
    """
    found: dict[str, None] = {}
    for entry in given:
        for name in (entry,) if entry in names else tuple(part.strip() for part in entry.split(",") if part.strip()):
            if name not in names:
                raise TableError(f"{option}: the table has no column '{name}'; {suggestion(name, names)}")
            found[name] = None
    return tuple(found)


def suggestion(name: str, names: Sequence[str]) -> str:
    """``is 'churned' meant? it has …``: the nearest of the names that there are."""
    folded = {known.casefold(): known for known in reversed(names)}
    near = difflib.get_close_matches(name.casefold(), list(folded), n=1)
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return (f"is '{folded[near[0]]}' meant? " if near else "") + f"it has {listed}"

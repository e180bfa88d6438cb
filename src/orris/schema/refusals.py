"""Why a value is refused, in words.

By the fitted model, which does not take it, or by a declaration of the model's owner.

The only reasons there are, beside a value that is of another type. Messages never repeat the caller's values or the
model's levels: a response may end up in someone else's log.
"""

from __future__ import annotations

from orris.schema.columns import Column, Schema


def missing(column: Column) -> str:
    """Why a missing value is refused."""
    if column.required:
        return "a value is needed: the column is declared required"
    return "a value is needed: the fitted model takes no missing values here"


def absent(column: Column) -> str:
    """Why a row without the column is refused."""
    if column.required:
        return "this column is missing, and it is declared required"
    return "this column is missing, and the fitted model takes no missing values here"


def level(column: Column) -> str:
    """Why a level that is not in ``column.levels`` is refused."""
    whose = "the column is declared closed" if column.closed else "the fitted model takes no others here"
    return f"not one of the levels, and {whose}; see /api/v1/model/info for them"


def fraction(column: Column) -> str:
    """Why a number with a fraction is refused."""
    whose = "the column is declared integer" if column.integer else "the fitted model takes no other numbers here"
    return f"an integer is needed, not a number with a fraction: {whose}"


def magnitude(schema: Schema) -> str:
    """Why a number is too large."""
    return f"a magnitude of at most {schema.max_magnitude:g} is needed: the fitted model takes no larger numbers"

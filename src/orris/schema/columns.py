"""The tabular contract: what a model's columns are, learned from all training rows and shipped in the bundle.

Every stage after this one speaks in *encoded rows*: a float64 array of shape ``(n_rows, n_columns)``, columns in schema
order, where

* a number or an integer is itself,
* a boolean is 0.0 or 1.0,
* a category is the position of its level in ``Column.levels``, or ``UNSEEN`` (-1.0) for a level that training never
  saw,
* a missing value is NaN.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from orris.metrics import Task

UNSEEN = -1.0
"""The code of a category level that is not in ``Column.levels``."""

MAX_INTEGER = 2**53
"""Integers beyond this magnitude are not exact in float64 and are refused."""

Level = str | int | float
"""A category level; those of a column are all text, all integers, or all floats (where one has a fraction)."""

Label = str | int | bool | float
"""A class label, as the fitted classifier holds it in ``classes_``."""


class Kind(StrEnum):
    """The kind of a column's values."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CATEGORY = "category"


class Bounds(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Hard bounds that the user declared; a value outside them rejects its row.

    Attributes:
        message: What a refusal says first, in the user's own words; empty: nothing.
    """

    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    exclusive_maximum: float | None = None
    message: str = ""

    def problem(self, value: float) -> str | None:
        """The problem of ``value``, or ``None``."""
        broken = self._broken(value)
        if broken is None:
            return None
        return f"{self.message}: {broken} (a declared bound)" if self.message else f"{broken} (a declared bound)"

    def limits(self) -> dict[str, float]:
        """The bounds that are set, by their names."""
        names = ("minimum", "maximum", "exclusive_minimum", "exclusive_maximum")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def _broken(self, value: float) -> str | None:
        if self.exclusive_minimum is not None and not value > self.exclusive_minimum:
            return f"must be greater than {self.exclusive_minimum:g}"
        if self.minimum is not None and not value >= self.minimum:
            return f"must be at least {self.minimum:g}"
        if self.exclusive_maximum is not None and not value < self.exclusive_maximum:
            return f"must be less than {self.exclusive_maximum:g}"
        if self.maximum is not None and not value <= self.maximum:
            return f"must be at most {self.maximum:g}"
        return None


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """One input column.

    Attributes:
        name: The column's name, as in the training table.
        kind: What it holds.
        dtype: The pandas/numpy dtype that the pipeline is given: that of a number (``float64``, ``float32``, ``int64``,
            ``uint8``, …), ``bool``, ``str``, ``object`` or ``category``.
        levels: For a category: its levels, in the order of their codes. All of one type.
        missing_as: What stands for a missing value in the data the pipeline is given: NaN or None (object columns
            only).
        missing: A missing value is answered (with a warning): the fitted pipeline takes it, and the column is not
            declared ``required``.
        unseen: For a category: a level that is not in ``levels`` is answered (with a warning): the fitted pipeline
            takes it, and the column is not declared ``closed``.
        low: Smallest training value (soft bound: outside it is answered with a warning); ``None`` for categories.
        high: Largest training value.
        bounds: Hard bounds that the user declared.
        example: A training value, in JSON form, for documentation.
        seen_missing: Training saw missing values here; means nothing unless ``missing``.
        fractions: For an integer column: a number with a fraction is answered (with a warning).
        required: The user declared that a value is needed.
        integer: The user declared that a whole number is needed.
        closed: The user declared that ``levels`` are all there are.
    """

    name: str
    kind: Kind
    dtype: str = "float64"
    levels: tuple[Level, ...] = ()
    missing_as: Literal["nan", "none"] = "nan"
    missing: bool = False
    unseen: bool = False
    low: float | None = None
    high: float | None = None
    bounds: Bounds | None = None
    example: str | float | int | bool | None = None
    seen_missing: bool = True
    fractions: bool = False
    required: bool = False
    integer: bool = False
    closed: bool = False


class Reading(msgspec.Struct, frozen=True, omit_defaults=True):
    """The rules by which the training table's text became values.

    Every route applies the same; by default there are none.

    Attributes:
        trim: White space around names and text values was cut off.
        missing: Texts that were taken as missing values, unless they are a level of their column.
        missing_numbers: Further texts that were taken as missing values in columns of numbers and booleans.
        decimal: The decimal mark of numbers in CSV.
        thousands: What parts thousands in numbers in CSV; empty: nothing.
        delimiter: What parts the values of a line of CSV; a comma is read as well.
    """

    trim: bool = False
    missing: tuple[str, ...] = ()
    missing_numbers: tuple[str, ...] = ()
    decimal: str = "."
    thousands: str = ""
    delimiter: str = ","

    def trimmed(self, text: str) -> str:
        """A name or a text value, without the space around it if the training table's was cut off."""
        return text.strip() if self.trim else text


class Schema(msgspec.Struct, frozen=True, omit_defaults=True):
    """The contract of one model.

    Attributes:
        columns: Input columns, in the order of the encoded row.
        target: Name of the target column.
        task: What the model answers.
        labels: The classes or clusters, in the order of ``predict_proba``'s columns; of a detector of outliers -1 (an
            outlier) and 1; of a regression none.
        container: What the pipeline was fitted on and is given: a DataFrame with these column names, or a plain array.
        max_magnitude: Largest absolute value of a number that the fitted pipeline takes; beyond it a row is rejected.
        reading: The rules by which the training table's text became values.
        table: All columns of the rows that the pipeline was fitted on, in their order, if it does not read every one of
            them; empty: those of ``columns``.
        others: Other columns of the training table, which were left out before fitting. Rows may carry them.
    """

    columns: tuple[Column, ...]
    target: str
    task: Task
    labels: tuple[Label, ...] = ()
    container: Literal["frame", "array"] = "frame"
    max_magnitude: float = 1e30
    reading: Reading = Reading()
    table: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Column names, in the order of the encoded row."""
        return tuple(column.name for column in self.columns)

    @property
    def n_columns(self) -> int:
        """Width of an encoded row."""
        return len(self.columns)

    def in_float32(self) -> Schema:
        """The schema of the same table with its columns of float64 as float32; an array has a single dtype."""
        if self.container == "array" and any(column.kind is not Kind.NUMBER for column in self.columns):
            return self
        columns = tuple(
            msgspec.structs.replace(column, dtype="float32")
            if column.kind is Kind.NUMBER and column.dtype == "float64"
            else column
            for column in self.columns
        )
        return msgspec.structs.replace(self, columns=columns)

    def in_float64(self) -> Schema:
        """The schema of the same table with its columns of float16 and float32 as float64, levels included."""
        columns = tuple(
            msgspec.structs.replace(column, dtype="float64") if column.dtype in {"float16", "float32"} else column
            for column in self.columns
        )
        return msgspec.structs.replace(self, columns=columns)

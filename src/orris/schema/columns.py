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

UNSEEN = -1.0
"""The code of a category level that is not in ``Column.levels``."""

MAX_INTEGER = 2**53
"""Integers beyond this magnitude are not exact in float64 and are refused."""

Level = str | int
"""A category level. JSON has no wider set of exact scalars that a category could use."""

Label = str | int | bool | float
"""A class label, as the fitted classifier holds it in ``classes_``."""


class Kind(StrEnum):
    """What a column holds."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CATEGORY = "category"


class Bounds(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Hard bounds that the user declared; a value outside them rejects its row."""

    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    exclusive_maximum: float | None = None

    def problem(self, value: float) -> str | None:
        """What is wrong with ``value``, or ``None``."""
        if self.exclusive_minimum is not None and not value > self.exclusive_minimum:
            if self.exclusive_minimum == 0:
                return "Measurement must be positive: a number greater than 0 is needed"
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
        dtype: The pandas/numpy dtype that the pipeline is given: ``float64``, ``int64``, ``bool``, ``str``, ``object``
            or ``category``.
        levels: For a category: its levels, in the order of their codes. All of one type, text or integers.
        missing_as: What stands for a missing value in the data the pipeline is given: NaN or None (object columns
            only).
        missing: Training saw missing values here, so a missing value is answered (with a warning).
        unseen: For a category: the model can take a level it never saw, so it is answered (with a warning).
        low: Smallest training value (soft bound: outside it is answered with a warning); ``None`` for categories.
        high: Largest training value.
        bounds: Hard bounds that the user declared.
        example: A training value, in JSON form, for documentation.
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


class Schema(msgspec.Struct, frozen=True, omit_defaults=True):
    """The contract of one model.

    Attributes:
        columns: Input columns, in the order of the encoded row.
        target: Name of the target column.
        task: Classification or regression.
        labels: For classification: the classes, in the order of ``predict_proba``'s columns.
        container: What the pipeline was fitted on and is given: a DataFrame with these column names, or a plain array.
        max_magnitude: Largest absolute value of a number that the fitted pipeline takes; beyond it a row is rejected.
    """

    columns: tuple[Column, ...]
    target: str
    task: Literal["classification", "regression"]
    labels: tuple[Label, ...] = ()
    container: Literal["frame", "array"] = "frame"
    max_magnitude: float = 1e30

    @property
    def names(self) -> tuple[str, ...]:
        """Column names, in the order of the encoded row."""
        return tuple(column.name for column in self.columns)

    @property
    def n_columns(self) -> int:
        """Width of an encoded row."""
        return len(self.columns)

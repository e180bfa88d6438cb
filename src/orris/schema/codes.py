"""The code of a category's value.

The position of its level, or what stands for a level or a value that is not there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from orris.schema.columns import UNSEEN, Column, Reading


class Codes(dict[Any, float]):
    """Level -> code; of any other value of the right type, what the training table's rules make of it.

    A text that is no level is looked up again without the space around it, if the training table's was cut off; is a
    missing value (NaN) if it was one there; and is ``UNSEEN`` otherwise.

    Args:
        column: A category.
        reading: The rules.
    """

    def __init__(self, column: Column, reading: Reading) -> None:
        super().__init__({level: float(code) for code, level in enumerate(column.levels)})
        self._reading = reading
        self._single = column.dtype == "float32"

    def __missing__(self, value: Any) -> float:
        if not isinstance(value, str):
            # 0.1 is a level of a float32 column as the float32 beside it.
            return self.get(float(np.float32(value)), UNSEEN) if self._single else UNSEEN
        trimmed = self._reading.trimmed(value)
        if trimmed in self:
            return self[trimmed]
        return math.nan if trimmed in self._reading.missing else UNSEEN


def takes_text(column: Column) -> bool:
    """Whether a column's levels are text."""
    return bool(column.levels) and isinstance(column.levels[0], str)


def needed(column: Column) -> str:
    """The type of a category's levels, in words."""
    return {str: "text", int: "an integer"}.get(type(column.levels[0]), "a number")

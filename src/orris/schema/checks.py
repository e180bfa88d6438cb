"""The same contract for rows that are arrays already: what a request with these rows would be refused for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orris.errors import Problem, RowError
from orris.schema import refusals
from orris.schema.arrays import FloatArray
from orris.schema.columns import MAX_INTEGER, UNSEEN, Column, Kind, Schema
from orris.schema.strict import MAX_PROBLEMS


def check(schema: Schema, rows: FloatArray) -> None:
    """Raise ``RowError`` for encoded rows, float64 ``(n_rows, n_columns)``, that a server would refuse."""
    problems: list[Problem] = []
    for j, column in enumerate(schema.columns):
        values = rows[:, j]
        for wrong, message in _wrongs(schema, column, values):
            problems += [Problem(int(i), column.name, message) for i in np.flatnonzero(wrong)[:MAX_PROBLEMS]]
        if column.bounds is not None:
            for i, value in enumerate(values.tolist()):
                problem = None if value != value else column.bounds.problem(value)  # noqa: PLR0124 (NaN)
                if problem:
                    problems.append(Problem(i, column.name, problem))
    if problems:
        raise RowError(sorted(problems, key=lambda problem: problem.row or 0)[:MAX_PROBLEMS])


def _wrongs(schema: Schema, column: Column, values: FloatArray) -> list[tuple[npt.NDArray[np.bool_], str]]:
    wrongs = []
    if not column.missing:
        wrongs.append((np.isnan(values), refusals.missing(column)))
    if column.kind is Kind.CATEGORY and not column.unseen:
        wrongs.append((values == UNSEEN, refusals.level(column)))
    if column.kind in {Kind.NUMBER, Kind.INTEGER}:
        wrongs.append((np.abs(values) > schema.max_magnitude, refusals.magnitude(schema)))
    if column.kind is Kind.INTEGER and not column.fractions:
        broken = ~np.isnan(values) & ((np.rint(values) != values) | (np.abs(values) > MAX_INTEGER))
        wrongs.append((broken, refusals.fraction(column)))
    return wrongs

"""Tables <-> encoded rows: what the fitted pipeline is given, and what a caller's DataFrame means.

``decode(schema, encode(schema, table))`` holds the values of the training table. pandas is imported only when a
DataFrame is made; the request path never comes here.
"""

from __future__ import annotations

import decimal
import math
import numbers
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orris.errors import Problem, RowError
from orris.schema import refusals
from orris.schema.arrays import FloatArray
from orris.schema.codes import Codes, needed
from orris.schema.columns import UNSEEN, Column, Kind, Level, Reading, Schema
from orris.schema.names import Names

if TYPE_CHECKING:
    import pandas as pd

UNSEEN_NAME = "\ufffdunseen"
"""Stands in for a text level that training never saw."""

NO_RULES = Reading()

_NEEDED = {Kind.NUMBER: "a number", Kind.INTEGER: "an integer", Kind.BOOLEAN: "a boolean"}


def decode(schema: Schema, rows: FloatArray, unseen_name: str = UNSEEN_NAME) -> pd.DataFrame | npt.NDArray[Any]:
    """Encoded rows -> what the pipeline was fitted on, a DataFrame or an array.

    Args:
        schema: The contract.
        rows: float64 ``(n_rows, n_columns)``.
        unseen_name: Stands in for a text level that training never saw.

    Returns:
        A DataFrame with the schema's names and dtypes, or an array: float64, or object if the pipeline was fitted on
        objects. A column of integers or booleans is float64 where a value is missing or is not one.
    """
    columns = schema.columns
    if schema.container == "array":
        return _full_width(schema, _array(columns, rows, unseen_name))
    import pandas as pd  # noqa: PLC0415

    series = {column.name: _series(column, rows[:, i], unseen_name) for i, column in enumerate(columns)}
    # What the pipeline never reads is there in name only.
    series |= {name: np.zeros(len(rows)) for name in schema.table if name not in series}
    return pd.DataFrame(series, columns=list(schema.table or schema.names))


def encode(schema: Schema, data: Any, unknown: dict[str, None] | None = None) -> FloatArray:
    """A DataFrame or a 2-d array -> encoded rows, float64 ``(n_rows, n_columns)``.

    A DataFrame has its columns by name, in any order; an array has them in schema order. Neither bounds nor missing
    values nor unseen levels are checked here. A column that is absent is missing, where it may be. Names of columns
    that the schema does not have, and that were ignored, are added to ``unknown``.

    Raises:
        RowError: A column is missing, or a value is not of its column's kind; names row and column.
    """
    problems: list[Problem] = []
    values: list[Any]
    if hasattr(data, "columns"):
        values = _by_name(schema, data, unknown)
    else:
        array = np.asarray(data)
        widths = {len(schema.table), schema.n_columns} if schema.table else {schema.n_columns}
        if array.ndim != 2 or array.shape[1] not in widths:
            wanted = f"an array of shape (n_rows, {max(widths)}) is needed, not {array.shape}"
            raise RowError([Problem(None, None, wanted)])
        if schema.table and array.shape[1] == len(schema.table):
            array = array[:, [schema.table.index(name) for name in schema.names]]
        if array.dtype.kind == "f" and all(column.kind is Kind.NUMBER for column in schema.columns):
            return np.asarray(array, dtype=np.float64)
        values = [array[:, i] for i in range(schema.n_columns)]
    rows = np.full((len(data), schema.n_columns), np.nan, dtype=np.float64)
    for i, column in enumerate(schema.columns):
        if values[i] is not None:
            rows[:, i] = encode_column(column, values[i], problems, schema.reading)
    if problems:
        raise RowError(sorted(problems, key=lambda problem: problem.row or 0))
    return rows


def _by_name(schema: Schema, data: Any, unknown: dict[str, None] | None) -> list[Any]:
    """The table's columns in schema order; ``None`` for one that is absent, and may be."""
    names = Names.of(schema)
    given: dict[str, Any] = {}
    others: dict[str, None] = {}
    for position, name in enumerate(data.columns):
        meant = names.meant(str(name))
        if meant in given:
            raise RowError([Problem(None, meant, "this column is given twice; give it once")])
        if names.is_unknown(meant):
            others[meant] = None
        elif meant in names.known:
            given[meant] = data.iloc[:, position]
    problems = names.problems(None, given, others)
    if problems:
        raise RowError(problems)
    if unknown is not None:
        unknown |= others
    return [given.get(name) for name in schema.names]


def encode_column(column: Column, values: Any, problems: list[Problem], reading: Reading = NO_RULES) -> FloatArray:
    """One column, a Series or a 1-d array -> codes, float64 ``(n_rows,)``.

    What does not fit is appended to ``problems``; ``reading`` are the rules by which the training table's text became
    values.
    """
    dtype = getattr(values, "dtype", None)
    if hasattr(dtype, "categories"):
        found: list[Problem] = []
        of_category = encode_column(column, np.asarray(values.cat.categories, dtype=object), found, reading)
        positions = values.cat.codes.to_numpy()
        for problem in found:
            rows = np.flatnonzero(positions == problem.row)
            problems.extend(Problem(int(row), problem.column, problem.problem) for row in rows)
        return np.asarray(np.append(of_category, np.nan)[positions], dtype=np.float64)
    if not isinstance(values, np.ndarray):
        values = _numpy(values)
    if values.dtype.kind == "f" or (values.dtype.kind in "iu" and column.kind is not Kind.BOOLEAN):
        return _from_numbers(column, values.astype(np.float64), problems)
    if values.dtype.kind == "b" and column.kind is Kind.BOOLEAN:
        codes: FloatArray = values.astype(np.float64)
        return codes
    return _from_objects(column, values.astype(object), problems, reading)


def is_missing(value: Any) -> bool:
    """None, NaN, NaT or pandas' NA."""
    return bool(value is None or type(value).__name__ in {"NAType", "NaTType"} or value != value)  # noqa: PLR0124 (NaN)


def _numpy(series: Any) -> npt.NDArray[Any]:
    """A Series as a numpy array; nullable numbers become floats, or integers if nothing is missing."""
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return np.asarray(series)
    kind = getattr(dtype, "kind", "O")
    if kind in "fiu":
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    if kind == "b" and not series.hasnans:
        return np.asarray(series.to_numpy(dtype=bool))
    return np.asarray(series, dtype=object)


def _from_numbers(column: Column, values: FloatArray, problems: list[Problem]) -> FloatArray:
    present = ~np.isnan(values)
    if column.kind is Kind.CATEGORY:
        if isinstance(column.levels[0], str):
            _refuse(column, np.flatnonzero(present), "text is needed, not a number", problems)
            return values
        levels = np.array(column.levels, dtype=np.float64)
        if column.dtype == "float32":
            with np.errstate(over="ignore"):
                values = values.astype(np.float32).astype(np.float64)
        order = np.argsort(levels)
        nearest = np.clip(np.searchsorted(levels, values, sorter=order), 0, len(levels) - 1)
        codes = order[nearest].astype(np.float64)
        codes[levels[order[nearest]] != values] = UNSEEN
        return np.where(present, codes, np.nan)
    if column.kind is Kind.INTEGER and not column.fractions:
        broken = np.flatnonzero(present & (np.trunc(values) != values))
        _refuse(column, broken, refusals.fraction(column), problems)
    elif column.kind is Kind.BOOLEAN:
        _refuse(
            column, np.flatnonzero(present & (values != 0) & (values != 1)), "a boolean (or 0 or 1) is needed", problems
        )
    return values


def _from_objects(column: Column, values: npt.NDArray[Any], problems: list[Problem], reading: Reading) -> FloatArray:
    listed = values.tolist()
    kinds = set(map(type, listed))
    if column.kind is Kind.CATEGORY:
        if kinds == {str} and isinstance(column.levels[0], str):
            codes = Codes(column, reading)
            return np.array([codes[value] for value in listed], dtype=np.float64)
        return _one_by_one(column, listed, _level_code(column, reading), problems)
    if kinds <= ({bool, type(None)} if column.kind is Kind.BOOLEAN else {float, type(None)}):
        return _from_numbers(column, values.astype(np.float64), problems)
    return _one_by_one(column, listed, _number_code(column), problems)


def _one_by_one(
    column: Column, values: list[Any], code: Callable[[Any], float | str], problems: list[Problem]
) -> FloatArray:
    codes = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        if not is_missing(value):
            outcome = code(value)
            if isinstance(outcome, str):
                problems.append(Problem(row, column.name, outcome))
            else:
                codes[row] = outcome
    return codes


def _level_code(column: Column, reading: Reading) -> Callable[[Any], float | str]:
    table = Codes(column, reading)
    text = isinstance(column.levels[0], str)

    def code(value: Any) -> float | str:
        fits = isinstance(value, str) if text else _is_number(value)
        return table[value] if fits else f"{needed(column)} is needed, not {type(value).__name__}"

    return code


def _number_code(column: Column) -> Callable[[Any], float | str]:
    needed = _NEEDED[column.kind]

    def code(value: Any) -> float | str:
        boolean = isinstance(value, bool | np.bool_)
        if not (boolean and column.kind is Kind.BOOLEAN) and not _is_number(value):
            return f"{needed} is needed, not {type(value).__name__}"
        found: list[Problem] = []
        try:
            number = float(value)
        except OverflowError:
            return "this number is larger than any that can be computed with"
        _from_numbers(column, np.array([number]), found)
        return found[0].problem if found else number

    return code


def _is_number(value: Any) -> bool:
    """Whether a value counts as a number: also ``Decimal`` and numpy's, not booleans."""
    return isinstance(value, numbers.Real | decimal.Decimal) and not isinstance(value, bool)


def _refuse(column: Column, rows: npt.NDArray[np.intp], problem: str, problems: list[Problem]) -> None:
    problems.extend(Problem(int(row), column.name, problem) for row in rows)


def _array(columns: tuple[Column, ...], rows: FloatArray, unseen_name: str) -> npt.NDArray[Any]:
    if all(column.dtype != "object" for column in columns):
        numbers = rows
        if any(column.kind is Kind.CATEGORY for column in columns):
            numbers = np.column_stack([_numbers(column, rows[:, i], unseen_name) for i, column in enumerate(columns)])
        return _of_dtype(numbers, np.dtype(columns[0].dtype))
    table = np.empty(rows.shape, dtype=object)
    for i, column in enumerate(columns):
        table[:, i] = _objects(column, rows[:, i], unseen_name)
    return table


def _full_width(schema: Schema, table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array with all columns of the training rows: zeros stand where the pipeline never reads."""
    if not schema.table:
        return table
    full = np.zeros((len(table), len(schema.table)), dtype=table.dtype)
    full[:, [schema.table.index(name) for name in schema.names]] = table
    return full


def _of_dtype(values: FloatArray, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Numbers in the dtype that the pipeline was fitted on; integers and booleans only if all of them fit."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(dtype, copy=False)
    if dtype.kind == "b":
        return values.astype(dtype) if bool(((values == 0) | (values == 1)).all()) else values
    limits = np.iinfo(dtype)
    # float(max) of 64 bits rounds up to a number that does not fit.
    fit = (values >= limits.min) & (values < float(limits.max) + 1) & (np.trunc(values) == values)
    return values.astype(dtype) if bool(fit.all()) else values


def _series(column: Column, codes: FloatArray, unseen_name: str) -> Any:
    import pandas as pd  # noqa: PLC0415

    if column.dtype == "category":
        return _categorical(column, codes, unseen_name)
    if column.dtype in {"str", "object"}:
        return pd.Series(_objects(column, codes, unseen_name), dtype=column.dtype)
    return _of_dtype(_numbers(column, codes, unseen_name), np.dtype(column.dtype))


def _categorical(column: Column, codes: FloatArray, unseen_name: str) -> Any:
    import pandas as pd  # noqa: PLC0415

    levels: list[Any] = [False, True] if column.kind is Kind.BOOLEAN else list(column.levels)
    positions = np.where(np.isnan(codes), -1, codes).astype(np.int64)
    if column.kind is Kind.CATEGORY and (codes == UNSEEN).any():
        # A level that training never saw is a level of its own, as it would be in a caller's frame.
        positions[codes == UNSEEN] = len(levels)
        levels.append(stand_in(column.levels, unseen_name))
    return pd.Series(pd.Categorical.from_codes(positions, categories=pd.Index(levels)))


def _numbers(column: Column, codes: FloatArray, unseen_name: str) -> FloatArray:
    """The values as numbers: integer-coded categories are looked up."""
    if column.kind is not Kind.CATEGORY:
        return codes
    lookup = np.array([*column.levels, stand_in(column.levels, unseen_name), np.nan], dtype=np.float64)
    return lookup[_positions(column, codes)]


def _objects(column: Column, codes: FloatArray, unseen_name: str) -> npt.NDArray[Any]:
    """The values as an object array, missing ones as the training table had them."""
    missing = np.isnan(codes)
    absent = None if column.missing_as == "none" else math.nan
    if column.kind is Kind.CATEGORY:
        lookup = np.array([*column.levels, stand_in(column.levels, unseen_name), absent], dtype=object)
        objects: npt.NDArray[Any] = lookup[_positions(column, codes)]
        return objects
    values = np.where(missing, 0.0, codes)
    if column.kind is Kind.BOOLEAN:
        objects = values.astype(bool).astype(object)
    else:
        objects = (values.astype(np.int64) if column.kind is Kind.INTEGER and _is_integral(values) else values).astype(
            object
        )
    objects[missing] = absent
    return objects


def _positions(column: Column, codes: FloatArray) -> npt.NDArray[np.int64]:
    """Positions in a lookup of the levels, the stand-in for an unseen level, and the missing value."""
    n_levels = len(column.levels)
    return np.where(np.isnan(codes), n_levels + 1, np.where(codes == UNSEEN, n_levels, codes)).astype(np.int64)


def stand_in(levels: Sequence[Level], unseen_name: str = UNSEEN_NAME) -> Level:
    """A level that no training row has: what ``decode`` gives a pipeline where the code is ``UNSEEN``.

    Text beside levels of text; an integer above all others beside levels that are numbers alone.
    """
    if not levels or any(isinstance(level, str) for level in levels):
        return unseen_name
    return max(int(level) for level in levels) + len(unseen_name)


def _is_integral(values: FloatArray) -> bool:
    """Whether all values can become int64 without changing."""
    return bool((np.abs(values) < 2.0**63).all()) and bool((np.trunc(values) == values).all())

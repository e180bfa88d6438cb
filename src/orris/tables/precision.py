"""Which model answers a table: scikit-learn computes in the precision of the table's floats (decision 0022).

``orris.compile.precision`` finds out, when a model is packaged, what answers which tables; here a table is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from orris.errors import Problem, RowError
from orris.schema import Column, Kind, Schema
from orris.schema.names import Names
from orris.verdict import SMALL, Mixture

Answering = Literal["contract", "float32", "float64"]
"""The model of the contract's floats, or that of tables whose floats are all float32, or all float64."""

_SMALL = {"int8", "int16", "uint8", "uint16"}
_LOW = {"float16", "float32", "longdouble", "Float32", SMALL}


def answering(schema: Schema, table: Any, whole: Mapping[Answering, bool], others: Mapping[str, Mixture]) -> Answering:
    """Which model answers a table as the fitted pipeline does.

    Args:
        schema: The contract.
        table: A pandas DataFrame, or an array ``(n_rows, n_columns)``.
        whole: Whether it was found out what answers tables whose floats are all float32, and all float64.
        others: Where other types of numbers may stand (``Manifest.others``).

    Raises:
        RowError: None does; names a column, and the types that the table should have.
    """
    found, wanted = types_of(schema, table), _types(schema)
    wide = _types(schema.in_float64())
    if _are(found, wanted):
        return "contract"
    if whole["float32"] and _are(found, _types(schema.in_float32())):
        return "float32"
    in_float64: Answering = "float64" if whole["float64"] else "contract"
    other = {name: kind for name, kind in found.items() if kind in _LOW and kind != wide[name]}
    if not other:
        return in_float64
    numbers = {column.name for column in schema.columns if column.kind in (Kind.NUMBER, Kind.INTEGER)}
    stays = SMALL not in other.values() and any(name in found and name not in other for name in numbers)
    for name, kind in other.items():
        where = others.get(kind)
        if name not in numbers or not (where == "anywhere" or (where == "beside" and stays)):
            raise RowError([Problem(None, name, _refusal(name, found, wanted, named=hasattr(table, "columns")))])
    return in_float64


def _refusal(name: str, found: Mapping[str, str], wanted: Mapping[str, str], *, named: bool) -> str:
    differ = {each: wanted[each] for each, kind in found.items() if kind != wanted[each]}
    shown = "rows.astype({" + ", ".join(f"{each!r}: {kind!r}" for each, kind in differ.items()) + "})"
    return (
        f"it is {found[name]}, and the model was fitted on {wanted[name]}: scikit-learn computes with such a table in"
        " another precision, and no compiled model does so in the same way. Give"
        f" {shown if named else f'rows.astype({wanted[name]!r})'}, or fit on such a table and package that model"
    )


def types_of(schema: Schema, table: Any) -> dict[str, str]:
    """The type in which scikit-learn computes with each column of numbers that the table has, by name.

    That is numpy's name; ``int8`` for all integers of 8 and 16 bits, ``int64`` for larger ones, ``Float32`` for all
    nullable and Arrow-backed floats below float64; and float64 for objects and all else that is converted to it.
    """
    if not hasattr(table, "dtypes"):
        return {column.name: _type(table.dtype) for column in schema.columns if _is_numeric(column)}
    names = Names.of(schema)
    given = {names.meant(str(name)): dtype for name, dtype in table.dtypes.items()}
    columns = (column for column in schema.columns if column.name in given and _is_numeric(column))
    return {column.name: _type(given[column.name]) for column in columns}


def _is_numeric(column: Column) -> bool:
    return column.kind in (Kind.NUMBER, Kind.INTEGER) or column.dtype.startswith("float")


def _type(dtype: Any) -> str:
    kind = getattr(dtype, "kind", "O")
    if not isinstance(dtype, np.dtype):
        low = kind == "f" and getattr(dtype, "itemsize", 8) < 8
        return "Float32" if low else ("int64" if kind in "iu" else "float64")
    if kind in "biu":
        return SMALL if dtype.name in _SMALL else "int64"
    if kind != "f":
        return "float64"
    return dtype.name if dtype.itemsize <= 8 else "longdouble"


def _types(schema: Schema) -> dict[str, str]:
    return {
        column.name: "float64" if column.dtype in {"object", "category", "str"} else _type(np.dtype(column.dtype))
        for column in schema.columns
        if _is_numeric(column)
    }


def _are(found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether the types are the wanted ones; integers of 64 bits and float64 become float64 beside any float."""
    return all(kind == wanted[name] or {kind, wanted[name]} == {"int64", "float64"} for name, kind in found.items())


def lower(schema: Schema, table: Any) -> Iterable[tuple[Column, str]]:
    """The columns of floats that have another precision in the table, and which."""
    found = types_of(schema, table)
    for column in schema.columns:
        kind = found.get(column.name, column.dtype)
        if column.dtype.startswith("float") and kind.startswith(("float", "long")) and kind != column.dtype:
            yield column, kind

"""Tensors of the Open Inference Protocol (V2) as JSON: ``data`` flat or nested, ``null`` for a missing value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orris.errors import BodyError
from orris.protocols.tensors import DATATYPES, Tensor, Values, miscounted, n_elements, objects, shape_text
from orris.schema.columns import MAX_INTEGER


def from_json(name: str, datatype: str, shape: Sequence[int], data: list[Any]) -> Tensor:
    """A tensor of JSON values.

    Numbers are taken as they are written: 5.1 is not rounded to a float32 because FP32 is declared.

    Raises:
        BodyError: Unknown datatype, a shape that is none, another number of elements than the shape has, or elements of
            another type.
    """
    size = n_elements(name, datatype, shape)
    flat = _flat(name, shape, data)
    if len(flat) != size:
        raise miscounted(name, shape, len(flat))
    return Tensor(name, datatype, tuple(shape), _values(name, datatype, flat))


def _flat(name: str, shape: Sequence[int], data: list[Any]) -> list[Any]:
    """The elements of flat or nested data; nesting has to follow the shape."""
    if not data or type(data[0]) is not list:
        return data
    nested = len(data) == shape[0]
    for length in shape[1:]:
        if not nested or type(data[0]) is not list:
            break
        nested = all(type(part) is list and len(part) == length for part in data)
        data = [value for part in data for value in part] if nested else data
        if not data:
            break
    if not nested:
        raise BodyError(f"input '{name[:100]}': the data is not nested as shape {shape_text(shape)} says")
    return data


def _values(name: str, datatype: str, flat: list[Any]) -> Values:
    kinds = set(map(type, flat))
    if datatype == "BYTES":
        _require(name, datatype, kinds, {str}, "text")
        return objects(flat)
    if datatype in {"FP16", "BF16"}:
        raise BodyError(
            f"input '{name[:100]}': {datatype} does not travel as JSON; send it as binary data, or send FP32"
        )
    if datatype == "BOOL":
        odd = {type(value) for value in flat if type(value) is not int or value not in {0, 1}}
        _require(name, datatype, odd, {bool}, "true, false, 0 or 1")
        booleans = [value if value is None else bool(value) for value in flat]
        return objects(booleans) if type(None) in kinds else np.array(booleans, dtype=np.bool_)
    _require(name, datatype, kinds, {int, float}, "a number")
    try:
        return _integers(datatype, flat, kinds) if "INT" in datatype else np.array(flat, dtype=np.float64)
    except (OverflowError, ValueError):
        raise BodyError(f"input '{name[:100]}': a value does not fit {datatype}") from None


def _require(name: str, datatype: str, kinds: set[type], wanted: set[type], needed: str) -> None:
    """Raise ``BodyError`` unless every element is of a wanted type or missing."""
    if not kinds <= wanted | {type(None)}:
        raise BodyError(
            f"input '{name[:100]}': every element of {datatype} data is {needed}, or null for a missing value"
        )


def _integers(datatype: str, flat: list[Any], kinds: set[type]) -> Values:
    """Integers, as an array of floats if some are missing.

    Raises ``ValueError`` or ``OverflowError`` for values that do not fit.
    """
    present = [value for value in flat if value is not None]
    if float in kinds:
        if not all(float(value).is_integer() for value in present):
            raise ValueError
        present = [int(value) for value in present]
    values = np.array(present, dtype=DATATYPES[datatype])
    if type(None) not in kinds:
        return values
    if any(abs(value) > MAX_INTEGER for value in present):
        raise OverflowError
    return np.array(flat, dtype=np.float64)

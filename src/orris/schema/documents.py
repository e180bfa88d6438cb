"""The schema as documents: JSON Schema for OpenAPI, and the example rows that every page and every ``curl`` shows."""

from __future__ import annotations

from typing import Any

import msgspec

from orris.schema.columns import Column, Kind, Schema

JsonObject = dict[str, Any]

_JSON_SCHEMA_BOUNDS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusive_minimum": "exclusiveMinimum",
    "exclusive_maximum": "exclusiveMaximum",
}
_TYPES = {Kind.NUMBER: "number", Kind.INTEGER: "integer", Kind.BOOLEAN: "boolean"}


def example_row(schema: Schema) -> JsonObject:
    """A row with a training value in every column, as a caller would send it."""
    return {column.name: column.example for column in schema.columns}


def row_schema(schema: Schema) -> JsonObject:
    """JSON Schema (2020-12) of one row."""
    names = list(schema.names)
    required = [column.name for column in schema.columns if not column.missing]
    row = {
        "title": "Row",
        "type": "object",
        "description": "Other columns are ignored, with a warning, unless one of these is absent.",
        "required": required,
        "properties": {column.name: _property(column) for column in schema.columns},
        "examples": [example_row(schema)],
    }
    # An unknown column beside an absent one may be that one, misspelt. It also keeps a row apart from `features`.
    return row if required == names else row | {"if": {"required": names}, "else": {"propertyNames": {"enum": names}}}


def describe_column(column: Column) -> JsonObject:
    """One column for people and programs that ask what the model takes."""
    described: JsonObject = {"name": column.name, "kind": column.kind.value, "missing": column.missing}
    if column.kind is Kind.CATEGORY:
        described |= {"levels": list(column.levels), "unseen": column.unseen}
    elif column.low is not None:
        described["range"] = [column.low, column.high]
    if column.kind is Kind.INTEGER:
        described["fractions"] = column.fractions
    declared = [name for name in ("required", "integer", "closed") if getattr(column, name)]
    if declared:
        described["declared"] = declared
    if column.bounds is not None:
        described["bounds"] = msgspec.to_builtins(column.bounds)
    return described | {"example": column.example}


def value_schema(column: Column) -> JsonObject:
    """JSON Schema of one value of a column: its type, levels and declared bounds, without words."""
    return {key: value for key, value in _property(column).items() if key not in {"description", "examples"}}


def _property(column: Column) -> JsonObject:
    described: JsonObject
    if column.kind is Kind.CATEGORY:
        described = {"type": {str: "string", int: "integer"}.get(type(column.levels[0]), "number")}
        if column.unseen:
            described |= {"examples": list(column.levels), "description": "Other levels are answered, with a warning."}
        else:
            described["enum"] = [*column.levels, *([None] if column.missing else [])]
    else:
        described = {"type": "number" if column.fractions else _TYPES[column.kind]}
    if column.missing:
        described["type"] = [described["type"], "null"]
    if column.kind in {Kind.NUMBER, Kind.INTEGER} and column.low is not None:
        whole = "whole numbers from " if column.fractions else ""
        described["description"] = (
            f"Training saw {whole}{column.low:g} to {column.high:g}; others are answered, with a warning."
        )
    if column.bounds is not None:
        described |= {_JSON_SCHEMA_BOUNDS[name]: value for name, value in column.bounds.limits().items()}
    if "examples" not in described:
        described["examples"] = [column.example]
    return described

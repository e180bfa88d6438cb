"""The tabular contract and the encoded rows it defines; see ``columns`` for the terms."""

from orris.schema.columns import MAX_INTEGER, UNSEEN, Bounds, Column, Kind, Label, Level, Reading, Schema

__all__ = ["MAX_INTEGER", "UNSEEN", "Bounds", "Column", "Kind", "Label", "Level", "Reading", "Schema"]

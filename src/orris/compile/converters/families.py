"""Imports every family's module, which registers its converters.

``composition`` calls ``register`` before it converts; nothing else needs to know which families there are.
"""

from __future__ import annotations

from importlib import import_module

MODULES = (
    "preprocessing",
    "imputing",
    "encoding",
    "composition",
    "ensembles",
    "linear",
    "trees",
    "boosting",
    "neural",
    "naive_bayes",
    "neighbors",
    "svm",
    "calibration",
    "multiclass",
)
"""Modules of ``orris.compile.converters`` that hold converters."""


def register() -> None:
    """Import them all; the second time costs nothing."""
    for module in MODULES:
        import_module(f"orris.compile.converters.{module}")

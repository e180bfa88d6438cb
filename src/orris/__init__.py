"""Orris: from a table to a proven production prediction API.

``orris.train(…)``, ``orris.package(pipeline, X, y, name=…)``, ``orris.load("NAME@VERSION")`` and ``orris.serve(…)`` are
the whole of it from Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orris.version import __version__

if TYPE_CHECKING:
    from orris.api import Bundle, Model, Store, load, package, serve, train

__all__ = ["Bundle", "Model", "Store", "__version__", "load", "package", "serve", "train"]


def __getattr__(name: str) -> Any:
    """Import the Python interface on first use, so that ``orris --help`` and the server's start stay fast."""
    if name in __all__:
        from orris import api  # noqa: PLC0415

        return getattr(api, name)
    raise AttributeError(f"module 'orris' has no attribute '{name}'")

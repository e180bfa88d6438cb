"""Fitted pipeline -> served model, proven.

Converters by family, the parity gate, and the order in which ways of serving are tried.
"""

from orris.compile.strategies import Compiled, compile_pipeline

__all__ = ["Compiled", "compile_pipeline"]

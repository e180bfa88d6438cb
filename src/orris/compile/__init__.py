"""Turns a fitted pipeline into a served model, and proves that the two answer alike.

The package holds the converters by family, the parity gate, and the strategies in the order in which they are tried.
"""

from orris.compile.precision import examine as examine_precisions
from orris.compile.strategies import Compiled, compile_pipeline

__all__ = ["Compiled", "compile_pipeline", "examine_precisions"]

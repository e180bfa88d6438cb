"""Answers encoded rows: by a compiled model in ONNX Runtime, a fitted pipeline in scikit-learn, or both in turn.

The parity gate and the server use these same classes, so what was proven is what is served.
"""

from orris.runtime.answers import Answers, Runtime
from orris.runtime.onnx import OnnxRuntime, open_session
from orris.runtime.opening import open_model
from orris.runtime.scikit import FrontRuntime, SklearnRuntime

__all__ = ["Answers", "FrontRuntime", "OnnxRuntime", "Runtime", "SklearnRuntime", "open_model", "open_session"]

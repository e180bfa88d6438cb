"""A bundle's model files to the runtime that answers with them.

A library whose own model file can be served adds its reader to ``_READERS``, by the file's name, and the name to
``orris.verdict.ModelFile``; the reader imports the library when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from orris.errors import ServingError
from orris.runtime.answers import Runtime
from orris.runtime.library import LibraryRuntime
from orris.runtime.onnx import OnnxRuntime
from orris.runtime.scikit import FrontRuntime, SklearnRuntime
from orris.schema import Schema

Reader = Callable[[Path, Schema, int], Runtime]
"""``(model file, schema, threads for one call) -> runtime``."""

_READERS: Mapping[str, Reader] = {
    "model.onnx": lambda file, _, threads: OnnxRuntime(file, threads),
    "single.onnx": lambda file, _, threads: OnnxRuntime(file, threads),
    "double.onnx": lambda file, _, threads: OnnxRuntime(file, threads),
    "model.cbm": lambda file, schema, _: LibraryRuntime.load(file, schema),
    "model.txt": lambda file, schema, _: LibraryRuntime.load(file, schema),
    "model.ubj": lambda file, schema, _: LibraryRuntime.load(file, schema),
    "model.skops": lambda file, schema, _: SklearnRuntime.load(file, schema),
}


def open_model(folder: Path, model_file: str, schema: Schema, *, front_file: str = "", threads: int = 1) -> Runtime:
    """The runtime of a model.

    Args:
        folder: The bundle.
        model_file: Name of its model file.
        schema: Its contract.
        front_file: Name of the file with the first steps, where scikit-learn runs them; otherwise empty.
        threads: Threads for one call.

    Raises:
        ServingError: The model does not load.
        MissingExtraError: A library that it needs is not installed.
    """
    if model_file not in _READERS:
        raise ServingError(f"{folder / model_file}: this Orris has no reader for such a model file; upgrade orris")
    model = _READERS[model_file](folder / model_file, schema, threads)
    return FrontRuntime.load(folder / front_file, model, schema) if front_file else model

"""The load test's own files, which the wheel carries and a checkout has in ``loadtests/``."""

from __future__ import annotations

from pathlib import Path

from orris.errors import ExperimentError


def loadtest_file(name: str) -> Path:
    """The path of a file of ``loadtests/``, for instance ``wrk/predict.lua``.

    Raises:
        ExperimentError: This installation has no such file.
    """
    here = Path(__file__).parent
    for folder in (here / "loadtests", here.parents[2] / "loadtests"):
        if (folder / name).is_file():
            return folder / name
    raise ExperimentError(f"loadtests/{name} is missing: install Orris from its wheel or work in a checkout")

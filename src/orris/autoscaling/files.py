"""The load test's own files: copies of those in ``loadtests/``, which ``python -m tools.loadtest_files`` writes."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "loadtests"


def loadtest_file(name: str) -> Path:
    """The path of a file of ``loadtests/``: ``wrk/predict.lua`` or ``k8s/job-1000.yaml``."""
    return FOLDER / name

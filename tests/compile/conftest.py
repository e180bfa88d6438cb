"""What the tests of converters share."""

from __future__ import annotations

import pytest

from tests.compile import agreement


@pytest.fixture(scope="session")
def run_graph() -> agreement.RunGraph:
    """Callable ``(graph, prediction or frame, n_columns, rows) -> outputs by name`` on ONNX Runtime."""
    return agreement.run

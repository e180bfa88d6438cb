"""Versions that fault tests serve, and their right answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from orris.store import Store
from tests.faults.load import Right
from tests.serving.test_changes import publish


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with iris 1.0.0 and 2.0.0, which answer differently."""
    store = tmp_path_factory.mktemp("published")
    publish(store, "1.0.0")
    publish(store, "2.0.0", model="decision-tree")
    return store


@pytest.fixture(scope="session")
def right(published: Path) -> Right:
    """What both versions have to answer."""
    return Right.of(*(published / "iris" / "versions" / version for version in ("1.0.0", "2.0.0")))


@pytest.fixture
def store(published: Path, tmp_path: Path) -> Path:
    """A store with both versions that a test may change; ``prod`` is 1.0.0."""
    copy = Store(tmp_path / "store")
    for reference in ("iris@1.0.0", "iris@2.0.0"):
        Store(published).copy(reference, copy)
    copy.promote("iris", "1.0.0", "prod")
    return tmp_path / "store"

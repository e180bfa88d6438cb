"""Bundles to publish, and stores of each kind to publish them in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orris.store import Store
from tests.buckets import emulator
from tests.store.sealing import MakeBundle, seal_bundle


@pytest.fixture(scope="session")
def unconditional_gs() -> Iterator[str]:
    """Return the endpoint of an emulator that ignores conditions on writes."""
    with emulator("gs-unconditional") as endpoint:
        yield endpoint


@pytest.fixture(params=["local", "gs", "s3", "az"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty store, of each kind."""
    if request.param == "local":
        return str(tmp_path / "artifacts")
    return f"{request.getfixturevalue(request.param)}/{tmp_path.name}"


@pytest.fixture
def store(url: str) -> Store:
    """Return an empty store of each kind."""
    return Store(url)


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """Return a function that makes a small sealed bundle: ``make_bundle(version, name="iris", content=b"...")``."""

    def make(version: str, name: str = "iris", content: bytes = b"model") -> Path:
        return seal_bundle(tmp_path / "bundles" / f"{name}-{version}-{content.hex()[:12]}", name, version, content)

    return make


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return an empty cache directory."""
    return tmp_path / "cache"

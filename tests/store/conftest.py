"""Bundles to publish, and stores to publish them in.

A directory, and buckets of real emulators in processes of their own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orris.store import Store
from tests.store.sealing import seal_bundle

REPOSITORY = Path(__file__).parents[2]
MakeBundle = Callable[..., Path]


def _emulator(kind: str) -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.store.emulator", kind],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), f"the {kind} emulator did not start"
        yield url
        process.terminate()


@pytest.fixture(scope="session")
def gs() -> Iterator[str]:
    """The emulated Google Cloud Storage, conditional puts included: its bucket's URL."""
    for url in _emulator("gs"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", url)
            yield "gs://orris"


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The emulated S3: its bucket's URL."""
    for url in _emulator("s3"):
        with pytest.MonkeyPatch.context() as patch:
            for key, value in {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
            }.items():
                patch.setenv(key, value)
            yield "s3://orris"


@pytest.fixture(scope="session")
def unconditional_gs() -> Iterator[str]:
    """The endpoint of an emulator that ignores conditions on writes."""
    yield from _emulator("gs-unconditional")


@pytest.fixture(params=["local", "gs", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, of each kind."""
    if request.param == "local":
        return str(tmp_path / "artifacts")
    return f"{request.getfixturevalue(request.param)}/{tmp_path.name}"


@pytest.fixture
def store(url: str) -> Store:
    """An empty store of each kind."""
    return Store(url)


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """Makes a small sealed bundle: ``make_bundle(version, name="iris", content=b"...")``."""

    def make(version: str, name: str = "iris", content: bytes = b"model") -> Path:
        return seal_bundle(tmp_path / "bundles" / f"{name}-{version}-{content.hex()[:12]}", name, version, content)

    return make


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache directory."""
    return tmp_path / "cache"

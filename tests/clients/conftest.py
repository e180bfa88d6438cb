"""A served model, its OpenAPI document, the calls that a generated client makes, and where the generators live."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orris.api import Bundle
from tests.clients.calls import Call, calls_of
from tests.servers import Server, client, serving
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep these tests in one process, so that the generators are installed once."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("clients"))


@pytest.fixture(scope="package")
def served(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The iris model, with the version in its routes."""
    with serving(str(iris.folder), folder=tmp_path_factory.mktemp("generated-server")) as running:
        yield running


@pytest.fixture(scope="package")
def document(served: Server) -> dict[str, Any]:
    """The server's OpenAPI document."""
    with client(served) as asking:
        found: dict[str, Any] = asking.get("/openapi.json").json()
        return found


@pytest.fixture(scope="package")
def calls(document: dict[str, Any]) -> list[Call]:
    """Every example of every documented operation that asks a model."""
    return calls_of(document)


@pytest.fixture(scope="package")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the generators by hash in an environment of its own, because one of them pins an older typer."""
    folder = tmp_path_factory.mktemp("clients")
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder], check=True, timeout=PATIENCE_SECONDS)
    lock = str(ROOT / "requirements" / "clients.txt")
    install = ["pip", "install", "--quiet", "--system-certs", "--python", str(folder), "--require-hashes", "-r", lock]
    subprocess.run([*uv, *install], check=True, timeout=PATIENCE_SECONDS)
    return folder / "bin" / "python"

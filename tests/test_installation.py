"""Tests that commands in messages work where they are printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orris import installation

SCRIPTS = Path(sys.executable).parent


def test_the_command_is_orris_where_that_finds_this_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an activated environment, which is on the PATH, the command is ``orris``."""
    monkeypatch.setenv("PATH", f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}")
    assert installation.command() == "orris"


def test_the_command_is_the_scripts_path_where_the_environment_is_not_active(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside an activated environment the command is the script's path and runs as printed."""
    monkeypatch.setenv("PATH", "/usr/bin")
    command = installation.command()
    assert command.endswith("bin/orris")
    done = subprocess.run([*command.split(" "), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("orris ")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ('{"url": "file:///home/ada/orris", "dir_info": {"editable": true}}', "install -e '/home/ada/orris[sign]'"),
        ('{"url": "file://HERE", "archive_info": {}}', "install 'orris[sign] @ file:///"),
        ('{"url": "file:///gone/orris-1.0-py3-none-any.whl", "archive_info": {}}', "install 'orris[sign]'"),
        (None, "install 'orris[sign]'"),
    ],
    ids=["checkout", "wheel", "wheel that is gone", "index"],
)
def test_an_extra_is_installed_from_where_orris_came_from(
    monkeypatch: pytest.MonkeyPatch, document: str | None, words: str
) -> None:
    """A checkout is named by its folder, a wheel by its file, and a package of an index by its name."""

    class Distribution:
        def read_text(self, name: str) -> str | None:
            return document.replace("HERE", __file__) if document and name == "direct_url.json" else None

    monkeypatch.setattr("importlib.metadata.distribution", lambda _: Distribution())
    assert words in installation.install_extra("sign")

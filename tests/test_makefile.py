"""The Makefile shows the targets that most people need, and installs with uv or with pip."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def make(*arguments: str, folder: Path = ROOT) -> str:
    """What make prints."""
    command = ["make", "--file", str(ROOT / "Makefile"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def targets(text: str) -> list[str]:
    """The targets that a help text lists."""
    return re.findall(r"^  ([\w-]+) {2,}\S", text, re.MULTILINE)


def test_help_shows_the_common_targets_first() -> None:
    """The short help has about a dozen targets in groups, and the long help has every target."""
    short, long = targets(make("help")), targets(make("help-all"))
    assert {"setup", "demo", "test", "lint", "docs"} < set(short)
    assert len(short) <= 16
    phony = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert sorted(long) == sorted({name for line in phony for name in line.split()} - {"train"})


@pytest.mark.parametrize(("uv", "expected"), [("/opt/uv", "/opt/uv pip install --python"), ("", "python -m pip ")])
def test_setup_installs_with_uv_where_there_is_one(tmp_path: Path, uv: str, expected: str) -> None:
    """A dry run of the set-up installs the hashed locks with uv if it is installed, and with pip otherwise."""
    for name in ("pyproject.toml", "requirements"):
        (tmp_path / name).symlink_to(ROOT / name)
    printed = make("--dry-run", "setup", f"UV={uv}", folder=tmp_path)
    installs = [line for line in printed.splitlines() if " install " in line]
    assert len(installs) == 2
    assert all(expected in line and "--quiet" not in line for line in installs)
    assert "--require-hashes -r requirements/runtime.txt" in installs[0]


def test_every_tool_is_listed() -> None:
    """The table of tools/README.md names each program."""
    programs = {path.stem for path in (ROOT / "tools").glob("*.py")} | {
        path.parent.name for path in (ROOT / "tools").glob("*/__main__.py")
    }
    table = (ROOT / "tools" / "README.md").read_text("utf-8")
    assert set(re.findall(r"^\| `tools\.(\w+)` \|", table, re.MULTILINE)) == programs

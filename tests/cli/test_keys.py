"""Tests of ``orris keys new``, which prints a key once and keeps only its hash."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orris.cli.app import app
from orris.errors import SettingsError
from orris.serving.access.keys import read_keys


def make(*arguments: str) -> str:
    """Run ``orris keys new`` and return the key that it prints."""
    done = CliRunner().invoke(app, ["keys", "new", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout.strip()


def test_a_key_is_printed_once_and_its_hash_written(tmp_path: Path) -> None:
    """A new key's hash is written to a file that only its owner may read, and the server accepts the key."""
    file = tmp_path / "new" / "keys.toml"
    key = make("--name", "billing", "--file", str(file))
    assert key.startswith("orris_")
    assert key not in file.read_text()
    caller = read_keys(file.read_bytes(), "f").find(key.encode())
    assert caller is not None
    assert caller.name == "key:billing"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["keys.toml"]


def test_a_rotation_changes_the_hash_and_nothing_else(tmp_path: Path) -> None:
    """A rotation keeps the rate, the expiry, comments, other keys and the permissions of the file."""
    file = tmp_path / "keys.toml"
    first = make("--name", "billing", "--file", str(file))
    make("--name", "ci", "--file", str(file))
    file.write_text("# ours\n" + file.read_text().replace(" }\n", ", rate = 5 } # paid\n", 1))
    file.chmod(0o640)
    before = file.read_text()
    second = make("--name", "billing", "--file", str(file))
    after, ring = file.read_text(), read_keys(file.read_bytes(), "f")
    assert ring.find(first.encode()) is None
    caller = ring.find(second.encode())
    assert caller is not None
    assert caller.rate == 5
    assert len(after) == len(before)
    assert [line for line in before.splitlines() if line in after.splitlines()] == [
        line for line in before.splitlines() if not line.startswith("billing")
    ]
    assert "# paid" in after
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_an_overlap_leaves_the_present_key_valid(tmp_path: Path) -> None:
    """With ``--overlap`` the previous key stays valid until the next rotation."""
    file = tmp_path / "keys.toml"
    first, second, third = (make("--name", "ci", "--overlap", "--file", str(file)) for _ in range(3))
    ring = read_keys(file.read_bytes(), "f")
    assert [ring.find(key.encode()) is not None for key in (first, second, third)] == [False, True, True]
    make("--name", "ci", "--file", str(file))
    assert len(read_keys(file.read_bytes(), "f")) == 1


def test_admin_rights_are_given_only_to_a_new_name(tmp_path: Path) -> None:
    """A rotation with ``--admin`` of an existing key is an error, because rights are given by hand."""
    file = tmp_path / "keys.toml"
    make("--name", "ops", "--admin", "--file", str(file))
    assert read_keys(file.read_bytes(), "f").has_admin
    with pytest.raises(SettingsError, match="by hand"):
        make("--name", "ops", "--admin", "--file", str(file))


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ("", "a b", "the name of a key"),
        ("ci = {", "ci", "line 1"),
        (f'[ci]\nsha256 = "{"a" * 64}"\n', "ci", "does not stand on one line"),
    ],
)
def test_a_malformed_file_is_not_changed(tmp_path: Path, content: str, name: str, said: str) -> None:
    """A file of keys that cannot be edited safely stays as it is, and the error names the problem."""
    file = tmp_path / "keys.toml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=said):
        make("--name", name, "--file", str(file))
    assert file.read_text() == content


def test_without_a_file_the_line_to_add_is_printed() -> None:
    """Without ``--file`` the key alone goes to standard output and the line for the file to standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "orris", "keys", "new", "--name", "ci"], capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stderr.splitlines() if "sha256" in line)
    assert read_keys(line.strip().encode(), "f").find(done.stdout.strip().encode()) is not None
    assert done.stdout.count("\n") == 1

"""Tests of files of API keys: their content, and the errors of a malformed one."""

from __future__ import annotations

import contextlib
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orris.errors import SettingsError
from orris.serving.access.keys import PREFIX, KeyFile, digest_of, new_key, read_keys
from orris.serving.access.watched import MAX_FILE_BYTES

A, B = new_key(), new_key()


def sha256(key: str) -> str:
    """Return a key's hash as the file holds it."""
    return digest_of(key.encode()).hex()


def test_a_key_is_32_random_bytes_with_a_prefix() -> None:
    """A key has 32 random bytes behind a prefix by which scanners of repositories find it."""
    assert A.startswith(PREFIX)
    assert len(A) == len(PREFIX) + 43
    assert A != B


def test_a_line_describes_a_key() -> None:
    """A line of the file gives a key's name, hashes, rate, burst, expiry and rights."""
    ring = read_keys(
        f'ops = {{ sha256 = ["{sha256(A)}", "{sha256(B)}"], rate = 5, burst = 9, expires = 2030-01-01T00:00:00Z, admin'
        " = true }".encode(),
        "f",
    )
    caller = ring.find(A.encode())
    assert caller is not None
    assert ring.find(B.encode()) is caller
    assert (caller.name, caller.rate, caller.burst, caller.admin) == ("key:ops", 5.0, 9, True)
    assert caller.expires == datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    assert ring.has_admin
    assert len(ring) == 2


def test_tables_are_read_as_well() -> None:
    """The file may be laid out as TOML tables, and an empty file holds no keys."""
    assert read_keys(f'[ci]\nsha256 = "{sha256(A)}"\n'.encode(), "f").find(A.encode()) is not None
    assert len(read_keys(b"# none yet\n", "f")) == 0


GOOD = sha256(A)
MALFORMED = [
    (f'\nci = {{ sha256 = "{A}" }}', "f, line 2: key 'ci': .*orris keys new"),
    ("ci = { rate = 1 }", "line 1: key 'ci': .*sha256"),
    ("ci = { sha256 = [] }", "line 1"),
    ("ci = 1", "line 1: key 'ci'"),
    (f'ci = {{ sha256 = "{GOOD}", rate = 0 }}', "line 1: key 'ci': .*rate"),
    (f'ci = {{ sha256 = "{GOOD}", rate = nan }}', "rate"),
    (f'ci = {{ sha256 = "{GOOD}", rate = "5" }}', "rate"),
    (f'ci = {{ sha256 = "{GOOD}", burst = 0.5 }}', "burst"),
    (f'ci = {{ sha256 = "{GOOD}", expires = 2030-01-01 }}', "expires.*2027-01-01T00:00:00Z"),
    (f'ci = {{ sha256 = "{GOOD}", expires = 2030-01-01T00:00:00 }}', "expires"),
    (f'ci = {{ sha256 = "{GOOD}", admn = true }}', "unknown field `admn`"),
    (f'ci = {{ sha256 = "{GOOD}" }}\n\nother = {{ sha256 = "{GOOD}" }}', "line 3: key 'other' is the same as key 'ci'"),
    (f'"a b" = {{ sha256 = "{GOOD}" }}', "the name of a key"),
    ("a = {}\nci = {", "line 2"),
    (f'ci = {{ sha256 = "{GOOD}" }}\nci = {{ sha256 = "{GOOD}" }}', "line 2"),
    ("a = " + "[" * 100_000, "no TOML"),
]


@pytest.mark.parametrize(
    ("text", "said"), MALFORMED, ids=[f"{number} {said}" for number, (_, said) in enumerate(MALFORMED)]
)
def test_a_malformed_file_is_refused_with_its_line(text: str, said: str) -> None:
    """The error of a malformed file names the line and does not repeat its content, which may be a key."""
    with pytest.raises(SettingsError, match=said) as told:
        read_keys(text.encode(), "f")
    assert A not in str(told.value)
    assert GOOD not in str(told.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_keys_or_a_settings_error(content: bytes) -> None:
    """Any bytes as a file give keys or a settings error."""
    with contextlib.suppress(SettingsError):
        assert len(read_keys(content, "f")) == 0


@given(st.binary(max_size=200))
def test_no_other_bytes_are_a_key(presented: bytes) -> None:
    """A presented key that is not in the file has no owner, whatever its form."""
    assert read_keys(f'ci = {{ sha256 = "{GOOD}" }}'.encode(), "f").find(presented) is None


def test_a_changed_file_is_read_again_and_at_most_once_a_second(tmp_path: Path) -> None:
    """A changed file, even of equal size and time, is read again, at most once a second."""
    path = tmp_path / "keys.toml"
    path.write_text(f'ci = {{ sha256 = "{sha256(A)}" }}')
    keys = KeyFile(path)
    keys.refresh(100.0)
    before = path.stat()
    path.write_text(f'ci = {{ sha256 = "{sha256(B)}" }}')
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    keys.refresh(100.5)
    assert keys.ring.find(A.encode()) is not None
    keys.refresh(101.5)
    assert keys.ring.find(A.encode()) is None
    assert keys.ring.find(B.encode()) is not None


@pytest.mark.parametrize(
    "content", [None, b"ci = {", b"#" * (MAX_FILE_BYTES + 1)], ids=["gone", "malformed", "too long"]
)
def test_a_malformed_change_leaves_the_old_keys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    """A file that becomes malformed leaves the old keys in force and is logged once."""
    path = tmp_path / "keys.toml"
    path.write_text(f'ci = {{ sha256 = "{sha256(A)}" }}')
    keys = KeyFile(path)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        for second in range(100, 105):
            keys.refresh(float(second))
    assert len(caplog.records) == 1
    assert str(path) in caplog.text
    assert keys.ring.find(A.encode()) is not None


def test_a_link_that_points_elsewhere_is_followed(tmp_path: Path) -> None:
    """A link that is moved, as Kubernetes does with a mounted secret, is followed."""
    for name, key in (("one", A), ("two", B)):
        (tmp_path / name).write_text(f'ci = {{ sha256 = "{sha256(key)}" }}')
    link = tmp_path / "keys.toml"
    link.symlink_to("one")
    keys = KeyFile(link)
    link.unlink()
    link.symlink_to("two")
    keys.refresh(100.0)
    assert keys.ring.find(B.encode()) is not None

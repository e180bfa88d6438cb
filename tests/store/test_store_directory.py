"""Tests of what only a store in a directory does: its layout for people, and damage on the disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from orris.errors import BundleError, IntegrityError, StoreError
from orris.store import Store
from tests.store.sealing import MakeBundle


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root of a local store that does not exist yet."""
    return tmp_path / "artifacts"


def test_layout_is_readable_by_people(root: Path, make_bundle: MakeBundle) -> None:
    """A version is a folder with the bundle's files, and nothing else is left in the store."""
    Store(root).publish(make_bundle("1.0.0"))
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    version = "iris/versions/1.0.0"
    inside = [f"{version}/{file}" for file in ("manifest.json", "model.onnx", "plots/confusion.svg", "report.md")]
    assert files == ["iris/aliases/latest/00000001.json", *inside]


def test_fetch_gives_the_folder_itself(root: Path, make_bundle: MakeBundle) -> None:
    """Fetching a local version returns its folder and copies nothing."""
    assert Store(root).fetch(Store(root).publish(make_bundle("1.0.0"))) == root / "iris/versions/1.0.0"


def test_file_url_is_a_directory(root: Path, make_bundle: MakeBundle) -> None:
    """``file://`` and a path name the same store."""
    Store(f"file://{root}").publish(make_bundle("1.0.0"))
    assert Store(root).models() == ["iris"]


def test_changed_byte_is_refused_with_the_file(root: Path, make_bundle: MakeBundle) -> None:
    """A version whose file changed on disk cannot be fetched, and the error names the file."""
    store = Store(root)
    store.publish(make_bundle("1.0.0"))
    (root / "iris/versions/1.0.0/model.onnx").write_bytes(b"mod3l")
    with pytest.raises(IntegrityError, match=r"versions/1\.0\.0/model\.onnx"):
        store.fetch("iris")


@pytest.mark.parametrize("damage", ["corrupt", "missing"])
def test_unreadable_version_is_reported_beside_the_others(root: Path, make_bundle: MakeBundle, damage: str) -> None:
    """A version without a sound manifest is listed with its problem, and the others are listed as usual."""
    store = Store(root)
    for version in ("1.0.0", "1.1.0"):
        store.publish(make_bundle(version))
    manifest = root / "iris/versions/1.1.0/manifest.json"
    if damage == "corrupt":
        manifest.write_bytes(b'{"format": 1, "na')
    else:
        manifest.unlink()
    good, bad = store.versions("iris")
    assert (good.problem, good.metrics) == (None, {"accuracy": 0.97})
    assert bad.problem is not None
    assert "1.1.0/manifest.json" in bad.problem
    with pytest.raises(BundleError, match=r"1\.1\.0/manifest\.json"):
        store.fetch("iris@1.1.0")


def test_stray_folder_is_reported(root: Path, make_bundle: MakeBundle) -> None:
    """A folder that is no version is listed as such and never resolved to."""
    store = Store(root)
    store.publish(make_bundle("1.0.0"))
    (root / "iris/versions/backup of mine").mkdir()
    assert [(info.version, info.problem is None) for info in store.versions("iris")] == [
        ("1.0.0", True),
        ("backup of mine", False),
    ]
    assert store.resolve("iris").version == "1.0.0"


def test_moved_folder_is_refused(root: Path, make_bundle: MakeBundle) -> None:
    """A version's folder under another version's name is refused."""
    store = Store(root)
    store.publish(make_bundle("1.0.0"))
    (root / "iris/versions/1.0.0").rename(root / "iris/versions/2.0.0")
    with pytest.raises(BundleError, match=r"describes iris@1\.0\.0"):
        store.fetch("iris@2.0.0")


def test_damaged_alias_record_names_its_file(root: Path, make_bundle: MakeBundle) -> None:
    """A damaged record stops its own alias with the file's name, while the listing goes on."""
    store = Store(root)
    store.publish(make_bundle("1.0.0"), aliases=("latest", "prod"))
    (root / "iris/aliases/prod/00000001.json").write_bytes(b"{")
    with pytest.raises(StoreError, match=r"iris/aliases/prod/00000001\.json"):
        store.resolve("iris:prod")
    assert store.versions("iris")[0].aliases == ("latest",)


def test_old_leftovers_are_removed_and_new_ones_kept(root: Path, make_bundle: MakeBundle) -> None:
    """Temporary files of crashed publishers are not listed, and a publication removes those older than a day."""
    store = Store(root)
    store.publish(make_bundle("1.0.0"))
    old, new = root / "iris/versions/.tmp-old", root / "iris/versions/.tmp-new"
    record = root / "iris/aliases/latest/.tmp-record"
    for folder in (old, new):
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"half")
    record.write_bytes(b"{")
    for path in (old, record):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert [info.version for info in store.versions("iris")] == ["1.0.0"]
    store.publish(make_bundle("1.1.0"))
    assert [path.exists() for path in (old, record, new)] == [False, False, True]


def test_unwritable_store_is_a_store_error(tmp_path: Path, make_bundle: MakeBundle) -> None:
    """A store that cannot be written is a store error that names the place."""
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="could not be written"):
        Store(tmp_path / "file" / "store").publish(make_bundle("1.0.0"))


def test_unknown_scheme_is_refused() -> None:
    """A URL of an unknown kind is answered with the known kinds."""
    with pytest.raises(StoreError, match="gs://, s3://, az://"):
        Store("ftp://host/models")

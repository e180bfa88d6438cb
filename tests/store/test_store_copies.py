"""Tests of a bundle that lies in a bucket on its own, as a platform copies it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from orris import bundle
from orris.bundle import MANIFEST
from orris.errors import BundleError, IntegrityError, StoreError
from orris.store import fetch_bundle
from tests.store.sealing import MakeBundle


def upload(folder: Path, url: str) -> None:
    """Copy a folder into a bucket."""
    if url.startswith("gs://"):
        from gcsfs.core import GCSFileSystem

        files: Any = GCSFileSystem(token="anon")
    else:
        from s3fs import S3FileSystem

        files = S3FileSystem()
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    files.put([str(folder / name) for name in names], [f"{url}/{name}" for name in names])


@pytest.fixture(params=["gs", "s3"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where in a bucket the copy goes, for each kind of bucket."""
    return f"{request.getfixturevalue(request.param)}/copies/{tmp_path.name}"


def test_a_copy_is_downloaded_and_audited_once(home: str, make_bundle: MakeBundle, cache: Path) -> None:
    """A copy is downloaded with all its files, and the cached one is used the second time."""
    folder = make_bundle("1.0.0")
    upload(folder, home)
    fetched = fetch_bundle(home, cache)
    bundle.audit(fetched, bundle.read_manifest(fetched))
    assert (fetched / MANIFEST).read_bytes() == (folder / MANIFEST).read_bytes()
    assert fetch_bundle(f"{home}/", cache) == fetched


def test_a_damaged_copy_is_refused_by_its_url(home: str, make_bundle: MakeBundle, cache: Path) -> None:
    """A damaged copy is refused by the URL of its file, and nothing stays in the cache."""
    folder = make_bundle("1.0.0")
    (folder / "model.onnx").write_bytes(b"other")
    upload(folder, home)
    with pytest.raises(IntegrityError, match=f"{home}/model.onnx"):
        fetch_bundle(home, cache)
    assert not list((cache / "copies").iterdir())


def test_a_copy_that_lacks_a_file_is_refused(home: str, make_bundle: MakeBundle, cache: Path) -> None:
    """A copy that lacks a file is refused, and the error has the file's whole URL."""
    folder = make_bundle("1.0.0")
    (folder / "model.onnx").unlink()
    upload(folder, home)
    with pytest.raises(IntegrityError, match=f"{home}/model.onnx: missing"):
        fetch_bundle(home, cache)


def test_a_folder_without_a_manifest_is_no_bundle(home: str, cache: Path) -> None:
    """A folder without a manifest is refused, as is a URL of an unsupported kind."""
    with pytest.raises(BundleError, match="no Orris bundle"):
        fetch_bundle(home, cache)
    with pytest.raises(StoreError, match="begins with gs://"):
        fetch_bundle("ftp://host/model", cache)


def test_a_manifest_cannot_name_files_outside_the_bundle(home: str, make_bundle: MakeBundle, cache: Path) -> None:
    """A manifest that names a file outside the bundle is refused before anything is written there."""
    folder = make_bundle("1.0.0")
    document = json.loads((folder / MANIFEST).read_text())
    document["files"]["../../escaped"] = "0" * 64
    document["checksum"] = "0" * 64
    blank = json.dumps(document).encode()
    checksum = hashlib.sha256(blank).hexdigest()
    (folder / MANIFEST).write_bytes(
        blank.replace(b'"checksum": "' + b"0" * 64, b'"checksum": "' + checksum.encode(), 1)
    )
    upload(folder, home)
    with pytest.raises(IntegrityError, match="outside the bundle"):
        fetch_bundle(home, cache)
    assert not list(cache.rglob("*escaped*"))

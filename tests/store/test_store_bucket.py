"""Tests of what only a bucket does: downloads, a cache, interrupted uploads, services that ignore conditions."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest
from gcsfs.core import GCSFileSystem

from orris.errors import IntegrityError, MissingExtraError
from orris.store import Store
from tests.store.sealing import MakeBundle


@pytest.fixture(params=["gs", "s3", "az"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty store, of each kind of bucket."""
    return f"{request.getfixturevalue(request.param)}/{tmp_path.name}"


@pytest.fixture
def files(url: str) -> Any:
    """Return the bucket's file system, past the store."""
    if url.startswith("gs://"):
        return GCSFileSystem(use_listings_cache=False, token="anon")
    return fsspec.filesystem(url.partition("://")[0], use_listings_cache=False)


def _upload(files: Any, url: str, version: str) -> str:
    (found,) = files.glob(f"{url}/iris/versions/{version}/*/manifest.json")
    return str(found).removesuffix("/manifest.json")


def test_second_fetch_downloads_nothing(
    store: Store, files: Any, url: str, make_bundle: MakeBundle, cache: Path
) -> None:
    """A sound copy in the cache is used again, even when the bucket's file is gone."""
    store.publish(make_bundle("1.0.0"))
    first = store.fetch("iris", cache)
    files.rm(f"{_upload(files, url, '1.0.0')}/model.onnx")
    assert store.fetch("iris", cache) == first


def test_damaged_cache_is_downloaded_again(store: Store, make_bundle: MakeBundle, cache: Path) -> None:
    """A cached copy that changed on disk is replaced by a sound one, and nothing else is left in the cache."""
    store.publish(make_bundle("1.0.0"))
    (store.fetch("iris", cache) / "model.onnx").write_bytes(b"mod3l")
    folder = store.fetch("iris", cache)
    assert (folder / "model.onnx").read_bytes() == b"model"
    assert list((cache / "iris").iterdir()) == [folder]


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_file_in_the_bucket_is_refused(
    store: Store, files: Any, url: str, make_bundle: MakeBundle, cache: Path, damage: str
) -> None:
    """A file that changed or went missing in the bucket is named, and the cache stays empty."""
    store.publish(make_bundle("1.0.0"))
    path = f"{_upload(files, url, '1.0.0')}/model.onnx"
    files.rm(path)
    if damage == "changed":
        files.pipe_file(path, b"mod3l")
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        store.fetch("iris", cache)
    assert list((cache / "iris").iterdir()) == []


def test_unreadable_version_is_reported_beside_the_others(
    store: Store, files: Any, url: str, make_bundle: MakeBundle
) -> None:
    """A version with a damaged manifest or record is listed with its problem, and the others as usual."""
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        store.publish(make_bundle(version))
    files.pipe_file(f"{_upload(files, url, '1.1.0')}/manifest.json", b"{")
    files.pipe_file(f"{url}/iris/versions/1.2.0/published.json", b"{")
    problems = [info.problem or "" for info in store.versions("iris")]
    assert problems[0] == ""
    assert "1.1.0/manifest.json" in problems[1]
    assert "1.2.0/published.json" in problems[2]
    assert store.publish(make_bundle("1.3.0")).version == "1.3.0"


def test_interrupted_upload_is_not_a_version(
    store: Store, files: Any, url: str, make_bundle: MakeBundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted upload is not listed, does not block publishing, and is removed once it is old."""
    for version in ("1.0.0", "1.1.0"):
        files.pipe_file(f"{url}/iris/versions/{version}/0123456789abcdef/manifest.json", b"half")
    assert store.models() == []
    store.publish(make_bundle("1.0.0"))
    assert [info.version for info in store.versions("iris")] == ["1.0.0"]
    assert len(files.glob(f"{url}/iris/versions/*/0123456789abcdef/*")) == 2
    monkeypatch.setattr("orris.store.bucket.LEFTOVER_SECONDS", -60)
    store.publish(make_bundle("1.2.0"))
    assert files.glob(f"{url}/iris/versions/*/0123456789abcdef/*") == []
    assert (store.fetch("iris@1.0.0", cache) / "model.onnx").read_bytes() == b"model"


@pytest.mark.filterwarnings(
    "ignore:Sending a large body directly with raw bytes:ResourceWarning"
)  # gcsfs's way of sending
def test_large_file_is_copied_intact(store: Store, make_bundle: MakeBundle, cache: Path) -> None:
    """A model of several megabytes is the same after an upload and a download."""
    content = bytes(range(256)) * 4 * 8192
    store.publish(make_bundle("1.0.0", content=content))
    assert (store.fetch("iris", cache) / "model.onnx").read_bytes() == content


def test_service_that_ignores_conditions_is_reported(
    unconditional_gs: str,
    make_bundle: MakeBundle,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On a service that ignores conditions one publisher works, and the log warns that two at once would not."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", unconditional_gs)
    GCSFileSystem.clear_instance_cache()
    with caplog.at_level(logging.WARNING, logger="orris"):
        store = Store("gs://orris/plain")
        store.publish(make_bundle("1.0.0"))
        store.publish(make_bundle("1.1.0"))
    GCSFileSystem.clear_instance_cache()
    assert [record.message for record in caplog.records] == [
        "gs://orris/plain ignores conditional writes: only one publisher at a time is safe there"
    ]
    assert [record.version for record in store.history("iris", "latest")] == ["1.0.0", "1.1.0"]
    assert (store.fetch("iris", cache) / "model.onnx").read_bytes() == b"model"


def test_service_that_honours_conditions_is_not_reported(
    store: Store, make_bundle: MakeBundle, caplog: pytest.LogCaptureFixture
) -> None:
    """A conditional put that works leaves nothing in the log."""
    with caplog.at_level(logging.WARNING, logger="orris"):
        store.publish(make_bundle("1.0.0"))
    assert caplog.records == []


@pytest.mark.parametrize(
    ("scheme", "library", "extra"), [("gs", "gcsfs", "gcs"), ("s3", "s3fs", "s3"), ("az", "adlfs", "azure")]
)
def test_missing_library_names_the_extra(
    scheme: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the library of a kind of bucket, the error names the extra to install."""
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"install .*\[{extra}\]"):
        Store(f"{scheme}://orris/models")


def test_local_store_imports_no_cloud_library() -> None:
    """Opening a local store loads neither fsspec nor a client of a cloud."""
    script = (
        "import sys; from orris.store import Store; Store('x').models(); sys.exit(bool({'fsspec', 'gcsfs', 's3fs'} &"
        " set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

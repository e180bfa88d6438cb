"""A store in a local directory.

::

    NAME/versions/VERSION/manifest.json, model.onnx, report.html, …    renamed into place whole
    NAME/aliases/ALIAS/00000001.json                                   linked into place whole
    …/.tmp-<token>                                                     being written, or left by a crash: invisible to
    readers

Rename and link are the two operations that POSIX makes atomic and that refuse to replace what is there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from orris import bundle
from orris.bundle import MANIFEST, SIGNATURE, Manifest
from orris.errors import StoreError
from orris.store.place import LEFTOVER_SECONDS, token

_TEMPORARY = ".tmp-"


class Directory:
    """A ``Place`` in the file system; the directory is created by the first publication."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def url(self) -> str:
        """The directory's path."""
        return str(self._root)

    def names(self, folder: str) -> list[str]:
        """Sorted names in ``folder``, hidden ones left out."""
        return sorted(path.name for path in _entries(self._root / folder) if not path.name.startswith("."))

    def read(self, path: str) -> bytes | None:
        """The file's content, or ``None``."""
        try:
            return (self._root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{self._root / path}: could not be read: {error.strerror}") from error

    def create(self, path: str, content: bytes) -> bool:
        """Create the file unless it exists, by linking a finished one into place."""
        target = self._root / path
        return self._link(target.parent, target, content)

    def discard(self, path: str) -> None:
        """Remove a file, and its folder if nothing else is in it."""
        target = self._root / path
        with self._reported(target):
            target.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            target.parent.rmdir()

    def published(self, name: str) -> list[str]:
        """Every visible folder under ``versions``: they appear by rename, so each was a whole version once."""
        return [
            path.name
            for path in _entries(self._root / name / "versions")
            if not path.name.startswith(".") and path.is_dir()
        ]

    def manifest(self, name: str, version: str) -> bytes | None:
        """The bytes of the version's manifest."""
        return self.read(f"{name}/versions/{version}/{MANIFEST}")

    def publish(self, name: str, version: str, folder: Path, manifest: Manifest) -> bool:
        """Copy into a hidden sibling, audit the copy, flush it to disk, rename it."""
        target = self._folder(name, version)
        if target.exists():
            return False
        temporary = target.with_name(_TEMPORARY + token())
        with self._reported(target):
            _make_folders(target.parent)
            try:
                _copy(
                    folder,
                    temporary,
                    [*manifest.files, *([SIGNATURE] if (folder / SIGNATURE).exists() else []), MANIFEST],
                )
                bundle.audit(temporary, bundle.read_manifest(temporary))
                os.rename(temporary, target)  # noqa: PTH104 - Path.rename reads as if it replaced
            except OSError:
                if target.exists():
                    return False
                raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            _flush_folder(target.parent)
        return True

    def fetch(self, name: str, version: str, manifest: Manifest, cache: Path) -> Path:  # noqa: ARG002 - nothing to download
        """The version's own folder, audited."""
        folder = self._folder(name, version)
        bundle.audit(folder, manifest)
        return folder

    def signature(self, name: str, version: str) -> bytes | None:
        """The version's signature, or ``None``."""
        return self.read(f"{name}/versions/{version}/{SIGNATURE}")

    def attach_signature(self, name: str, version: str, content: bytes) -> bool:
        """Link the signature into the version's folder; its temporary file stays outside, where no audit sees it."""
        folder = self._folder(name, version)
        return self._link(folder.parent, folder / SIGNATURE, content) or self.signature(name, version) == content

    def size(self, name: str, version: str) -> int:
        """Bytes of the files in the version's folder."""
        return sum(path.stat().st_size for path in self._folder(name, version).rglob("*") if path.is_file())

    def remove(self, name: str, version: str) -> None:
        """Rename the folder to a hidden one, which readers do not see and a sweep removes, then remove that."""
        folder = self._folder(name, version)
        hidden = folder.with_name(_TEMPORARY + token())
        with self._reported(folder):
            os.rename(folder, hidden)  # noqa: PTH104 - as in ``publish``
            _flush_folder(folder.parent)
            shutil.rmtree(hidden)

    def sweep(self, name: str) -> None:
        """Remove temporary files and folders that are more than a day old."""
        folders = [self._root / name / "versions", *_entries(self._root / name / "aliases")]
        for path in (path for folder in folders for path in _entries(folder) if path.name.startswith(_TEMPORARY)):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime <= LEFTOVER_SECONDS:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()

    def _folder(self, name: str, version: str) -> Path:
        return self._root / name / "versions" / version

    def _link(self, beside: Path, target: Path, content: bytes) -> bool:
        """Write ``content`` to a temporary file in ``beside`` and link it to ``target``; ``False`` when that exists."""
        temporary = beside / (_TEMPORARY + token())
        with self._reported(target):
            _make_folders(beside)
            try:
                _write(temporary, content)
                os.link(temporary, target)
            except FileExistsError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
            _flush_folder(target.parent)
        return True

    @contextlib.contextmanager
    def _reported(self, target: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"{target}: could not be written: {error.strerror or error}") from error


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(f"{folder}: could not be listed: {error.strerror}") from error


def _copy(source: Path, target: Path, files: list[str]) -> None:
    """Copy ``files`` and flush them and their folders to disk, so that the rename cannot reach the disk before them."""
    target.mkdir()
    for file in files:
        copy = target / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        with (source / file).open("rb") as reader, copy.open("xb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
    for folder, _, _ in os.walk(target):
        _flush_folder(Path(folder))


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _make_folders(folder: Path) -> None:
    """``mkdir -p`` that flushes each new name to disk."""
    if not folder.is_dir():
        _make_folders(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

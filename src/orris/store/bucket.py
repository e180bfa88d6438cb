"""A store in a bucket: ``gs://``, ``s3://``, ``az://`` through fsspec.

::

    NAME/versions/VERSION/published.json         names the upload that is the version; created last, and exclusively
    NAME/versions/VERSION/<upload>/manifest.json, model.onnx, …
    NAME/versions/VERSION/model.sig              a signature that came after publication; created exclusively
    NAME/aliases/ALIAS/00000001.json             created exclusively

A bucket cannot rename, so a version is published by the one small object that names its upload. Every publisher uploads
under a folder name that nobody else draws: two of them at once cannot overwrite each other's files, and the one that
creates ``published.json`` wins.

"Created exclusively" is a conditional put (``x-goog-if-generation-match: 0``, ``If-None-Match: *``). Services that
ignore the condition (some emulators and old S3 clones) are found out at the first write and reported in the log: they
are safe for one writer at a time only.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from orris import bundle
from orris.bundle import MANIFEST, SIGNATURE, Manifest
from orris.errors import BundleError, IntegrityError, MissingExtraError, NotFoundError, OrrisError, StoreError
from orris.store.place import LEFTOVER_SECONDS, token

_LIBRARIES = {"gs": ("gcsfs", "gcs"), "s3": ("s3fs", "s3"), "az": ("adlfs", "azure")}
_RECORD = "published.json"
_CREATE_TRIES = 5
_log = logging.getLogger(__name__)


class _Publication(msgspec.Struct, frozen=True):
    """The content of ``published.json``: which upload is the version, and the checksum of its manifest."""

    upload: str
    checksum: str
    time: str


class Bucket:
    """A ``Place`` in an object store; ``url`` is ``gs://BUCKET[/PREFIX]`` and the like.

    Raises:
        StoreError: No such kind of URL.
        MissingExtraError: The kind's library is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        scheme = url.partition("://")[0]
        if scheme not in _LIBRARIES:
            raise StoreError(
                f"{url}: not a store; use a directory or a URL that begins with"
                f" {', '.join(f'{s}://' for s in _LIBRARIES)}"
            )
        library, extra = _LIBRARIES[scheme]
        try:
            importlib.import_module(library)
        except ImportError:
            raise MissingExtraError(extra, f"a store at {scheme}://") from None
        with self._reported("opened", ""):
            self._files: Any = _open(scheme)
        self._root = self.url.partition("://")[2]
        self._conditions_checked = False

    def names(self, folder: str) -> list[str]:
        """Sorted names in ``folder``, hidden ones left out."""
        found: list[str] = []
        with self._reported("listed", folder), contextlib.suppress(FileNotFoundError):
            self._files.invalidate_cache()
            found = self._files.ls(self._full(folder), detail=False)
        names = {path.rstrip("/").rpartition("/")[2] for path in found if path.rstrip("/") != self._full(folder)}
        return sorted(name for name in names if name and not name.startswith("."))

    def read(self, path: str) -> bytes | None:
        """The object's content, or ``None``."""
        with self._reported("read", path):
            try:
                content: bytes = self._files.cat_file(self._full(path))
            except FileNotFoundError:
                return None
        return content

    def create(self, path: str, content: bytes) -> bool:
        """Put the object unless it exists.

        The store's content afterwards decides, not the answer to the put: when that answer gets lost, the client
        library tries again and learns that the object exists, although it is the caller's.
        """
        for attempt in range(_CREATE_TRIES):
            if self.read(path) is not None:
                return False
            failure = self._put_new(path, content)
            if failure is None and not self._conditions_checked:
                self._check_conditions(path, content)
            found = self.read(path)
            if found is not None:
                return found == content
            if attempt == _CREATE_TRIES - 1:
                raise StoreError(f"{self.url}/{path}: could not be written: {failure}") from failure
        return False

    def discard(self, path: str) -> None:
        """Remove an object."""
        with self._reported("removed", path), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._full(path))

    def published(self, name: str) -> list[str]:
        """The folders that hold a publication record; uploads under way have none."""
        return [version for version, inside in self._inventory(name).items() if _RECORD in inside]

    def manifest(self, name: str, version: str) -> bytes | None:
        """The bytes of the manifest that the publication record names."""
        record = self._publication(name, version)
        return None if record is None else self.read(f"{name}/versions/{version}/{record.upload}/{MANIFEST}")

    def publish(self, name: str, version: str, folder: Path, manifest: Manifest) -> bool:
        """Upload under a name of our own, then create the record that makes it the version."""
        home = f"{name}/versions/{version}"
        if self.read(f"{home}/{_RECORD}") is not None:
            return False
        upload = token()
        files = [*manifest.files, *([SIGNATURE] if (folder / SIGNATURE).exists() else []), MANIFEST]
        with self._reported("uploaded", home):
            self._files.put(
                [str(folder / file) for file in files], [self._full(f"{home}/{upload}/{file}") for file in files]
            )
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = _Publication(upload, manifest.checksum, moment)
        won = self.create(f"{home}/{_RECORD}", msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
        if not won:
            self._remove(f"{home}/{upload}")
        return won

    def fetch(self, name: str, version: str, manifest: Manifest, cache: Path) -> Path:
        """Download into the cache, unless a sound copy is there: a hidden sibling first, audited, then renamed."""
        target = cache / name / f"{version}-{manifest.checksum[:16]}"
        if not _sound(target, manifest):
            self._fill(target, manifest, self._upload(name, version) + "/")
        signature = self.signature(name, version)
        if signature is not None:
            _write_beside(target / SIGNATURE, signature)
        return target

    def fetch_bundle(self, cache: Path) -> Path:
        """Download the bundle at ``url`` outside any store, such as a platform's copy, as ``fetch`` does.

        Raises:
            BundleError: There is no bundle, or it is malformed or damaged.
        """
        content = self.read(MANIFEST)
        if content is None:
            raise BundleError(f"{self.url}/{MANIFEST}: not found, so this folder is no Orris bundle")
        manifest = bundle.parse_manifest(content, f"{self.url}/{MANIFEST}")
        target = cache / "copies" / manifest.checksum
        if not _sound(target, manifest):
            self._fill(target, manifest, "")
        signature = self.read(SIGNATURE)
        if signature is not None:
            _write_beside(target / SIGNATURE, signature)
        return target

    def signature(self, name: str, version: str) -> bytes | None:
        """The signature that came with the upload or after it, or ``None``."""
        home = f"{name}/versions/{version}"
        record = self._publication(name, version)
        uploaded = None if record is None else self.read(f"{home}/{record.upload}/{SIGNATURE}")
        return self.read(f"{home}/{SIGNATURE}") if uploaded is None else uploaded

    def attach_signature(self, name: str, version: str, content: bytes) -> bool:
        """Create ``model.sig`` beside the publication record."""
        before = self.signature(name, version)
        if before is None and self.create(f"{name}/versions/{version}/{SIGNATURE}", content):
            return True
        return self.signature(name, version) == content

    def size(self, name: str, version: str) -> int:
        """Bytes of the objects in the version's folder."""
        home = f"{name}/versions/{version}"
        with self._reported("listed", home):
            return int(self._files.du(self._full(home)))

    def remove(self, name: str, version: str) -> None:
        """Remove the publication record, without which there is no version, then the rest of the folder."""
        home = f"{name}/versions/{version}"
        self.discard(f"{home}/{_RECORD}")
        self._remove(home)

    def sweep(self, name: str) -> None:
        """Remove uploads that no record names and that nothing was added to for a day."""
        for version, inside in self._inventory(name).items():
            uploads = {part for part in inside if part not in (_RECORD, SIGNATURE)}
            if _RECORD in inside and len(uploads) == 1:
                continue  # what the record names; spares a request per version
            record = self._publication(name, version) if _RECORD in inside else None
            for upload in uploads - ({record.upload} if record else set()):
                home = f"{name}/versions/{version}/{upload}"
                with self._reported("read", home):
                    times = self._times(home)
                if times and time.time() - max(moment.timestamp() for moment in times) > LEFTOVER_SECONDS:
                    self._remove(home)

    def _times(self, home: str) -> list[datetime]:
        """When the objects of a folder were written; those that disappear meanwhile are left out."""
        times = []
        for path in self._files.find(self._full(home)):
            with contextlib.suppress(FileNotFoundError):
                times.append(self._files.modified(path))
        return times

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}".rstrip("/")

    def _inventory(self, name: str) -> dict[str, set[str]]:
        """The files directly in each folder under ``versions``, from one recursive listing."""
        folder = self._full(f"{name}/versions")
        with self._reported("listed", folder):
            self._files.invalidate_cache()
            paths = self._files.find(folder)
        inventory: dict[str, set[str]] = {}
        for path in paths:
            version, _, rest = path.removeprefix(folder + "/").partition("/")
            if rest:
                inventory.setdefault(version, set()).add(rest.partition("/")[0])
        return inventory

    def _publication(self, name: str, version: str) -> _Publication | None:
        path = f"{name}/versions/{version}/{_RECORD}"
        content = self.read(path)
        try:
            return None if content is None else msgspec.json.decode(content, type=_Publication)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise IntegrityError(f"{self.url}/{path}: not a publication record ({error})") from None

    def _upload(self, name: str, version: str) -> str:
        record = self._publication(name, version)
        if record is None:
            raise NotFoundError(f"{self.url}: '{name}' has no version {version}")
        return f"{name}/versions/{version}/{record.upload}"

    def _put_new(self, path: str, content: bytes) -> Exception | None:
        """A conditional put; returns the exception, if any, since services report an existing object in many ways."""
        try:
            self._files.pipe_file(self._full(path), content, mode="create")
        except Exception as error:  # noqa: BLE001 - each client library has its own tree of errors
            return error
        return None

    def _check_conditions(self, path: str, content: bytes) -> None:
        """Put the same content once more: harmless, and a store that accepts it ignores conditions."""
        self._conditions_checked = True
        if self._put_new(path, content) is None:
            _log.warning("%s ignores conditional writes: only one publisher at a time is safe there", self.url)

    def _fill(self, target: Path, manifest: Manifest, home: str) -> None:
        """Download a bundle from ``home``, empty or ending with ``/``, into the cache.

        It is written to a hidden sibling, audited, then renamed.
        """
        temporary = target.with_name(f".tmp-{token()}")
        try:
            self._download(home, [MANIFEST, *manifest.files], temporary)
            if bundle.read_manifest(temporary).checksum != manifest.checksum:
                raise IntegrityError(f"{self.url}/{home}{MANIFEST}: changed while it was read; fetch it again")
            self._audit(temporary, manifest, home)
            _install(temporary, target, manifest)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _download(self, home: str, files: list[str], folder: Path) -> None:
        for file in files:
            if file.startswith("/") or ".." in file.split("/"):
                raise IntegrityError(f"{self.url}/{home}{MANIFEST}: it names '{file}', which is outside the bundle")
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
        with self._reported("downloaded", home):
            try:
                self._files.get([self._full(home + file) for file in files], [str(folder / file) for file in files])
            except FileNotFoundError:
                missing = [file for file in files if not self._files.exists(self._full(home + file))]
                raise IntegrityError(f"{self.url}/{home}{', '.join(missing)}: missing in the store") from None

    def _audit(self, folder: Path, manifest: Manifest, home: str) -> None:
        try:
            bundle.audit(folder, manifest)
        except IntegrityError as error:
            # The user knows the bucket's files, not our temporary folder.
            raise IntegrityError(str(error).replace(str(folder), f"{self.url}/{home}".rstrip("/"))) from None

    def _remove(self, path: str) -> None:
        """Remove a folder that no reader can see; failing to is no failure, as the sweep comes by again."""
        with contextlib.suppress(StoreError), self._reported("removed", path):
            self._files.rm(self._full(path), recursive=True)

    @contextlib.contextmanager
    def _reported(self, action: str, path: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, OrrisError):
            raise
        except Exception as error:  # each client library has its own tree of errors
            raise StoreError(f"{self.url}/{path}: could not be {action}: {error or type(error).__name__}") from error


def _open(scheme: str) -> Any:
    """The fsspec file system, imported here because it takes 0.1 s and more that local stores need not spend."""
    if scheme == "gs":
        # Not gcsfs.GCSFileSystem: that asks Google's control plane for the bucket's type, with other rights than ours,
        # at every call.
        from gcsfs.core import GCSFileSystem  # noqa: PLC0415

        # An emulator needs no credentials, and looking for some takes seconds.
        return GCSFileSystem(
            use_listings_cache=False, token="anon" if os.environ.get("STORAGE_EMULATOR_HOST") else None
        )
    import fsspec  # noqa: PLC0415

    return fsspec.filesystem(scheme, use_listings_cache=False)


def _sound(folder: Path, manifest: Manifest) -> bool:
    """Whether the cached folder is this very version, undamaged."""
    try:
        cached = bundle.read_manifest(folder)
        bundle.audit(folder, cached)
    except OrrisError:
        return False
    return cached.checksum == manifest.checksum


def _install(temporary: Path, target: Path, manifest: Manifest) -> None:
    """Rename into place; a damaged copy there is moved away first, a sound one (another process was faster) is kept."""
    if target.exists() and not _sound(target, manifest):
        damaged = target.with_name(f".tmp-{token()}")
        with contextlib.suppress(FileNotFoundError):
            target.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        os.rename(temporary, target)  # noqa: PTH104 - Path.rename reads as if it replaced
    except OSError:
        if not _sound(target, manifest):
            raise


def _write_beside(path: Path, content: bytes) -> None:
    """Write a file of a cached version whole; its temporary file lies outside the version, where no audit sees it."""
    if path.exists() and path.read_bytes() == content:
        return
    temporary = path.parent.with_name(f".tmp-{token()}")
    temporary.write_bytes(content)
    temporary.replace(path)

"""The store: versions and aliases of bundles, in a local directory or a bucket.

Between ``bundle`` and ``serving`` in the flow.

A version is immutable from the instant it appears, and appears whole. An alias moves by appending to its log. See
``directory.py`` and ``bucket.py`` for how each kind of place makes that so.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from orris import bundle
from orris.bundle import MANIFEST, Manifest
from orris.errors import BundleError, NotFoundError, OrrisError, StoreError, VersionExistsError
from orris.settings import DEFAULT_STORE
from orris.store import aliases as log
from orris.store import references
from orris.store.aliases import Action, AliasRecord
from orris.store.bucket import Bucket
from orris.store.directory import Directory
from orris.store.place import Place, token
from orris.store.references import Reference

_MAX_NAMED = 10
_PARALLEL_READS = 16


class VersionInfo(msgspec.Struct, frozen=True):
    """One version in a listing.

    Attributes:
        aliases: The aliases that point to it now, sorted.
        created: UTC, ISO 8601; empty when ``problem`` is set, as are the fields below.
        digest: The manifest's digest: equal for models that answer equally.
        strategy: How the model is served (``orris.verdict.Strategy``).
        metrics: The manifest's metrics.
        signed: Whether it has a signature (which says nothing of whose).
        n_bytes: Size of its files.
        problem: Why the version cannot be read; ``None`` for a sound manifest.
    """

    name: str
    version: str
    aliases: tuple[str, ...] = ()
    created: str = ""
    digest: str = ""
    strategy: str = ""
    metrics: dict[str, float] = {}
    signed: bool = False
    n_bytes: int = 0
    problem: str | None = None


class Store:
    """Versions and aliases of models at ``url``: a directory, ``gs://``, ``s3://`` or ``az://``.

    Raises:
        StoreError: No such kind of URL.
        MissingExtraError: The library for this kind of URL is not installed.
    """

    def __init__(self, url: str | Path = DEFAULT_STORE) -> None:
        text = str(url)
        self._place: Place
        if "://" in text and not text.startswith("file://"):
            self._place = Bucket(text)
        else:
            self._place = Directory(Path(text.removeprefix("file://")).expanduser())

    @property
    def url(self) -> str:
        """The directory or URL, as error messages name it."""
        return self._place.url

    def publish(self, folder: Path, *, aliases: Sequence[str] = ("latest",), author: str | None = None) -> Reference:
        """Publish the bundle at ``folder``, then move ``aliases`` to it.

        A crash between the two leaves a published version that the aliases do not point to yet: promote it.

        Raises:
            IntegrityError: A file is not what the manifest says; names the file.
            VersionExistsError: The version is published already; says whether it is identical.
            StoreError: A name does not fit, or the store could not be written.
        """
        manifest = bundle.read_manifest(folder)
        reference = Reference(references.check_name(manifest.name), references.check_version(manifest.version))
        for alias in aliases:
            references.check_alias(alias)
        bundle.audit(folder, manifest)
        if not self._place.publish(reference.name, reference.version, folder, manifest):
            raise VersionExistsError(self._exists(reference, manifest))
        self._move(reference, aliases, author, "publish")
        with contextlib.suppress(OrrisError):  # the publication stands, and the next one sweeps again
            self._place.sweep(reference.name)
        return reference

    def models(self) -> list[str]:
        """Names of the models with at least one version, sorted."""
        return [name for name in self._place.names("") if references.is_name(name) and self._place.published(name)]

    def check_writable(self) -> None:
        """Write a file of its own, read it, and remove it.

        Raises:
            StoreError: The store cannot be written, says another content, or nothing can be removed.
        """
        path, content = f".check/{token()}", b"orris check"
        self._place.create(path, content)
        if self._place.read(path) != content:
            raise StoreError(f"{self.url}/{path}: what was written is not what is read")
        self._place.discard(path)

    def check_publishable(self, name: str, version: str = "", aliases: Sequence[str] = ()) -> None:
        """Check what can be checked of a publication before there is anything to publish; leaves no trace.

        Args:
            name: The model's name.
            version: Its version; empty: one that is not there yet.
            aliases: Aliases to move to it.

        Raises:
            VersionExistsError: The version is published already.
            StoreError: A name does not fit, or the store cannot be written.
        """
        references.check_name(name)
        for alias in aliases:
            references.check_alias(alias)
        if version and references.check_version(version) in self._place.published(name):
            raise VersionExistsError(
                f"{self.url}: {name}@{version} is published already, and versions are immutable; use another version"
            )
        root = Path(self.url) if isinstance(self._place, Directory) else None
        is_new = root is not None and not root.exists()
        self.check_writable()
        if root is not None and is_new:
            with contextlib.suppress(OSError):  # another publisher was faster
                root.rmdir()

    def versions(self, name: str) -> list[VersionInfo]:
        """Every version of a model in SemVer order, oldest first.

        Unreadable versions are listed with their ``problem``.

        Raises: NotFoundError: There is no such model; the message lists the models.
        """
        found = self._published(name)
        pointing: dict[str, list[str]] = {}
        for alias in self.aliases(name):
            pointing.setdefault(alias.version, []).append(alias.alias)
        proper = sorted((version for version in found if references.is_version(version)), key=references.version_key)
        strange = sorted(version for version in found if not references.is_version(version))
        with ThreadPoolExecutor(_PARALLEL_READS) as pool:  # a bucket answers each request late, but many at once
            infos = list(
                pool.map(lambda version: self._info(Reference(name, version), tuple(pointing.get(version, ()))), proper)
            )
        problem = "its folder's name is no version; remove it from the store"
        return infos + [VersionInfo(name, version, problem=problem) for version in strange]

    def aliases(self, name: str) -> list[AliasRecord]:
        """Where each alias of a model points: its newest record, sorted by alias.

        Unreadable ones are left to ``history``.
        """
        records = []
        for alias in self._place.names(f"{references.check_name(name)}/aliases"):
            try:
                record = log.current(self._place, name, references.check_alias(alias))
            except StoreError:
                continue
            if record is not None:
                records.append(record)
        return records

    def resolve(self, reference: str = "") -> Reference:
        """Look up ``NAME``, ``NAME@VERSION``, ``NAME:ALIAS`` or ``""`` (the only model).

        Without a version or an alias it is the newest: the highest release, or the highest pre-release where there is
        no release.

        Raises:
            NotFoundError: There is no such model, version or alias; says what there is.
            StoreError: The reference is malformed.
        """
        wanted = references.parse(reference)
        name = wanted.name or self._only_model()
        # Before the versions are listed: a version that an alias points to has been published by then.
        record = log.current(self._place, name, wanted.alias) if wanted.alias else None
        found = [version for version in self._published(name) if references.is_version(version)]
        if wanted.alias:
            if record is None:
                raise NotFoundError(f"{self.url}: '{name}' has no alias '{wanted.alias}'; {self._alias_list(name)}")
            return self._checked(Reference(name, record.version), found)
        if wanted.version:
            return self._checked(Reference(name, wanted.version), found)
        if not found:
            raise NotFoundError(f"{self.url}: '{name}' has no readable version")
        return Reference(name, references.newest(found))

    def manifest(self, reference: str | Reference) -> Manifest:
        """A version's manifest, without fetching its files.

        Raises:
            NotFoundError: There is no such version.
            BundleError: The manifest is missing, malformed, changed, of a newer format, or another version's.
        """
        return self._manifest_of(self._resolved(reference))

    def _manifest_of(self, wanted: Reference) -> Manifest:
        content = self._place.manifest(wanted.name, wanted.version)
        origin = f"{self.url}/{wanted.name}/versions/{wanted.version}/{bundle.MANIFEST}"
        if content is None:
            raise BundleError(
                f"{origin}: not found, so this version cannot be used; publish the model again under another version"
            )
        manifest = bundle.parse_manifest(content, origin)
        if (manifest.name, manifest.version) != (wanted.name, wanted.version):
            raise BundleError(f"{origin}: describes {manifest.name}@{manifest.version}; its folder was moved")
        return manifest

    def fetch(self, reference: str | Reference = "", cache: Path | None = None) -> Path:
        """A local folder with the version's files, audited; never to be written to.

        A local store gives the version's own folder. A bucket is downloaded into ``cache`` (default
        ``$XDG_CACHE_HOME/orris`` or ``~/.cache/orris``), where a sound copy is used again.

        Raises:
            NotFoundError: There is no such version.
            IntegrityError: A file is missing, changed or unknown; names it.
        """
        wanted = self._resolved(reference)
        return self._place.fetch(
            wanted.name, wanted.version, self._manifest_of(wanted), _default_cache() if cache is None else cache
        )

    def promote(self, name: str, version: str, alias: str, author: str | None = None) -> AliasRecord:
        """Point ``alias`` to a published version; nothing is written when it does already.

        Raises:
            NotFoundError: There is no such version.
        """
        wanted = self._checked(Reference(name, references.check_version(version)), self._published(name))
        return self._move(wanted, [alias], author, "promote")[0]

    def rollback(self, name: str, alias: str, author: str | None = None) -> AliasRecord:
        """Point ``alias`` to the version before; repeated, it walks further back.

        Raises:
            NotFoundError: There is no such alias, or no version before.
            StoreError: The alias was moved by someone else at the same time.
        """
        self._published(name)
        return log.roll_back(self._place, name, references.check_alias(alias), author=author or default_author())

    def history(self, name: str, alias: str) -> list[AliasRecord]:
        """Every move of ``alias``, oldest first; the last record is the current state.

        Raises:
            NotFoundError: There is no such model or alias; says what there is.
        """
        self._published(name)
        records = log.history(self._place, name, references.check_alias(alias))
        if not records:
            raise NotFoundError(f"{self.url}: '{name}' has no alias '{alias}'; {self._alias_list(name)}")
        return records

    def delete(self, reference: str | Reference) -> Reference:
        """Remove a published version that no alias points to; its place in the aliases' histories stays.

        Raises:
            NotFoundError: There is no such version.
            StoreError: An alias points to it, or it could not be removed.
        """
        wanted = self._resolved(reference)
        pointing = [record.alias for record in self.aliases(wanted.name) if record.version == wanted.version]
        if pointing:
            raise StoreError(
                f"{self.url}: {wanted} is not deleted: {_listed('it is what these aliases point to', pointing)}; move"
                " them to another version first"
            )
        self._place.remove(wanted.name, wanted.version)
        return wanted

    def superseded(self, name: str, keep: int) -> list[Reference]:
        """The versions that may be deleted: all but the ``keep`` newest, and never what an alias points to.

        Raises:
            NotFoundError: There is no such model.
        """
        pointed = {record.version for record in self.aliases(name)}
        proper = sorted(
            (version for version in self._published(name) if references.is_version(version)), key=references.version_key
        )
        old = proper[: max(0, len(proper) - keep)]
        return [Reference(name, version) for version in old if version not in pointed]

    def attach_signature(self, reference: str | Reference, signature: Path) -> None:
        """Add the signature file to a published version; adding the same one again does nothing.

        Raises:
            NotFoundError: There is no such version.
            StoreError: The version has another signature: a published version is signed once.
        """
        wanted = self._resolved(reference)
        try:
            content = signature.read_bytes()
        except OSError as error:
            raise StoreError(f"{signature}: could not be read: {error.strerror}") from error
        if not self._place.attach_signature(wanted.name, wanted.version, content):
            raise StoreError(
                f"{self.url}: {wanted} is signed already; to sign with another key, publish the model under a new"
                " version"
            )

    def copy(
        self,
        reference: str | Reference,
        to: Store,
        *,
        aliases: Sequence[str] = (),
        author: str | None = None,
        cache: Path | None = None,
    ) -> Reference:
        """Publish one of this store's versions, audited and with its signature, in another store.

        Raises:
            NotFoundError: There is no such version.
            IntegrityError: A file is not what the manifest says; names it.
            VersionExistsError: The other store has another model under this version. Where it has this one, only the
                aliases are moved.
        """
        wanted = self._resolved(reference)
        if wanted.version in to._place.published(wanted.name):
            with contextlib.suppress(BundleError):  # what cannot be read there is reported by ``publish``
                if to._manifest_of(wanted).checksum == self._manifest_of(wanted).checksum:
                    to._move(wanted, aliases, author, "publish")
                    return wanted
        return to.publish(self.fetch(wanted, cache), aliases=aliases, author=author)

    def _resolved(self, reference: str | Reference) -> Reference:
        return self.resolve(str(reference))

    def _published(self, name: str) -> list[str]:
        found = self._place.published(references.check_name(name))
        if not found:
            raise NotFoundError(f"{self.url}: no model '{name}'; {_listed('it holds', self.models())}")
        return found

    def _checked(self, reference: Reference, found: list[str]) -> Reference:
        if reference.version not in found:
            there = sorted(
                (version for version in found if references.is_version(version)),
                key=references.version_key,
                reverse=True,
            )
            raise NotFoundError(
                f"{self.url}: '{reference.name}' has no version {reference.version}; {_listed('newest first', there)}"
            )
        return reference

    def _only_model(self) -> str:
        models = self.models()
        if len(models) != 1:
            hint = "say which one you mean" if models else "train or package one first"
            raise NotFoundError(f"{self.url}: {_listed('it holds', models)}; {hint}")
        return models[0]

    def _alias_list(self, name: str) -> str:
        return _listed("its aliases are", [f"{record.alias} ({record.version})" for record in self.aliases(name)])

    def _move(
        self, reference: Reference, aliases: Sequence[str], author: str | None, action: Action
    ) -> list[AliasRecord]:
        checked = [references.check_alias(alias) for alias in aliases]
        who = (author or default_author()) if checked else ""
        return [
            log.move(self._place, reference.name, alias, reference.version, author=who, action=action)
            for alias in checked
        ]

    def _info(self, reference: Reference, aliases: tuple[str, ...]) -> VersionInfo:
        try:
            manifest = self._manifest_of(reference)
            signed = self._place.signature(reference.name, reference.version) is not None
            n_bytes = self._place.size(reference.name, reference.version)
        except OrrisError as error:
            return VersionInfo(reference.name, reference.version, aliases, problem=str(error))
        return VersionInfo(
            name=reference.name,
            version=reference.version,
            aliases=aliases,
            created=manifest.created,
            digest=manifest.digest,
            strategy=manifest.verdict.strategy,
            metrics=manifest.metrics,
            signed=signed,
            n_bytes=n_bytes,
        )

    def _exists(self, reference: Reference, manifest: Manifest) -> str:
        told = f"{self.url}: {reference} is published already, and versions are immutable: "
        try:
            there = self._manifest_of(reference)
        except OrrisError as error:
            return f"{told}it cannot be read ({error}); use another version"
        if there.checksum == manifest.checksum:
            return f"{told}it is identical to this one, so there is nothing to do (to move an alias, promote it)"
        same = "the same model, packaged at another time" if there.digest == manifest.digest else "another model"
        return f"{told}it is {same}; use another version"


def default_author() -> str:
    """Who is working here: git's ``user.name``, else the login name, else ``unknown``."""
    try:
        asked = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, timeout=5, check=False)  # noqa: S607
        name = asked.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        name = ""
    if name:
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"


def fetch_bundle(url: str, cache: Path | None = None) -> Path:
    """Download a bundle that lies at a URL of its own, outside any store, as ``Store.fetch`` does.

    Raises:
        BundleError: There is no bundle, or it is malformed or damaged.
        StoreError: It cannot be read.
    """
    return Bucket(url).fetch_bundle(_default_cache() if cache is None else cache)


def locate(source: str | Path, store: str | Path = DEFAULT_STORE) -> Path:
    """The folder of a bundle, from a folder, a bundle's URL or a reference; remote bundles are downloaded.

    Raises:
        BundleError: There is no bundle, or it is malformed or damaged.
        StoreError: The reference names nothing, or the store cannot be read.
    """
    if isinstance(source, Path) or is_folder(source):
        return Path(source)
    return fetch_bundle(source) if "://" in source else Store(store).fetch(source)


def is_folder(source: str) -> bool:
    """Whether a text is the path of a bundle's folder, rather than a reference; too long a path is none."""
    try:
        return bool(source) and (Path(source) / MANIFEST).is_file()
    except (OSError, ValueError):
        return False


def _default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "orris"


def _listed(lead: str, items: list[str]) -> str:
    if not items:
        return "there is none"
    more = f" and {len(items) - _MAX_NAMED} more" if len(items) > _MAX_NAMED else ""
    return f"{lead}: {', '.join(items[:_MAX_NAMED])}{more}"

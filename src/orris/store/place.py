"""The place of a store: what ``Store`` and the alias log need of a directory or a bucket.

Paths are relative to the store, with ``/`` between their parts, and made only of names that ``references.py`` has
checked.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from orris.bundle import Manifest

LEFTOVER_SECONDS = 24 * 3600
"""The age after which the remains of a crashed publisher are removed; no upload takes as long."""


class Place(Protocol):
    """A directory or a bucket; every change it makes becomes visible whole or not at all."""

    @property
    def url(self) -> str:
        """How the user names this place; opens every error message."""

    def names(self, folder: str) -> list[str]:
        """Sorted names in ``folder``, hidden ones left out; empty when there is no such folder."""

    def read(self, path: str) -> bytes | None:
        """The file's content, or ``None`` when there is no such file."""

    def create(self, path: str, content: bytes) -> bool:
        """Create the file unless it exists; ``False`` means that it already existed. Never overwrites."""

    def discard(self, path: str) -> None:
        """Remove a file that nothing refers to."""

    def published(self, name: str) -> list[str]:
        """The folders that look like published versions of the model, well named or not, in no particular order."""

    def manifest(self, name: str, version: str) -> bytes | None:
        """The bytes of a version's ``manifest.json``, or ``None`` when it is not published."""

    def publish(self, name: str, version: str, folder: Path, manifest: Manifest) -> bool:
        """Publish the bundle at ``folder``; ``False``, and nothing changed, when the version is published already."""

    def fetch(self, name: str, version: str, manifest: Manifest, cache: Path) -> Path:
        """An audited local folder with the version's files; ``cache`` is where a bucket downloads them to."""

    def signature(self, name: str, version: str) -> bytes | None:
        """The version's signature, or ``None`` when it is not signed."""

    def attach_signature(self, name: str, version: str, content: bytes) -> bool:
        """Add a signature to a published version; ``False`` when it has another one."""

    def size(self, name: str, version: str) -> int:
        """Bytes of a version's files; 0 when it is not published."""

    def remove(self, name: str, version: str) -> None:
        """Remove a published version: it is gone at once for readers, then its files are."""

    def sweep(self, name: str) -> None:
        """Remove what crashed publishers of this model left behind more than a day ago."""


def token() -> str:
    """A random name: 16 hexadecimal digits."""
    return os.urandom(8).hex()

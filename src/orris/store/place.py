"""Where a store lives.

What ``Store`` and the alias log need of a directory (``directory.py``) or a bucket (``bucket.py``).

Paths are relative to the store, with ``/`` between their parts, and made only of names that ``references.py`` has
checked.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from orris.bundle import Manifest

LEFTOVER_SECONDS = 24 * 3600
"""What a crashed publisher left behind is removed once it is older than this; no upload takes as long."""


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
        """Create the file unless it exists; ``False`` means that somebody else's content is there. Never overwrites."""

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

    def sweep(self, name: str) -> None:
        """Remove what crashed publishers of this model left behind more than a day ago."""


def token() -> str:
    """A name that nobody else draws: 16 hexadecimal digits."""
    return os.urandom(8).hex()

"""Loads the models of a server.

The steps are: resolve the reference, verify the signature, audit, construct, reproduce the golden rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orris.errors import ConflictError, MalformedReferenceError, SettingsError

if TYPE_CHECKING:
    from orris.serving.engine import Engine
    from orris.settings import Settings


def load_engine(model: str, settings: Settings) -> Engine:
    """Resolve, verify, audit, load, reproduce."""
    from orris.serving.engine import Engine  # noqa: PLC0415

    return Engine.load(fetch_bundle(model, settings), threads=int(settings.threads), max_rows=settings.max_rows)


def fetch_bundle(reference: str, settings: Settings) -> Path:
    """The bundle's folder, with a signature that verifies if a key is configured."""
    from orris.store import locate  # noqa: PLC0415

    folder = locate(reference, settings.store)
    if settings.verify_key:
        from orris.signing import verify  # noqa: PLC0415

        verify(folder, Path(settings.verify_key))
    if settings.minimum_version:
        _require_recent(folder, settings.minimum_version)
    return folder


def _require_recent(folder: Path, minimum: str) -> None:
    """Raise ``ConflictError`` if a bundle is older than ``VERSION``, or than ``NAME=VERSION`` of its name."""
    from orris.bundle import read_manifest  # noqa: PLC0415
    from orris.store.references import check_version, version_key  # noqa: PLC0415

    manifest = read_manifest(folder)
    for entry in minimum.split(","):
        name, _, version = entry.strip().rpartition("=")
        try:
            check_version(version)
        except MalformedReferenceError as error:
            raise SettingsError(f"ORRIS_MINIMUM_VERSION={minimum}: {error}") from None
        if name in {"", manifest.name} and version_key(manifest.version) < version_key(version):
            raise ConflictError(
                f"{manifest.name}@{manifest.version} is older than {version}, the lowest version that this server loads"
                " (ORRIS_MINIMUM_VERSION)"
            )

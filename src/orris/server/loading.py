"""Loads the models of a server.

The steps are: resolve the reference, verify the signature, audit, construct, reproduce the golden rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
    return folder

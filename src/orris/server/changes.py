"""Wires the parts that change a running server: reloads, followed aliases, a second version."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orris.errors import NotFoundError, SettingsError, StoreError
from orris.serving.catalog import Live
from orris.serving.control import Control
from orris.serving.traffic import Shadow, Split
from orris.store.references import parse
from orris.store.store import is_folder

if TYPE_CHECKING:
    from orris.serving.catalog import Catalog, Slot
    from orris.serving.engine import Engine
    from orris.serving.processes.board import Board, Document, LocalBoard
    from orris.serving.request_context import RequestContext
    from orris.serving.routing import Router
    from orris.settings import Settings

LoadedModels = list[tuple["Engine", str]]
"""Engines, each with the reference that it was loaded by."""


def build_control(catalog: Catalog, routes: Router, settings: Settings, board: Board | LocalBoard) -> Control:
    """The control that changes the catalog, with the store of the settings behind it."""

    def fetch(reference: str) -> Path:
        from orris.server.loading import fetch_bundle  # noqa: PLC0415

        return fetch_bundle(reference, settings)

    def load(folder: Path) -> Engine:
        from orris.serving.engine import Engine  # noqa: PLC0415

        return Engine.load(folder, threads=int(settings.threads), max_rows=settings.max_rows)

    def attempt(folder: Path) -> None:
        from orris.server.trial import TRIAL_SECONDS, try_bundle  # noqa: PLC0415

        try_bundle(folder, threads=int(settings.threads), seconds=max(TRIAL_SECONDS, settings.call_seconds))

    return Control(
        catalog,
        routes,
        routes.context.metrics,
        board=board,
        fetch=fetch,
        load=load,
        attempt=attempt,
        watch_seconds=settings.watch_seconds,
    )


def as_wanted(references: Sequence[str], settings: Settings, board: Board | LocalBoard) -> LoadedModels:
    """The models of the references, in the versions that all workers are to serve.

    A worker that starts later must not serve a version that has been replaced, nor one that an alias has moved to and
    that no worker has tried. The first worker to load a model puts its version on the board.
    """
    from orris.server.loading import load_engine  # noqa: PLC0415 (ONNX Runtime, which a supervisor does without)

    found: LoadedModels = []
    answering: set[str] = set()
    for reference in references:
        name = _store_name(reference)
        version = None if name in answering else board.wanted()[1].get(name)
        engine = load_engine(f"{name}@{version}" if version else reference, settings)
        name, version = engine.manifest.name, engine.manifest.version
        if board.n_workers > 1 and name not in answering:
            if name not in board.wanted()[1]:
                board.amend(partial(_with_first, name, version))
            wanted = board.wanted()[1][name]
            if wanted is not None and wanted != version:
                engine = load_engine(f"{name}@{wanted}", settings)
        answering.add(name)
        found.append((engine, reference))
    return found


def second_references(settings: Settings) -> list[str]:
    """References of the versions that stand beside those that answer: the shadow, and that of the split."""
    return [reference for reference in (settings.shadow, settings.split.rpartition("=")[0]) if reference]


def _with_first(name: str, version: str, wanted: Document) -> Document:
    return {name: version, **wanted}


def _store_name(reference: str) -> str:
    """The model of a store that a reference names; empty for a folder, a URL, and the only model of a store."""
    try:
        return "" if is_folder(reference) else parse(reference).name
    except StoreError:
        return ""


def add_second_versions(catalog: Catalog, context: RequestContext, settings: Settings) -> None:
    """Load the shadow and the version that shares the traffic, if there are any.

    Raises:
        SettingsError: ``--shadow`` or ``--split`` is malformed, or names a model that is not served.
        OrrisError: The version is not found or not sound.
    """
    if settings.shadow:
        slot, live = _second(catalog, context, settings, "--shadow", settings.shadow)
        shadow = Shadow(
            slot, live, settings.shadow_share, context.metrics.shadow(slot.name, live.version), context.tracing
        )
        context.observers.append(shadow.observe)
    if settings.split:
        reference, _, share = settings.split.rpartition("=")
        slot, live = _second(catalog, context, settings, "--split", reference)
        slot.pinned[live.version] = live
        slot.split = Split(slot, live.version, _share(share), settings.split_header.lower().encode()).pick


def _second(
    catalog: Catalog, context: RequestContext, settings: Settings, flag: str, reference: str
) -> tuple[Slot, Live]:
    from orris.server.loading import load_engine  # noqa: PLC0415

    engine = load_engine(reference, settings)
    try:
        slot = catalog.slot(engine.manifest.name)
    except NotFoundError as error:
        raise SettingsError(
            f"{flag} {reference}: {error}; only a version of a served model can stand beside it"
        ) from None
    return slot, Live.of(engine, context.metrics)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise SettingsError(f"--split …={text}: a share between 0 and 1 is needed, as in  --split iris@2.0.0=0.1")
    return share

"""Changes a running server: reload, load, unload, roll back, follow an alias.

A new version is fetched, audited, loaded and made to reproduce its golden rows on a thread, and only then takes over
between two ticks of the loop. If any of that fails the old version stays, and the reason is logged and kept.

With several workers, the one that received the request prepares the version first; the change is then put on the board,
and the other workers follow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic

import msgspec

from orris.bundle import Manifest, read_manifest
from orris.errors import ConflictError, NotFoundError, OrrisError, ServingError
from orris.serving.catalog import Catalog, Live, Slot
from orris.serving.engine import Engine
from orris.serving.processes.board import Board, LocalBoard, Status
from orris.serving.routing import Router
from orris.store.references import version_key
from orris.telemetry.metrics import Metrics

POLL_SECONDS = 0.05
"""Seconds between two looks at whether the other workers have followed."""

CONVERGE_SECONDS = 30.0
"""Seconds that the worker with the request waits for the other workers."""

Attempt = Callable[[Path, Manifest], None]
"""Tries a bundle before it is loaded."""

logger = logging.getLogger(__name__)


class Changed(msgspec.Struct, frozen=True):
    """The result of a change.

    Attributes:
        model: The model's name.
        version: The version that answers now; ``None`` after an unload.
        previous: The version that did before.
        changed: Whether they differ.
        workers: Workers that have followed.
    """

    model: str
    version: str | None
    previous: str | None
    changed: bool
    workers: int = 1


class Control:
    """Changes a catalog. All methods belong to the loop's thread; changes are carried out one after the other.

    Args:
        catalog: What is loaded.
        routes: Its routes, which are renewed with it.
        metrics: Where the versions' answers are counted.
        board: Where workers agree.
        fetch: Reference -> the bundle's folder, audited; runs on a thread, and raises if there is none.
        load: Folder -> engine; runs on a thread.
        attempt: Tries a folder in another process before it is loaded here; raises ``ConflictError`` if that kills the
            process. Runs on a thread.
        watch_seconds: How often references are followed anew by themselves; 0: never.
    """

    def __init__(
        self,
        catalog: Catalog,
        routes: Router,
        metrics: Metrics,
        *,
        board: Board | LocalBoard,
        fetch: Callable[[str], Path],
        load: Callable[[Path], Engine],
        attempt: Callable[[Path], None] = lambda _: None,
        watch_seconds: float = 0.0,
    ) -> None:
        self._catalog = catalog
        self._routes = routes
        self._metrics = metrics
        self._board = board
        self._fetch = fetch
        self._load = load
        self._attempt = attempt
        self._killers: dict[str, ConflictError] = {}
        self._lock = asyncio.Lock()
        self._watch_seconds = watch_seconds
        self._watched = monotonic()
        self._task: asyncio.Task[None] | None = None
        self._sequence = board.wanted()[0]
        self.errors: dict[str, str] = {}
        """Per model: why its last change failed; empty after one that worked."""

    async def reload(self, name: str = "", version: str = "", *, again: bool = True) -> Changed:
        """Follow a model's reference anew, or switch to a version; the default model if none is named.

        Args:
            name: The model.
            version: The version; empty: what the reference means now.
            again: Whether a version that killed the process that tried it is tried again.

        Raises:
            OrrisError: The version is not found, is not sound, or does not reproduce its golden rows; the old one
                stays.
        """
        slot = self._catalog.slot(name) if name else self._catalog.default
        return await self._change(slot, f"{slot.name}@{version}" if version else slot.reference, again=again)

    async def load(self, name: str, version: str = "") -> Changed:
        """Load a model that may not be loaded yet."""
        reference = f"{name}@{version}" if version else name
        try:
            slot = self._catalog.slot(name)
        except NotFoundError:
            slot = Slot(name, reference=reference)
        return await self._change(slot, reference if version else slot.reference)

    async def unload(self, name: str) -> Changed:
        """Stop answering for a model; its requests are refused until it is loaded again."""
        slot = self._catalog.slot(name)
        async with self._lock:
            before = slot.unload()
            self._renew(slot)
            self._metrics.swaps[slot.name, "unloaded"] += 1
            return await self._tell(slot, before)

    async def roll_back(self, name: str = "") -> Changed:
        """Let the version before answer again; it is still loaded."""
        slot = self._catalog.slot(name) if name else self._catalog.default
        async with self._lock:
            before = slot.live
            live = slot.roll_back()
            self._renew(slot)
            self._metrics.swaps[slot.name, "rolled_back"] += 1
            logger.info(
                "%s: rolled back to %s (before: %s)", slot.name, live.version, before.version if before else "none"
            )
            return await self._tell(slot, before)

    def on_beat(self) -> None:
        """Follow the board's document, and follow references when it is time.

        Called at every heartbeat of the worker.
        """
        if self._task is not None and not self._task.done():
            return
        loop = asyncio.get_running_loop()
        if self._board.wanted()[0] != self._sequence:
            self._task = loop.create_task(self._follow())
        elif self._watch_seconds and self._board.seat == 0 and monotonic() - self._watched > self._watch_seconds:
            self._task = loop.create_task(self._watch())

    async def _watch(self) -> None:
        """Follow the references of all models; a failure is logged once, and tried again."""
        for slot in list(self._catalog):
            if slot.live is None:
                continue
            told = self.errors.get(slot.name)
            try:
                await self.reload(slot.name, again=False)
            except Exception as error:  # noqa: BLE001 (whatever the store or a bundle does, the server goes on)
                self.errors[slot.name] = str(error)
                if self.errors[slot.name] != told:
                    logger.warning("%s stays at %s: %s", slot.name, slot.current().version, error)
        self._watched = monotonic()

    async def _follow(self) -> None:
        async with self._lock:
            sequence, wanted = self._board.wanted()
            failed = [name for name, version in wanted.items() if not await self._obey(name, version)]
            self._sequence = sequence
            self._report(failed)

    async def _obey(self, name: str, version: str | None) -> bool:
        try:
            slot = self._catalog.slot(name)
        except NotFoundError:
            slot = Slot(name, reference=name)
        if version is None:
            slot.unload()
        elif slot.live is None or slot.live.version != version:
            try:
                self._take_over(slot, await self._prepared(slot, f"{name}@{version}"))
            except OrrisError as error:
                logger.error("%s does not follow to %s: %s", name, version, error)
                self.errors[name] = str(error)
                return False
        self._renew(slot)
        return True

    async def _change(self, slot: Slot, reference: str, *, again: bool = True) -> Changed:
        async with self._lock:
            before = slot.live
            try:
                live = await self._prepared(slot, reference, partial(self._try, again=again))
            except OrrisError as error:
                self.errors[slot.name] = str(error)
                self._metrics.swaps[slot.name, "refused"] += 1
                raise
            self.errors.pop(slot.name, None)
            if before is not None and live is before:
                return Changed(slot.name, before.version, before.version, changed=False)
            self._take_over(slot, live)
            self._metrics.swaps[slot.name, "swapped"] += 1
            # An alias that moves back may be a rollback, or somebody who serves an old version with a known fault.
            back = (
                before is not None and "@" not in reference and version_key(live.version) < version_key(before.version)
            )
            logger.log(
                logging.WARNING if back else logging.INFO,
                "%s: %s answers now (before: %s)",
                slot.name,
                live.version,
                before.version if before else "none",
            )
            return await self._tell(slot, before)

    def _take_over(self, slot: Slot, live: Live) -> None:
        slot.swap(live)
        self._catalog.put(slot)
        self._renew(slot)

    def _renew(self, slot: Slot) -> None:
        """Renew routes and metrics for the loaded versions."""
        for name, version in list(self._metrics.models):
            if name == slot.name and version not in slot.kept():
                self._metrics.forget(name, version)
        self._routes.connect(slot, default=slot is self._catalog.default)

    def _try(self, folder: Path, manifest: Manifest, *, again: bool) -> None:
        """Try a version in another process; one that killed it is tried again only when a caller wants it."""
        if not again and manifest.checksum in self._killers:
            raise self._killers[manifest.checksum]
        try:
            self._attempt(folder)
        except ConflictError as error:
            self._killers[manifest.checksum] = error
            raise
        self._killers.pop(manifest.checksum, None)

    async def _prepared(self, slot: Slot, reference: str, attempt: Attempt = lambda _folder, _manifest: None) -> Live:
        """The version that a reference means, ready to answer; one that is loaded already is not loaded again."""
        engine = await asyncio.get_running_loop().run_in_executor(None, self._prepare, slot, reference, attempt)
        if isinstance(engine, Live):
            return engine
        if engine.manifest.name != slot.name:
            raise ServingError(f"'{reference}' holds the model '{engine.manifest.name}', not '{slot.name}'")
        return Live.of(engine, self._metrics)

    def _prepare(self, slot: Slot, reference: str, attempt: Attempt) -> Engine | Live:
        """Fetch, try, audit, load, reproduce; runs on a thread."""
        folder = self._fetch(reference)
        manifest = read_manifest(folder)
        for live in (*slot.loaded(), *slot.history):
            if live.version == manifest.version and live.engine.manifest.digest == manifest.digest:
                return live
        attempt(folder, manifest)
        return self._load(folder)

    async def _tell(self, slot: Slot, before: Live | None) -> Changed:
        """Put the change on the board, and wait for the other workers."""
        version = slot.live.version if slot.live is not None else None
        previous = before.version if before is not None else None
        self._sequence = self._board.amend(lambda wanted: {**wanted, slot.name: version})
        self._report([])
        deadline = asyncio.get_running_loop().time() + CONVERGE_SECONDS
        while not all(self._has_followed(status) for status in self._board.statuses()):
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(POLL_SECONDS)
        statuses = self._board.statuses()
        lagging = [
            status
            for status in statuses
            if slot.name in status.document.get("failed", []) or not self._has_followed(status)
        ]
        if lagging:
            raise ServingError(
                f"{len(lagging)} of {len(statuses)} workers did not follow {slot.name} to {version}; see the log"
            )
        return Changed(slot.name, version, previous, changed=version != previous, workers=len(statuses))

    def _has_followed(self, status: Status) -> bool:
        """Whether a worker has come as far as this one; one that is being replaced starts from the board."""
        return status.pid == 0 or bool(status.document.get("sequence", 0) >= self._sequence)

    def _report(self, failed: list[str]) -> None:
        models = {slot.name: slot.live.version if slot.live is not None else None for slot in self._catalog}
        self._board.report({"sequence": self._sequence, "models": models, "failed": failed})

"""Which models and versions are live, in what order they were, and which one answers.

A *slot* is a model's name and the version that answers for it. A swap puts another version into the slot between two
ticks of the loop: requests that are being answered keep the version that they started with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from orris.errors import NotFoundError, NotReadyError
from orris.serving.admission import StandingQueue
from orris.serving.batching import Batcher
from orris.serving.engine import Engine
from orris.serving.exchange import Headers
from orris.telemetry.drift import Sketch
from orris.telemetry.metrics import Metrics, ModelCounts

MAX_HISTORY = 2
"""Versions kept loaded behind the one that answers, for a rollback in one call."""


@dataclass(slots=True, eq=False)
class Live:
    """A loaded version: its engine, its queue, its counts, and the sketch that counts its rows for drift.

    ``standing`` tells whether requests have waited for it for too long.
    """

    engine: Engine
    counts: ModelCounts
    batcher: Batcher
    sketch: Sketch | None = None
    standing: StandingQueue = field(default_factory=StandingQueue)

    @classmethod
    def of(cls, engine: Engine, metrics: Metrics) -> Live:
        """A version that starts to answer."""
        manifest = engine.manifest
        info = {
            "format": manifest.model_file.removeprefix("model."),
            "strategy": manifest.verdict.strategy,
            "digest": manifest.digest[:12],
        }
        counts = metrics.model(manifest.name, manifest.version, engine.text_labels, info, _unix_time(manifest.created))
        sketch = metrics.drift.sketch(manifest.name, manifest.version, manifest.schema, engine.profile)
        return cls(engine, counts, Batcher(engine, counts, sketch), sketch)

    @property
    def version(self) -> str:
        """The version."""
        return self.engine.manifest.version


def _unix_time(created: str) -> float | None:
    """A time of ISO 8601 in seconds since 1970; ``None`` if it is none."""
    try:
        return datetime.fromisoformat(created).timestamp()
    except ValueError:
        return None


@dataclass(slots=True, eq=False)
class Slot:
    """A model's name, the version that answers for it, and the others that are loaded.

    Attributes:
        name: The model's name.
        live: The version that answers; ``None`` after an unload.
        pinned: Versions that were asked for by number and stay loaded, by version.
        history: Versions that answered before, latest last.
        reference: What the slot follows: ``NAME``, ``NAME:ALIAS`` or ``NAME@VERSION``.
        split: Says which version answers a request, where two share them; ``None``: the live one answers all.
    """

    name: str
    live: Live | None = None
    pinned: dict[str, Live] = field(default_factory=dict)
    history: list[Live] = field(default_factory=list)
    reference: str = ""
    split: Callable[[Headers], Live] | None = None

    def pick(self, headers: Headers) -> Live:
        """The version that answers a request that names none."""
        if self.split is None and self.live is not None:
            return self.live
        return self.split(headers) if self.split is not None else self.current()

    def same(self) -> Live | None:
        """The version that answers every request that names none; ``None``: requests differ, or none is loaded."""
        return self.live if self.split is None else None

    def current(self) -> Live:
        """The version that answers; raises ``NotReadyError`` after an unload."""
        if self.live is None:
            raise NotReadyError(f"model '{self.name}' is not loaded")
        return self.live

    def version(self, version: str) -> Live:
        """A loaded version; raises ``NotFoundError`` if it is not loaded."""
        live = self.find(version)
        if live is not None:
            return live
        loaded = ", ".join(live.version for live in self.loaded()) or "none"
        raise NotFoundError(f"version '{version[:128]}' of model '{self.name}' is not loaded; loaded: {loaded}")

    def find(self, version: str) -> Live | None:
        """A loaded version; ``None`` if it is not loaded."""
        return next((live for live in self.loaded() if live.version == version), None)

    def loaded(self) -> Iterator[Live]:
        """The version that answers, then the pinned ones."""
        if self.live is not None:
            yield self.live
        yield from (live for live in self.pinned.values() if live is not self.live)

    def swap(self, live: Live) -> Live | None:
        """Let another version answer; returns the one that did."""
        before, self.live = self.live, live
        if before is not None and before is not live:
            self.history = [*(old for old in self.history if old is not live), before][-MAX_HISTORY:]
        return before

    def unload(self) -> Live | None:
        """Unload the version that answers, and return it."""
        before, self.live = self.live, None
        self.split = None
        self.pinned.clear()
        self.history.clear()
        return before

    def kept(self) -> set[str]:
        """Versions that are in memory, whether they answer or could again."""
        return {live.version for live in (*self.loaded(), *self.history)}

    def roll_back(self) -> Live:
        """Let the version before answer again; raises ``NotFoundError`` if none is kept."""
        if not self.history:
            raise NotFoundError(f"model '{self.name}' has no version before {self.current().version} in this process")
        self.live = self.history.pop()
        return self.live


class Catalog:
    """The slots of a process, and whether it takes requests.

    Attributes:
        draining: The server is about to stop.
        workers_ready: Whether every worker of the server answers; a server of one process has no other.
    """

    def __init__(self) -> None:
        self._slots: dict[str, Slot] = {}
        self.draining = False
        self.workers_ready: Callable[[], bool] = lambda: True

    def add(self, live: Live, reference: str = "") -> Slot:
        """Load a version: the first of its name answers for it, further ones are pinned beside it."""
        name = live.engine.manifest.name
        slot = self._slots.setdefault(name, Slot(name, reference=reference or name))
        if slot.live is None:
            slot.live = live
        else:
            slot.pinned[live.version] = live
        return slot

    def put(self, slot: Slot) -> None:
        """Keep a slot that was made elsewhere."""
        self._slots[slot.name] = slot

    def slot(self, name: str) -> Slot:
        """A model; raises ``NotFoundError``."""
        slot = self._slots.get(name)
        if slot is None:
            raise NotFoundError(f"there is no model '{name[:128]}' here; there are {', '.join(self._slots) or 'none'}")
        return slot

    @property
    def default(self) -> Slot:
        """The first model: the one of routes that name none."""
        return next(iter(self._slots.values()))

    def __iter__(self) -> Iterator[Slot]:
        """All models, in the order of the command line."""
        return iter(self._slots.values())

    @property
    def ready(self) -> bool:
        """Whether every model and every worker answers, and the server is not draining."""
        return (
            not self.draining
            and bool(self._slots)
            and all(slot.live is not None for slot in self)
            and self.workers_ready()
        )

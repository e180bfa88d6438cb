"""Where protocols are attached to models: the doors and probes that a model brings with it, by path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from orris.serving.catalog import Live, Slot
from orris.serving.door import Desk, Door
from orris.serving.exchange import Dialect, Headers, ProblemDocument
from orris.serving.probes import Probe


@dataclass(frozen=True)
class PredictRoute:
    """A predict route of a model.

    Attributes:
        path: The path, with the model's name and version in it.
        route: Its template: the label of metrics and logs.
        dialect: Reads bodies and writes answers.
        version: The version that answers; ``None``: whichever is live.
    """

    path: str
    route: str
    dialect: Dialect
    version: str | None = None


@dataclass(frozen=True)
class Mount:
    """What one protocol answers for one model.

    Attributes:
        predict: POST routes that ask the model.
        probes: GET routes that are answered at once, by path.
    """

    predict: tuple[PredictRoute, ...] = ()
    probes: dict[str, Probe] = field(default_factory=dict)


Protocol = Callable[[Slot, bool], Mount]
"""``(slot, whether it is the default model)`` -> what the protocol answers for it; asked again when the slot's versions change."""


class Switchboard:
    """All routes of a process. The tables are shared with connections and the application, and change in place.

    Args:
        protocols: What is spoken.
        desk: What all doors share.
        errors: Writers of errors by path prefix, for protocols with an error shape of their own; the longest prefix counts.
    """

    def __init__(self, protocols: tuple[Protocol, ...], desk: Desk, errors: dict[str, ProblemDocument]) -> None:
        self.doors: dict[bytes, Door] = {}
        self.probes: dict[str, Probe] = {}
        self.errors = errors
        self.desk = desk
        self._protocols = protocols
        self._owned: dict[str, tuple[list[bytes], list[str]]] = {}

    def connect(self, slot: Slot, *, default: bool, pick: Callable[[Headers], Live] | None = None) -> None:
        """Attach a model's routes, or renew them after its versions have changed.

        Args:
            slot: The model.
            default: Routes that name no model are its.
            pick: Says which version answers a request that names none; by default the live one.
        """
        mounts = [protocol(slot, default) for protocol in self._protocols]
        doors = {route.path.encode(): self._door(slot, route, pick) for mount in mounts for route in mount.predict}
        probes = {path: probe for mount in mounts for path, probe in mount.probes.items()}
        old_doors, old_probes = self._owned.get(slot.name, ([], []))
        self.doors.update(doors)
        self.probes.update(probes)
        for path in set(old_doors) - set(doors):
            del self.doors[path]
        for name in set(old_probes) - set(probes):
            del self.probes[name]
        self._owned[slot.name] = (list(doors), list(probes))

    def _door(self, slot: Slot, route: PredictRoute, pick: Callable[[Headers], Live] | None) -> Door:
        version = route.version
        if version is not None:
            return Door(route.dialect, route.route, lambda _: slot.version(version), self.desk)
        return Door(route.dialect, route.route, pick or (lambda _: slot.current()), self.desk)

    def error_of(self, path: str) -> ProblemDocument | None:
        """The error writer for a path, if a protocol has one."""
        found = [prefix for prefix in self.errors if path.startswith(prefix)]
        return self.errors[max(found, key=len)] if found else None

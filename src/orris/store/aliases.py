"""Aliases: append-only logs of which version an alias points to, ``NAME/aliases/ALIAS/00000001.json`` and up.

The highest number is the current state. Each record is created exclusively, so a move is atomic, is never lost, and
stays on record; a writer that finds its number taken takes the next one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec

from orris.errors import NotFoundError, StoreError
from orris.store.place import Place, token

Action = Literal["publish", "promote", "rollback"]
_MAX_TRIES = 1000


class AliasRecord(msgspec.Struct, frozen=True):
    """One move of an alias.

    Attributes:
        number: Position in the log, from 1.
        alias: The alias that moved.
        version: Where it points from then on.
        time: UTC, ISO 8601.
        author: Who moved it.
        previous: Where it pointed before; ``None`` for the first record.
        action: What moved it.
        id: Drawn by the writer, so that it recognises its own record after an answer of the store got lost.
    """

    number: int
    alias: str
    version: str
    time: str
    author: str
    previous: str | None
    action: Action
    id: str


_RECORD = msgspec.json.Decoder(AliasRecord)
"""Made once, on one thread: msgspec reads a type's fields when it first meets it."""


def history(place: Place, name: str, alias: str) -> list[AliasRecord]:
    """Every move of the alias, oldest first; empty when it does not exist."""
    return [_read(place, name, alias, number) for number in _numbers(place, name, alias)]


def current(place: Place, name: str, alias: str) -> AliasRecord | None:
    """The alias's newest record, or ``None`` when it does not exist."""
    numbers = _numbers(place, name, alias)
    return _read(place, name, alias, numbers[-1]) if numbers else None


def move(place: Place, name: str, alias: str, version: str, *, author: str, action: Action) -> AliasRecord:
    """Point the alias to ``version``; when it does already, nothing is written and the current record is the answer."""
    for _ in range(_MAX_TRIES):
        before = current(place, name, alias)
        if before is not None and before.version == version:
            return before
        record = _after(before, alias, version, author, action)
        if place.create(_path(name, alias, record.number), _encode(record)):
            return record
    raise StoreError(f"{place.url}: alias '{alias}' of '{name}' is being moved by others all the time; try again later")


def roll_back(place: Place, name: str, alias: str, *, author: str) -> AliasRecord:
    """Point the alias to the version before; repeated, it walks further back.

    Raises:
        NotFoundError: There is no such alias, or no version before.
        StoreError: Somebody moved the alias at the same time. Unlike a promotion this is not tried again: it would undo
            their move.
    """
    log = history(place, name, alias)
    if not log:
        raise NotFoundError(f"{place.url}: '{name}' has no alias '{alias}'")
    trail = _trail(log)
    if len(trail) < 2:
        raise NotFoundError(
            f"{place.url}: alias '{alias}' of '{name}' points to {trail[-1]}, and there is no version before it to go"
            " back to"
        )
    record = _after(log[-1], alias, trail[-2], author, "rollback")
    if not place.create(_path(name, alias, record.number), _encode(record)):
        raise StoreError(
            f"{place.url}: alias '{alias}' of '{name}' was moved by someone else just now; look at its history, then"
            " try again"
        )
    return record


def _trail(log: list[AliasRecord]) -> list[str]:
    """The versions that rollbacks would walk through, the current one last."""
    trail: list[str] = []
    for record in log:
        if record.action == "rollback":
            trail.pop()
        elif not trail or trail[-1] != record.version:
            trail.append(record.version)
    return trail


def _after(before: AliasRecord | None, alias: str, version: str, author: str, action: Action) -> AliasRecord:
    return AliasRecord(
        number=before.number + 1 if before else 1,
        alias=alias,
        version=version,
        time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        author=author,
        previous=before.version if before else None,
        action=action,
        id=token(),
    )


def _path(name: str, alias: str, number: int) -> str:
    return f"{name}/aliases/{alias}/{number:08d}.json"


def _encode(record: AliasRecord) -> bytes:
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def _numbers(place: Place, name: str, alias: str) -> list[int]:
    stems = (file.removesuffix(".json") for file in place.names(f"{name}/aliases/{alias}") if file.endswith(".json"))
    return sorted(int(stem) for stem in stems if len(stem) == 8 and stem.isascii() and stem.isdigit())


def _read(place: Place, name: str, alias: str, number: int) -> AliasRecord:
    path = _path(name, alias, number)
    try:
        return _RECORD.decode(place.read(path) or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{place.url}/{path}: not an alias record ({error}); restore it, or remove it to undo that move"
        ) from None

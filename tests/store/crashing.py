"""Run as ``python -m tests.store.crashing steps|random URL OUTCOMES WORK``.

Publishers in a local store, killed with SIGKILL.

``steps`` kills one before its first, second, third, … file system call in the store (Python's audit events mark them);
``random`` kills publishers that run in a loop after random times. After each death it records, as JSON, what a reader
finds.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from orris.errors import VersionExistsError
from orris.store import Store
from tests.store.sealing import seal_bundle

MIN_DEATHS, MAX_DEATHS, ENOUGH_VERSIONS = 25, 500, 10
_STEPS = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir"}


def main(mode: str, store: Path, answer: Path, work: Path) -> None:
    """Record what readers find after each death."""
    work.mkdir()
    found = _after_each_step(store, work) if mode == "steps" else _after_random_times(store, work)
    answer.write_text(json.dumps(found))


def _after_each_step(root: Path, work: Path) -> list[dict[str, Any]]:
    first = seal_bundle(work / "first", "iris", "1.0.0", b"first")
    second = seal_bundle(work / "second", "iris", "1.1.0", b"second")
    found: list[dict[str, Any]] = []
    for step in range(1, 200):
        shutil.rmtree(root, ignore_errors=True)
        Store(root).publish(first, author="test")
        survived = _killed(partial(_publish_until, step, root, second))
        found.append({**_seen(root), "survived": survived, "repeated": _publish_again(root, second)})
        if survived:
            return found
    return found


def _publish_until(step: int, root: Path, folder: Path) -> None:
    left = step

    def die(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in _STEPS and any(
            isinstance(argument, str | os.PathLike) and str(argument).startswith(str(root)) for argument in arguments
        ):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    Store(root).publish(folder, author="test")


def _publish_again(root: Path, folder: Path) -> str:
    try:
        Store(root).publish(folder, author="test")
    except VersionExistsError:
        return "VersionExistsError"
    return "published"


def _after_random_times(root: Path, work: Path) -> list[dict[str, Any]]:
    found = []
    chance = random.Random(7)
    for death in range(MAX_DEATHS):
        longer = 1 + death // MIN_DEATHS  # until some are published where the machine is busy
        _killed(partial(_publish_forever, root, work, death), after=longer * chance.uniform(0.005, 0.12))
        found.append(_seen(root))
        if death >= MIN_DEATHS and len(found[-1]["versions"]) >= ENOUGH_VERSIONS:
            break
    return found


def _publish_forever(root: Path, work: Path, death: int) -> None:
    for number in range(100_000):
        version = f"1.{death}.{number}"
        Store(root).publish(seal_bundle(work / version, "iris", version, version.encode()), author="test")


def _killed(task: Callable[[], None], after: float | None = None) -> bool:
    """Run ``task`` in a fork, killed after so many seconds if a time is given; return whether it ended by itself."""
    child = os.fork()
    if child == 0:
        try:
            task()
        finally:
            os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.WIFEXITED(os.waitpid(child, 0)[1])


def _seen(root: Path) -> dict[str, Any]:
    """Return what a reader finds; every version is audited, which raises if one is incomplete."""
    store = Store(root)
    if not store.models():
        return {"versions": [], "problems": [], "log": [], "latest": None}
    versions = store.versions("iris")
    for info in versions:
        store.fetch(f"iris@{info.version}")
    latest = [record for record in store.aliases("iris") if record.alias == "latest"]
    return {
        "versions": [info.version for info in versions],
        "problems": [info.problem for info in versions if info.problem],
        "log": [(record.number, record.version) for record in store.history("iris", "latest")] if latest else [],
        "latest": latest[0].version if latest else None,
    }


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:5]))

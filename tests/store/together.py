"""Run as ``python -m tests.store.together URL OUTCOMES BUNDLE…``.

One process per bundle, all publishing at the same instant.

Each moves the alias ``latest``. Outcomes are written to the file OUTCOMES as JSON: ``published``, or the error's class,
per bundle.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import sys
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from orris.errors import OrrisError
from orris.store import Store
from tests.waiting import PATIENCE_SECONDS


def _publish(url: str, folder: str, barrier: Barrier, outcomes: SimpleQueue[tuple[str, str]]) -> None:
    store = Store(url)
    barrier.wait(PATIENCE_SECONDS)
    try:
        store.publish(Path(folder), author=Path(folder).name)
    except OrrisError as error:
        outcomes.put((folder, type(error).__name__))
    else:
        outcomes.put((folder, "published"))


def main(url: str, answer: str, folders: list[str]) -> None:
    """Fork a process per folder; the cloud's library is imported once, before."""
    if "://" in url:
        importlib.import_module("gcsfs" if url.startswith("gs") else "s3fs")
    fork = multiprocessing.get_context("fork")
    barrier, outcomes = fork.Barrier(len(folders)), fork.SimpleQueue()
    processes = [fork.Process(target=_publish, args=(url, folder, barrier, outcomes)) for folder in folders]
    for process in processes:
        process.start()
    found = dict(outcomes.get() for _ in folders)
    for process in processes:
        process.join()
    Path(answer).write_text(json.dumps([found[folder] for folder in folders]))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(sys.argv[1], sys.argv[2], sys.argv[3:])

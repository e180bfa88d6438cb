"""One replica to measure: ``orris serve`` in a process of its own, held to a number of processors."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import IO

from orris.capacity.quota import Held, held_to
from orris.errors import CapacityError

STOP_SECONDS = 10.0

_URL = re.compile(r"on http://localhost:(\d+)")


@dataclass(frozen=True)
class Replica:
    """A running server.

    Attributes:
        url: Where it listens.
        held: How it is held to its processors.
        driver: Where the driver runs, in words.
    """

    url: str
    held: Held
    driver: str


@contextlib.contextmanager
def replica(models: Sequence[str], cpus: float, *, workers: int, threads: int, store: str) -> Iterator[Replica]:
    """Serve models for as long as the context lasts; the requests' log goes nowhere.

    While it runs, this process keeps to the processors that the server does not need, if there are any.

    Args:
        models: As on the command line of ``orris serve``.
        cpus: Processors that the server may use.
        workers: Its processes.
        threads: Threads for one call of the model.
        store: URL of the store.

    Raises:
        CapacityError: The server does not start; says what it said.
    """
    command = [sys.executable, "-m", "orris", "serve", *models, "--store", store, "--port", "0", "--grpc-port", "off"]
    command += ["--workers", str(workers), "--threads", str(threads)]
    # Ctrl-C is for the measurement, not for the server.
    process = subprocess.Popen(  # noqa: S603 (our own program)
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        # Refusals would hide how fast it answers.
        env={**os.environ, "ORRIS_MAX_QUEUE_SECONDS": "0"},
    )
    with contextlib.ExitStack() as stack:
        stack.callback(_stop, process)
        held = stack.enter_context(held_to(process.pid, cpus))
        apart = stack.enter_context(_apart(process.pid, held))
        yield Replica(f"http://127.0.0.1:{_port(process)}", held, apart)


@contextlib.contextmanager
def _apart(pid: int, held: Held) -> Iterator[str]:
    """Give server and driver processors of their own, where there are enough."""
    if not hasattr(os, "sched_setaffinity"):
        yield "the driver shares the machine's processors with the server"
        return
    allowed = sorted(os.sched_getaffinity(0))
    n_server = max(1, ceil(held.cpus))
    if len(allowed) <= n_server:
        yield f"the driver shares {len(allowed)} processors with the server, which takes from both"
        return
    os.sched_setaffinity(pid, allowed[:n_server])
    os.sched_setaffinity(0, allowed[n_server:])
    try:
        n = len(allowed) - n_server
        yield f"the driver has {'a processor' if n == 1 else f'{n} processors'} of its own on the same machine"
    finally:
        os.sched_setaffinity(0, allowed)


def _port(process: subprocess.Popen[str]) -> int:
    """The port that the server announces; afterwards its messages are read and dropped."""
    assert process.stderr is not None  # noqa: S101 (it was asked for)
    said = []
    for line in process.stderr:
        said.append(line)
        found = _URL.search(line)
        if found:
            threading.Thread(target=_drop, args=(process.stderr,), daemon=True).start()
            return int(found.group(1))
    raise CapacityError(f"orris serve does not start: {''.join(said).strip() or 'it said nothing'}")


def _drop(stream: IO[str]) -> None:
    """Read what is said, so that the server can go on to say it."""
    with contextlib.suppress(ValueError):  # closed
        for _ in stream:
            pass


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        if process.stderr is not None:
            process.stderr.close()

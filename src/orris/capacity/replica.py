"""The server that is measured, and the processors of the driver beside it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from orris.errors import CapacityError
from orris.replicas.quota import CpuSetQuota, Quota
from orris.replicas.server import ServerProcess


@dataclass(frozen=True)
class Replica:
    """A running server.

    Attributes:
        url: Its address.
        quota: The quota that holds it.
        driver: Where the driver runs, in words.
    """

    url: str
    quota: Quota
    driver: str


@contextlib.contextmanager
def replica(models: Sequence[str], cpus: float, *, workers: int, threads: int, store: str) -> Iterator[Replica]:
    """Serve models for as long as the context lasts; the server's log is read and dropped.

    While it runs, this process keeps to the processors that the server does not need, if there are any.

    Args:
        models: As on the command line of ``orris serve``.
        cpus: Processors that the server may use.
        workers: Its processes.
        threads: Threads for one call of the model.
        store: URL of the store.

    Raises:
        CapacityError: The server does not start; has its log.
    """
    arguments = [*models, "--store", store, "--workers", str(workers), "--threads", str(threads)]
    # A server that refuses requests when it is late would hide how fast it answers.
    server = ServerProcess(arguments, cpus, CpuSetQuota, {"ORRIS_MAX_QUEUE_SECONDS": "0"})
    with contextlib.closing(server), _separate(server.process.pid, server.quota) as driver:
        if not server.wait():
            log = "\n".join(server.last_lines())
            raise CapacityError(f"orris serve does not start: {log or 'it wrote nothing'}")
        yield Replica(f"http://127.0.0.1:{server.port}", server.quota, driver)


@contextlib.contextmanager
def _separate(pid: int, quota: Quota) -> Iterator[str]:
    """Give server and driver processors of their own, where there are enough."""
    if not hasattr(os, "sched_setaffinity"):
        yield "the driver shares the machine's processors with the server"
        return
    allowed = sorted(os.sched_getaffinity(0))
    n_server = max(1, ceil(quota.cores))
    if len(allowed) <= n_server:
        yield f"the driver shares {len(allowed)} processors with the server, which slows both down"
        return
    os.sched_setaffinity(pid, allowed[:n_server])
    os.sched_setaffinity(0, allowed[n_server:])
    try:
        n = len(allowed) - n_server
        yield f"the driver has {'a processor' if n == 1 else f'{n} processors'} of its own on the same machine"
    finally:
        os.sched_setaffinity(0, allowed)

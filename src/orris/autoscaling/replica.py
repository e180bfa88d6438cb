"""A replica: a real ``orris serve`` in a process of its own, held to a CPU quota from its start, as a pod is."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from orris.autoscaling import processes
from orris.autoscaling.hpa import Pod
from orris.autoscaling.quota import make_quota
from orris.errors import ExperimentError

_ANNOUNCED = re.compile(r" on https?://localhost:(\d+)\b")


class Replica:
    """One process. It counts as ready from its announcement on, which follows the golden rows.

    Args:
        index: Its place in the proxy.
        name: What it is called in the results.
        arguments: What ``orris serve`` is given: a model, a store.
        cores: Its CPU quota, which it also requests.
    """

    def __init__(self, index: int, name: str, arguments: Sequence[str], cores: float) -> None:
        self.index = index
        self.name = name
        self.cores = cores
        self.quota = make_quota(cores)
        self.started_at = time.monotonic()
        self.ready_at: float | None = None
        self.leaving_since: float | None = None
        self.port = 0
        self._said: list[str] = []
        try:
            self.process = processes.start(
                [
                    sys.executable,
                    "-m",
                    "orris",
                    "serve",
                    *arguments,
                    "--port",
                    "0",
                    "--grpc-port",
                    "off",
                    "--no-access-log",
                ],
                stderr=subprocess.PIPE,
            )
            self.quota.add(self.process.pid)
            self._reader = threading.Thread(target=self._read, name=f"log of {name}", daemon=True)
            self._reader.start()
        except BaseException:  # an interrupt comes at any time, and the group outlives this process
            if hasattr(self, "process"):
                processes.stop(self.process, 1)
            self.quota.close()
            raise

    @property
    def is_ready(self) -> bool:
        """Whether requests may be sent to it."""
        return self.ready_at is not None and self.leaving_since is None

    def cpu_seconds(self) -> float:
        """The CPU that it has used."""
        return processes.cpu_seconds(self.process.pid)

    def check(self) -> None:
        """Raise if it has ended by itself.

        Raises:
            ExperimentError: With the last line that it wrote.
        """
        if self.leaving_since is None and self.process.poll() is not None:
            self._reader.join(1)
            last = self._said[-1] if self._said else "it wrote nothing"
            raise ExperimentError(f"the replica {self.name} ended with exit code {self.process.returncode}: {last}")

    def as_pod(self) -> Pod:
        """What the autoscaler knows of it."""
        return Pod(
            self.name,
            round(self.cores * 1000),
            self.started_at,
            self.started_at if self.ready_at is None else self.ready_at,
            ready=self.ready_at is not None,
            deleted=self.leaving_since is not None,
        )

    def leave(self) -> None:
        """Ask it to end, as a pod is: SIGTERM, and what it has is finished."""
        self.leaving_since = time.monotonic()
        if self.process.poll() is None:
            self.process.terminate()

    def close(self, seconds: float = 10) -> None:
        """End it, and let go of its quota."""
        self.leaving_since = self.leaving_since or time.monotonic()
        processes.stop(self.process, seconds)
        self.quota.close()

    def _read(self) -> None:
        assert self.process.stderr is not None  # noqa: S101
        try:
            for line in self.process.stderr:
                if line.strip():
                    self._said = [*self._said[-9:], line.strip()]
                found = _ANNOUNCED.search(line)
                if found and self.ready_at is None:
                    self.port = int(found.group(1))
                    self.ready_at = time.monotonic()
        except ValueError:  # closed while it was read
            return

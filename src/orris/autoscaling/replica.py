"""A replica of the local experiment: a server under a CPU quota, with its place in the proxy."""

from __future__ import annotations

import time
from collections.abc import Sequence

from orris.autoscaling.hpa import Pod
from orris.errors import ExperimentError
from orris.replicas.quota import SignalQuota
from orris.replicas.server import ServerProcess


class Replica(ServerProcess):
    """One server, as the proxy and the autoscaler see it.

    Args:
        index: Its place in the proxy.
        name: Its name in the results.
        arguments: Arguments of ``orris serve``: a model, a store.
        cores: Its CPU quota, which it also requests.
    """

    def __init__(self, index: int, name: str, arguments: Sequence[str], cores: float) -> None:
        self.index = index
        self.name = name
        self.cores = cores
        self.is_in_proxy = False
        self.leaving_since: float | None = None
        super().__init__([*arguments, "--no-access-log"], cores, SignalQuota)

    @property
    def is_ready(self) -> bool:
        """Whether requests may be sent to it."""
        return self.ready_at is not None and self.leaving_since is None

    def check(self) -> None:
        """Raise if it has ended by itself.

        Raises:
            ExperimentError: With the last line of its log.
        """
        if self.leaving_since is None and self.has_ended:
            last = (self.last_lines() or ["it wrote nothing"])[-1]
            raise ExperimentError(f"the replica {self.name} ended with exit code {self.process.returncode}: {last}")

    def as_pod(self) -> Pod:
        """The replica as the autoscaler sees it."""
        return Pod(
            self.name,
            round(self.cores * 1000),
            self.started_at,
            self.started_at if self.ready_at is None else self.ready_at,
            ready=self.ready_at is not None,
            deleted=self.leaving_since is not None,
        )

    def leave(self) -> None:
        """Begin its end, as Kubernetes does with a pod: SIGTERM, after which it finishes the requests that it has."""
        self.leaving_since = time.monotonic()
        self.terminate()

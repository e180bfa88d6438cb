"""Watches the ready endpoints of a service: the least number that was seen while something else happened."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import httpx

from tests.cluster.api import Api
from tests.cluster.background import in_background


def ready(api: Api, namespace: str, service: str) -> set[str]:
    """The names of the pods that a service sends requests to, and that are there.

    A pod that is terminating is none, nor one that an outdated EndpointSlice still lists.
    """
    slices = api.list("EndpointSlice", namespace, f"kubernetes.io/service-name={service}")
    listed = {
        endpoint["targetRef"]["name"]
        for found in slices
        for endpoint in found.get("endpoints") or []
        if endpoint["conditions"].get("ready")
    }
    standing = {
        pod["metadata"]["name"]
        for pod in api.list("Pod", namespace)
        if "deletionTimestamp" not in pod["metadata"]
        and any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))
    }
    return listed & standing


class Watch:
    """Looks at the ready endpoints of a service many times a second, and remembers how many there were and when."""

    def __init__(self, api: Api, namespace: str, service: str) -> None:
        self.api, self.namespace, self.service = api, namespace, service
        self.seen: list[tuple[float, int]] = []
        self._end = threading.Event()

    @property
    def least(self) -> int:
        """The least number of ready endpoints."""
        return min(count for _, count in self.seen)

    @property
    def changes(self) -> list[int]:
        """The numbers of ready endpoints in their order, each once until it changed."""
        counts = [count for _, count in self.seen]
        return [count for number, count in enumerate(counts) if number == 0 or counts[number - 1] != count]

    def look(self) -> None:
        """Look once."""
        with contextlib.suppress(httpx.TransportError):
            self.seen.append((time.monotonic(), len(ready(self.api, self.namespace, self.service))))

    def run(self) -> None:
        """Look until the end."""
        while not self._end.wait(0.2):
            self.look()

    def stop(self) -> None:
        """End the watch."""
        self._end.set()


@contextlib.contextmanager
def watching(api: Api, namespace: str, service: str) -> Iterator[Watch]:
    """Watch a service's endpoints until the end of the context."""
    watch = Watch(api, namespace, service)
    watch.look()
    try:
        with in_background(watch, "endpoints"):
            yield watch
    finally:
        watch.look()

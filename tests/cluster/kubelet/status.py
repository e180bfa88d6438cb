"""The status of a pod, as the API server keeps it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from tests.cluster.kubelet.api import Object


def now() -> str:
    """The time, as Kubernetes writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class ContainerStatus:
    """What is known of a container; its worker changes it.

    Attributes:
        state: ``waiting``, ``running`` or ``terminated``, with its details.
        last: How it ended before.
        ready: Whether its readiness probe passes.
        started: Whether its startup probe has passed.
        restarts: How often it was started again.
    """

    name: str
    image: str
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last: Object = field(default_factory=dict)
    ready: bool = False
    started: bool = False
    restarts: int = 0

    @property
    def exit_code(self) -> int | None:
        """How it ended; ``None``: it has not."""
        return self.state["terminated"]["exitCode"] if "terminated" in self.state else None

    def document(self) -> Object:
        """As the API has it."""
        return {
            "name": self.name,
            "image": self.image,
            "imageID": self.image,
            "state": self.state,
            "lastState": self.last,
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
        }


class PodStatus:
    """The status of a pod: its containers', and what follows from them."""

    def __init__(self, pod: Object) -> None:
        spec = pod["spec"]
        self.init = [ContainerStatus(each["name"], each["image"]) for each in spec.get("initContainers", [])]
        self.main = [ContainerStatus(each["name"], each["image"]) for each in spec["containers"]]
        self.restarts = spec.get("restartPolicy", "Always")
        self.address = ""
        self.failure: tuple[str, str] | None = None
        self.terminated = False
        self._begun = now()
        self._changed: dict[str, tuple[str, str]] = {}

    @property
    def phase(self) -> str:
        """Pending, Running, Succeeded or Failed."""
        codes = [each.exit_code for each in self.main]
        final = self.terminated or self.restarts == "Never" or (self.restarts == "OnFailure" and not any(codes))
        if self.failure:
            return "Failed"
        if all(code is not None for code in codes) and final:
            return "Failed" if any(codes) else "Succeeded"
        if any(each.exit_code for each in self.init) and self.restarts == "Never":
            return "Failed"
        if self.terminated:  # before its containers had been started
            return "Failed"
        begun = any("running" in each.state or each.exit_code is not None or each.restarts for each in self.main)
        return "Running" if begun else "Pending"

    def document(self) -> Object:
        """As the API has it, to be patched into the status."""
        phase = self.phase
        initialized = all(each.exit_code == 0 for each in self.init)
        ready = phase == "Running" and all(each.ready for each in self.main)
        reason = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "ContainersNotReady")
        document: Object = {
            "phase": phase,
            "startTime": self._begun,
            "hostIP": "127.0.0.1",
            "hostIPs": [{"ip": "127.0.0.1"}],
            "conditions": [
                self._condition("PodReadyToStartContainers", bool(self.address), ""),
                self._condition("Initialized", initialized or phase == "Succeeded", "ContainersNotInitialized"),
                self._condition("ContainersReady", ready, reason),
                self._condition("Ready", ready, reason),
            ],
            "containerStatuses": [each.document() for each in self.main],
        }
        if self.init:
            document["initContainerStatuses"] = [each.document() for each in self.init]
        if self.address:
            document |= {"podIP": self.address, "podIPs": [{"ip": self.address}]}
        if self.failure:
            document |= {"reason": self.failure[0], "message": self.failure[1]}
        return document

    def _condition(self, kind: str, holds: bool, reason: str) -> Object:
        value = "True" if holds else "False"
        if self._changed.get(kind, ("", ""))[0] != value:
            self._changed[kind] = (value, now())
        return {
            "type": kind,
            "status": value,
            "lastTransitionTime": self._changed[kind][1],
            "reason": None if holds or not reason else reason,
        }

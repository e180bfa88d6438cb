"""Plays the kubelet of every node: it says that pods run, and runs nothing.

Nodes are ready and renew their leases. A pod is running and ready after ``START_SECONDS``; a pod of a Job or of
``helm test`` succeeds ``FINISH_SECONDS`` later; a deleted pod is gone after a second. A pod whose image has the tag or
the name ``broken`` never becomes ready, and fails if it should have finished.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx

from tests.cluster.api import STRATEGIC, Api, Object, collection
from tests.cluster.background import in_background

START_SECONDS = 1.5
FINISH_SECONDS = 1.5
STOP_SECONDS = 1.0
_LEASE_SECONDS = 10.0


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _conditions(ready: bool, *, finished: bool = False) -> list[Object]:
    values = {"Initialized": True, "ContainersReady": ready, "Ready": ready}
    reason = {"reason": "PodCompleted"} if finished else {}
    return [
        {"type": name, "status": str(value), "lastTransitionTime": _now(), **reason} for name, value in values.items()
    ]


class Kubelets:
    """The kubelets of all nodes, as one loop over the pods of the cluster."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._since: dict[tuple[str, str], float] = {}
        self._addresses = itertools.count(1)
        self._leases = 0.0
        self._end = threading.Event()

    def _age(self, pod: Object, state: str) -> float:
        now = time.monotonic()
        return now - self._since.setdefault((pod["metadata"]["uid"], state), now)

    def run(self) -> None:
        """Look after nodes and pods until the end."""
        while not self._end.wait(0.3):
            with contextlib.suppress(httpx.HTTPError):
                if time.monotonic() - self._leases > _LEASE_SECONDS:
                    self._leases = time.monotonic()
                    self._nodes()
                for pod in self.api.list("Pod"):
                    if pod["spec"].get("nodeName"):
                        self._pod(pod)

    def stop(self) -> None:
        """End the loop."""
        self._end.set()

    def _nodes(self) -> None:
        for node in self.api.list("Node"):
            name = node["metadata"]["name"]
            ready = {
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "lastHeartbeatTime": _now(),
                "lastTransitionTime": node["metadata"]["creationTimestamp"],
            }
            addresses = [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}]
            self._status("Node", "", name, {"conditions": [ready], "addresses": addresses})
            spec = {
                "holderIdentity": name,
                "leaseDurationSeconds": 60,
                "renewTime": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            }
            try:
                self.api.patch("Lease", "kube-node-lease", name, {"spec": spec})
            except httpx.HTTPStatusError:
                lease = {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": spec}
                kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
                self.api.call("POST", collection("Lease", "kube-node-lease"), kind | lease)

    def _status(self, kind: str, namespace: str, name: str, status: Object) -> None:
        self.api.call("PATCH", f"{collection(kind, namespace)}/{name}/status", {"status": status}, STRATEGIC)

    def _pod(self, pod: Object) -> None:
        metadata, status = pod["metadata"], pod["status"]
        if metadata.get("deletionTimestamp"):
            if self._age(pod, "deleted") > STOP_SECONDS:
                path = f"{collection('Pod', metadata['namespace'])}/{metadata['name']}"
                self.api.client.request("DELETE", path, json={"gracePeriodSeconds": 0})
            return
        owners = {owner["kind"] for owner in metadata.get("ownerReferences", [])}
        finishes = "Job" in owners or metadata.get("annotations", {}).get("helm.sh/hook") == "test"
        broken = any("broken" in container["image"] for container in pod["spec"]["containers"])
        if status.get("phase") == "Pending" and self._age(pod, "pending") > START_SECONDS:
            self._say(pod, self._running(pod, ready=finishes or not broken))
        elif status.get("phase") == "Running" and finishes and self._age(pod, "running") > FINISH_SECONDS:
            self._say(pod, self._finished(pod, 1 if broken else 0))

    def _say(self, pod: Object, status: Object) -> None:
        self._status("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"], status)

    def _running(self, pod: Object, *, ready: bool) -> Object:
        number = next(self._addresses)
        address = f"10.244.{number // 250}.{number % 250 + 1}"
        state: Object = (
            {"running": {"startedAt": _now()}}
            if ready
            else {"waiting": {"reason": "CrashLoopBackOff", "message": "broken"}}
        )
        done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": _now(), "finishedAt": _now()}}
        return {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "hostIP": "127.0.0.1",
            "startTime": _now(),
            "conditions": _conditions(ready),
            "containerStatuses": _containers(pod["spec"]["containers"], state, ready=ready),
            "initContainerStatuses": _containers(pod["spec"].get("initContainers", []), done, ready=True),
        }

    def _finished(self, pod: Object, code: int) -> Object:
        times = {"startedAt": _now(), "finishedAt": _now()}
        state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed", **times}}
        return {
            "phase": "Failed" if code else "Succeeded",
            "conditions": _conditions(ready=False, finished=True),
            "containerStatuses": _containers(pod["spec"]["containers"], state, ready=False),
        }


def _containers(containers: list[Object], state: Object, *, ready: bool) -> list[Object]:
    shared: dict[str, Any] = {"imageID": "", "ready": ready, "started": ready, "restartCount": 0, "state": state}
    return [{"name": each["name"], "image": each["image"], **shared} for each in containers]


@contextlib.contextmanager
def kubelets(api: Api) -> Iterator[Kubelets]:
    """Kubelets that say that pods run, until the end of the context."""
    playing = Kubelets(api)
    with in_background(playing, "kubelets"):
        yield playing

"""Tests of the status of a pod."""

from __future__ import annotations

import pytest

from tests.cluster.kubelet.api import Object
from tests.cluster.kubelet.status import PodStatus


def ended(code: int) -> Object:
    """The state of a container that has ended."""
    return {"terminated": {"exitCode": code, "reason": "", "startedAt": "", "finishedAt": ""}}


RUNNING: Object = {"running": {"startedAt": ""}}
WAITING: Object = {"waiting": {"reason": "ContainerCreating"}}


@pytest.mark.parametrize(
    ("policy", "states", "phase"),
    [  # https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase
        ("Always", [WAITING], "Pending"),
        ("Always", [RUNNING], "Running"),
        ("Always", [ended(1)], "Running"),
        ("Never", [ended(0)], "Succeeded"),
        ("Never", [ended(0), ended(1)], "Failed"),
        ("Never", [ended(0), RUNNING], "Running"),
        ("OnFailure", [ended(0)], "Succeeded"),
        ("OnFailure", [ended(1)], "Running"),
    ],
)
def test_the_phase_follows_from_the_containers(policy: str, states: list[Object], phase: str) -> None:
    """A pod's phase depends on its containers' states and its restart policy."""
    containers = [{"name": f"c{index}", "image": "i"} for index in range(len(states))]
    status = PodStatus({"spec": {"restartPolicy": policy, "containers": containers}})
    for container, state in zip(status.main, states, strict=True):
        container.state = state
    assert status.phase == phase


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    """A pod is ready when all its containers are, and the time of the change stays until the next."""
    status = PodStatus({"spec": {"containers": [{"name": "c", "image": "i"}]}})
    status.main[0].state = RUNNING
    before = {each["type"]: each for each in status.document()["conditions"]}
    assert before["Ready"]["status"] == "False"
    status.main[0].ready = True
    after = {each["type"]: each for each in status.document()["conditions"]}
    assert after["Ready"]["status"] == "True"
    assert after["Initialized"] == before["Initialized"]


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    """A pod whose init container fails for good fails."""
    spec = {
        "restartPolicy": "Never",
        "containers": [{"name": "c", "image": "i"}],
        "initContainers": [{"name": "i", "image": "i"}],
    }
    status = PodStatus({"spec": spec})
    status.init[0].state = ended(3)
    assert status.phase == "Failed"

"""Tests of how many pods a new release with an autoscaler starts with, and of who owns that number afterwards."""

from __future__ import annotations

import pytest
import yaml

from tests.cluster.api import Object
from tests.cluster.controlplane import Cluster
from tests.cluster.endpoints import watching
from tests.cluster.helm import CHART, Helm, HelmFailedError
from tests.cluster.metrics import Load
from tests.cluster.releases import kind_of, values, wait_for, wait_for_version
from tests.cluster.transitions import REQUEST_MILLICORES, State
from tests.cluster.waiting import until

LEAST = 2
# What one pod is to use of the CPU that it asks for, so that an autoscaler leaves the number of pods as it is.
AIM_MILLICORES = REQUEST_MILLICORES * 60 // 100
STATES = [State("hpa", "rolling"), State("keda", "canary"), State("keda", "blueGreen")]


def version(name: str) -> dict[str, object]:
    """Values by which the pods of a version are recognised."""
    return {"podAnnotations": {"version": name}}


def stated(helm: Helm, state: State) -> int | None:
    """The number of pods in the manifest that Helm keeps of the newest revision."""
    found = list(yaml.safe_load_all(helm.run("get", "manifest", helm.release)))
    [workload] = [each for each in found if each and each["kind"] == kind_of(state)]
    number: int | None = workload["spec"].get("replicas")
    return number


def autoscaler(cluster: Cluster, namespace: str) -> Object:
    """The only HPA of a namespace, as soon as it has looked."""

    def looked() -> bool:
        found = cluster.api.list("HorizontalPodAutoscaler", namespace)
        return len(found) == 1 and bool(found[0].get("status", {}).get("conditions"))

    until(looked, "the autoscaler has looked")
    [found] = cluster.api.list("HorizontalPodAutoscaler", namespace)
    return found


@pytest.mark.parametrize("state", STATES, ids=str)
def test_a_new_autoscaled_release_starts_with_the_minimum_and_then_leaves_the_number_alone(
    state: State, cluster: Cluster, helm: Helm, load: Load
) -> None:
    """There are ``minReplicas`` pods before an autoscaler has acted, and upgrades keep the number that it makes."""
    load.total = LEAST * AIM_MILLICORES
    helm.upgrade(values(state, **version("one")))
    assert stated(helm, state) == LEAST
    wait_for(cluster, helm.namespace, state, LEAST)
    assert "lastScaleTime" not in autoscaler(cluster, helm.namespace)["status"]
    with watching(cluster.api, helm.namespace, "orris") as watch:
        helm.upgrade(values(state, **version("two")))
        wait_for_version(cluster, helm.namespace, "two")
        wait_for(cluster, helm.namespace, state, LEAST)
    assert watch.least >= LEAST
    load.total = 4 * AIM_MILLICORES
    wait_for(cluster, helm.namespace, state, 4)
    with watching(cluster.api, helm.namespace, "orris") as watch:
        for name in ("three", "four"):
            helm.upgrade(values(state, **version(name)))
            wait_for_version(cluster, helm.namespace, name)
        # Server-side apply has recorded the autoscaler as the owner; Helm 3 goes on to state the number that runs.
        assert stated(helm, state) == (None if helm.version == 4 else 4)
        helm.rollback(3)
        wait_for_version(cluster, helm.namespace, "three")
    assert watch.least >= 4


def test_a_rollback_to_the_first_revision_goes_by_way_of_the_minimum(cluster: Cluster, helm: Helm, load: Load) -> None:
    """The first revision states the minimum: Helm 4 applies it by force only, and the autoscaler goes on from there."""
    state = State("hpa", "rolling")
    load.total = LEAST * AIM_MILLICORES
    helm.upgrade(values(state, **version("one")))
    wait_for(cluster, helm.namespace, state, LEAST)
    load.total = 4 * AIM_MILLICORES
    wait_for(cluster, helm.namespace, state, 4)
    helm.upgrade(values(state, **version("two")))
    wait_for_version(cluster, helm.namespace, "two")
    with watching(cluster.api, helm.namespace, "orris") as watch:
        if helm.version == 4:
            with pytest.raises(HelmFailedError, match=r"conflict with \"kube-controller-manager\""):
                helm.rollback(1)
        helm.rollback(1, *(["--force-conflicts"] if helm.version == 4 else []))
        wait_for_version(cluster, helm.namespace, "one")
        wait_for(cluster, helm.namespace, state, 4)
    assert watch.least >= LEAST


def test_a_release_that_is_to_leave_the_number_alone_is_rolled_back_without_force(
    cluster: Cluster, helm: Helm, load: Load
) -> None:
    """With ``startAtMinimum: never`` no revision states a number, and a rollback to the first keeps the pods."""
    state = State("hpa", "rolling")
    settings = state.values()["autoscaling"] | {"startAtMinimum": "never"}
    load.total = 4 * AIM_MILLICORES
    helm.upgrade(values(state, **version("one"), autoscaling=settings))
    assert stated(helm, state) is None
    wait_for(cluster, helm.namespace, state, 4)
    helm.upgrade(values(state, **version("two"), autoscaling=settings))
    wait_for_version(cluster, helm.namespace, "two")
    with watching(cluster.api, helm.namespace, "orris") as watch:
        helm.rollback(1)
        wait_for_version(cluster, helm.namespace, "one")
    assert watch.least >= 4


def test_the_minimum_is_stated_where_the_namespace_is_made_with_the_release(cluster: Cluster, helm: Helm) -> None:
    """With ``--create-namespace`` the namespace is not there yet when the chart looks at the cluster."""
    state = State("hpa", "rolling")
    other = Helm(cluster, helm.version, f"{helm.namespace}-new")
    other.upgrade(values(state))
    assert stated(other, state) == LEAST
    other.uninstall()
    cluster.kubectl("delete", "namespace", other.namespace, "--wait=false")


def test_somebody_with_rights_in_one_namespace_alone_installs_with_the_minimum(cluster: Cluster, helm: Helm) -> None:
    """The look for a cluster needs no rights beyond the namespace of the release."""
    state = State("hpa", "rolling")
    metadata = {"name": "deployer", "namespace": helm.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "deployer"}
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    cluster.apply(
        [
            kind | {"kind": "Role", "metadata": metadata, "rules": rules},
            kind | {"kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [subject]},
        ]
    )
    account = cluster.api.get
    until(lambda: account("ServiceAccount", helm.namespace, "default") is not None, "the namespace has its account")
    given = yaml.safe_dump(values(state))
    helm.run("install", "orris", str(CHART), "--values", "-", "--kube-as-user", "deployer", given=given)
    assert stated(helm, state) == LEAST

"""Tests of syncs as Argo CD makes them: what it renders without a cluster, applied by kubectl as its field manager.

Argo CD itself does not run. It renders with Helm 3, leaves out the hooks of ``helm test``, and applies either as
``kubectl apply`` does or, with ``ServerSideApply=true``, on the server's side and by force. With
``RespectIgnoreDifferences=true`` it puts the live values of ignored fields into what it applies.
"""

from __future__ import annotations

import pytest
import yaml

from tests.cluster.api import Object
from tests.cluster.controlplane import Cluster
from tests.cluster.endpoints import watching
from tests.cluster.helm import CHART, ROOT, Helm
from tests.cluster.metrics import Load
from tests.cluster.releases import selector, values, versions, wait_for, wait_for_version
from tests.cluster.test_upgrades import promote
from tests.cluster.transitions import REQUEST_MILLICORES, State

MANAGER = "--field-manager=argocd-controller"
SYNCS = {"client": ["--validate=true"], "server": ["--server-side"], "forced": ["--server-side", "--force-conflicts"]}
AIM_MILLICORES = REQUEST_MILLICORES * 60 // 100
HASH = "rollouts-pod-template-hash"


def application() -> Object:
    """The specification that all applications of ``deploy/argocd/apps.yaml`` share."""
    found = yaml.safe_load((ROOT / "deploy" / "argocd" / "apps.yaml").read_text("utf-8"))
    spec: Object = found["spec"]["template"]["spec"]
    return spec


def rendered(cluster: Cluster, namespace: str, given: Object) -> list[Object]:
    """The objects of the chart as Argo CD renders them, with the parameters of the tree."""
    parameters = application()["sources"][0]["helm"]["parameters"]
    flags = [flag for each in parameters for flag in ("--set", f"{each['name']}={each['value']}")]
    kinds = ["--api-versions", "argoproj.io/v1alpha1/Rollout", "--api-versions", "keda.sh/v1alpha1/ScaledObject"]
    helm = Helm(cluster, 3, namespace)
    text = helm.run("template", "orris", str(CHART), "--values", "-", *flags, *kinds, given=yaml.safe_dump(given))
    found: list[Object] = [each for each in yaml.safe_load_all(text) if each]
    return [each for each in found if "helm.sh/hook" not in each["metadata"].get("annotations", {})]


def respected(cluster: Cluster, namespace: str, objects: list[Object]) -> list[Object]:
    """Objects with the live numbers of pods, where the tree ignores them and the objects are there."""
    ignored = application()["ignoreDifferences"]
    assert all(each["jsonPointers"] == ["/spec/replicas"] for each in ignored)
    kinds = {each["kind"] for each in ignored}
    for each in objects:
        live = cluster.api.get(each["kind"], namespace, each["metadata"]["name"]) if each["kind"] in kinds else None
        if live is not None:
            each["spec"]["replicas"] = live["spec"]["replicas"]
    return objects


def sync(cluster: Cluster, objects: list[Object], how: str) -> None:
    """Apply objects as a sync does."""
    cluster.kubectl("apply", MANAGER, *SYNCS[how], "--filename", "-", given=yaml.safe_dump_all(objects))


def owners(service: Object, name: str) -> set[str]:
    """The managers that own a field of a service's ``spec``."""
    managed = service["metadata"]["managedFields"]
    return {each["manager"] for each in managed if f"f:{name}" in each["fieldsV1"].get("f:spec", {})}


@pytest.mark.parametrize("how", SYNCS)
def test_a_sync_leaves_the_selectors_of_blue_green_services_to_argo_rollouts(
    how: str, cluster: Cluster, namespace: str
) -> None:
    """No sync is in conflict, and none moves a service: only the promotion brings the new version to everybody."""
    state = State("none", "blueGreen")
    blue_green = {"strategy": state.values()["strategy"] | {"blueGreen": {"autoPromotion": False}}}
    release = {name: values(state, podAnnotations={"version": name}, **blue_green) for name in ("one", "two")}
    sync(cluster, rendered(cluster, namespace, release["one"]), how)
    wait_for(cluster, namespace, state)
    with watching(cluster.api, namespace, "orris") as watch:
        objects = rendered(cluster, namespace, release["two"])
        sync(cluster, objects, how)
        wait_for_version(cluster, namespace, "two", "orris-preview")
        assert versions(cluster, namespace) == {"one"}
        before = [selector(cluster, namespace, name) for name in ("orris", "orris-preview")]
        assert all(HASH in each for each in before)
        # A self-heal while the new version waits.
        sync(cluster, objects, how)
        assert [selector(cluster, namespace, name) for name in ("orris", "orris-preview")] == before
        promote(cluster, namespace)
        wait_for_version(cluster, namespace, "two")
        after = selector(cluster, namespace)
        sync(cluster, objects, how)
        assert selector(cluster, namespace) == after
        wait_for(cluster, namespace, state)
    assert watch.least >= state.pods
    service = cluster.api.get("Service", namespace, "orris")
    assert service is not None
    assert "argocd-controller" in owners(service, "ports")
    assert owners(service, "selector") == {"rollouts-controller"}


@pytest.mark.parametrize("how", ["client", "forced"])
@pytest.mark.parametrize("strategy", ["rolling", "canary"])
def test_a_sync_makes_the_minimum_of_pods_and_then_leaves_their_number_to_the_autoscaler(
    strategy: str, how: str, cluster: Cluster, namespace: str, load: Load
) -> None:
    """The first sync states ``minReplicas``; later ones ignore the number, and keep what the autoscaler made of it."""
    state = State("hpa", strategy)
    load.total = 2 * AIM_MILLICORES
    sync(cluster, respected(cluster, namespace, rendered(cluster, namespace, values(state))), how)
    wait_for(cluster, namespace, state, 2)
    [scaler] = cluster.api.list("HorizontalPodAutoscaler", namespace)
    assert "lastScaleTime" not in scaler.get("status", {})
    load.total = 4 * AIM_MILLICORES
    wait_for(cluster, namespace, state, 4)
    with watching(cluster.api, namespace, "orris") as watch:
        for name in ("two", "three"):
            new = values(state, podAnnotations={"version": name})
            sync(cluster, respected(cluster, namespace, rendered(cluster, namespace, new)), how)
            wait_for_version(cluster, namespace, name)
            wait_for(cluster, namespace, state, 4)
        # The autoscaler still owns the number.
        load.total = 6 * AIM_MILLICORES
        wait_for(cluster, namespace, state, 6)
    assert watch.least >= 4


def test_a_sync_that_does_not_ignore_the_number_takes_it_from_the_autoscaler(
    cluster: Cluster, namespace: str, load: Load
) -> None:
    """With ``startAtMinimum: always`` a sync without ``ignoreDifferences`` goes back to the minimum."""
    state = State("hpa", "rolling")
    load.total = 4 * AIM_MILLICORES
    sync(cluster, rendered(cluster, namespace, values(state)), "forced")
    wait_for(cluster, namespace, state, 4)
    with watching(cluster.api, namespace, "orris") as watch:
        sync(cluster, rendered(cluster, namespace, values(state)), "forced")
        wait_for(cluster, namespace, state, 4)
    assert watch.least < 4

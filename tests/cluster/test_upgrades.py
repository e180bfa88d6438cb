"""Tests of installs, upgrades and rollbacks on a real API server with its controllers, by Helm 4 and Helm 3."""

from __future__ import annotations

import pytest

from tests.cluster.controlplane import Cluster
from tests.cluster.endpoints import ready, watching
from tests.cluster.helm import Helm, HelmFailedError
from tests.cluster.metrics import Load
from tests.cluster.releases import selector, values, versions, wait_for, wait_for_version
from tests.cluster.transitions import STATES, TOTAL_MILLICORES, State, leftovers, steps
from tests.cluster.waiting import until


def version(name: str) -> dict[str, object]:
    """Values by which the pods of a version are recognised."""
    return {"podAnnotations": {"version": name}}


@pytest.mark.parametrize("state", STATES, ids=str)
def test_a_first_install_comes_up_and_uninstalls_without_a_trace(
    state: State, cluster: Cluster, helm: Helm, load: Load
) -> None:
    """Every combination is admitted, arrives at its number of ready pods, and leaves nothing when uninstalled."""
    load.total = TOTAL_MILLICORES
    helm.upgrade(values(state))
    wait_for(cluster, helm.namespace, state)
    assert helm.status() == "deployed"
    helm.uninstall()
    assert leftovers(cluster, helm.namespace) == []


def test_a_blue_green_upgrade_waits_at_the_preview_and_goes_live_when_promoted(cluster: Cluster, helm: Helm) -> None:
    """The live service keeps the old version until the promotion, the preview has the new one, and no upgrade fails."""
    state = State("none", "blueGreen")
    blue_green = {"strategy": state.values()["strategy"] | {"blueGreen": {"autoPromotion": False}}}
    helm.upgrade(values(state, **version("one"), **blue_green))
    wait_for(cluster, helm.namespace, state)
    for before, after in (("one", "two"), ("two", "three")):
        with watching(cluster.api, helm.namespace, "orris") as watch:
            helm.upgrade(values(state, **version(after), **blue_green))
            assert helm.status() == "deployed"
            wait_for_version(cluster, helm.namespace, after, "orris-preview")
            assert versions(cluster, helm.namespace) == {before}
            # An upgrade while the new version waits changes neither service.
            selectors = [selector(cluster, helm.namespace, name) for name in ("orris", "orris-preview")]
            helm.upgrade(values(state, **version(after), **blue_green))
            assert [selector(cluster, helm.namespace, name) for name in ("orris", "orris-preview")] == selectors
            promote(cluster, helm.namespace)
            wait_for_version(cluster, helm.namespace, after)
        assert watch.least >= state.pods
        wait_for(cluster, helm.namespace, state)


def promote(cluster: Cluster, namespace: str) -> None:
    """What ``kubectl argo rollouts promote`` does, as soon as the Rollout waits for it."""

    def waits() -> bool:
        live = cluster.api.get("Rollout", namespace, "orris")
        return bool(live and live["status"].get("pauseConditions"))

    until(waits, "the Rollout waits for a promotion", 180)
    cluster.api.patch("Rollout", namespace, "orris", {"status": {"pauseConditions": None}}, "status")


def test_a_forced_blue_green_upgrade_does_not_bring_the_preview_to_everybody(cluster: Cluster, namespace: str) -> None:
    """With ``--force-conflicts`` too, the live service keeps the old version alone until the promotion."""
    helm = Helm(cluster, 4, namespace)
    state = State("none", "blueGreen")
    blue_green = {"strategy": state.values()["strategy"] | {"blueGreen": {"autoPromotion": False}}}
    helm.upgrade(values(state, **version("one"), **blue_green))
    wait_for(cluster, namespace, state)
    helm.upgrade(values(state, **version("two"), **blue_green), "--force-conflicts")
    wait_for_version(cluster, namespace, "two", "orris-preview")
    assert versions(cluster, namespace) == {"one"}


def test_a_blue_green_release_is_rolled_back(cluster: Cluster, helm: Helm) -> None:
    """A rollback to the revision before is no conflict, and its pods go live without a gap."""
    state = State("none", "blueGreen")
    for name in ("one", "two"):
        helm.upgrade(values(state, **version(name)))
        wait_for(cluster, helm.namespace, state)
        wait_for_version(cluster, helm.namespace, name)
    with watching(cluster.api, helm.namespace, "orris") as watch:
        helm.rollback(1)
        wait_for_version(cluster, helm.namespace, "one")
    assert watch.least >= state.pods


@pytest.mark.parametrize("strategy", ["rolling", "canary"])
def test_an_autoscaled_release_keeps_its_pods_in_upgrades_and_rollbacks(
    strategy: str, cluster: Cluster, helm: Helm, load: Load
) -> None:
    """Neither an upgrade nor a rollback changes the number of pods that the autoscaler owns."""
    load.total = TOTAL_MILLICORES
    state = State("hpa", strategy)
    helm.upgrade(values(state, **version("one")))
    wait_for(cluster, helm.namespace, state)
    with watching(cluster.api, helm.namespace, "orris") as watch:
        for name in ("two", "three"):
            helm.upgrade(values(state, **version(name)))
            wait_for_version(cluster, helm.namespace, name)
        helm.rollback(2)
        wait_for_version(cluster, helm.namespace, "two")
    assert watch.least >= state.pods


@pytest.mark.parametrize("scaler", ["hpa", "keda"])
def test_an_autoscaler_that_is_turned_on_keeps_the_pods_that_run(
    scaler: str, cluster: Cluster, helm: Helm, load: Load
) -> None:
    """From four stated pods the autoscaler goes on with four, and so does every upgrade after that."""
    load.total = 4 * 60
    before, after = State("none", "rolling"), State(scaler, "rolling")
    helm.upgrade(values(before, replicas=4))
    wait_for(cluster, helm.namespace, before, 4)
    with watching(cluster.api, helm.namespace, "orris") as watch:
        helm.upgrade(values(after))
        wait_for(cluster, helm.namespace, after, 4)
        helm.upgrade(values(after, **version("two")))
        wait_for_version(cluster, helm.namespace, "two")
        load.total = 6 * 60
        wait_for(cluster, helm.namespace, after, 6)
        helm.upgrade(values(after, **version("three")))
        wait_for_version(cluster, helm.namespace, "three")
        assert len(ready(cluster.api, helm.namespace, "orris")) == 6
    assert watch.least >= 4


@pytest.mark.parametrize("strategy", ["rolling", "canary", "blueGreen"])
def test_hpa_and_keda_hand_over_in_one_upgrade_each_way(
    strategy: str, cluster: Cluster, helm: Helm, load: Load
) -> None:
    """KEDA's webhook admits the ScaledObject, no pod goes, and one HPA is left in the end."""
    load.total = TOTAL_MILLICORES
    hpa, keda = State("hpa", strategy), State("keda", strategy)
    helm.upgrade(values(hpa))
    wait_for(cluster, helm.namespace, hpa)
    with watching(cluster.api, helm.namespace, "orris") as watch:
        for state, name in ((keda, "keda-hpa-orris"), (hpa, "orris")):
            helm.upgrade(values(state))
            wait_for_scaler(cluster, helm.namespace, name)
            wait_for(cluster, helm.namespace, state)
    assert watch.least >= hpa.pods


def wait_for_scaler(cluster: Cluster, namespace: str, name: str) -> None:
    """Wait until one HPA is there, of that name."""

    def alone() -> bool:
        return [each["metadata"]["name"] for each in cluster.api.list("HorizontalPodAutoscaler", namespace)] == [name]

    until(alone, f"{name} is the only HPA")


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("rolling", "canary", "strategy.previous set to rolling"),
        ("rolling", "blueGreen", "strategy.previous set to rolling"),
        ("canary", "rolling", "strategy.previous set to canary"),
        ("canary", "blueGreen", "strategy.previous set to canary"),
        ("blueGreen", "rolling", "strategy.previous to blueGreen"),
        ("blueGreen", "canary", "strategy.previous to blueGreen"),
    ],
)
def test_a_switch_that_would_leave_a_gap_is_refused(
    source: str, target: str, said: str, cluster: Cluster, helm: Helm
) -> None:
    """Without ``strategy.previous`` the upgrade fails before it changes anything, and names the way."""
    state = State("none", source)
    helm.upgrade(values(state))
    wait_for(cluster, helm.namespace, state)
    with pytest.raises(HelmFailedError, match=said):
        helm.upgrade(values(State("none", target)))
    wait_for(cluster, helm.namespace, state)


@pytest.mark.parametrize("ways_back", [["canary", ""], [""]], ids=["two-upgrades", "one-upgrade"])
def test_the_old_pods_are_not_taken_before_the_new_ones_are_ready(
    ways_back: list[str], cluster: Cluster, helm: Helm
) -> None:
    """The second upgrade of a switch is refused while a pod of the new strategy is broken, and the way back is open."""
    source, target = State("none", "rolling"), State("none", "canary")
    helm.upgrade(values(source))
    wait_for(cluster, helm.namespace, source)
    [(first, flags), (second, _)] = steps(source, target, helm.version)
    broken = {"image": {"repository": "registry.example/orris", "tag": "broken"}}
    helm.upgrade(first | broken, *flags)
    with pytest.raises(HelmFailedError, match="would be gone before others are ready"):
        helm.upgrade(second | broken)
    assert len(ready(cluster.api, helm.namespace, "orris")) == source.pods
    with watching(cluster.api, helm.namespace, "orris") as watch:
        for previous in ways_back:
            helm.upgrade(values(source, strategy=source.values(previous=previous)["strategy"]))
        wait_for(cluster, helm.namespace, source)
        assert cluster.api.get("Rollout", helm.namespace, "orris") is None
    assert watch.least >= source.pods


def test_a_failed_test_pod_does_not_outlive_the_release(cluster: Cluster, helm: Helm) -> None:
    """After ``helm test`` has failed, uninstalling leaves nothing."""
    state = State("none", "rolling")
    helm.upgrade(values(state, image={"repository": "registry.example/orris", "tag": "broken"}))
    with pytest.raises(HelmFailedError):
        helm.run("test", "orris", "--timeout", "60s")
    helm.uninstall()
    assert leftovers(cluster, helm.namespace) == []

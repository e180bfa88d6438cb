"""Tests of the GitOps tree with Flux: a commit is what runs, a promotion is followed, and its reversal too.

Each environment has a cluster of its own, as it is meant to. source-controller and kustomize-controller are real; what
stands in for helm-controller runs the real Helm 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import orris
from tests.cluster.api import Object
from tests.cluster.endpoints import ready, watching
from tests.cluster.flux import SYSTEM, Flux, packaged, planted, stand_in, start_flux
from tests.cluster.flux_releases import helm_releases
from tests.cluster.running import running_cluster
from tests.cluster.sources import Charts, serving
from tests.cluster.waiting import until
from tests.delivery.gitops import IMAGE, OTHER_IMAGE
from tests.example_tables import TABLE

ENVIRONMENTS = ("dev", "stage", "prod")
NAMESPACE = "orris"
LEAST = 2


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the versions 1.0.0 and 1.1.0 of iris."""
    folder = tmp_path_factory.mktemp("store")
    for version in ("1.0.0", "1.1.0"):
        orris.train(pd.read_csv(TABLE), store=folder, target="species", name="iris", version=version)
    return folder


@pytest.fixture(params=ENVIRONMENTS)
def flux(request: pytest.FixtureRequest, tmp_path: Path, store: Path) -> Iterator[Flux]:
    """Flux on a new cluster that follows an environment, in which 1.0.0 runs, as in all others."""
    charts = Charts()
    with serving(tmp_path, charts) as address, running_cluster() as (cluster, _), helm_releases(cluster):
        tree, needed = planted(tmp_path, store, address)
        folder = tmp_path / "charts"
        folder.mkdir()
        for name, version in needed.items():
            stand_in(cluster, folder, charts, name, version)
        packaged(cluster, folder, charts, "1.0.0", "1.1.0")
        for environment in ENVIRONMENTS:
            tree.promote("1.0.0", "--to", environment, "--image-digest", IMAGE)
            tree.merge(f"promote/{environment}-1.0.0")
        start_flux(cluster)
        found = Flux(cluster, tree, request.param)
        found.bootstrap(address)
        yield found


def runs(flux: Flux) -> tuple[str, str, str, set[str]]:
    """The digests of the images, the model and the chart of the workload, and the pods that answer."""
    live = flux.cluster.api.get("Deployment", NAMESPACE, "orris")
    assert live is not None
    pod = live["spec"]["template"]["spec"]
    names = ready(flux.cluster.api, NAMESPACE, "orris")
    pods = [each for each in flux.cluster.api.list("Pod", NAMESPACE) if each["metadata"]["name"] in names]
    images = {digest(each) for each in [{"spec": pod}, *pods]}
    [pulled] = [each for each in pod["initContainers"] if "pull" in each["args"]]
    [model] = [each for each in pulled["args"] if each.startswith("iris@")]
    return ", ".join(sorted(images)), model, live["metadata"]["labels"]["helm.sh/chart"].partition("_")[0], names


def digest(pod: Object) -> str:
    """The digest of the server's image."""
    [server] = [each for each in pod["spec"]["containers"] if each["name"] == "orris"]
    image: str = server["image"]
    return image.partition("@")[2]


@pytest.mark.timeout(3600)
def test_an_environment_follows_a_promotion_and_its_reversal(flux: Flux) -> None:
    """The cluster becomes what a commit says and keeps its pods meanwhile; what leaves the tree leaves the cluster."""
    tree, environment = flux.tree, flux.environment
    flux.wait(tree.git("rev-parse", "main"))
    *before, pods = runs(flux)
    assert before == [IMAGE, "iris@1.0.0", "orris-1.0.0"]
    assert len(pods) >= LEAST

    with watching(flux.cluster.api, NAMESPACE, "orris") as watch:
        # The way of docs/gitops.md, from dev on; what concerns other environments changes nothing here.
        upstream = ENVIRONMENTS[: ENVIRONMENTS.index(environment) + 1]
        for number, target in enumerate(upstream):
            source = ("--from", upstream[number - 1]) if number else ("--image-digest", OTHER_IMAGE)
            release = flux.get("HelmRelease", NAMESPACE, "orris")
            tree.promote("1.1.0", *source, "--to", target)
            tree.merge(f"promote/{target}-1.1.0")
            flux.wait(flux.push())
            if target != environment:
                assert release is not None
                after = flux.get("HelmRelease", NAMESPACE, "orris")
                assert after is not None
                assert after["metadata"]["generation"] == release["metadata"]["generation"]
                assert list(runs(flux)[:3]) == before
        until(lambda: list(runs(flux)[:3]) == [OTHER_IMAGE, "iris@1.1.0", "orris-1.1.0"], "the promotion runs")

        tree.git("revert", "--no-edit", "HEAD")
        flux.wait(flux.push())
        until(lambda: list(runs(flux)[:3]) == before, "what ran before runs again")
    assert watch.least >= LEAST

    tree.git("rm", "--quiet", f"deploy/clusters/{environment}/apps.yaml")
    tree.git("commit", "--quiet", "--message", f"Take the release out of {environment}")
    commit = flux.push()
    until(lambda: flux.applied(commit, SYSTEM), f"{SYSTEM} is at {commit}", 600)
    until(
        lambda: flux.cluster.api.get("Namespace", "", NAMESPACE) is None, "the release and its namespace are gone", 300
    )

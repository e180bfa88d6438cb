"""A cluster whose pods are real: a control plane of its own, and the kubelet of ``tests.cluster.kubelet``."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import orris
from orris.api import Bundle
from tests.cluster.controllers import install_definitions, start_rollouts
from tests.cluster.controlplane import Cluster, control_plane
from tests.cluster.helm import ROOT, Helm
from tests.cluster.kubelet.images import Image, Images, orris_image, wrk_image
from tests.cluster.live.workloads import REPOSITORY, TOOLS, WRK, nodes_are_ready
from tests.cluster.waiting import until
from tests.example_tables import MEASUREMENTS, TABLE

PROXY_SECONDS = os.environ.get("ORRIS_TEST_PROXY_SECONDS", "0")
"""Until Services follow a change of their endpoints, as kube-proxy takes seconds; more than 0 needs a quiet machine."""

# Only where a control plane of one's own is wanted: in kind, pods are real anyway.
collect_ignore_glob = [] if os.environ.get("ORRIS_TEST_CLUSTER") == "local" else ["test_*.py"]


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Another version of the iris model, 2.0.0."""
    return orris.train(
        store=tmp_path_factory.mktemp("store"),
        table=TABLE,
        target="species",
        name="iris",
        version="2.0.0",
        model="decision-tree",
        bounds=MEASUREMENTS,
    )


@pytest.fixture(scope="session")
def cluster(iris: Bundle, second: Bundle) -> Iterator[Cluster]:
    """A cluster that has two versions of the image, wrk's image, and one of plain tools."""
    assert os.geteuid() == 0, "pods that are processes need root, for namespaces and control groups"
    home = Path(tempfile.mkdtemp(prefix="orris-live-"))
    images = Images(home / "images.json")
    images.put(f"{REPOSITORY}:1.0.0", orris_image(iris.folder))
    images.put(f"{REPOSITORY}:2.0.0", orris_image(second.folder))
    images.put(WRK, wrk_image())
    images.put(TOOLS, Image(entrypoint=["/bin/sh", "-c"], environ={"PATH": "/usr/bin:/bin"}, user=1000))
    try:
        with control_plane(home / "cluster") as running:
            install_definitions(running)
            running.start(
                "kubelet",
                *(sys.executable, "-m", "tests.cluster.kubelet", "--kubeconfig", running.kubeconfig),
                *("--home", home / "kubelet", "--images", images.path, "--metrics-seconds", "5"),
                *("--proxy-seconds", PROXY_SECONDS),
                environ={"PYTHONPATH": str(ROOT)},
            )
            until(lambda: nodes_are_ready(running.api), "the kubelet has announced its nodes")
            yield running
    finally:
        if "ORRIS_KEEP_LIVE" not in os.environ:
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def rollouts(cluster: Cluster) -> None:
    """The controller of Argo Rollouts."""
    start_rollouts(cluster)


@pytest.fixture
def helm(cluster: Cluster, namespace: str) -> Helm:
    """The release ``orris`` by Helm 4."""
    return Helm(cluster, 4, namespace)

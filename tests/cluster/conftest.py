"""One cluster for all tests: a control plane of its own (``local``), or that of the current context (``kind``)."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Collected only where a cluster is wanted (`make test-cluster`): elsewhere these tests are absent, not skipped.
WANTED = os.environ.get("ORRIS_TEST_CLUSTER", "")
collect_ignore_glob = [] if WANTED in {"local", "kind"} else ["test_*.py"]

from tests.cluster.api import Api  # noqa: E402
from tests.cluster.controllers import (  # noqa: E402
    install_definitions,
    scaled_objects,
    start_keda_webhooks,
    start_rollouts,
)
from tests.cluster.controlplane import Cluster, control_plane  # noqa: E402
from tests.cluster.helm import Helm  # noqa: E402
from tests.cluster.metrics import Load, metrics  # noqa: E402
from tests.cluster.nodes import kubelets  # noqa: E402
from tests.cluster.programs import available  # noqa: E402

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with Argo Rollouts and KEDA."""
    if WANTED == "kind":
        kubeconfig = Path(os.environ.get("KUBECONFIG", Path.home() / ".kube" / "config"))
        yield Cluster(tmp_path_factory.mktemp("kind"), kubeconfig, Api(kubeconfig))
        return
    home = Path(tempfile.mkdtemp(prefix="orris-cluster-"))
    with control_plane(home / "cluster") as running, kubelets(running.api), scaled_objects(running.api):
        install_definitions(running)
        if available("rollouts-controller"):
            start_rollouts(running)
        if available("keda-webhooks"):
            start_keda_webhooks(running)
        yield running


@pytest.fixture(scope="session")
def load(cluster: Cluster) -> Iterator[Load]:
    """CPU that pods use: what a test sets."""
    load = Load(cluster.api)
    if WANTED == "kind":
        yield load
        return
    with metrics(cluster, load):
        yield load


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of its own that enforces the restricted profile, gone at the end."""
    name = f"test-{next(_numbers)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}])
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(params=[4, 3], ids=["helm4", "helm3"])
def helm(cluster: Cluster, namespace: str, request: pytest.FixtureRequest) -> Helm:
    """The release ``orris`` by Helm 4 and by Helm 3."""
    return Helm(cluster, request.param, namespace)

"""One cluster for all tests: a control plane of its own (``local``), or that of the current context (``kind``)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Collected only where a cluster is wanted (`make test-cluster`): elsewhere these tests are absent, not skipped.
WANTED = os.environ.get("ORRIS_TEST_CLUSTER", "")
# Flux's controllers run beside a control plane of one's own only.
collect_ignore_glob = {"local": [], "kind": ["test_flux.py"]}.get(WANTED, ["test_*.py"])

from tests.cluster.api import Api  # noqa: E402
from tests.cluster.controlplane import Cluster  # noqa: E402
from tests.cluster.helm import Helm  # noqa: E402
from tests.cluster.metrics import Load  # noqa: E402
from tests.cluster.running import running_cluster  # noqa: E402

_numbers = itertools.count(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On kind, leave out the tests that set the CPU that pods use: there pods are real, and idle."""
    here = Path(__file__).parent
    out = [
        item
        for item in items
        if WANTED == "kind" and here in item.path.parents and "load" in getattr(item, "fixturenames", ())
    ]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@pytest.fixture(scope="session")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Load]]:
    if WANTED == "kind":
        kubeconfig = Path(os.environ.get("KUBECONFIG", Path.home() / ".kube" / "config"))
        cluster = Cluster(tmp_path_factory.mktemp("kind"), kubeconfig, Api(kubeconfig))
        yield cluster, Load(cluster.api)
        return
    with running_cluster() as running:
        yield running


@pytest.fixture(scope="session")
def cluster(_running: tuple[Cluster, Load]) -> Cluster:
    """A cluster with Argo Rollouts and KEDA."""
    return _running[0]


@pytest.fixture(scope="session")
def load(_running: tuple[Cluster, Load]) -> Load:
    """CPU that pods use: what a test sets."""
    return _running[1]


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

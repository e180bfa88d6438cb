"""A cluster with everything that the tests need, from nothing."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.controllers import install_definitions, scaled_objects, start_keda_webhooks, start_rollouts
from tests.cluster.controlplane import Cluster, control_plane
from tests.cluster.metrics import Load, metrics
from tests.cluster.nodes import kubelets
from tests.cluster.programs import available


@contextlib.contextmanager
def running_cluster() -> Iterator[tuple[Cluster, Load]]:
    """A control plane of its own, with what has been built of Argo Rollouts and KEDA, and the CPU that pods use."""
    home = Path(tempfile.mkdtemp(prefix="orris-cluster-"))
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(control_plane(home / "cluster"))
        stack.enter_context(kubelets(running.api))
        stack.enter_context(scaled_objects(running.api))
        load = Load(running.api)
        stack.enter_context(metrics(running, load))
        install_definitions(running)
        if available("rollouts-controller"):
            start_rollouts(running)
        if available("keda-webhooks"):
            start_keda_webhooks(running)
        yield running, load

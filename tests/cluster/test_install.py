"""Tests of scripts/chart_install.sh, by which ``make install`` and ``scripts/kind.sh`` install the chart and wait."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cluster.api import Object
from tests.cluster.controlplane import Cluster
from tests.cluster.endpoints import ready
from tests.cluster.helm import CHART, ROOT, Helm
from tests.cluster.programs import program
from tests.cluster.releases import values
from tests.cluster.transitions import State


def install(
    cluster: Cluster, helm: Helm, given: Object, folder: Path, seconds: int = 120
) -> subprocess.CompletedProcess[str]:
    """Run the script with the tested version of Helm under the name ``helm``."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    (bin_folder / "helm").unlink(missing_ok=True)
    (bin_folder / "helm").symlink_to(program({4: "helm", 3: "helm3"}[helm.version]))
    (folder / "values.yaml").write_text(yaml.safe_dump(given), "utf-8")
    environ = cluster.environ
    environ |= {"PATH": f"{bin_folder}:{environ['PATH']}", "TIMEOUT": str(seconds)}
    command: list[str | Path] = [
        ROOT / "scripts" / "chart_install.sh",
        "orris",
        CHART,
        helm.namespace,
        "--values",
        folder / "values.yaml",
    ]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("strategy", ["rolling", "canary", "blueGreen"])
def test_an_installation_ends_when_the_pods_are_ready(
    strategy: str, cluster: Cluster, helm: Helm, tmp_path: Path
) -> None:
    """After the script every pod is ready, for a Deployment and for a Rollout."""
    state = State("none", strategy)
    done = install(cluster, helm, values(state), tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(ready(cluster.api, helm.namespace, "orris")) == state.pods


def test_an_upgrade_that_waits_for_a_promotion_is_done(cluster: Cluster, helm: Helm, tmp_path: Path) -> None:
    """The script ends with success when the new version of a blue-green release stands at the preview."""
    state = State("none", "blueGreen")
    blue_green = {"strategy": state.values()["strategy"] | {"blueGreen": {"autoPromotion": False}}}
    assert install(cluster, helm, values(state, **blue_green), tmp_path).returncode == 0
    new = {"podAnnotations": {"version": "two"}}
    done = install(cluster, helm, values(state, **blue_green, **new), tmp_path)
    assert done.returncode == 0, done.stderr
    rollout = cluster.api.get("Rollout", helm.namespace, "orris")
    assert rollout is not None
    assert rollout["status"]["phase"] == "Paused"


def test_a_rollout_that_does_not_become_ready_is_a_failure(cluster: Cluster, helm: Helm, tmp_path: Path) -> None:
    """The script ends with an error that names the Rollout, after its limit."""
    broken = {"image": {"repository": "registry.example/orris", "tag": "broken"}}
    done = install(cluster, helm, values(State("none", "canary"), **broken), tmp_path, seconds=10)
    assert done.returncode == 1
    assert "error: after 10 s the Rollout orris is Progressing" in done.stderr

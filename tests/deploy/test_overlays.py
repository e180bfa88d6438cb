"""Tests that the build which the other tests here use equals that of the real kustomize."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.overlays import build, identity
from tests.deploy.tree import DEPLOY, ENVIRONMENTS, cluster

BUILDS = [(environment, name) for environment in ENVIRONMENTS for name in ("infrastructure", "apps")]


def kustomize() -> list[str]:
    """Return the real kustomize's command: by itself, or within kubectl."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    pytest.skip("neither kustomize nor kubectl is installed")


@pytest.mark.parametrize(("environment", "name"), BUILDS, ids="-".join)
def test_the_real_kustomize_builds_the_same(environment: str, name: str, tmp_path: Path) -> None:
    """The real kustomize builds the same objects, with the components that Flux adds."""
    spec = cluster(environment)[name]["spec"]
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    folder = tmp_path / spec["path"]
    components = tuple(spec.get("components", ()))
    if components:
        with (folder / "kustomization.yaml").open("a", encoding="utf-8") as file:
            file.write(yaml.safe_dump({"components": list(components)}))
    done = subprocess.run([*kustomize(), str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    real = {identity(each): each for each in yaml.safe_load_all(done.stdout)}
    ours = {identity(each): each for each in build(tmp_path / spec["path"])}
    assert len(real) >= 4
    assert ours == real


def test_every_folder_with_a_kustomization_is_built_for_some_cluster() -> None:
    """Every folder with a kustomization is used by at least one cluster."""
    reached: set[Path] = set()

    def reach(folder: Path, components: tuple[str, ...] = ()) -> None:
        reached.add(folder.resolve())
        overlay = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
        for resource in (*overlay.get("resources", ()), *overlay.get("components", ()), *components):
            if (folder / resource).is_dir():
                reach(folder / resource)

    for environment in ENVIRONMENTS:
        for kustomization in cluster(environment).values():
            reach(DEPLOY.parent / kustomization["spec"]["path"], tuple(kustomization["spec"].get("components", ())))
    folders = {file.parent.resolve() for file in DEPLOY.rglob("kustomization.yaml")}
    assert {
        folder for folder in folders if folder.name != "flux-system"
    } == reached  # that one is written by `flux bootstrap`

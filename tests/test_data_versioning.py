"""Tests of ``dvc.yaml``: from a clean clone, with a remote in a bucket, and of its lock."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = (
    "dvc.yaml",
    "dvc.lock",
    "params.yaml",
    ".dvcignore",
    ".dvc/config",
    ".dvc/.gitignore",
    "data/iris.csv",
    ".gitignore",
)


def run(*command: str, cwd: Path, **environ: str) -> str:
    """Run a command of the tests' environment, with DVC's own state beside the project; return its output."""
    state = {
        name: str(cwd.parent / "dvc-state")
        for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR")
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **state, "PATH": path, "DVC_NO_ANALYTICS": "1", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def copy_project(folder: Path) -> Path:
    """Copy what git holds of the pipeline into a repository of its own."""
    for name in PROJECT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    run("git", "init", "--quiet", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone in which the pipeline has run once."""
    folder = copy_project(tmp_path_factory.mktemp("dvc") / "clone")
    run("dvc", "repro", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Return the endpoint of an emulated Google Cloud Storage."""
    emulator = subprocess.Popen(
        [sys.executable, "-m", "tests.store.emulator", "gs"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with emulator as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def test_the_lock_is_that_of_this_tree(tmp_path: Path) -> None:
    """The lock has the digests of this tree's table and settings."""
    folder = copy_project(tmp_path / "clone")
    assert "up to date" in run("dvc", "repro", "--allow-missing", "--dry", cwd=folder)


def test_a_clean_clone_trains_evaluates_and_packages(project: Path) -> None:
    """The result is a bundle, with metrics and plots that DVC shows."""
    manifest = json.loads((project / "build" / "bundle" / "manifest.json").read_bytes())
    metrics = json.loads(run("dvc", "metrics", "show", "--json", cwd=project))
    assert (
        metrics[""]["data"]["build/evaluation/metrics.json"]["data"]["accuracy"]
        == manifest["metrics"]["accuracy"]
        > 0.9
    )
    assert (project / "build" / "evaluation" / "plots" / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_runs_again_until_something_changes(project: Path) -> None:
    """A stage runs again only after a setting has changed."""
    assert "up to date" in run("dvc", "repro", cwd=project)
    before = (project / "params.yaml").read_text("utf-8")
    (project / "params.yaml").write_text(before.replace("seed: 42", "seed: 7"), "utf-8")
    assert "train" in run("dvc", "status", cwd=project)
    (project / "params.yaml").write_text(before, "utf-8")


def test_results_travel_through_a_bucket(project: Path, bucket: str) -> None:
    """Results that one clone pushes and another pulls are byte for byte the same bundle."""
    # gcsfs asks Google's control plane for the type of the bucket, over gRPC, which no emulator speaks.
    remote = {"STORAGE_EMULATOR_HOST": bucket, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    run("dvc", "remote", "add", "--local", "--default", "storage", "gs://orris/dvc", cwd=project)
    run("dvc", "remote", "modify", "--local", "storage", "endpointurl", bucket, cwd=project)
    run("dvc", "remote", "modify", "--local", "storage", "allow_anonymous_login", "true", cwd=project)
    run("dvc", "push", cwd=project, **remote)
    before = {path.name: path.read_bytes() for path in (project / "build" / "bundle").iterdir() if path.is_file()}
    shutil.rmtree(project / "build")
    shutil.rmtree(project / ".dvc" / "cache")
    run("dvc", "pull", cwd=project, **remote)
    assert {
        path.name: path.read_bytes() for path in (project / "build" / "bundle").iterdir() if path.is_file()
    } == before

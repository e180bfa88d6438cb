"""A GitOps tree in its own git repository, with a bare repository as its remote, and ``orris promote``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
IMAGE = "sha256:" + "1a" * 32
OTHER_IMAGE = "sha256:" + "2b" * 32


@dataclass(frozen=True)
class Tree:
    """A working copy with ``deploy/``, and the store that its environments take models from."""

    root: Path
    store: Path

    def git(self, *arguments: str) -> str:
        """Run git in the working copy."""
        return subprocess.run(
            ["git", *arguments], cwd=self.root, capture_output=True, text=True, check=True
        ).stdout.strip()

    def file(self, environment: str) -> Path:
        """Return the file that pins what an environment runs."""
        return self.root / "deploy" / "apps" / environment / "release.yaml"

    def promote(self, *arguments: str, expect: int = 0, **environ: str) -> str:
        """Run the command and return standard output, or both outputs where a failure is expected."""
        clean = {
            key: value for key, value in os.environ.items() if not key.startswith(("ORRIS_", "GIT_")) and key != "CI"
        }
        done = subprocess.run(
            [sys.executable, "-m", "orris", "promote", *arguments, "--store", str(self.store)],
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
            env=clean | environ,
        )
        assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr if expect else done.stdout

    def merge(self, branch: str) -> None:
        """Merge the branch, as an accepted pull request does."""
        self.git("merge", "--quiet", "--ff-only", branch)

    def pins(self, environment: str, revision: str = "HEAD") -> tuple[str, str]:
        """Return the image and the model of an environment at a revision, as any YAML reader sees them."""
        values = yaml.safe_load(self.git("show", f"{revision}:deploy/apps/{environment}/release.yaml"))["spec"][
            "values"
        ]
        return values["image"]["digest"], values["model"]["version"]

    def run(self, environment: str, version: str, image: str = IMAGE) -> None:
        """Make an environment run a version, in a commit of its own."""
        text = self.file(environment).read_text("utf-8")
        old_image, old_version = self.pins(environment)
        self.file(environment).write_text(
            text.replace(old_image, image).replace(f"version: {old_version}\n", f"version: {version}\n"), "utf-8"
        )
        self.git("commit", "--quiet", "--all", "--message", f"{environment} runs {version}")


def plant(folder: Path, store: Path) -> Tree:
    """Put the repository's own tree into a new repository with a remote."""
    root = folder / "work"
    shutil.copytree(ROOT / "deploy", root / "deploy")
    (root / "README.md").write_text("# A repository\n", "utf-8")
    tree = Tree(root, store)
    subprocess.run(["git", "init", "--quiet", "--bare", str(folder / "origin.git")], check=True)
    tree.git("init", "--quiet", "--initial-branch", "main")
    tree.git("config", "user.name", "Ada")
    tree.git("config", "user.email", "ada@example.org")
    tree.git("remote", "add", "origin", str(folder / "origin.git"))
    tree.git("add", "--all")
    tree.git("commit", "--quiet", "--message", "A tree in which nothing runs yet")
    return tree

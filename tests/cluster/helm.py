"""Runs Helm 4 and Helm 3 on a cluster."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster.api import Object
from tests.cluster.controlplane import Cluster
from tests.cluster.programs import program

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "orris"
HELMS = {4: "helm", 3: "helm3"}


class HelmFailedError(AssertionError):
    """Helm ended with an error; the message is what it printed."""


@dataclass(frozen=True)
class Helm:
    """One major version of Helm for one release in one namespace."""

    cluster: Cluster
    version: int
    namespace: str
    release: str = "orris"

    def run(self, *arguments: str, given: str | None = None) -> str:
        """What Helm prints.

        Raises:
            HelmFailedError: Its exit code is not 0.
        """
        command = [str(program(HELMS[self.version])), *arguments, "--namespace", self.namespace]
        done = subprocess.run(
            command, input=given, env=self.cluster.environ, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            raise HelmFailedError(f"{' '.join(arguments)}: {done.stderr}{done.stdout}")
        return done.stdout

    def upgrade(self, values: Object, *flags: str, chart: Path = CHART) -> str:
        """Install the release or upgrade it; what Helm prints."""
        arguments = ["upgrade", "--install", self.release, str(chart), "--create-namespace", "--values", "-", *flags]
        return self.run(*arguments, given=yaml.safe_dump(values))

    def rollback(self, revision: int, *flags: str) -> str:
        """Go back to a revision."""
        return self.run("rollback", self.release, str(revision), *flags)

    def uninstall(self, *flags: str) -> str:
        """Uninstall the release, and wait until its objects are gone."""
        return self.run("uninstall", self.release, "--ignore-not-found", "--wait", *flags)

    def status(self) -> str:
        """The state of the newest revision, such as ``deployed`` or ``failed``."""
        found: str = yaml.safe_load(self.run("status", self.release, "--output", "json"))["info"]["status"]
        return found

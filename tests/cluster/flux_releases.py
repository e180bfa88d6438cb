"""Stands in for Flux's helm-controller: installs, upgrades and uninstalls the releases of HelmReleases with Helm 4.

The Go module proxy has helm-controller 1.4, which has Helm 3 and does not know the tree's fields; newer versions have
Helm 4. What it does here is what the tree needs: the chart of an OCIRepository or, by a HelmChart, of a HelmRepository;
values of ConfigMaps below the object's own; dependencies; a server-side apply by force, and a wait until pods are
ready. Tests of a release, remediation and the correction of drift are left out.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import yaml

from tests.cluster.api import MERGE, Object
from tests.cluster.background import in_background
from tests.cluster.controlplane import Cluster
from tests.cluster.programs import program

FINALIZER = "finalizers.fluxcd.io"
RELEASES = "/apis/helm.toolkit.fluxcd.io/v2"
SOURCES = "/apis/source.toolkit.fluxcd.io/v1"


def merged(base: Object, over: Object) -> Object:
    """Values with others on top, as Helm merges them: maps key by key, anything else as a whole."""
    found = dict(base)
    for key, value in over.items():
        below = found.get(key)
        found[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return found


class HelmReleases:
    """Looks after the HelmReleases of a cluster."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self._applied: dict[str, str] = {}
        self._end = threading.Event()

    def run(self) -> None:
        """Look after releases until the end."""
        while not self._end.wait(0.5):
            with contextlib.suppress(httpx.HTTPError):
                for found in self._all():
                    self._reconcile(found)

    def stop(self) -> None:
        """End the loop."""
        self._end.set()

    def _all(self) -> list[Object]:
        found: list[Object] = self.cluster.api.call("GET", f"{RELEASES}/helmreleases")["items"]
        return found

    def _path(self, found: Object) -> str:
        return f"{RELEASES}/namespaces/{found['metadata']['namespace']}/helmreleases/{found['metadata']['name']}"

    def _reconcile(self, found: Object) -> None:
        metadata, spec = found["metadata"], found["spec"]
        if metadata.get("deletionTimestamp"):
            self._helm(found, "uninstall", self._name(found), "--ignore-not-found", "--wait")
            self.cluster.api.call("PATCH", self._path(found), {"metadata": {"finalizers": []}}, MERGE)
            self._applied.pop(metadata["uid"], None)
            return
        if FINALIZER not in metadata.get("finalizers", []):
            self.cluster.api.call("PATCH", self._path(found), {"metadata": {"finalizers": [FINALIZER]}}, MERGE)
        if not all(self._is_ready(each, metadata["namespace"]) for each in spec.get("dependsOn", [])):
            return
        artifact = self._artifact(found)
        if artifact is None:
            return
        values = self._values(found)
        wanted = json.dumps([metadata["generation"], artifact["digest"], values], sort_keys=True)
        if self._applied.get(metadata["uid"]) != wanted:
            self._say(found, "Unknown", "Progressing", "the release is upgraded")
            failure = self._upgrade(found, artifact, values)
            self._say(
                found, "False" if failure else "True", "UpgradeFailed" if failure else "UpgradeSucceeded", failure
            )
            if not failure:
                self._applied[metadata["uid"]] = wanted

    def _name(self, found: Object) -> str:
        name: str = found["spec"].get("releaseName", found["metadata"]["name"])
        return name

    def _is_ready(self, dependency: Object, namespace: str) -> bool:
        wanted = (dependency.get("namespace", namespace), dependency["name"])
        return any(
            each["type"] == "Ready" and each["status"] == "True"
            for found in self._all()
            if (found["metadata"]["namespace"], found["metadata"]["name"]) == wanted
            for each in found.get("status", {}).get("conditions", [])
        )

    def _artifact(self, found: Object) -> Object | None:
        """The packaged chart, if source-controller has what the object asks for now."""
        namespace, spec = found["metadata"]["namespace"], found["spec"]
        if "chartRef" in spec:
            path = f"{SOURCES}/namespaces/{namespace}/ocirepositories/{spec['chartRef']['name']}"
        else:
            path = self._chart(namespace, found["metadata"]["name"], spec["chart"]["spec"])
        source = self.cluster.api.call("GET", path)
        status = source.get("status", {})
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", []))
        current = status.get("observedGeneration") == source["metadata"]["generation"]
        artifact: Object | None = status.get("artifact") if ready and current else None
        return artifact

    def _chart(self, namespace: str, name: str, wanted: Object) -> str:
        """The path of the HelmChart that source-controller fetches for an object, made if it is not there."""
        path = f"{SOURCES}/namespaces/{namespace}/helmcharts"
        spec = {
            "chart": wanted["chart"],
            "version": wanted["version"],
            "sourceRef": wanted["sourceRef"],
            "interval": "1h",
        }
        chart = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmChart", "spec": spec}
        full_name = f"{namespace}-{name}"
        with contextlib.suppress(httpx.HTTPStatusError):  # it is there
            self.cluster.api.call("POST", path, chart | {"metadata": {"name": full_name, "namespace": namespace}})
        return f"{path}/{full_name}"

    def _values(self, found: Object) -> Object:
        values: Object = {}
        for each in found["spec"].get("valuesFrom", []):
            config = self.cluster.api.get("ConfigMap", found["metadata"]["namespace"], each["name"])
            if config is not None:
                values = merged(values, yaml.safe_load(config["data"][each.get("valuesKey", "values.yaml")]) or {})
        return merged(values, found["spec"].get("values", {}))

    def _upgrade(self, found: Object, artifact: Object, values: Object) -> str:
        """Install or upgrade the release; what went wrong."""
        chart = self.folder / f"{found['metadata']['uid']}.tgz"
        chart.write_bytes(httpx.get(artifact["url"]).content)
        flags = ["--server-side=true", "--force-conflicts", "--wait=legacy", "--timeout", "240s", "--values", "-"]
        return self._helm(found, "upgrade", "--install", self._name(found), str(chart), *flags, given=values)

    def _helm(self, found: Object, *arguments: str, given: Object | None = None) -> str:
        done = subprocess.run(
            [program("helm"), *arguments, "--namespace", found["metadata"]["namespace"]],
            input=yaml.safe_dump(given or {}),
            env=self.cluster.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stderr if done.returncode else ""

    def _say(self, found: Object, ready: str, reason: str, message: str) -> None:
        condition = {
            "type": "Ready",
            "status": ready,
            "reason": reason,
            "message": message[-1000:],
            "lastTransitionTime": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        status = {"conditions": [condition], "observedGeneration": found["metadata"]["generation"]}
        self.cluster.api.call("PATCH", f"{self._path(found)}/status", {"status": status}, MERGE)


@contextlib.contextmanager
def helm_releases(cluster: Cluster) -> Iterator[None]:
    """A stand-in for helm-controller until the end of the context."""
    folder = cluster.home / "helm-releases"
    folder.mkdir()
    operator = HelmReleases(cluster, folder)
    with in_background(operator, "helm-releases"):
        yield

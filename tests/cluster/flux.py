"""Runs Flux's source- and kustomize-controller on a cluster, with the tree of ``deploy/`` in a repository on 127.0.0.1.

The tree is the project's own but for its addresses. Where it names registries and chart repositories of the internet,
it names the server of ``tests.cluster.sources``, which has Orris' chart and, for the infrastructure, charts of one
ConfigMap each. Signatures are not verified: cosign's certificates come from the internet.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster.api import Object
from tests.cluster.controlplane import Cluster, free_ports
from tests.cluster.helm import CHART
from tests.cluster.programs import program
from tests.cluster.sources import Charts
from tests.cluster.waiting import until
from tests.delivery.gitops import Tree, plant

CONTROLLERS = ("source-controller", "kustomize-controller")
SYSTEM = "flux-system"
TOOLKIT = {
    "GitRepository": "apis/source.toolkit.fluxcd.io/v1/namespaces/{}/gitrepositories/{}",
    "OCIRepository": "apis/source.toolkit.fluxcd.io/v1/namespaces/{}/ocirepositories/{}",
    "Kustomization": "apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{}/kustomizations/{}",
    "HelmRelease": "apis/helm.toolkit.fluxcd.io/v2/namespaces/{}/helmreleases/{}",
}
# Fields of a HelmRelease that the tree sets, and that the definition of helm-controller 1.4 does not have yet.
NEWER_FIELDS = {
    "waitStrategy": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "healthCheckExprs": {
        "type": "array",
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


def start_flux(cluster: Cluster) -> None:
    """Start Flux's controllers, and wait until they are ready."""
    _know_newer_fields(cluster)
    cluster.kubectl("create", "namespace", SYSTEM)
    storage = cluster.home / "flux"
    storage.mkdir()
    environ = {"KUBECONFIG": str(cluster.kubeconfig), "RUNTIME_NAMESPACE": SYSTEM, "TMPDIR": str(storage)}
    for name in CONTROLLERS:
        metrics, health, artifacts = free_ports(3)
        flags = [f"--metrics-addr=127.0.0.1:{metrics}", f"--health-addr=127.0.0.1:{health}", "--watch-all-namespaces"]
        address = f"127.0.0.1:{artifacts}"
        serves = [f"--storage-path={storage}", f"--storage-addr={address}", f"--storage-adv-addr={address}"]
        more = serves if name == "source-controller" else []
        cluster.start(name, program(name), *flags, "--requeue-dependency=2s", *more, environ=environ)


def _know_newer_fields(cluster: Cluster) -> None:
    path = "apis/apiextensions.k8s.io/v1/customresourcedefinitions/helmreleases.helm.toolkit.fluxcd.io"
    definition = cluster.api.call("GET", path)
    for version in definition["spec"]["versions"]:
        known = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        known.update({name: schema for name, schema in NEWER_FIELDS.items() if name not in known})
    cluster.api.call("PUT", path, definition)


def packaged(cluster: Cluster, folder: Path, charts: Charts, *versions: str) -> None:
    """Package Orris' chart in some versions, as ``scripts/chart.sh`` does."""
    for version in versions:
        flags = ["--version", version, "--app-version", version, "--destination", str(folder)]
        subprocess.run(
            [program("helm"), "package", CHART, *flags],
            env=cluster.environ,
            check=True,
            capture_output=True,
            timeout=120,
        )
        charts.add(folder / f"orris-{version}.tgz")


def stand_in(cluster: Cluster, folder: Path, charts: Charts, name: str, version: str) -> None:
    """Package a chart of one ConfigMap in place of one that the infrastructure takes from the internet."""
    source = folder / name
    (source / "templates").mkdir(parents=True)
    chart = {"apiVersion": "v2", "name": name, "version": version}
    (source / "Chart.yaml").write_text(yaml.safe_dump(chart), "utf-8")
    found = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-stand-in"}}
    (source / "templates" / "stand-in.yaml").write_text(yaml.safe_dump(found), "utf-8")
    subprocess.run(
        [program("helm"), "package", source, "--destination", str(folder)],
        env=cluster.environ,
        check=True,
        capture_output=True,
        timeout=120,
    )
    charts.add(folder / f"{name}-{version}.tgz")


def planted(folder: Path, store: Path, address: str) -> tuple[Tree, dict[str, str]]:
    """The tree with a remote ``origin.git`` in a folder that is served at an address.

    Also the charts that its infrastructure needs, with their versions.
    """
    tree = plant(folder, store)
    needed: dict[str, str] = {}
    for file in sorted((tree.root / "deploy").rglob("*.yaml")):
        objects = [each for each in yaml.safe_load_all(file.read_text("utf-8")) if each]
        changed = [_at(each, address, needed) for each in objects]
        if any(changed):
            file.write_text(yaml.safe_dump_all(objects, sort_keys=False), "utf-8")
    shutil.rmtree(tree.root / "deploy" / "argocd")
    tree.git("commit", "--quiet", "--all", "--message", "Take charts from this machine")
    return tree, {name: version for name, version in needed.items() if name != "orris"}


def _at(found: Object, address: str, needed: dict[str, str]) -> bool:
    """Let a source of charts name an address, and note what it takes from there; whether it changed."""
    kind, spec = found.get("kind"), found.get("spec", {})
    if kind == "OCIRepository":
        name = found["metadata"]["name"]
        needed[name] = spec["ref"]["tag"]
        spec |= {"url": f"oci://{address}/charts/{name}", "insecure": True}
        spec.pop("verify", None)
    elif kind == "HelmRepository":
        spec["url"] = f"http://{address}/helm"
    elif kind == "HelmRelease" and "chart" in spec:
        needed[spec["chart"]["spec"]["chart"]] = spec["chart"]["spec"]["version"]
        return False
    return kind in {"OCIRepository", "HelmRepository"}


@dataclass(frozen=True)
class Flux:
    """Flux on a cluster that follows an environment of a tree."""

    cluster: Cluster
    tree: Tree
    environment: str

    def bootstrap(self, address: str) -> None:
        """Follow the branch ``main``: what ``flux bootstrap --path=deploy/clusters/ENVIRONMENT`` leaves."""
        self.push()
        metadata = {"name": SYSTEM, "namespace": SYSTEM}
        git = {"interval": "1m", "url": f"http://{address}/git/origin.git", "ref": {"branch": "main"}}
        root = {
            "interval": "10m",
            "path": f"./deploy/clusters/{self.environment}",
            "prune": True,
            "sourceRef": {"kind": "GitRepository", "name": SYSTEM},
        }
        kinds = {
            "GitRepository": ("source.toolkit.fluxcd.io/v1", git),
            "Kustomization": ("kustomize.toolkit.fluxcd.io/v1", root),
        }
        self.cluster.apply(
            [
                {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
                for kind, (version, spec) in kinds.items()
            ]
        )

    def push(self) -> str:
        """Push ``main``, and ask Flux to look at it as ``flux reconcile source git`` does; the commit."""
        self.tree.git("push", "--quiet", "origin", "main")
        if self.get("GitRepository", SYSTEM, SYSTEM) is not None:
            self.ask("GitRepository", SYSTEM, SYSTEM)
        return self.tree.git("rev-parse", "main")

    def ask(self, kind: str, namespace: str, name: str) -> None:
        """Ask Flux to reconcile an object now, as ``flux reconcile`` does."""
        asked = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": str(time.time_ns())}}}
        path = TOOLKIT[kind].format(namespace, name)
        self.cluster.api.call("PATCH", path, asked, "application/merge-patch+json")

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """An object of Flux, or nothing where it is not there."""
        answer = self.cluster.api.client.get(TOOLKIT[kind].format(namespace, name))
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        found: Object = answer.json()
        return found

    def ready(self, kind: str, namespace: str, name: str) -> bool:
        """Whether an object is ready as it is now."""
        found = self.get(kind, namespace, name)
        if found is None or found["status"].get("observedGeneration") != found["metadata"]["generation"]:
            return False
        conditions = {each["type"]: each["status"] for each in found["status"].get("conditions", [])}
        return conditions.get("Ready") == "True" and conditions.get("Reconciling") != "True"

    def applied(self, commit: str, name: str) -> bool:
        """Whether a Kustomization has applied a commit, and everything of it is ready."""
        found = self.get("Kustomization", SYSTEM, name)
        at = found is not None and found["status"].get("lastAppliedRevision", "").endswith(commit)
        return at and self.ready("Kustomization", SYSTEM, name)

    def wait(self, commit: str) -> None:
        """Wait until the cluster is as a commit describes it."""
        for name in (SYSTEM, "infrastructure", "apps"):
            until(lambda name=name: self.applied(commit, name), f"{name} is at {commit}", 600)  # type: ignore[misc]
        until(lambda: self.ready("HelmRelease", "orris", "orris"), "the release is ready", 600)

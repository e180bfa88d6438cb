"""The GitOps tree: its folders, and what Flux applies for each cluster."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.overlays import Object, build, documents

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ENVIRONMENTS = ("dev", "stage", "prod")


def cluster(environment: str) -> dict[str, Object]:
    """Flux's Kustomizations of a cluster, by name."""
    found = [
        document for file in sorted((DEPLOY / "clusters" / environment).glob("*.yaml")) for document in documents(file)
    ]
    return {document["metadata"]["name"]: document for document in found}


def built(kustomization: Object) -> list[Object]:
    """What Flux applies for a Kustomization."""
    spec = kustomization["spec"]
    return build(ROOT / spec["path"], tuple(spec.get("components", ())))

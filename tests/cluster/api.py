"""A small client of the Kubernetes API: what the tests and the stand-ins call, with JSON in and out."""

from __future__ import annotations

import base64
import ssl
import tempfile
from pathlib import Path
from typing import Any

import httpx
import yaml

Object = dict[str, Any]
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

GROUPS = {
    "Deployment": "apis/apps/v1",
    "ReplicaSet": "apis/apps/v1",
    "HorizontalPodAutoscaler": "apis/autoscaling/v2",
    "Job": "apis/batch/v1",
    "EndpointSlice": "apis/discovery.k8s.io/v1",
    "PodDisruptionBudget": "apis/policy/v1",
    "Rollout": "apis/argoproj.io/v1alpha1",
    "AnalysisTemplate": "apis/argoproj.io/v1alpha1",
    "ScaledObject": "apis/keda.sh/v1alpha1",
    "Lease": "apis/coordination.k8s.io/v1",
}


def collection(kind: str, namespace: str = "") -> str:
    """The path of a kind's collection: of a namespace, or of all."""
    plural = kind.lower() + ("es" if kind.endswith("s") else "s")
    return f"/{GROUPS.get(kind, 'api/v1')}/{f'namespaces/{namespace}/' if namespace else ''}{plural}"


class Api:
    """The API server that a kubeconfig names, with the credentials of its current context."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text("utf-8"))
        context = next(each["context"] for each in config["contexts"] if each["name"] == config["current-context"])
        cluster = next(each["cluster"] for each in config["clusters"] if each["name"] == context["cluster"])
        user = next(each["user"] for each in config["users"] if each["name"] == context["user"])
        with tempfile.TemporaryDirectory() as folder:
            authority, certificate, key = (
                _file(holder, name, Path(folder))
                for holder, name in (
                    (cluster, "certificate-authority"),
                    (user, "client-certificate"),
                    (user, "client-key"),
                )
            )
            trust = ssl.create_default_context(cafile=authority)
            trust.load_cert_chain(certificate, key)
        self.url: str = cluster["server"]
        self.client = httpx.Client(base_url=self.url, verify=trust, timeout=30)

    def call(
        self, method: str, path: str, body: Object | None = None, content_type: str = "application/json"
    ) -> Object:
        """Call the API.

        Raises:
            httpx.HTTPStatusError: The API refused.
        """
        answer = self.client.request(method, path, json=body, headers={"content-type": content_type})
        answer.raise_for_status()
        found: Object = answer.json()
        return found

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """An object, or nothing where it is not there."""
        answer = self.client.get(f"{collection(kind, namespace)}/{name}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        found: Object = answer.json()
        return found

    def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Object]:
        """The objects of a kind; none where the cluster does not know the kind."""
        answer = self.client.get(collection(kind, namespace), params={"labelSelector": selector} if selector else {})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return []
        answer.raise_for_status()
        found: list[Object] = answer.json()["items"]
        return found

    def patch(self, kind: str, namespace: str, name: str, body: Object, subresource: str = "") -> Object:
        """Merge a patch into an object, or into a subresource of it."""
        path = f"{collection(kind, namespace)}/{name}{f'/{subresource}' if subresource else ''}"
        return self.call("PATCH", path, body, MERGE)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object, if it is there."""
        answer = self.client.delete(f"{collection(kind, namespace)}/{name}")
        if answer.status_code != httpx.codes.NOT_FOUND:
            answer.raise_for_status()


def _file(holder: Object, name: str, folder: Path) -> Path:
    """The file that a kubeconfig names, or one with the data that it holds."""
    if name in holder:
        return Path(holder[name])
    path = folder / name
    path.write_bytes(base64.b64decode(holder[f"{name}-data"]))
    return path

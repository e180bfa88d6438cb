"""The calls to Kubernetes' API that the experiment needs, by the library ``kubernetes``, with plain documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orris.errors import ExperimentError, MissingExtraError

Object = dict[str, Any]
_NOT_FOUND = 404
_KEDA = ("keda.sh", "v1alpha1", "scaledobjects")
_ROLLOUTS = ("argoproj.io", "v1alpha1", "rollouts")


class Kube:
    """A namespace of the cluster of a context.

    Args:
        context: Context of the kubeconfig; ``None``: the current one, or the pod's own account.
        namespace: The namespace.

    Raises:
        MissingExtraError: The library is not installed.
        ExperimentError: There is no such context.
    """

    def __init__(self, context: str | None, namespace: str) -> None:
        try:
            from kubernetes import client, config  # noqa: PLC0415 (an extra)
        except ImportError as error:
            raise MissingExtraError("experiment", "an experiment on a cluster") from error
        self.namespace = namespace
        try:
            api: Any = config.new_client_from_config(context=context)  # type: ignore[no-untyped-call]
        except config.ConfigException as error:
            raise ExperimentError(f"no cluster: {error}; see  kubectl config get-contexts") from error
        self._client: Any = client
        self._api = api
        self._core: Any = client.CoreV1Api(api)
        self._apps: Any = client.AppsV1Api(api)
        self._scaling: Any = client.AutoscalingV2Api(api)
        self._batch: Any = client.BatchV1Api(api)
        self._custom: Any = client.CustomObjectsApi(api)

    def version(self) -> str:
        """The version of the API server."""
        with self._explained("the version"):
            return str(self._client.VersionApi(self._api).get_code().git_version)

    def namespace_labels(self) -> dict[str, str]:
        """The labels of the namespace."""
        with self._explained(f"the namespace {self.namespace}"):
            found = self._plain(self._core.read_namespace(self.namespace))
        labels: dict[str, str] = found["metadata"].get("labels") or {}
        return labels

    def autoscaler(self, name: str) -> Object | None:
        """A HorizontalPodAutoscaler."""
        return self._found(f"the HPA {name}", self._scaling.read_namespaced_horizontal_pod_autoscaler, name)

    def patch_autoscaler(self, name: str, patch: Object) -> None:
        """Merge a patch into it."""
        with self._explained(f"the HPA {name}"):
            self._scaling.patch_namespaced_horizontal_pod_autoscaler(name, self.namespace, patch)

    def apply_autoscaler(self, document: Object) -> None:
        """Create it, or change the one that is there."""
        name = document["metadata"]["name"]
        if self.autoscaler(name) is None:
            with self._explained(f"the HPA {name}"):
                self._scaling.create_namespaced_horizontal_pod_autoscaler(self.namespace, document)
        else:
            self.patch_autoscaler(name, {"spec": document["spec"]})

    def delete_autoscaler(self, name: str) -> None:
        """Delete it, if it is there."""
        self._found(f"the HPA {name}", self._scaling.delete_namespaced_horizontal_pod_autoscaler, name)

    def scaled_object(self, name: str) -> Object | None:
        """A ScaledObject of KEDA; none where the cluster does not know the kind."""
        return self._custom_object(_KEDA, name)

    def patch_scaled_object(self, name: str, patch: Object) -> None:
        """Merge a patch into it."""
        with self._explained(f"the ScaledObject {name}"):
            group, version, plural = _KEDA
            self._custom.patch_namespaced_custom_object(group, version, self.namespace, plural, name, patch)

    def workload(self, name: str) -> Object:
        """The Deployment, or the Rollout of Argo, of a release.

        Raises:
            ExperimentError: There is neither.
        """
        found = self._found(f"the Deployment {name}", self._apps.read_namespaced_deployment, name)
        if found is not None:
            return found | {"kind": "Deployment"}
        found = self._custom_object(_ROLLOUTS, name)
        if found is None:
            raise ExperimentError(
                f"there is no Deployment and no Rollout {name} in {self.namespace}: install the release"
            )
        return found

    def scale(self, workload: str, replicas: int) -> None:
        """Set the replicas of ``deployment/NAME`` or ``rollout.argoproj.io/NAME``."""
        kind, _, name = workload.partition("/")
        patch = {"spec": {"replicas": replicas}}
        with self._explained(workload):
            if kind == "deployment":
                self._apps.patch_namespaced_deployment_scale(name, self.namespace, patch)
            else:
                group, version, plural = _ROLLOUTS
                self._custom.patch_namespaced_custom_object(group, version, self.namespace, plural, name, patch)

    def config_map(self, name: str) -> dict[str, str] | None:
        """The data of a ConfigMap."""
        found = self._found(f"the ConfigMap {name}", self._core.read_namespaced_config_map, name)
        return None if found is None else found.get("data") or {}

    def create_config_map(self, name: str, data: dict[str, str], label: str = "") -> None:
        """Create one."""
        metadata = {"name": name, "labels": dict([label.split("=")]) if label else {}}
        with self._explained(f"the ConfigMap {name}"):
            self._core.create_namespaced_config_map(self.namespace, {"metadata": metadata, "data": data})

    def apply_config_map(self, name: str, data: dict[str, str], label: str) -> None:
        """Create one, or replace the data of the one that is there."""
        if self.config_map(name) is None:
            self.create_config_map(name, data, label)
            return
        with self._explained(f"the ConfigMap {name}"):
            self._core.patch_namespaced_config_map(name, self.namespace, {"data": data})

    def delete_config_map(self, name: str) -> None:
        """Delete it, if it is there."""
        self._found(f"the ConfigMap {name}", self._core.delete_namespaced_config_map, name)

    def create_job(self, document: Object) -> None:
        """Create a Job."""
        with self._explained(f"the Job {document['metadata']['name']}"):
            self._batch.create_namespaced_job(self.namespace, document)

    def job_status(self, name: str) -> Object:
        """The status of a Job; one that is gone has failed."""
        found = self._found(f"the Job {name}", self._batch.read_namespaced_job_status, name)
        return {"failed": 1} if found is None else found.get("status", {})

    def delete_labelled(self, label: str) -> None:
        """Delete the Jobs, with their pods, and the ConfigMaps that have a label."""
        with self._explained(f"what is labelled {label}"):
            for found in self._batch.list_namespaced_job(self.namespace, label_selector=label).items:
                name = found.metadata.name
                self._found(name, self._batch.delete_namespaced_job, name, propagation_policy="Background")
            for found in self._core.list_namespaced_config_map(self.namespace, label_selector=label).items:
                self.delete_config_map(found.metadata.name)

    def pods(self, selector: str) -> list[Object]:
        """The pods that a selector finds."""
        with self._explained(f"the pods {selector}"):
            found = self._plain(self._core.list_namespaced_pod(self.namespace, label_selector=selector))
        items: list[Object] = found.get("items") or []
        return items

    def log(self, selector: str) -> str:
        """The log of the first pod that a selector finds; empty: there is none."""
        for pod in self.pods(selector):
            name = pod["metadata"]["name"]
            with self._explained(f"the log of the pod {name}"):
                return str(self._core.read_namespaced_pod_log(name, self.namespace))
        return ""

    def _custom_object(self, kind: tuple[str, str, str], name: str) -> Object | None:
        group, version, plural = kind
        with self._explained(f"{plural} {name}"):
            try:
                found: Object = self._custom.get_namespaced_custom_object(group, version, self.namespace, plural, name)
            except self._client.ApiException as error:
                if error.status == _NOT_FOUND:
                    return None
                raise
        return found

    def _found(self, what: str, call: Any, name: str, **options: Any) -> Object | None:
        with self._explained(what):
            try:
                return self._plain(call(name, self.namespace, **options))
            except self._client.ApiException as error:
                if error.status == _NOT_FOUND:
                    return None
                raise

    def _plain(self, found: Any) -> Object:
        document: Object = self._api.sanitize_for_serialization(found)
        return document

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn what the library raises into an error that says what was called, and what the cluster answered."""
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 (the library's own)

        try:
            yield
        except self._client.ApiException as error:
            raise ExperimentError(f"{what}: the cluster answered {error.status}: {_message(error)}") from error
        except HTTPError as error:
            raise ExperimentError(f"{what}: the cluster does not answer: {error}") from error


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)

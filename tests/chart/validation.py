"""Holds objects to schemas.

Kubernetes' own in several versions, the operators' in ``crds/``, and counts what was held.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

from tests.chart.rendering import Object, jobs

VERSIONS = ("1.31", "1.33", "1.35", "1.37")
CRDS = {
    file.stem: json.loads(file.read_text("utf-8")) for file in sorted((Path(__file__).parent / "crds").glob("*.json"))
}


@functools.cache
def _registry(version: str) -> Registry[Any]:
    definitions = schema_contents(f"kubernetes-json-schema/v{version}.0-local-strict/_definitions.json", version)
    registry: Registry[Any] = Registry()
    return Resource.from_contents(definitions) @ registry


@functools.cache
def _kubernetes(version: str, api_version: str, kind: str) -> jsonschema.protocols.Validator:
    group, _, of_group = api_version.rpartition("/")
    name = f"{group.split('.')[0]}-{of_group}" if group else of_group
    schema = schema_contents(f"kubernetes-json-schema/v{version}.0-local-strict/{kind.lower()}-{name}.json", version)
    return jsonschema.Draft202012Validator(schema, registry=Resource.from_contents(schema) @ _registry(version))


def problems(found: Object, version: str) -> list[str]:
    """What is wrong with an object in a version of Kubernetes; keys that are not known are wrong.

    Raises:
        FileNotFoundError: A kind that neither Kubernetes nor ``crds/`` knows.
    """
    kind = found["kind"]
    validator = (
        jsonschema.Draft202012Validator(CRDS[kind]) if kind in CRDS else _kubernetes(version, found["apiVersion"], kind)
    )
    said = [
        f"{kind} {found['metadata']['name']}, {version}: {error.json_path}: {error.message}"
        for error in validator.iter_errors(found)
    ]
    inside = [as_deployment(found)] if kind == "Rollout" else []
    inside += [
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": found["metadata"], "spec": job} for job in jobs([found])
    ]
    return said + [problem for each in inside for problem in problems(each, version)]


def as_deployment(rollout: Object) -> Object:
    """The parts of a Rollout that are Kubernetes' own, as a Deployment has them; the Rollout's schema lacks them."""
    spec = {
        key: rollout["spec"][key]
        for key in ("selector", "template", "replicas", "revisionHistoryLimit", "minReadySeconds")
        if key in rollout["spec"]
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": rollout["metadata"], "spec": spec}


def counted(cases: dict[str, list[Object]]) -> Counter[str]:
    """How many objects there are of each kind, over all cases."""
    return Counter(each["kind"] for found in cases.values() for each in found)

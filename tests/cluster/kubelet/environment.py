"""The environment of a container: the image's, the pod's, and what ``env`` and ``envFrom`` refer to."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

from tests.cluster.kubelet.api import Object
from tests.cluster.kubelet.quantities import number

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")

Lookup = Callable[[str, str], Object | None]
"""Finds a ConfigMap or a Secret of the pod's namespace: ``(kind, name)``."""


class MissingError(Exception):
    """Something that a container needs is not there (yet).

    Attributes:
        reason: The container's reason for waiting, in Kubernetes' words.
    """

    def __init__(self, message: str, reason: str = "CreateContainerConfigError") -> None:
        super().__init__(message)
        self.reason = reason


class UnsupportedError(MissingError):
    """Something that this kubelet does not do, or Kubernetes refuses to."""


def expanded(text: str, environ: dict[str, str]) -> str:
    """Replace ``$(NAME)`` by a variable, as Kubernetes does: an unknown one stays, ``$$`` is one dollar."""

    def replacement(match: re.Match[str]) -> str:
        return "$" if match[1] is None else environ.get(match[1], match[0])

    return _REFERENCE.sub(replacement, text)


def contents(found: Object) -> dict[str, bytes]:
    """The files of a ConfigMap or a Secret, whose ``kind`` has to be set: lists leave it out."""
    secret = found["kind"] == "Secret"
    encoded = found.get("data" if secret else "binaryData") or {}
    plain = {} if secret else found.get("data") or {}
    return {key: base64.b64decode(value) for key, value in encoded.items()} | {
        key: value.encode() for key, value in plain.items()
    }


def variables(container: Object, pod: Object, image: dict[str, str], lookup: Lookup) -> dict[str, str]:
    """All variables of a container.

    Raises:
        MissingError: A ConfigMap, a Secret or a key of one that is not there and not optional.
    """
    environ = {**image, "HOSTNAME": pod["metadata"]["name"]}
    for source in container.get("envFrom", []):
        kind, reference = (
            ("ConfigMap", source["configMapRef"]) if "configMapRef" in source else ("Secret", source["secretRef"])
        )
        for key, value in _files(kind, reference, lookup).items():
            environ[source.get("prefix", "") + key] = value.decode()
    for each in container.get("env", []):
        if "valueFrom" not in each:
            environ[each["name"]] = expanded(each.get("value", ""), environ)
            continue
        found = _referred(each["valueFrom"], container, pod, lookup)
        if found is not None:
            environ[each["name"]] = found
    return environ


def _files(kind: str, reference: Object, lookup: Lookup) -> dict[str, bytes]:
    found = lookup(kind, reference["name"])
    if found is None:
        if reference.get("optional"):
            return {}
        raise MissingError(f'{kind.lower()} "{reference["name"]}" not found')
    return contents({**found, "kind": kind})


def _referred(source: Object, container: Object, pod: Object, lookup: Lookup) -> str | None:
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource(container, source["resourceFieldRef"])
    kind = "ConfigMap" if "configMapKeyRef" in source else "Secret"
    reference = source.get("configMapKeyRef") or source["secretKeyRef"]
    value = _files(kind, reference, lookup).get(reference["key"])
    if value is None and not reference.get("optional"):
        raise MissingError(f'{kind.lower()} "{reference["name"]}" has no key "{reference["key"]}"')
    return None if value is None else value.decode()


def field(pod: Object, path: str) -> str:
    """A field of the pod by its path, ``metadata.labels['app']`` included."""
    match = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)
    if match:
        return str(pod["metadata"].get(match[1], {}).get(match[2], ""))
    found: object = pod
    for name in path.split("."):
        found = found.get(name, "") if isinstance(found, dict) else ""
    return str(found)


def resource(container: Object, reference: Object) -> str:
    """A request or a limit in units of the divisor, rounded up; CPU in whole processors by default."""
    part, _, name = reference["resource"].partition(".")
    quantity = container.get("resources", {}).get(part, {}).get(name)
    if quantity is None:
        raise MissingError(f"the container has no {reference['resource']}; a node's allocatable is not given")
    divisor = number(reference.get("divisor", "0")) or 1.0
    return str(-int(-number(quantity) // divisor))

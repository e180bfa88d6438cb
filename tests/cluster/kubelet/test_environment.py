"""Tests of the environment of a container."""

from __future__ import annotations

import base64

import pytest

from tests.cluster.kubelet.api import Object
from tests.cluster.kubelet.environment import MissingError, contents, expanded, field, resource, variables

POD: Object = {
    "metadata": {"name": "orris-1", "namespace": "serving", "labels": {"app": "orris"}},
    "status": {"podIP": "10.244.0.7"},
}
FILES: dict[tuple[str, str], Object] = {
    ("ConfigMap", "settings"): {"data": {"LEVEL": "debug", "NAME": "from the map"}},
    ("Secret", "token"): {"data": {"value": base64.b64encode(b"hidden").decode()}},
}


def lookup(kind: str, name: str) -> Object | None:
    """Find the objects of ``FILES``."""
    return FILES.get((kind, name))


@pytest.mark.parametrize(
    ("text", "expected"),
    [  # those of https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$(A)", "$(A)"),
        ("$(MISSING)", "$(MISSING)"),
        ("$A", "$A"),
        ("$$$(A)", "$1"),
        ("$(A", "$(A"),
    ],
)
def test_variables_in_values_are_expanded_as_kubernetes_does(text: str, expected: str) -> None:
    """References are replaced, unknown ones stay, and two dollars are one."""
    assert expanded(text, {"A": "1", "B": "2"}) == expected


def test_the_environment_has_all_its_sources_in_order() -> None:
    """A container's ``env`` wins over ``envFrom``, which wins over the image."""
    container: Object = {
        "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}},
        "envFrom": [{"configMapRef": {"name": "settings"}}, {"prefix": "P_", "secretRef": {"name": "token"}}],
        "env": [
            {"name": "NAME", "value": "own"},
            {"name": "GREETING", "value": "hello $(NAME)"},
            {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "value"}}},
            {"name": "LEVEL_2", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "LEVEL"}}},
            {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x", "optional": True}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ],
    }
    found = variables(container, POD, {"LEVEL": "info", "HOME": "/home/x"}, lookup)
    assert found == {
        "HOME": "/home/x",
        "HOSTNAME": "orris-1",
        "LEVEL": "debug",
        "P_value": "hidden",
        "NAME": "own",
        "GREETING": "hello own",
        "ADDRESS": "10.244.0.7",
        "TOKEN": "hidden",
        "LEVEL_2": "debug",
        "CPU": "2",
    }


@pytest.mark.parametrize(
    ("container", "named"),
    [
        ({"envFrom": [{"configMapRef": {"name": "other"}}]}, 'configmap "other" not found'),
        (
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "token", "key": "x"}}}]},
            'secret "token" has no key "x"',
        ),
    ],
)
def test_what_is_missing_is_named(container: Object, named: str) -> None:
    """A reference to an object or a key that is not there is an error that names it."""
    with pytest.raises(MissingError, match=named):
        variables(container, POD, {}, lookup)


def test_fields_and_resources_are_read() -> None:
    """Labels are read by their key; resources are rounded up to the divisor."""
    assert field(POD, "metadata.labels['app']") == "orris"
    assert field(POD, "spec.nodeName") == ""
    limits: Object = {"resources": {"limits": {"memory": "100Mi"}}}
    assert resource(limits, {"resource": "limits.memory", "divisor": "1Mi"}) == "100"


def test_files_of_maps_and_secrets_are_bytes() -> None:
    """A ConfigMap holds text and binary data; a Secret's data is encoded."""
    assert contents({"kind": "ConfigMap", "data": {"a": "ä"}, "binaryData": {"b": "AAE="}}) == {
        "a": "ä".encode(),
        "b": b"\x00\x01",
    }
    assert contents({"kind": "Secret", "data": {"a": "AAE="}}) == {"a": b"\x00\x01"}
    assert contents({"kind": "ConfigMap"}) == {}

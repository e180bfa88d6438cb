"""Tests of Flux's objects: current APIs, valid references, a defined order, and exact versions."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from orris.delivery.environment import NOTHING_LIVE
from tests.deploy.overlays import Object, documents, place
from tests.deploy.tree import DEPLOY, ENVIRONMENTS, ROOT, cluster

SCHEMAS = {
    file.stem: json.loads(file.read_text("utf-8")) for file in sorted((Path(__file__).parent / "crds").glob("*.json"))
}
CORE = {"Namespace", "ConfigMap"}
MAX_PATCH_LINES = 20
_EXACT = re.compile(r"v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SECONDS = {"h": 3600, "m": 60, "s": 1}


def problems(found: Object) -> list[str]:
    """Return the violations of an object's schema."""
    validator = jsonschema.Draft202012Validator(SCHEMAS[found["kind"]])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(found)]


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """The objects of these kinds; there has to be one."""
    found = [each for each in objects if each["kind"] in kinds]
    assert found, f"no {kinds}"
    return found


def seconds(duration: str) -> int:
    """A duration of Flux, such as ``1h30m``."""
    return sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_object_fits_its_schema(
    environment: str, clusters: dict[str, list[Object]], record_property: Callable[[str, object], None]
) -> None:
    """Every object fits the schema of an API version that Flux or Kubernetes serves, with no unknown key."""
    custom = [each for each in clusters[environment] if each["kind"] not in CORE]
    assert {each["kind"] for each in clusters[environment]} <= CORE | SCHEMAS.keys()
    assert len(custom) >= 9
    record_property(
        "validated",
        f"gitops: {environment}: {len(clusters[environment])} objects, {len(custom)} of them custom resources",
    )
    assert [(each["metadata"]["name"], problem) for each in custom for problem in problems(each)] == []
    assert {each["apiVersion"] for each in clusters[environment] if each["kind"] in CORE} == {"v1"}


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("HelmRelease", "spec.chartRefs", {}),
        ("HelmRelease", "apiVersion", "helm.toolkit.fluxcd.io/v2beta2"),
        ("HelmRelease", "spec.interval", "ten minutes"),
        ("HelmRelease", "spec.upgrade.remediation.strategy", "undo"),
        ("HelmRelease", "spec.test.enabled", True),
        ("OCIRepository", "apiVersion", "source.toolkit.fluxcd.io/v1beta2"),
        ("OCIRepository", "spec.ref.version", "1.0.0"),
        ("OCIRepository", "spec.layerSelector.operation", "unpack"),
        ("Kustomization", "spec.dependsOn", "infrastructure"),
        ("Kustomization", "spec.prune", "yes"),
    ],
)
def test_the_schemas_refuse_mistakes(kind: str, path: str, value: Any, clusters: dict[str, list[Object]]) -> None:
    """The schemas refuse objects of the tree with one mistake each."""
    found = copy.deepcopy(
        next(each for each in of_kind(clusters["prod"], kind) if each["metadata"]["name"] in {"orris", "apps"})
    )
    assert problems(found) == []
    holder, last = place(found, path)
    holder[last] = value
    assert problems(found)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_infrastructure_comes_before_apps(environment: str) -> None:
    """Apps depend on infrastructure; each waits for health, prunes, retries, and allows its releases enough time."""
    found = cluster(environment)
    assert list(found) == ["apps", "infrastructure"]
    assert found["apps"]["spec"]["dependsOn"] == [{"name": "infrastructure"}]
    assert found["apps"]["spec"]["path"] == f"./deploy/apps/{environment}"
    for each in found.values():
        spec = each["spec"]
        assert (spec["wait"], spec["prune"], spec["sourceRef"]) == (
            True,
            True,
            {"kind": "GitRepository", "name": "flux-system"},
        )
        assert seconds(spec["retryInterval"]) < seconds(spec["timeout"]) <= 3600
        assert (ROOT / spec["path"] / "kustomization.yaml").is_file()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_references_are_to_objects_that_are_there(environment: str, clusters: dict[str, list[Object]]) -> None:
    """Every chart, ConfigMap, release and namespace that is referred to exists."""
    objects = clusters[environment]
    there = {(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in objects}
    namespaces = {name for kind, _, name in there if kind == "Namespace"} | {"flux-system", "kube-system"}
    assert {namespace for _, namespace, _ in there} - {None} <= namespaces
    for release in of_kind(objects, "HelmRelease"):
        namespace, spec = release["metadata"]["namespace"], release["spec"]
        source = spec["chartRef"] if "chartRef" in spec else spec["chart"]["spec"]["sourceRef"]
        wanted = [(source["kind"], namespace, source["name"])]
        wanted += [(each["kind"], namespace, each["name"]) for each in spec["valuesFrom"] if not each.get("optional")]
        wanted += [("HelmRelease", each["namespace"], each["name"]) for each in spec.get("dependsOn", ())]
        assert set(wanted) <= there


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_failed_release_is_remediated(environment: str, clusters: dict[str, list[Object]]) -> None:
    """Every release retries and rolls back; that of Orris also runs its tests and corrects drift."""
    for release in of_kind(clusters[environment], "HelmRelease"):
        spec = release["spec"]
        assert spec["install"]["remediation"]["retries"] == 3
        assert (
            spec["upgrade"]["remediation"]
            == {"retries": 3, "remediateLastFailure": True} | spec["upgrade"]["remediation"]
        )
        assert seconds(spec["timeout"]) <= seconds(cluster(environment)["infrastructure"]["spec"]["timeout"])
    [orris] = [
        each["spec"] for each in of_kind(clusters[environment], "HelmRelease") if each["metadata"]["name"] == "orris"
    ]
    assert (orris["test"]["enable"], orris["driftDetection"]["mode"]) == (True, "enabled")
    assert seconds(orris["timeout"]) + seconds(orris["test"]["timeout"]) < seconds(
        cluster(environment)["apps"]["spec"]["timeout"]
    )


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_version_is_exact(environment: str, clusters: dict[str, list[Object]]) -> None:
    """Charts and models have exact versions and images digests, so no tag decides what runs."""
    for source in of_kind(clusters[environment], "OCIRepository"):
        reference = source["spec"]["ref"]
        assert "digest" in reference or (list(reference) == ["tag"] and _EXACT.fullmatch(reference["tag"]))
    for release in of_kind(clusters[environment], "HelmRelease"):
        assert "chart" not in release["spec"] or _EXACT.fullmatch(release["spec"]["chart"]["spec"]["version"])
    values = orris_values(clusters[environment])
    assert _DIGEST.fullmatch(values["image"]["digest"])
    assert "tag" not in values["image"]
    assert _EXACT.fullmatch(values["model"]["version"])
    [chart] = [
        each["spec"]["ref"]
        for each in of_kind(clusters[environment], "OCIRepository")
        if each["metadata"]["name"] == "orris"
    ]
    assert chart == {"tag": values["model"]["version"]}  # released together


def orris_values(objects: list[Object]) -> Object:
    """Return the chart's values in a cluster: the ConfigMap's, overridden by the release's."""
    [release] = [each for each in of_kind(objects, "HelmRelease") if each["metadata"]["name"] == "orris"]
    [shared] = [each for each in of_kind(objects, "ConfigMap") if each["metadata"]["name"] == "orris-values"]
    values: Object = yaml.safe_load(shared["data"]["values.yaml"])
    for section, inner in release["spec"]["values"].items():
        values[section] = {**values.get(section, {}), **inner} if isinstance(inner, dict) else inner
    return values


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_chart_is_signed_by_our_own_workflow(environment: str, clusters: dict[str, list[Object]]) -> None:
    """Flux accepts only a chart that the repository's own workflow signed."""
    [source] = [
        each["spec"] for each in of_kind(clusters[environment], "OCIRepository") if each["metadata"]["name"] == "orris"
    ]
    [identity] = source["verify"]["matchOIDCIdentity"]
    workflow = "https://github.com/orris-ml/orris/.github/workflows/"
    assert re.search(identity["issuer"], "https://token.actions.githubusercontent.com")
    assert re.search(identity["subject"], f"{workflow}release.yml@refs/tags/v1.2.3")
    for other in (
        f"{workflow}release.yml@refs/pull/7/merge",
        "https://github.com/orris-ml/orris-fork/.github/workflows/release.yml@refs/heads/main",
    ):
        assert not re.search(identity["subject"], other)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_is_a_short_patch(environment: str) -> None:
    """An environment has at most twenty lines, and the overlay around it is the same everywhere."""
    folder = DEPLOY / "apps" / environment
    assert sorted(file.name for file in folder.iterdir()) == ["kustomization.yaml", "release.yaml"]
    assert len((folder / "release.yaml").read_text("utf-8").splitlines()) <= MAX_PATCH_LINES
    assert (folder / "kustomization.yaml").read_text("utf-8") == (
        DEPLOY / "apps" / "dev" / "kustomization.yaml"
    ).read_text("utf-8")
    [patch] = documents(folder / "release.yaml")
    assert set(patch["spec"]) == {"values"}


def test_no_secret_is_in_the_tree() -> None:
    """The tree has no object of kind Secret and no key that would hold one."""
    for file in [
        file for file in DEPLOY.rglob("*.yaml") if file.parent.name != "flux-system"
    ]:  # which `flux bootstrap` writes
        text = file.read_text("utf-8").replace("githubConfigSecret:", "")  # the name of one
        assert not re.search(r"^kind: Secret$|(?i:password|token|secret)\w*:\s*\S", text, re.MULTILINE), file


def test_an_environment_without_a_model_has_no_image_either() -> None:
    """Until the first promotion both the model and the image are zeros."""
    for environment in ENVIRONMENTS:
        [patch] = documents(DEPLOY / "apps" / environment / "release.yaml")
        values = patch["spec"]["values"]
        assert (values["model"]["version"] == NOTHING_LIVE) == (
            set(values["image"]["digest"].removeprefix("sha256:")) == {"0"}
        )

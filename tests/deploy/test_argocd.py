"""Tests of Argo CD's ApplicationSets: they give the same charts, versions and values as Flux."""

from __future__ import annotations

import copy
import re
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deploy.overlays import Object, documents, place
from tests.deploy.test_flux import SCHEMAS, of_kind, problems
from tests.deploy.tree import DEPLOY, ENVIRONMENTS

FILES = {file.stem: documents(file)[0] for file in sorted((DEPLOY / "argocd").glob("*.yaml"))}
SCALED = (("apps", "Deployment"), ("argoproj.io", "Rollout"))
_ACTION = re.compile(r"\{\{ *(.+?) *}}")


def generated(application_set: Object) -> list[Object]:
    """Return the applications of an ApplicationSet: a matrix of two generators, in the templates' subset used here."""
    [generator] = application_set["spec"]["generators"]
    first, second = generator["matrix"]["generators"]
    found = []
    for outer in first["list"]["elements"]:
        for inner in elements(second, outer):
            assert not outer.keys() & inner.keys()
            found.append(rendered(application_set["spec"]["template"], outer | inner))
    return found


def elements(generator: Object, outer: Object) -> list[Object]:
    """What a list or git's files generate."""
    if "list" in generator:
        return list(generator["list"]["elements"])
    found = []
    for item in generator["git"]["files"]:
        files = sorted(DEPLOY.parent.glob(rendered(item["path"], outer)))
        assert files, item["path"]
        found += [documents(file)[0] for file in files]
    return found


def rendered(template: Any, values: Object) -> Any:
    """Return a template with every action replaced by its result."""
    if isinstance(template, dict):
        return {key: rendered(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [rendered(value, values) for value in template]
    return (
        _ACTION.sub(lambda action: carried_out(action[1], values), template) if isinstance(template, str) else template
    )


def carried_out(action: str, values: Object) -> str:
    """Return the result of an action, ``.a.b`` or ``toYaml .a.b``; a missing key is an error."""
    found = re.fullmatch(r"(?:(toYaml) )?((?:\.\w+)+)", action)
    assert found, f"this test does not know {action}"
    value: Any = values
    for key in found[2].split(".")[1:]:
        value = value[key]
    return yaml.safe_dump(value) if found[1] == "toYaml" else str(value)


@pytest.mark.parametrize("name", FILES)
def test_every_object_fits_its_schema(name: str) -> None:
    """Every object fits its schema, with no unknown key, before its templates are filled in and after."""
    assert problems(FILES[name]) == []
    if FILES[name]["kind"] == "ApplicationSet":
        template = SCHEMAS["ApplicationSet"]["properties"]["spec"]["properties"]["template"]
        validator = jsonschema.Draft202012Validator(template)
        applications = generated(FILES[name])
        assert len({each["metadata"]["name"] for each in applications}) == len(applications) >= 3
        assert [error.message for each in applications for error in validator.iter_errors(each)] == []
        assert "{{" not in str(applications)


@pytest.mark.parametrize(
    "path",
    [
        "spec.goTemplates",
        "spec.template.spec.projects",
        "spec.template.spec.syncPolicy.automated.heal",
        "spec.template.metadata.title",
    ],
)
def test_the_schema_refuses_mistakes(path: str) -> None:
    """The schema refuses objects with one mistake each."""
    found = copy.deepcopy(FILES["apps"])
    holder, last = place(found, path)
    holder[last] = True
    assert problems(found)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_is_the_same_as_with_flux(environment: str, clusters: dict[str, list[Object]]) -> None:
    """Argo CD and Flux install the same chart version under the same names with the same values."""
    [application] = [
        each["spec"] for each in generated(FILES["apps"]) if each["metadata"]["name"] == f"orris-{environment}"
    ]
    [release] = [each for each in of_kind(clusters[environment], "HelmRelease") if each["metadata"]["name"] == "orris"]
    [source] = [
        each["spec"] for each in of_kind(clusters[environment], "OCIRepository") if each["metadata"]["name"] == "orris"
    ]
    [shared] = [
        each for each in of_kind(clusters[environment], "ConfigMap") if each["metadata"]["name"] == "orris-values"
    ]
    chart, repository = application["sources"]
    assert f"oci://{chart['repoURL']}/{chart['chart']}" == source["url"]
    assert chart["targetRevision"] == source["ref"]["tag"]
    assert yaml.safe_load(chart["helm"]["values"]) == release["spec"]["values"]
    assert chart["helm"]["releaseName"] == release["spec"]["releaseName"]
    assert application["destination"] == {"name": environment, "namespace": release["metadata"]["namespace"]}
    assert [value_file(path, repository) for path in chart["helm"]["valueFiles"]] == [shared["data"]["values.yaml"]]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_number_of_pods_counts_only_when_the_workload_is_made(environment: str) -> None:
    """The chart states the minimum, since Argo CD renders it without a cluster, and every later sync ignores it."""
    [application] = [
        each["spec"] for each in generated(FILES["apps"]) if each["metadata"]["name"] == f"orris-{environment}"
    ]
    helm = application["sources"][0]["helm"]
    assert helm["parameters"] == [{"name": "autoscaling.startAtMinimum", "value": "always"}]
    ignored = {(each["group"], each["kind"]): each["jsonPointers"] for each in application["ignoreDifferences"]}
    assert ignored == {scaled: ["/spec/replicas"] for scaled in SCALED}
    assert "RespectIgnoreDifferences=true" in application["syncPolicy"]["syncOptions"]


def value_file(path: str, repository: Object) -> str:
    """The content of a file that an application takes from the repository."""
    assert repository["ref"] == "values"
    return (DEPLOY.parent / path.removeprefix("$values/")).read_text("utf-8")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_infrastructure_is_the_same_as_with_flux(environment: str, clusters: dict[str, list[Object]]) -> None:
    """Chart, repository, version, namespace, Pod Security level and values equal those of Flux."""
    objects = clusters[environment]
    applications = {
        each["spec"]["sources"][0]["chart"]: each["spec"]
        for each in generated(FILES["infrastructure"])
        if each["spec"]["destination"]["name"] == environment
    }
    releases = {each["metadata"]["name"]: each for each in of_kind(objects, "HelmRelease")}
    sources = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "OCIRepository", "HelmRepository")}
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(objects, "ConfigMap")}
    levels = {each["metadata"]["name"]: each["metadata"]["labels"] for each in of_kind(objects, "Namespace")}
    assert applications.keys() == releases.keys() - {
        "orris",
        "metrics-server",
    }  # the last one only where the cluster has none
    for name, application in applications.items():
        chart, repository = application["sources"]
        source, namespace = sources[name], releases[name]["metadata"]["namespace"]
        if "ref" in source:
            assert (f"oci://{chart['repoURL']}/{name}", chart["targetRevision"]) == (
                source["url"],
                source["ref"]["tag"],
            )
        else:
            version = releases[name]["spec"]["chart"]["spec"]["version"]
            assert (chart["repoURL"], chart["targetRevision"]) == (source["url"], version)
        assert application["destination"]["namespace"] == namespace
        assert application["syncPolicy"]["managedNamespaceMetadata"]["labels"] == levels[namespace]
        assert [value_file(path, repository) for path in chart["helm"]["valueFiles"]] == [
            maps[f"{name}-values"]["values.yaml"]
        ]


def test_the_project_allows_the_kinds_that_the_applications_use() -> None:
    """The project allows exactly the sources and clusters of the applications."""
    project = FILES["project"]["spec"]
    applications = [each["spec"] for name in ("apps", "infrastructure") for each in generated(FILES[name])]
    assert {source["repoURL"] for each in applications for source in each["sources"]} == set(project["sourceRepos"])
    assert {each["destination"]["name"] for each in applications} == {each["name"] for each in project["destinations"]}
    assert {each["project"] for each in applications} == {FILES["project"]["metadata"]["name"]}

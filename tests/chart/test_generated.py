"""Tests that generated files of the chart are up to date."""

from __future__ import annotations

import json
from pathlib import Path

import helm_python
import jsonschema
import pytest
import yaml
from tools import chart_docs, chart_files, chart_manifests

import orris
from tests.chart.rendering import CHART, ROOT, VALUES, Object, chart, rendered, values_of


@pytest.mark.parametrize("file", ["README.md", "values.schema.json"])
def test_schema_and_page_are_those_of_the_values(file: str) -> None:
    """The values' schema and page are up to date (else run ``python -m tools.chart_docs``)."""
    assert (CHART / file).read_text("utf-8") == chart_docs.written()[CHART / file]


def test_alerts_and_dashboards_are_those_of_observability() -> None:
    """The chart's alerts and dashboards equal observability's (else run ``python -m tools.chart_files``)."""
    assert chart_files.differences() == []
    for source, (pattern, target) in chart_files.COPIES.items():
        assert len(list(source.glob(pattern))) == len(list(target.glob(pattern))) >= 3


def test_the_plain_manifests_are_those_of_the_chart() -> None:
    """The plain manifests are up to date (else run ``python -m tools.chart_manifests``)."""
    written = chart_manifests.written()
    assert {file: file.read_text("utf-8") for file in sorted((ROOT / "k8s").glob("*.yaml"))} == written


def test_the_chart_has_the_version_of_orris() -> None:
    """In the repository the chart has the version of Orris; a release sets its own."""
    metadata = chart().metadata
    assert (metadata["version"], metadata["appVersion"]) == (orris.__version__, orris.__version__)


def test_the_values_schema_is_valid_and_closed() -> None:
    """The defaults fit the schema, whose objects are closed except for those that Kubernetes defines."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.Draft7Validator(schema).validate(yaml.safe_load((CHART / "values.yaml").read_text("utf-8")))

    def opened(part: Object, path: str) -> list[str]:
        below = part.get("properties", {})
        own = [path] if below and part.get("additionalProperties") is not False else []
        return own + [each for name, value in below.items() for each in opened(value, f"{path}.{name}")]

    assert opened(schema, "") == []


def test_every_value_is_used() -> None:
    """Every value of the chart is read by a template."""
    templates = "".join(file.read_text("utf-8") for file in CHART.rglob("templates/**/*") if file.is_file())
    values = [each for each in chart_docs.values((CHART / "values.yaml").read_text("utf-8")) if not each.is_branch]
    assert len(values) > 90
    assert [".".join(each.path) for each in values if f".{each.path[-1]}" not in templates] == []


def test_every_template_makes_one_kind_of_object() -> None:
    """Each template makes one kind of object, has its name, and is rendered by some values."""
    written: dict[str, set[str]] = {}
    for case in VALUES:
        for path, text in chart().render(values_of(case), name="orris", namespace="serving").items():
            kinds = {each["kind"] for each in yaml.safe_load_all(text) if each} if path.endswith(".yaml") else set()
            written.setdefault(Path(path).name, set()).update(kinds)
    written.pop("NOTES.txt")
    assert {name: kinds for name, kinds in written.items() if len(kinds) != 1} == {}
    others = {"http.yaml": "Pod", "v2.yaml": "Pod", "grpc.yaml": "Pod", "dashboards.yaml": "ConfigMap"}
    others |= {"service-preview.yaml": "Service", "analysistemplate-preview.yaml": "AnalysisTemplate"}
    assert {name: kind for name, [kind] in written.items() if name != f"{kind.lower()}.yaml"} == others


def test_the_chart_is_packaged_whole(tmp_path: Path) -> None:
    """The package that ``scripts/chart.sh`` makes holds alerts and dashboards and renders the same objects."""
    archive = helm_python.package(CHART, destination=tmp_path, version="1.2.3", app_version="1.2.3")
    with helm_python.Chart.load(archive) as packed:
        assert packed.version == "1.2.3"
        names = {each["name"] for each in packed.files}
        assert {"files/alerts/slo.yaml", "files/dashboards/orris-serving.json", "README.md"} <= names
        texts = packed.render(values_of("everything"), name="orris", namespace="serving")
    found = [
        each for path, text in texts.items() if path.endswith(".yaml") for each in yaml.safe_load_all(text) if each
    ]
    assert [each["kind"] for each in found] == [each["kind"] for each in rendered("everything")]
    assert "ghcr.io/orris-ml/orris:1.2.3" in str(found)


@pytest.mark.parametrize("case", VALUES)
def test_the_notes_have_the_next_commands(case: str) -> None:
    """The notes have the commands for this kind of roll-out, and mention predictions without credentials."""
    [notes] = [
        text
        for path, text in chart().render(values_of(case), name="orris", namespace="serving").items()
        if path.endswith("NOTES.txt")
    ]
    rollout = "strategy" in values_of(case) or case == "everything"
    assert ("kubectl argo rollouts status" in notes, "kubectl rollout status deployment/" in notes) == (
        rollout,
        not rollout,
    )
    assert "helm test orris -n serving" in notes
    assert ("Whoever reaches it may ask it" in notes) == ("auth" not in values_of(case))
    assert "<no value>" not in notes

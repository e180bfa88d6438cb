"""Tests that the values of every environment are valid for the chart."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from tests.chart.rendering import objects, of_kind, workload
from tests.chart.validation import VERSIONS, problems
from tests.deploy.overlays import Object
from tests.deploy.test_flux import orris_values
from tests.deploy.tree import ENVIRONMENTS, ROOT

CHART = ROOT / "charts" / "orris"


def over(defaults: Any, values: Any) -> Any:
    """Values over the chart's defaults, as Helm lays them."""
    if not (isinstance(defaults, dict) and isinstance(values, dict)):
        return values
    return defaults | {key: over(defaults.get(key), value) for key, value in values.items()}


def unknown(defaults: Any, values: Any, path: str = "") -> list[str]:
    """Keys that the chart's defaults do not have; what is empty there may hold anything."""
    if not (isinstance(values, dict) and isinstance(defaults, dict) and defaults):
        return []
    found = [f"{path}.{key}" for key in values if key not in defaults]
    return found + [
        each for key in values if key in defaults for each in unknown(defaults[key], values[key], f"{path}.{key}")
    ]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_values_of_an_environment_fit_the_chart(environment: str, clusters: dict[str, list[Object]]) -> None:
    """An environment's values fit the chart's schema and have no key that its defaults lack."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    defaults = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    values = orris_values(clusters[environment])
    assert unknown(defaults, values) == []
    errors = jsonschema.validators.validator_for(schema)(schema).iter_errors(over(defaults, values))
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_chart_renders_the_values_of_an_environment(environment: str, clusters: dict[str, list[Object]]) -> None:
    """The objects have the image by digest, the version from the store and an autoscaler, and fit their schemas."""
    values = orris_values(clusters[environment])
    found = objects(values, namespace="orris")
    assert [problem for each in found for problem in problems(each, VERSIONS[-1])] == []
    template = workload(found)["spec"]["template"]
    images = {
        container["image"] for container in [*template["spec"]["initContainers"], *template["spec"]["containers"]]
    }
    assert images == {f"{values['image']['repository']}@{values['image']['digest']}"}
    pull = template["spec"]["initContainers"][0]["args"]
    assert pull == [
        "models",
        "pull",
        f"{values['model']['name']}@{values['model']['version']}",
        values["model"]["store"],
    ]
    assert len(of_kind(found, "ScaledObject", "ServiceMonitor", "PrometheusRule")) == 3
    assert {"keda", "kube-prometheus-stack"} <= {
        each["metadata"]["name"] for each in of_kind(clusters[environment], "HelmRelease")
    }

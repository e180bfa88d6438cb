"""The chart, rendered by Helm's own library without a cluster, over the values files of ``values/``."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "orris"
VALUES = {file.stem: file for file in sorted((Path(__file__).parent / "values").glob("*.yaml"))}
NAMESPACE = "serving"
RELEASE = "orris"

Object = dict[str, Any]


@functools.cache
def chart() -> helm_python.Chart:
    """The chart, loaded once in each process."""
    return helm_python.Chart.load(CHART)


def values_of(case: str) -> Object:
    """The values of a file of ``values/``."""
    found: Object = yaml.safe_load(VALUES[case].read_text("utf-8"))
    return found


def objects(values: Object, release: str = RELEASE, namespace: str = NAMESPACE) -> list[Object]:
    """Every object that these values make, ``helm test``'s included.

    Raises:
        helm_python.HelmError: Values that the schema or the chart itself refuses.
    """
    rendered = chart().render(values, name=release, namespace=namespace)
    texts = [text for path, text in rendered.items() if not path.endswith("NOTES.txt")]
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


@functools.cache
def rendered(case: str) -> list[Object]:
    """The objects of a values file; tests share them and must not change them."""
    return objects(values_of(case))


def of_kind(found: list[Object], *kinds: str) -> list[Object]:
    """Those of some kinds."""
    return [each for each in found if each["kind"] in kinds]


def one(found: list[Object], kind: str, name: str = "") -> Object:
    """The only one of a kind, or the one of a name."""
    [only] = [each for each in of_kind(found, kind) if not name or each["metadata"]["name"] == name]
    return only


def workload(found: list[Object]) -> Object:
    """The Deployment or the Rollout."""
    [only] = of_kind(found, "Deployment", "Rollout")
    return only


def jobs(found: list[Object]) -> list[Object]:
    """The specs of the jobs that an analysis starts."""
    metrics = [metric for each in of_kind(found, "AnalysisTemplate") for metric in each["spec"]["metrics"]]
    return [metric["provider"]["job"]["spec"] for metric in metrics if "job" in metric["provider"]]


def pods(found: list[Object]) -> list[tuple[str, Object, Object]]:
    """Everything that becomes a pod: its name, its metadata, its spec."""
    server = workload(found)
    template = server["spec"]["template"]
    tests = [(each["metadata"]["name"], each["metadata"], each["spec"]) for each in of_kind(found, "Pod")]
    asking = [("preview", job["template"]["metadata"], job["template"]["spec"]) for job in jobs(found)]
    return [(server["metadata"]["name"], template["metadata"], template["spec"]), *tests, *asking]


def containers(spec: Object) -> list[Object]:
    """All containers of a pod, those that run first as well."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def server(found: list[Object]) -> Object:
    """The server's container."""
    [only] = [each for each in workload(found)["spec"]["template"]["spec"]["containers"] if each["name"] == "orris"]
    container: Object = only
    return container


def environment(container: Object) -> dict[str, str]:
    """Its variables; one that is there twice is an error."""
    pairs = [(each["name"], each["value"]) for each in container.get("env", [])]
    assert len(dict(pairs)) == len(pairs), "a variable is there twice"
    return dict(pairs)


def processors(quantity: str) -> float:
    """CPU as Kubernetes writes it: ``500m`` or ``2``."""
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Whether a pod with these labels is meant."""
    return selector.items() <= labels.items()


def queries(found: list[Object]) -> list[str]:
    """Every expression in PromQL that the objects hold."""
    triggers = [trigger for each in of_kind(found, "ScaledObject") for trigger in each["spec"]["triggers"]]
    metrics = [metric for each in of_kind(found, "AnalysisTemplate") for metric in each["spec"]["metrics"]]
    groups = [group for each in of_kind(found, "PrometheusRule") for group in each["spec"]["groups"]]
    asked = [trigger["metadata"]["query"] for trigger in triggers] + [
        metric["provider"]["prometheus"]["query"] for metric in metrics if "prometheus" in metric["provider"]
    ]
    return asked + [rule["expr"] for group in groups for rule in group["rules"]]


def metric_names(query: str) -> set[str]:
    """The series that an expression queries, each with its matchers, in the subset of PromQL that the chart uses."""
    return set(re.findall(r"([a-zA-Z_:][\w:]*)\{", query))

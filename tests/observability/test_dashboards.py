"""Tests of the dashboards: generated, on the grid, and importable into any Grafana."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.dashboards.__main__ import main, stale

from tests.observability.rulefiles import ROOT, selectors

FOLDER = ROOT / "observability" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
UNITS = {"s", "bytes", "percentunit", "reqps", "rowsps", "cps", "short", "none"}

each_dashboard = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def read(file: Path) -> dict[str, Any]:
    """A dashboard."""
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def panels(file: Path) -> list[dict[str, Any]]:
    """Its panels, without the headings of rows."""
    return [panel for panel in read(file)["panels"] if panel["type"] != "row"]


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside of a document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from walk(inner)


def test_the_files_are_up_to_date() -> None:
    """The dashboard files equal what ``python -m tools.dashboards`` generates."""
    assert stale() == []
    assert main("--check") == 0


def test_titles_and_uids_stay() -> None:
    """Titles and uids stay the same, because links and updates depend on them."""
    found = {file.name: (read(file)["uid"], read(file)["title"]) for file in FILES}
    assert found == {
        "orris-fleet.json": ("orris-fleet", "Orris Fleet"),
        "orris-quality.json": ("orris-quality", "Orris Model Quality"),
        "orris-serving.json": ("orris-serving", "Orris Model Serving"),
    }


@each_dashboard
def test_the_data_source_is_a_choice(file: Path) -> None:
    """No dashboard has the uid of a particular Prometheus."""
    document = read(file)
    sources = [each["datasource"] for each in walk(document) if "datasource" in each]
    assert sources
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    assert (
        document["templating"]["list"][0] | {"name": "datasource", "type": "datasource"}
        == document["templating"]["list"][0]
    )


@each_dashboard
def test_variables_that_queries_name_exist(file: Path) -> None:
    """Every variable in a query exists, and each choice is used by a query."""
    document = read(file)
    known = {variable["name"] for variable in document["templating"]["list"]}
    text = json.dumps([panel.get("targets") for panel in panels(file)])
    used = set(re.findall(r"\$\{?(\w+)\}?", text)) - {"__rate_interval"}
    assert used == known


@each_dashboard
def test_panels_fill_the_grid_and_do_not_overlap(file: Path) -> None:
    """Panels fill the 24 columns of each row without overlaps and holes."""
    cells: set[tuple[int, int]] = set()
    for panel in read(file)["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own
    assert cells == {(x, y) for x in range(24) for y in range(max(y for _, y in cells) + 1)}


@each_dashboard
def test_every_panel_is_described(file: Path) -> None:
    """Every panel has a description, a known unit, an id of its own, and a title that is unique under its heading."""
    found = panels(file)
    assert len({panel["id"] for panel in read(file)["panels"]}) == len(read(file)["panels"])
    for panel in found:
        assert panel["title"]
        if panel["type"] == "text":
            continue
        assert panel["description"].endswith((".", "?")), panel["title"]
        units = [each["unit"] for each in walk(panel["fieldConfig"]) if "unit" in each]
        units += [each["value"] for each in walk(panel["fieldConfig"]) if each.get("id") == "unit"]
        units += [panel["options"]["yAxis"]["unit"]] if panel["type"] == "heatmap" else []
        assert units, panel["title"]
        assert set(units) <= UNITS, panel["title"]


@each_dashboard
def test_durations_are_in_seconds_and_memory_in_bytes(file: Path) -> None:
    """The unit of a panel is the unit of its metric."""
    wanted = {"_duration_seconds_bucket": "s", "_resident_memory_bytes": "bytes", "orris_drift_psi": "none"}
    seen = 0
    for panel in panels(file):
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        for target in panel.get("targets") or [] if unit else []:
            for part, expected in wanted.items():
                if part in target["expr"] and panel["title"] != "Predictions by duration":
                    assert unit == expected, panel["title"]
                    seen += 1
    assert seen


@each_dashboard
def test_every_query_is_held_to_the_chosen_job(file: Path) -> None:
    """Every query selects the chosen job, because other programs have metrics of the same names."""
    for panel in panels(file):
        for target in panel.get("targets") or []:
            found = selectors(target["expr"])
            assert found
            free = [each for each in found if 'job="$job"' not in each]
            assert all(each.startswith(("kube_", "keda_", 'ALERTS{alertname=~"Orris')) for each in free), free

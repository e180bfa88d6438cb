"""Tests of the configurations that ship logs, and of the queries in the documentation."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from orris.api import Bundle
from orris.telemetry.log_formats import Line
from tests.servers import client, serving
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "observability"
ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


def read(path: str) -> Any:
    """Return a YAML file of the folder."""
    return yaml.safe_load((FOLDER / path).read_text("utf-8"))


@pytest.mark.parametrize("store", ["filesystem", "gcs"])
def test_loki_keeps_structured_metadata_and_deletes_old_logs(store: str) -> None:
    """Loki has schema v13 with tsdb, an index of a day, and a compactor that deletes."""
    config = read(f"loki/loki-{store}.yaml")
    (schema,) = config["schema_config"]["configs"]
    assert (schema["store"], schema["schema"], schema["object_store"], schema["index"]["period"]) == (
        "tsdb",
        "v13",
        store,
        "24h",
    )
    assert list(config["common"]["storage"]) == [store]
    assert config["compactor"]["retention_enabled"] is True
    assert config["compactor"]["delete_request_store"] == store
    assert config["limits_config"]["retention_period"] == "744h"


def test_the_two_lokis_differ_in_their_storage_only() -> None:
    """The configurations for a disk and for a bucket differ in their storage only."""
    disk, bucket = read("loki/loki-filesystem.yaml"), read("loki/loki-gcs.yaml")
    for config in (disk, bucket):
        del (
            config["common"]["storage"],
            config["schema_config"]["configs"][0]["object_store"],
            config["compactor"]["delete_request_store"],
        )
    assert disk == bucket


def stages(kind: str) -> set[str]:
    """Return the keys that the stages of this kind of Alloy's pipeline set."""
    text = (FOLDER / "alloy" / "config.alloy").read_text("utf-8")
    found = re.findall(rf"stage\.{kind} {{\n\t\t\w+ = {{\n(.*?)\n\t\t}}", text, re.DOTALL)
    assert found
    return set(re.findall(r"^\t+(\w+) +=", "\n".join(found), re.MULTILINE))


def test_alloy_makes_no_label_of_many_values() -> None:
    """Of a line's fields only the level is a label, ids are structured metadata, and Orris writes all of them."""
    assert stages("labels") == {"level"}
    assert stages("structured_metadata") == {"model_version", "pod", "request_id", "span_id", "trace_id"}
    fields = {field.name for field in msgspec.structs.fields(Line)}
    assert stages("json") <= fields
    assert stages("structured_metadata") - {"pod"} <= stages("json")


def test_grafana_leads_from_metrics_and_logs_to_traces_and_back() -> None:
    """Every link of Grafana points to an existing source and finds the trace id as Orris writes it."""
    sources = {source["uid"]: source for source in read("grafana/datasources.yaml")["datasources"]}
    assert {uid: source["type"] for uid, source in sources.items()} == {
        "prometheus": "prometheus",
        "loki": "loki",
        "tempo": "tempo",
    }
    (exemplars,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert (exemplars["name"], exemplars["datasourceUid"]) == ("trace_id", "tempo")
    by_label, by_regex = sources["loki"]["jsonData"]["derivedFields"]
    assert (by_label["matcherType"], by_label["matcherRegex"], by_label["datasourceUid"]) == (
        "label",
        "trace_id",
        "tempo",
    )
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    found = re.search(by_regex["matcherRegex"], f'{{"level":"info","trace_id":"{trace}","span_id":"00f067aa0ba902b7"}}')
    assert found is not None
    assert found[1] == trace
    assert sources["tempo"]["jsonData"]["tracesToLogsV2"]["datasourceUid"] == "loki"


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is missing: apt-get install jq")
def test_the_documented_queries_of_the_log_work(iris: Bundle, tmp_path: Path) -> None:
    """Each jq command of docs/operations.md finds lines in the log of a real server."""
    section = (
        (ROOT / "docs" / "operations.md")
        .read_text("utf-8")
        .partition("\n## Questions to the log\n")[2]
        .partition("\n## ")[0]
    )
    commands = re.findall(r"^(jq .+)$", section, re.MULTILINE)
    assert len(commands) == 6
    trace, request_id = "4bf92f3577b34da6a3ce929d0e0e4736", "465119f259cdab833c9afecdeb51b127"
    with serving(str(iris.folder), folder=tmp_path) as server:
        with client(server) as asking:
            for _ in range(3):
                asking.post(
                    "/predict",
                    json=ROW,
                    headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "x-request-id": request_id},
                )
            asking.post("/predict", json=ROW | {"petal_width": 30})
            asking.post("/predict", content=b"{")
        server.stop()
    log = tmp_path / "log"
    slow_failure = (
        '{"level":"error","route":"/predict","status":500,"milliseconds":250.5,"error":"boom","request_id":"r"}\n'
    )
    log.write_text((tmp_path / "requests.log").read_text() + slow_failure)
    answers = []
    for command in commands:
        done = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
        )
        assert done.stderr == ""
        answers.append(done.stdout)
    errors, slow, traced, warnings, versions, refused = answers
    assert '"error":"boom"' in errors
    assert '"milliseconds":250.5' in slow
    assert traced.count(trace) == 3
    assert warnings.split() == ["1", "petal_width:out_of_range"]
    assert re.sub(r"\s", "", versions) == '[{"version":"1.0.0","requests":5}]'
    assert len(refused.splitlines()) == 1

"""Tests of drift on real servers: by column, version and protocol, over all workers."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

import orris
from orris.api import Bundle
from orris.bundle import PROFILE, seal
from orris.serving.access.keys import digest_of, new_key
from orris.store import Store
from tests.example_tables import TABLE, mixed_table
from tests.servers import Server, client, serving
from tests.waiting import eventually

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of gevent, at import
    import tritonclient.grpc as triton

NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
TOKEN = "an-admin-token-that-is-long-enough-for-a-test"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
ENVIRON = {"ORRIS_ADMIN_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest()}
DRIFT = "/api/v1/model/drift"

Row = dict[str, Any]
Samples = dict[tuple[str, str, str], float]
"""Values by metric, version and column."""


def flowers(times: int = 2, **shift: float) -> list[Row]:
    """Return the training rows, repeated, with something added to some columns."""
    table = pd.read_csv(TABLE)[NAMES]
    for column, by in shift.items():
        table[column] += by
    rows: list[Row] = table.to_dict("records")  # type: ignore[assignment]
    return rows * times


def gauges(ask: httpx.Client) -> Samples:
    """Return the gauges of drift."""
    return {
        (
            sample.name.removeprefix("orris_drift_"),
            sample.labels["version"],
            sample.labels.get("column", ""),
        ): sample.value
        for family in text_string_to_metric_families(ask.get("/metrics").text)
        for sample in family.samples
        if sample.name.startswith("orris_drift_")
    }


@pytest.fixture
def running(iris: Bundle, tmp_path: Path) -> Iterator[httpx.Client]:
    """Return a client of a server that has had no request."""
    with serving(str(iris.folder), folder=tmp_path) as server, client(server) as ask:
        yield ask


def test_shifted_traffic_raises_the_right_columns_gauge_and_only_that_one(running: httpx.Client) -> None:
    """The training rows with all sepals 1.5 cm longer raise that column's gauge and leave the others at zero."""
    assert running.post("/predict", json=flowers(sepal_length=1.5)).status_code == 200
    found = gauges(running)
    assert found["rows", "1.0.0", ""] == 300
    assert found["psi", "1.0.0", "sepal_length"] > 0.25
    assert [found["psi", "1.0.0", column] for column in NAMES[1:]] == pytest.approx([0, 0, 0], abs=1e-9)
    told = running.get(DRIFT).json()
    assert [column["verdict"] for column in told["columns"]] == ["shifted", "stable", "stable", "stable"]
    assert told["verdict"] == "shifted"


def test_the_predictions_have_an_index_of_their_own(running: httpx.Client) -> None:
    """Flowers of one species raise the index of the predictions, and the document shows their distribution."""
    assert running.post("/predict", json=flowers(6)[:50] * 4).status_code == 200
    assert gauges(running)["prediction_psi", "1.0.0", ""] > 0.25
    predictions = running.get(DRIFT).json()["predictions"]
    assert predictions["verdict"] == "shifted"
    assert [(each["level"], each["current"]) for each in predictions["bins"]] == [
        ("setosa", 1),
        ("versicolor", 0),
        ("virginica", 0),
    ]


def test_the_document_has_window_rows_and_shares(running: httpx.Client) -> None:
    """The document has the window, the rows and the shares of every bin, or the number of rows that are missing."""
    running.post("/predict", json=flowers(1)[:10])
    told = running.get(DRIFT).json()
    assert {
        key: told[key] for key in ("model", "model_version", "window_seconds", "rows", "reference_rows", "verdict")
    } == {
        "model": "iris",
        "model_version": "1.0.0",
        "window_seconds": 3600,
        "rows": 10,
        "reference_rows": 150,
        "verdict": "unknown",
    }
    assert told["since"].endswith("Z")
    column = told["columns"][0]
    assert (column["column"], column["psi"], column["rows_needed"]) == ("sepal_length", None, 200)
    assert column["missing"] == {"reference": 0, "current": 0}
    assert (column["bins"][0]["above"], column["bins"][-1]["up_to"]) == (None, None)
    assert sum(each["current"] for each in column["bins"]) == pytest.approx(1)
    assert sum(each["reference"] for each in column["bins"]) == pytest.approx(1)


def test_a_server_without_requests_has_no_index(running: httpx.Client) -> None:
    """Before the first request the document has zero rows, no index and no start of its window."""
    told = running.get(DRIFT).json()
    assert (told["rows"], told["since"], told["verdict"]) == (0, None, "unknown")
    assert gauges(running) == {("rows", "1.0.0", ""): 0}


def test_the_route_is_documented(running: httpx.Client) -> None:
    """OpenAPI has the route of the default model and that by name; it answers HEAD and refuses POST."""
    paths = running.get("/openapi.json").json()["paths"]
    assert {DRIFT, "/api/v1/models/{model}/drift", "/api/v1/models/{model}/versions/{version}/drift"} <= paths.keys()
    assert "PSI" in paths[DRIFT]["get"]["summary"]
    assert running.head(DRIFT).status_code == 200
    assert running.post(DRIFT).status_code == 405


def test_the_time_at_which_a_version_was_made_is_a_metric(running: httpx.Client, iris: Bundle) -> None:
    """A version's time of creation is a metric in Unix time, for the alert on stale models."""
    made = pd.Timestamp(iris.manifest.created).timestamp()
    families = text_string_to_metric_families(running.get("/metrics").text)
    found = [s for family in families for s in family.samples if s.name == "orris_model_created_timestamp_seconds"]
    assert [(sample.labels, sample.value) for sample in found] == [({"model": "iris", "version": "1.0.0"}, made)]


def test_rows_count_over_every_protocol(iris: Bundle, tmp_path: Path) -> None:
    """Answered rows count over every protocol, also on a thread, and refused rows do not."""
    row = flowers(1)[0]
    values = [row[name] for name in NAMES]
    tensor = {"name": "rows", "shape": [1, 4], "datatype": "FP64", "data": values}
    bodies: list[tuple[str, Any]] = [
        ("/predict", row),
        ("/api/v1/predict", {"features": values}),
        ("/api/v1/models/iris/versions/1.0.0/predict", [row]),
        ("/v1/models/iris:predict", {"instances": [values]}),
        ("/v2/models/iris/infer", {"inputs": [tensor]}),
        ("/invocations", {"dataframe_records": [row]}),
        ("/predict", flowers(10)),
    ]
    with serving(str(iris.folder), "--grpc-port", "0", folder=tmp_path) as server, client(server) as ask:
        for i, (path, body) in enumerate(bodies, 1):
            assert ask.post(path, json=body).status_code == 200
            assert gauges(ask)["rows", "1.0.0", ""] == (i if i < len(bodies) else len(bodies) - 1 + 1_500)
        assert ask.post("/predict", json=row | {"petal_length": "red"}).status_code == 422
        with triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as asking:
            given = triton.InferInput("rows", [1, 4], "FP64")
            given.set_data_from_numpy(np.array([values]))
            asking.infer("iris", [given])
        assert gauges(ask)["rows", "1.0.0", ""] == len(bodies) + 1_500


def test_missing_and_unseen_values_are_reported_by_column(mixed: Bundle, tmp_path: Path) -> None:
    """Missing and unseen values are shares of all rows, and only a column of levels has unseen values."""
    table = mixed_table(400)
    rows = [
        {k: None if pd.isna(v) else v for k, v in row.items() if k != "churned"} for row in table.to_dict("records")
    ]
    for row in rows[:200]:
        row["town"] = "Ghent"
    for row in rows[100:400]:
        row["visits"] = None
    with serving(str(mixed.folder), folder=tmp_path) as server, client(server) as ask:
        assert ask.post("/predict", json=rows).status_code == 200
        found = gauges(ask)
        assert found["unseen_ratio", "1.0.0", "town"] == 0.5
        assert found["unseen_ratio", "1.0.0", "tariff"] == 0
        assert found["missing_ratio", "1.0.0", "visits"] >= 0.75
        assert found["missing_ratio", "1.0.0", "spend"] == 0
        assert ("unseen_ratio", "1.0.0", "age") not in found
        told = {column["column"]: column for column in ask.get(DRIFT).json()["columns"]}
        assert told["town"]["unseen"] == {"reference": 0, "current": 0.5}
        assert {name for name, column in told.items() if column["verdict"] == "shifted"} == {"town", "visits"}
        assert [each["level"] for each in told["member"]["bins"]] == ["false", "true"]


def test_two_workers_report_all_rows(iris: Bundle, tmp_path: Path) -> None:
    """Either worker reports the drift of requests on forty connections, which both of them answer."""
    with serving(str(iris.folder), "--workers", "2", folder=tmp_path) as server:
        asking = [client(server) for _ in range(40)]
        for ask in asking:
            assert ask.post("/predict", json=flowers(1, petal_width=2)[:50]).status_code == 200
        for ask in asking:
            eventually(lambda ask=ask: ask.get(DRIFT).json()["rows"] == 2_000)  # type: ignore[misc]
        found = [gauges(ask) for ask in asking]
        for ask in asking:
            ask.close()
    assert all(each == found[0] for each in found)
    assert found[0]["rows", "1.0.0", ""] == 2_000
    assert found[0]["psi", "1.0.0", "petal_width"] > 0.25


@pytest.fixture(scope="module")
def versions(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with iris 1.0.0, and a tree as 2.0.0."""
    store = tmp_path_factory.mktemp("versions")
    Store(iris.folder.parents[2]).copy("iris@1.0.0", Store(store))
    orris.train(
        TABLE,
        target="species",
        name="iris",
        model="decision-tree",
        version="2.0.0",
        store=store,
        aliases=["next"],
        folds=0,
    )
    return store


def test_each_version_has_a_window_of_its_own(versions: Path, tmp_path: Path) -> None:
    """A new version starts with an empty window; after a rollback the old one still has its rows."""
    with (
        serving("iris@1.0.0", "--store", str(versions), folder=tmp_path, environ=ENVIRON) as server,
        client(server) as ask,
    ):
        ask.post("/predict", json=flowers(2))
        assert ask.post("/api/v1/model/reload", headers=ADMIN, json={"version": "2.0.0"}).status_code == 200
        told = ask.get(DRIFT).json()
        assert (told["model_version"], told["rows"]) == ("2.0.0", 0)
        ask.post("/predict", json=flowers(3))
        found = gauges(ask)
        assert (found["rows", "1.0.0", ""], found["rows", "2.0.0", ""]) == (300, 450)
        assert ask.post("/api/v1/model/rollback", headers=ADMIN).status_code == 200
        told = ask.get("/api/v1/models/iris/drift").json()
        assert (told["model_version"], told["rows"]) == ("1.0.0", 300)
        assert ask.post("/v2/repository/models/iris/unload", headers=ADMIN).status_code == 200
        assert ask.get("/api/v1/models/iris/drift").status_code == 503
        assert gauges(ask) == {}


def test_a_shadows_rows_do_not_count(versions: Path, tmp_path: Path) -> None:
    """Rows that a shadow predicts do not count in its drift, because it does not answer them."""
    arguments = ("iris@1.0.0", "--shadow", "iris@2.0.0", "--store", str(versions))
    with serving(*arguments, folder=tmp_path) as server, client(server) as ask:
        ask.post("/predict", json=flowers(1))
        eventually(
            lambda: (
                'orris_shadow_rows_total{model="iris",outcome="agreed",version="2.0.0"} 1' in ask.get("/metrics").text
            )
        )
        found = gauges(ask)
        assert (found["rows", "1.0.0", ""], found["rows", "2.0.0", ""]) == (150, 0)


def test_the_second_version_of_a_split_has_its_own_drift(versions: Path, tmp_path: Path) -> None:
    """The second version of a split is reported by its number, with the rows that went to it."""
    arguments = ("iris@1.0.0", "--split", "iris@2.0.0=1", "--store", str(versions))
    with serving(*arguments, folder=tmp_path) as server, client(server) as ask:
        ask.post("/predict", json=flowers(2))
        told = ask.get("/api/v1/models/iris/versions/2.0.0/drift").json()
        assert (told["model_version"], told["rows"]) == ("2.0.0", 300)
        assert ask.get(DRIFT).json()["rows"] == 0


def test_a_bundle_without_a_profile_has_no_drift(iris: Bundle, tmp_path: Path) -> None:
    """A bundle without a profile is served, and its drift is a 404 that explains what to do."""
    folder = tmp_path / "older"
    shutil.copytree(iris.folder, folder)
    for file in folder.rglob("*"):
        file.chmod(0o755)
    (folder / PROFILE).unlink()
    kept = iris.manifest
    seal(
        folder,
        name=kept.name,
        version=kept.version,
        created=kept.created,
        orris=kept.orris,
        model_file=kept.model_file,
        schema=kept.schema,
        verdict=kept.verdict,
        golden=kept.golden,
        metrics=kept.metrics,
        provenance=kept.provenance,
    )
    with serving(str(folder), folder=tmp_path) as server, client(server) as ask:
        assert ask.post("/predict", json=flowers(2)).status_code == 200
        assert gauges(ask) == {}
        refused = ask.get(DRIFT)
        assert refused.status_code == 404
        assert "train or package it again" in refused.json()["detail"]


def test_drift_can_be_off(iris: Bundle, tmp_path: Path) -> None:
    """With drift off nothing is counted for it, and the route's 404 names the setting."""
    with (
        serving(str(iris.folder), folder=tmp_path, environ={"ORRIS_DRIFT_WINDOW_SECONDS": "0"}) as server,
        client(server) as ask,
    ):
        assert ask.post("/predict", json=flowers(2)).status_code == 200
        assert gauges(ask) == {}
        refused = ask.get(DRIFT)
        assert refused.status_code == 404
        assert "ORRIS_DRIFT_WINDOW_SECONDS" in refused.json()["detail"]


@pytest.fixture
def guarded(iris: Bundle, tmp_path: Path) -> Iterator[tuple[Server, str]]:
    """Run a server whose predictions need a key; return it and the key."""
    key = new_key()
    (tmp_path / "keys.toml").write_text(f'ci = {{ sha256 = "{digest_of(key.encode()).hex()}" }}\n')
    with serving(str(iris.folder), "--api-keys", str(tmp_path / "keys.toml"), folder=tmp_path) as server:
        yield server, key


@pytest.mark.parametrize("path", [DRIFT, "/api/v1/models/iris/drift", "/api/v1/model/info"])
def test_drift_is_guarded_as_the_model_is(guarded: tuple[Server, str], path: str) -> None:
    """Drift needs a credential where predictions do, because it shows the training data and the traffic."""
    server, key = guarded
    with client(server) as ask:
        assert ask.get(path).status_code == 401
        assert ask.get(path, headers={"x-api-key": key}).status_code == 200

"""Tests of the model card over HTTP: its content, its examples and its files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from orris.api import Bundle
from tests.example_tables import TABLE, mixed_table
from tests.servers import Server, client, serving

UNDER = "/api/v1/models/iris/versions/1.0.0"


def card_of(server: Server, path: str = "/api/v1/model/card") -> Any:
    """Return the card."""
    with client(server) as ask:
        answer = ask.get(path)
    assert answer.status_code == 200
    return answer.json()


def test_the_card_describes_the_bundle(server: Server, iris: Bundle) -> None:
    """The card has model info, the evaluation, the verdict in words, the format and the classes as text."""
    card = card_of(server)
    with client(server) as ask:
        info = ask.get("/api/v1/model/info").json()
    assert card.items() >= info.items()
    assert card["evaluation"]["confusion_matrix"]["labels"] == ["setosa", "versicolor", "virginica"]
    assert card["sentence"] == iris.manifest.verdict.sentence()
    assert (card["format"], card["probabilities"], card["golden_rows"]) == (
        "onnx",
        True,
        len(iris.manifest.golden.rows),
    )
    assert card["text_labels"] == ["setosa", "versicolor", "virginica"]


@pytest.mark.parametrize("path", ["/api/v1/model/card", "/api/v1/models/iris/card", f"{UNDER}/card"])
def test_the_card_is_there_by_name_and_by_version(server: Server, path: str) -> None:
    """A card by name or version equals the default's, and names the route that its version answers at."""
    assert card_of(server, path) == card_of(server)
    assert card_of(server, path)["predict"] == "/api/v1/predict"


def test_examples_are_rows_of_the_training_table(mixed_server: Server) -> None:
    """Every example is a row of the training table, and is answered as the card shows."""
    card = card_of(mixed_server)
    table = mixed_table().drop(columns="churned")
    seen = [
        {name: None if pd.isna(value) else value for name, value in row.items()} for row in table.to_dict("records")
    ]
    assert len(card["examples"]) >= 4
    with client(mixed_server) as ask:
        for example in card["examples"]:
            answer = ask.post(card["predict"], json=example["row"]).json()
            assert answer["prediction_label"] == example["answer"]
            assert [w for w in answer.get("warnings", []) if not w["problem"].startswith("missing")] == []
            assert example["row"] in seen


def test_classes_take_turns_among_the_examples(server: Server) -> None:
    """The classes take turns among the examples, so that the first few differ."""
    answers = [example["answer"] for example in card_of(server)["examples"]]
    assert set(answers[:3]) == {"setosa", "versicolor", "virginica"}


def test_plots_and_report_come_from_the_bundle(server: Server, iris: Bundle, ask: httpx.Client) -> None:
    """Plots and report are the bundle's bytes, revalidated by digest, and the report loads nothing."""
    card = card_of(server)
    assert {plot["name"] for plot in card["plots"]} >= {"confusion_matrix", "roc", "calibration"}
    for plot in card["plots"]:
        answer = ask.get(plot["path"])
        assert answer.content == (iris.folder / "plots" / f"{plot['name']}.png").read_bytes()
        assert answer.headers["content-type"] == "image/png"
        assert ask.get(plot["path"], headers={"if-none-match": f"W/{answer.headers['etag']}, x"}).status_code == 304
    report = ask.get(card["report"])
    assert report.content == (iris.folder / "report.html").read_bytes()
    assert "sandbox" in report.headers["content-security-policy"]
    assert "script-src" not in report.headers["content-security-policy"]


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "model.onnx",
        "plots/../model.onnx",
        "plots/%2e%2e%2fmodel.onnx",
        "plots/nope.png",
        "metrics.json",
    ],
)
def test_no_other_file_of_a_bundle_is_served(ask: httpx.Client, name: str) -> None:
    """No file of a bundle besides plots and report is served, the model included."""
    assert ask.get(f"{UNDER}/{name}").status_code == 404


def test_a_file_that_changed_since_it_was_sealed_is_not_served(iris: Bundle, tmp_path: Path) -> None:
    """A file that differs from the manifest's digest is not served."""
    folder = tmp_path / "bundle"
    shutil.copytree(iris.folder, folder)
    with serving(str(folder), folder=tmp_path) as running, client(running) as ask:
        (folder / "report.html").write_text("<h1>better</h1>")
        (folder / "plots" / "roc.png").unlink()
        assert ask.get(f"{UNDER}/report").status_code == 404
        assert ask.get(f"{UNDER}/plots/roc.png").status_code == 404
        assert ask.get("/api/v1/model/card").status_code == 200


def test_the_card_lists_every_model_in_memory(iris: Bundle, mixed: Bundle, tmp_path: Path) -> None:
    """The card lists every loaded model with default, versions and roles, and each model has a card of its own."""
    with serving(str(mixed.folder), str(iris.folder), folder=tmp_path) as running:
        card = card_of(running, "/api/v1/models/iris/card")
        told = [
            (model["name"], model["default"], [(v["version"], v["role"]) for v in model["versions"]])
            for model in card["models"]
        ]
        assert told == [("churn", True, [("1.0.0", "answers")]), ("iris", False, [("1.0.0", "answers")])]
        assert card["predict"] == "/api/v1/models/iris/predict"
        assert card_of(running)["name"] == "churn"


def test_metrics_count_cards_and_files_by_template(server: Server, ask: httpx.Client) -> None:
    """Names, versions and files of cards do not become label values of metrics."""
    card_of(server, f"{UNDER}/card")
    ask.get(f"{UNDER}/plots/roc.png")
    ask.get("/ui/app.js")
    exposed = ask.get("/metrics").text
    for route in (
        "/api/v1/models/{model}/versions/{version}/card",
        "/api/v1/models/{model}/versions/{version}/plots/{plot}",
        "/ui/{file}",
    ):
        assert f'route="{route}"' in exposed
    assert "roc.png" not in exposed
    assert "app.js" not in exposed


def test_the_range_of_a_column_is_that_of_the_table(server: Server) -> None:
    """The range of a column, which the sliders use, is that of the training table."""
    ranges = {column["name"]: column["range"] for column in card_of(server)["columns"]}
    table = pd.read_csv(TABLE)
    assert ranges == {name: [table[name].min(), table[name].max()] for name in ranges}

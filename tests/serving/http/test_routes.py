"""Tests of every route of a served model over HTTP, on a real process."""

from __future__ import annotations

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import orris
from orris.api import Bundle
from tests.servers import Server
from tests.waiting import PATIENCE_SECONDS

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
JSON = {"content-type": "application/json"}
PREDICT = ("/api/v1/predict", "/predict", "/predict/")


@pytest.mark.parametrize("route", PREDICT)
def test_a_named_row_is_answered(ask: httpx.Client, iris: Bundle, route: str) -> None:
    """The answer holds class, label, probabilities, request id and version, equal to the answer in Python."""
    answer = ask.post(route, json=ROW)
    document = answer.json()
    assert answer.status_code == 200
    assert document["prediction"] == 0
    assert document["prediction_label"] == "setosa"
    assert document["model_version"] == "1.0.0"
    assert document["request_id"] == answer.headers["x-request-id"]
    assert document["probabilities"] == orris.load(iris).predict_proba([ROW])[0].tolist()
    assert document.get("predicted_class") == ("setosa" if route == "/predict/" else None)
    assert "warnings" not in document


def test_a_list_of_rows_is_answered_in_order(ask: httpx.Client) -> None:
    """A list of rows gets one answer per row, in order, under ``predictions``."""
    other = {"sepal_length": 6.7, "sepal_width": 3.0, "petal_length": 5.2, "petal_width": 2.3}
    document = ask.post("/api/v1/predict", json=[ROW, other, ROW]).json()
    assert [answer["prediction_label"] for answer in document["predictions"]] == ["setosa", "virginica", "setosa"]
    assert document["model_version"] == "1.0.0"
    assert document["request_id"]


def test_every_answer_has_a_request_id_of_its_own(ask: httpx.Client) -> None:
    """Requests without an id get ids that differ."""
    ids = [ask.post("/predict", json=ROW).json()["request_id"] for _ in range(20)]
    assert len(set(ids)) == 20


def test_a_sane_request_id_of_the_caller_is_kept(ask: httpx.Client) -> None:
    """A well-formed request id of the caller is kept; any other is replaced, because ids end up in logs."""
    assert ask.post("/predict", json=ROW, headers={"x-request-id": "order-42"}).headers["x-request-id"] == "order-42"
    for insane in ("a b", "x" * 129, 'a"b'):
        assert ask.post("/predict", json=ROW, headers={"x-request-id": insane}).headers["x-request-id"] != insane


def test_an_unusual_value_is_answered_with_a_warning(ask: httpx.Client) -> None:
    """A value outside the learned range but within the declared bounds is answered with a warning."""
    document = ask.post("/predict", json=ROW | {"petal_width": 30}).json()
    assert document["warnings"] == [
        {"row": 0, "column": "petal_width", "problem": "outside the range that training saw"}
    ]
    assert document["prediction_label"] == "virginica"


@pytest.mark.parametrize("value", [0, -1, -0.5])
def test_a_measurement_that_is_not_positive_is_refused(ask: httpx.Client, value: float) -> None:
    """A measurement that is not positive gets 422 with the message that the bound declares."""
    answer = ask.post("/api/v1/predict", json=ROW | {"sepal_width": value})
    assert answer.status_code == 422
    assert "Measurement must be positive" in answer.text
    assert answer.json()["errors"][0] | {"problem": ""} == {"row": 0, "column": "sepal_width", "problem": ""}


BAD = [
    (b"", 400),
    (b"{", 400),
    (b"\xff\xfe{", 400),
    (b"[" * 100_000, 400),
    (b'{"sepal_length":' * 30_000, 400),
    (b"[]", 422),
    (b"{}", 400),
    (b'{"colour":"red"}', 400),
    (b"null", 422),
    (b"7", 422),
    (json.dumps(ROW | {"sepal_length": "5.1"}).encode(), 422),
    (json.dumps(ROW | {"sepal_length": True}).encode(), 422),
    (json.dumps(ROW | {"sepal_length": None}).encode(), 422),
    (json.dumps(ROW | {"sepal_length": [5.1]}).encode(), 422),
    (json.dumps(ROW | {"sepal_length": float("nan")}).encode(), 422),
    (json.dumps(ROW | {"sepal_length": float("inf")}).encode(), 422),
    (json.dumps({("petal_with" if k == "petal_width" else k): v for k, v in ROW.items()}).encode(), 422),
    (json.dumps({k: v for k, v in ROW.items() if k != "petal_width"}).encode(), 422),
    (json.dumps(ROW).encode()[:-1] + b',"petal_width":1}', 422),
]


@pytest.mark.parametrize(("body", "status"), BAD, ids=[body[:60].decode("latin-1") for body, _ in BAD])
def test_a_bad_body_gets_a_problem_document(ask: httpx.Client, body: bytes, status: int) -> None:
    """A bad body gets a 4xx problem document, with row and column where a row is wrong."""
    answer = ask.post("/api/v1/predict", content=body, headers=JSON)
    document = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == answer.headers["x-request-id"]
    if body.startswith(b'{"sepal') and status == 422:
        assert document["errors"][0]["row"] == 0
        assert document["errors"][0]["column"] in {*ROW, "colour", "petal_with"}


def test_a_refusal_does_not_repeat_values(ask: httpx.Client) -> None:
    """An error does not repeat the caller's values, because it may be logged elsewhere."""
    assert "s3cret" not in ask.post("/predict", json=ROW | {"sepal_length": "s3cret"}).text


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json; charset=utf-8", 200),
        ("application/vnd.api+json", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=latin-1", 415),
    ],
)
def test_content_types_are_held_to(ask: httpx.Client, content_type: str, status: int) -> None:
    """JSON in UTF-8 is read, and any other body is refused with that reason."""
    assert ask.post("/predict", content=json.dumps(ROW), headers={"content-type": content_type}).status_code == status


def test_a_body_without_content_type_is_taken_as_json(server: Server) -> None:
    """A body without a content type is read as JSON."""
    body = json.dumps(ROW).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 200")


def test_ten_thousand_rows_are_answered(ask: httpx.Client, iris: Bundle) -> None:
    """Ten thousand rows in one request are answered in order and equal to the answers in Python."""
    rng = np.random.default_rng(0)
    rows = rng.uniform(0.1, 8, (10_000, 4))
    document = ask.post("/predict", json=[dict(zip(ROW, row, strict=True)) for row in rows.tolist()]).json()
    expected = orris.load(iris).predict_proba(rows)
    assert np.array_equal(np.array([answer["probabilities"] for answer in document["predictions"]]), expected)


def test_a_body_over_the_limit_is_refused(ask: httpx.Client) -> None:
    """A body over the limit gets 413 before it is read whole."""
    answer = ask.post("/predict", content=b" " * (33 * 1024 * 1024), headers=JSON)
    assert answer.status_code == 413
    assert "longer than" in answer.json()["detail"]


@pytest.mark.parametrize("route", PREDICT)
def test_other_methods_are_refused_on_predict_routes(ask: httpx.Client, route: str) -> None:
    """Other methods get 405 with the allowed methods."""
    answer = ask.get(route)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


def test_an_unknown_path_is_404(ask: httpx.Client) -> None:
    """An unknown path gets 404 with a problem document."""
    answer = ask.get("/nope")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("/health", {"status": "healthy"}),
        ("/ready", {"status": "ready", "model": "iris", "model_version": "1.0.0"}),
        ("/api/v1/health", {"status": "healthy", "model_version": "1.0.0"}),
    ],
)
def test_probes_answer(ask: httpx.Client, route: str, expected: dict[str, str]) -> None:
    """Probes answer GET and HEAD and refuse other methods."""
    assert ask.get(route).json() == expected
    assert ask.head(route).status_code == 200
    assert ask.post(route).status_code == 405


def test_model_info_describes_the_loaded_model(ask: httpx.Client) -> None:
    """Model info holds the schema, metrics, the parity verdict and the origin."""
    info = ask.get("/api/v1/model/info").json()
    assert info["name"] == "iris"
    assert info["labels"] == ["setosa", "versicolor", "virginica"]
    assert [column["name"] for column in info["columns"]] == list(ROW)
    assert info["columns"][0]["bounds"]["exclusive_minimum"] == 0.0
    assert info["verdict"]["strategy"] == "exact"
    assert info["verdict"]["n_label_differences"] == 0
    assert info["metrics"]["accuracy"] > 0.9
    assert info["provenance"]["n_rows"] == 150


def test_the_root_answers_programs_and_browsers(ask: httpx.Client) -> None:
    """The root answers ``OK`` to programs and a page to browsers."""
    assert ask.get("/").text == "OK"
    page = ask.get("/", headers={"accept": "text/html"}, follow_redirects=True)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")


def test_every_listed_route_answers(ask: httpx.Client) -> None:
    """Every route of the list of routes answers."""
    endpoints = ask.get("/api/v1/").json()["endpoints"]
    assert {path.replace("/iris/", "/{model}/") for path in PREDICT} <= set(endpoints["POST"])
    for route in endpoints["GET"]:
        path = route.format(model="iris", version="1.0.0", plot="confusion_matrix.png", name="region")
        expected = 404 if "{name}" in route else 200  # no region of shared memory is ever registered
        assert ask.get(path, follow_redirects=True).status_code == expected, route


def test_openapi_describes_the_model(ask: httpx.Client) -> None:
    """OpenAPI has the model's columns, kinds, bounds and an example row that is answered as documented."""
    document = ask.get("/openapi.json").json()
    row = document["components"]["schemas"]["Row"]
    assert row["required"] == list(ROW)
    assert row["properties"]["sepal_length"]["type"] == "number"
    assert row["properties"]["sepal_length"]["exclusiveMinimum"] == 0
    assert {path.replace("/iris/", "/{model}/") for path in PREDICT} <= set(document["paths"])
    assert "/health" in document["paths"]
    examples = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for example in examples.values():
        assert ask.post("/predict", json=example["value"]).status_code == 200


def test_the_documentation_needs_no_network(ask: httpx.Client) -> None:
    """Every file that the page names is served here, and the policy allows no other."""
    page = ask.get("/docs")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(named) == 4
    for path in named:
        assert path.startswith("/")
        assert ask.get(path).status_code == 200


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample of an exposition."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counted(before: dict[Any, float], after: dict[Any, float], name: str, **labels: str) -> float:
    """Return the increase of a counter."""
    key = (name, tuple(sorted(labels.items())))
    return after.get(key, 0.0) - before.get(key, 0.0)


def test_metrics_count_requests_rows_and_refusals(ask: httpx.Client) -> None:
    """The metrics count requests, rows by class, model calls, warnings and refusals."""
    before = samples(ask.get("/metrics").text)
    ask.post("/predict", json=[ROW, ROW])
    ask.post("/predict", json=ROW | {"petal_width": 30})
    ask.post("/predict", content=b"{", headers=JSON)
    after = samples(ask.get("/metrics").text)
    model = {"model": "iris", "version": "1.0.0"}
    assert counted(before, after, "http_requests_total", method="POST", route="/predict", status="200") == 2
    assert counted(before, after, "http_requests_total", method="POST", route="/predict", status="400") == 1
    assert counted(before, after, "http_request_duration_seconds_count", method="POST", route="/predict") == 3
    assert counted(before, after, "orris_predictions_total", **model, label="setosa") == 2
    assert counted(before, after, "orris_predictions_total", **model, label="virginica") == 1
    assert counted(before, after, "orris_inference_duration_seconds_count", **model) == 2
    assert counted(before, after, "orris_batch_rows_sum", **model) == 3
    assert counted(before, after, "orris_input_warnings_total", **model, column="petal_width", kind="out_of_range") == 1
    assert counted(before, after, "orris_rejected_total", reason="400") == 1
    assert any(name == "orris_model_info" for name, _ in after)
    assert any(name == "process_resident_memory_bytes" for name, _ in after)


def test_metrics_are_openmetrics_if_accepted(ask: httpx.Client) -> None:
    """Metrics are OpenMetrics if the client accepts it and text otherwise, and both routes show the same."""
    openmetrics = ask.get("/api/v1/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.rstrip().endswith("# EOF")
    assert ask.get("/metrics").headers["content-type"].startswith("text/plain")


def test_no_request_can_create_a_series(ask: httpx.Client) -> None:
    """Unknown paths and methods share one label value."""
    ask.get("/a-path-of-mine")
    ask.request("BREW", "/another-path")
    text = ask.get("/metrics").text
    assert "path-of-mine" not in text
    assert "another-path" not in text
    assert "BREW" not in text
    assert 'route="(unmatched)"' in text


def test_parallel_callers_get_their_own_answers(server: Server, iris: Bundle) -> None:
    """Callers at the same time each get the answers to their own rows."""
    rows = np.random.default_rng(1).uniform(0.1, 8, (200, 4))
    expected = orris.load(iris).predict_proba(rows)
    with (
        httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_SECONDS) as asking,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(
            pool.map(lambda row: asking.post("/predict", json=dict(zip(ROW, row, strict=True))).json(), rows.tolist())
        )
    # One row and many take different vector instructions: the last bit may differ.
    assert np.abs(np.array([answer["probabilities"] for answer in answers]) - expected).max() <= 1e-15

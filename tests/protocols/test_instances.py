"""Tests of ``features`` and ``instances`` on the predict routes, KServe V1 and Vertex AI."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import orris
from orris.api import Bundle
from orris.errors import OrrisError, RowError, SettingsError
from orris.protocols.envelopes import open_envelope
from orris.protocols.instances import InstanceRows
from orris.protocols.named import NamedRows
from orris.schema import strict
from orris.schema.rows import RowReader
from orris.server.platforms import translate
from orris.serving.engine import Engine
from orris.settings import read_settings
from tests.servers import Server, client, serving
from tests.waiting import PATIENCE_SECONDS

SETOSA, VIRGINICA = [5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]
NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
ROW = dict(zip(NAMES, SETOSA, strict=True))
PREDICT = ("/api/v1/predict", "/predict", "/predict/")
V1 = "/v1/models/iris:predict"
V2 = "/v2/models/iris/infer"
JSON = {"content-type": "application/json"}


@cache
def engine_of(folder: Path) -> Engine:
    """Return a bundle's engine in this process."""
    return Engine.load(folder)


def answer(engine: Engine, dialect: Any, body: Any) -> Any:
    """Return a dialect's answer to a body, without a server."""
    asked = dialect.read(engine, json.dumps(body).encode(), {})
    return json.loads(dialect.write(engine, asked, engine.run(asked.rows), "id", []).body)


# features and instances on the predict routes


@pytest.mark.parametrize(
    "route", [*PREDICT, "/api/v1/models/iris/predict", "/api/v1/models/iris/versions/1.0.0/predict"]
)
@pytest.mark.parametrize("body", [SETOSA, ROW], ids=["list", "object"])
def test_features_are_answered_as_a_named_row(ask: httpx.Client, route: str, body: Any) -> None:
    """``features`` are answered as a named row on every predict route, with the members of that route."""
    named, features = (ask.post(route, json=content).json() for content in (ROW, {"features": body}))
    assert {**features, "request_id": ""} == {**named, "request_id": ""}
    assert features["prediction"] == 0


@pytest.mark.parametrize("route", PREDICT)
def test_instances_are_answered_with_bare_labels(ask: httpx.Client, iris: Bundle, route: str) -> None:
    """Instances get one label per row, in order, with probabilities, id and version beside them."""
    document = ask.post(route, json={"instances": [SETOSA, dict(zip(NAMES, VIRGINICA, strict=True)), SETOSA]}).json()
    assert document.pop("request_id")
    assert document == {
        "predictions": ["setosa", "virginica", "setosa"],
        "probabilities": orris.load(iris).predict_proba([SETOSA, VIRGINICA, SETOSA]).tolist(),
        "model_version": "1.0.0",
    }


def test_instances_carry_warnings(ask: httpx.Client) -> None:
    """Answers to instances have warnings, as other answers of these routes."""
    document = ask.post("/predict", json={"instances": [SETOSA, [5.1, 3.5, 1.4, 30]]}).json()
    assert [(warning["row"], warning["column"]) for warning in document["warnings"]] == [(1, "petal_width")]


@pytest.mark.parametrize(
    "body", [b"{}", b'{"colour": "red"}', b'{"feature": [1, 2, 3, 4]}', b'{"inputs": [[1, 2, 3, 4]]}']
)
def test_a_body_in_no_known_form_is_400_with_an_error(ask: httpx.Client, body: bytes) -> None:
    """A body in no known form gets 400 with a problem document that also has the member ``error``."""
    refused = ask.post("/predict", content=body, headers=JSON)
    assert refused.status_code == 400
    assert refused.json()["error"] == refused.json()["detail"]
    assert '{"features": […]}' in refused.json()["error"]


@pytest.mark.parametrize(
    ("body", "row", "column"),
    [
        ({"features": SETOSA[:3]}, 0, None),
        ({"features": [*SETOSA, 1]}, 0, None),
        ({"features": 7}, 0, None),
        ({"features": None}, 0, None),
        ({"features": [5.1, 3.5, "x", 0.2]}, 0, "petal_length"),
        ({"features": [5.1, -3.5, 1.4, 0.2]}, 0, "sepal_width"),
        ({"instances": [SETOSA, [5.1, 3.5, 1.4, True]]}, 1, "petal_width"),
        (
            {"instances": [SETOSA, {"petal_with" if k == "petal_width" else k: v for k, v in ROW.items()}]},
            1,
            "petal_with",
        ),
        ({"instances": [SETOSA, 7]}, 1, None),
        ({"instances": []}, None, None),
    ],
)
def test_a_wrong_row_of_a_form_is_422_with_its_place(
    ask: httpx.Client, body: Any, row: int | None, column: str | None
) -> None:
    """A wrong row of a form gets 422 with row and column, as a named row does."""
    refused = ask.post("/predict", json=body)
    assert refused.status_code == 422
    assert (refused.json()["errors"][0]["row"], refused.json()["errors"][0]["column"]) == (row, column)


def test_a_key_given_twice_in_an_instance_is_refused(ask: httpx.Client) -> None:
    """A key that an instance has twice is refused, because JSON parsers keep the last one silently."""
    twice = json.dumps({"instances": [ROW]})[:-3] + ', "petal_width": 1}]}'
    refused = ask.post("/predict", content=twice, headers=JSON)
    assert refused.status_code == 422
    assert "given twice" in refused.text


@pytest.fixture(scope="module")
def awkward() -> Engine:
    """Return a model whose columns are named as the forms are."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"features": rng.normal(size=60), "instances": rng.normal(size=60)})
    table["y"] = np.where(table["features"] > 0, "up", "down")
    return engine_of(orris.train(table, target="y", name="awkward", model="logistic", store=None).folder)


def test_columns_called_as_a_form_are_columns(awkward: Engine) -> None:
    """Named rows take precedence if a column is named ``features`` or ``instances``."""
    assert answer(awkward, NamedRows(), {"features": 2.0, "instances": 0.0})["prediction_label"] == "up"
    assert len(answer(awkward, NamedRows(), [{"features": 2.0, "instances": 0.0}])["predictions"]) == 1
    with pytest.raises(RowError, match="column 'instances': this column is missing"):
        NamedRows().read(awkward, b'{"features": [2.0, 0.0]}', {})
    assert answer(awkward, InstanceRows(), {"instances": [[2.0, 0.0]]}) == {"predictions": ["up"]}


# KServe V1


@pytest.mark.parametrize("route", [V1, "/v1/models/iris/versions/1.0.0:predict"])
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_v1_answers_one_prediction_per_instance(ask: httpx.Client, route: str, key: str) -> None:
    """V1 answers one prediction per instance and nothing else, and tolerates ``parameters`` and other keys."""
    body = {
        key: [SETOSA, dict(zip(NAMES, VIRGINICA, strict=True))],
        "parameters": {"a": {"b": [1]}},
        "signature_name": "x",
    }
    assert ask.post(route, json=body).json() == {"predictions": ["setosa", "virginica"]}


def test_v1_gives_probabilities_on_request(ask: httpx.Client, iris: Bundle) -> None:
    """``predict_method`` in V1's parameters requests probabilities."""
    body = {"instances": [SETOSA, VIRGINICA], "parameters": {"predict_method": "predict_proba"}}
    assert ask.post(V1, json=body).json() == {
        "predictions": orris.load(iris).predict_proba([SETOSA, VIRGINICA]).tolist()
    }


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([0, 1], [0, 1]), ([10, 20], [10, 20]), ([False, True], [False, True]), (["no", "yes"], ["no", "yes"])],
    ids=["int", "other int", "bool", "text"],
)
def test_v1_labels_have_their_own_json_type(labels: list[Any], expected: list[Any]) -> None:
    """V1 labels have the JSON type of the fitted classifier's ``predict``."""
    x = np.linspace(-3, 3, 60)
    table = pd.DataFrame({"x": x, "y": [labels[int(value > 0)] for value in x]})
    engine = engine_of(orris.train(table, target="y", name="typed", model="logistic", store=None).folder)
    predictions = answer(engine, InstanceRows(), {"instances": [[-3], [3.0]]})["predictions"]
    assert predictions == expected
    assert [type(value) for value in predictions] == [type(value) for value in expected]


def test_v1_regression_answers_numbers() -> None:
    """V1 answers of a regression are numbers, and a request for probabilities is refused."""
    x = np.linspace(-3, 3, 60)
    bundle = orris.train(pd.DataFrame({"x": x, "y": 2.5 * x}), target="y", name="line", model="ridge", store=None)
    assert answer(engine_of(bundle.folder), InstanceRows(), {"instances": [[1.5]]}) == {
        "predictions": orris.load(bundle).predict([[1.5]]).tolist()
    }
    with pytest.raises(OrrisError, match="has no probabilities"):
        answer(
            engine_of(bundle.folder),
            InstanceRows(),
            {"instances": [[1.5]], "parameters": {"predict_method": "predict_proba"}},
        )


BAD = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"{}",
    b'{"instances": 7}',
    b'{"instances": {"a": [1]}}',
    b'{"instances": null}',
    b'{"instances": []}',
    b'{"instances": [7]}',
    b'{"instances": [[1, 2, 3]]}',
    b'{"instances": [[1, 2, 3, NaN]]}',
    b'{"instances": [[1, 2, 3, "4"]]}',
    b'{"instances": [{"sepal_length": 1}]}',
    b'{"inputs": {"sepal_length": [1, 2], "sepal_width": [1]}}',
    b'{"instances": [[1, 2, 3, 4]], "parameters": {"predict_method": "transform"}}',
    b'{"instances": ' + b"[" * 100_000,
]


@pytest.mark.parametrize("body", BAD, ids=[body[:50].decode() for body in BAD])
def test_v1_refuses_with_400_and_an_error(ask: httpx.Client, body: bytes) -> None:
    """V1 refuses with 400 and ``{"error": text}``, which V1 clients read."""
    refused = ask.post(V1, content=body, headers=JSON)
    assert refused.status_code == 400
    assert list(refused.json()) == ["error"]
    assert refused.json()["error"]


def test_v1_reports_every_problem_of_a_body(ask: httpx.Client) -> None:
    """V1 errors name up to ten problems with row and column, and count the rest."""
    error = ask.post(V1, json={"instances": [["x", *SETOSA[1:]]] * 12}).json()["error"]
    assert error.startswith("row 0, column 'sepal_length': a number is needed, not text; row 1, ")
    assert error.endswith("; and 2 more")


def test_v1_lists_models_and_their_readiness(ask: httpx.Client) -> None:
    """V1 lists models with versions and readiness, and an unknown one is 404 in V1's shape."""
    assert ask.get("/v1/models").json() == {"models": ["iris"]}
    for path in ("/v1/models/iris", "/v1/models/iris/versions/1.0.0"):
        assert ask.get(path).json() == {"name": "iris", "ready": True}
    for unknown in (ask.get("/v1/models/nope"), ask.post("/v1/models/nope:predict", json={"instances": [SETOSA]})):
        assert unknown.status_code == 404
        assert list(unknown.json()) == ["error"]


def is_recent(time: str) -> bool:
    """Whether a CloudEvent's time is one of RFC 3339 with its zone, within the last hour."""
    return timedelta() <= datetime.now(UTC) - datetime.fromisoformat(time) < timedelta(hours=1)


def test_v1_answers_a_binary_cloud_event_in_kind(ask: httpx.Client) -> None:
    """A binary CloudEvent is answered by one: attributes in headers, data in the body."""
    headers = {"ce-specversion": "1.0", "ce-id": "7", "ce-source": "me", "ce-type": "ask"}
    event = ask.post(V1, json={"instances": [SETOSA]}, headers=headers)
    assert event.json() == {"predictions": ["setosa"]}
    assert event.headers["ce-specversion"] == "1.0"
    assert event.headers["ce-type"] == "io.kserve.inference.response"
    assert event.headers["ce-source"] == "io.kserve.inference.iris"
    assert event.headers["ce-id"] == event.headers["x-request-id"]
    assert is_recent(event.headers["ce-time"])


def test_v1_answers_a_structured_cloud_event_in_kind(ask: httpx.Client) -> None:
    """A structured CloudEvent is answered by one, and a malformed one gets 400."""
    headers = {"content-type": "application/cloudevents+json"}
    event = {"specversion": "1.0", "id": "7", "source": "me", "type": "ask", "data": {"instances": [SETOSA]}}
    answered = ask.post(V1, content=json.dumps(event), headers=headers)
    assert answered.headers["content-type"] == "application/cloudevents+json"
    assert answered.json()["data"] == {"predictions": ["setosa"]}
    assert answered.json()["type"] == "io.kserve.inference.response"
    assert is_recent(answered.json()["time"])
    assert ask.post(V1, json={"instances": [SETOSA]}, headers=headers).status_code == 400


@pytest.mark.parametrize(
    "route", ["/predict", "/api/v1/models/iris/predict", V1, V2, "/invocations", "/models/iris/invoke"]
)
def test_openapi_examples_are_answered_as_documented(ask: httpx.Client, route: str) -> None:
    """Each route's examples in OpenAPI are answered as documented."""
    template = re.sub(r"/models/iris\b", "/models/{model}", route)
    operation = ask.get("/openapi.json").json()["paths"][template]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    examples = (
        [example["value"] for example in content["examples"].values()]
        if "examples" in content
        else [content["example"]]
    )
    assert len(examples) == (3 if route.endswith("/predict") else 1)
    for example in examples:
        assert ask.post(route, json=example).status_code == 200
    refused = ask.post(route, content=b"{", headers=JSON)
    assert refused.headers["content-type"] in operation["responses"]["400"]["content"]


def test_openapi_has_an_example_for_every_kind_of_column(mixed_server: Server) -> None:
    """V2's example has a tensor per column, with text, booleans and integers, and is answered."""
    with client(mixed_server) as asking:
        operation = asking.get("/openapi.json").json()["paths"]["/v2/models/{model}/infer"]["post"]
        example = operation["requestBody"]["content"]["application/json"]["example"]
        assert {tensor["datatype"] for tensor in example["inputs"]} == {"FP64", "INT64", "BOOL", "BYTES"}
        assert asking.post("/v2/models/churn/infer", json=example).status_code == 200


# what is read, at both speeds

CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 50),
    st.integers(),
    st.floats(0, 100),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["Rome", "Oslo", "Paris", 'New "York"', "a:b", ""]),
    st.lists(st.integers(), max_size=1),
)


def attempted(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or the refusal that it raises."""
    try:
        return call()
    except OrrisError as error:
        return error


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_envelopes_read_the_values_that_strict_reading_reads(mixed: Bundle, data: st.DataObject) -> None:
    """The fast and the strict reader of a form give the same rows or the same problems."""
    reader = RowReader(mixed.manifest.schema)
    names = reader.schema.names
    row = st.one_of(
        st.tuples(*[CELLS] * len(names)).map(list),
        st.just([30.5, 3, True, "Rome", 10, 5.5]),
        st.dictionaries(st.sampled_from([*names, "colour"]), CELLS),
        st.just(dict(zip(names, [30.5, None, False, "Oslo", 20, 1], strict=True))),
    )
    rows = data.draw(st.lists(row, min_size=1, max_size=4))
    body = json.dumps({"instances": rows}).encode()
    expected = attempted(lambda: strict.encode(reader.schema, rows, reader.max_rows))
    found = attempted(lambda: open_envelope(reader, body, ("instances",)))
    if isinstance(expected, RowError):
        assert isinstance(found, RowError)
        assert found.problems == expected.problems
    else:
        np.testing.assert_array_equal(found.rows, expected)


KEYS = (
    "features",
    "instances",
    "inputs",
    "parameters",
    "params",
    "dataframe_split",
    "dataframe_records",
    "columns",
    "data",
    *NAMES,
)
DOCUMENTS = st.recursive(
    st.one_of(
        CELLS,
        st.just([SETOSA]),
        st.just(ROW),
        st.just(list(NAMES)),
        st.sampled_from(["predict_proba", float("nan"), float("inf")]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from([*KEYS, "predict_method"]), inner, max_size=4)
    ),
    max_leaves=12,
)
BODIES = st.one_of(DOCUMENTS.map(lambda document: json.dumps(document).encode()), st.binary(max_size=60))


@given(body=BODIES)
@settings(max_examples=150, deadline=None)
def test_no_body_is_a_fault_of_the_server(iris: Bundle, body: bytes) -> None:
    """Any body is read, or refused with a reason for the caller."""
    engine = engine_of(iris.folder)
    for dialect in (NamedRows(), InstanceRows()):
        asked = attempted(lambda: dialect.read(engine, body, {}))  # noqa: B023 (called at once)
        if isinstance(asked, OrrisError):
            assert dialect.refuse(asked, "id").status in {400, 422}
        else:
            assert dialect.write(engine, asked, engine.run(asked.rows), "id", []).status == 200


@given(body=BODIES)
@settings(max_examples=40, deadline=None)
def test_no_body_is_answered_with_5xx(server: Server, body: bytes) -> None:
    """A real server answers no body on any route of these dialects with 5xx."""
    with client(server) as asking:
        for route in ("/predict", V1, "/invocations"):
            assert asking.post(route, content=body, headers=JSON).status_code in {200, 400, 422}


# Vertex AI


@pytest.fixture(scope="module")
def vertex(iris: Bundle, gs: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Run a server as Vertex AI does: no argument, and a copy of the bundle's folder in a bucket."""
    from gcsfs.core import GCSFileSystem

    folder = tmp_path_factory.mktemp("vertex")
    files = [*iris.manifest.files, "manifest.json"]
    GCSFileSystem(token="anon").put(
        [str(iris.folder / file) for file in files], [f"{gs}/copies/17/{file}" for file in files]
    )
    environ = {
        "AIP_MODE": "PREDICTION",
        "AIP_HTTP_PORT": "8080",
        "AIP_HEALTH_ROUTE": "/v1/endpoints/1/deployedModels/2",
        "AIP_PREDICT_ROUTE": "/v1/endpoints/1/deployedModels/2:predict",
        "AIP_STORAGE_URI": f"{gs}/copies/17",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    with serving(folder=folder, environ=environ) as running, client(running) as asking:
        yield asking


def test_vertex_serves_the_copy_in_its_bucket(vertex: httpx.Client) -> None:
    """Vertex AI's routes serve the copy in its bucket, and health is exactly 200."""
    assert vertex.get("/v1/endpoints/1/deployedModels/2").status_code == 200
    body = {"instances": [SETOSA, VIRGINICA], "parameters": {"confidence": 1}}
    assert vertex.post("/v1/endpoints/1/deployedModels/2:predict", json=body).json() == {
        "predictions": ["setosa", "virginica"]
    }
    assert vertex.post("/v1/endpoints/1/deployedModels/2:predict", json={"instances": []}).status_code == 400
    assert vertex.get("/v1/models").json() == {"models": ["iris"]}


def test_vertex_routes_keep_the_native_dialect(iris: Bundle, tmp_path: Path) -> None:
    """If Vertex AI names the path ``/predict``, it still answers named rows, and instances too."""
    environ = {"AIP_PREDICT_ROUTE": "/predict", "AIP_HEALTH_ROUTE": "/health", "AIP_STORAGE_URI": str(iris.folder)}
    with serving(folder=tmp_path, environ=environ) as running, client(running) as asking:
        assert asking.post("/predict", json=ROW).json()["prediction_label"] == "setosa"
        assert asking.post("/predict", json={"instances": [SETOSA]}).json()["predictions"] == ["setosa"]
        assert asking.get("/health").json() == {"status": "healthy"}


def test_vertex_port_wins_over_the_image_and_loses_to_a_flag() -> None:
    """Vertex AI's port overrides the image's and is overridden by a flag; all addresses are listened on."""
    translated = translate({"ORRIS_PORT": "8000", "ORRIS_HOST": "127.0.0.1", "AIP_HTTP_PORT": "8080"})
    assert (read_settings(translated).port, read_settings(translated).host) == (8080, "0.0.0.0")  # noqa: S104
    assert read_settings(translated, port=9000).port == 9000


def test_empty_vertex_variables_are_ignored() -> None:
    """Empty variables, as ``AIP_STORAGE_URI`` without artifacts, are ignored."""
    assert read_settings(
        translate({"AIP_STORAGE_URI": "", "AIP_PREDICT_ROUTE": ""}, model_named=True)
    ) == read_settings({})


@pytest.mark.parametrize(
    ("variable", "value"), [("AIP_HTTP_PORT", "http"), ("AIP_HTTP_PORT", "99999"), ("AIP_PREDICT_ROUTE", "predict")]
)
def test_vertex_variables_that_are_malformed_are_named(variable: str, value: str) -> None:
    """A malformed variable of Vertex AI is an error under its own name."""
    with pytest.raises(SettingsError, match=f"{variable}={value}"):
        translate({variable: value})


def test_port_gives_way_and_model_path_wins() -> None:
    """``PORT`` is the port unless ``ORRIS_PORT`` names one; ``MODEL_PATH`` is the model, whatever an image has set."""
    translated = translate({"PORT": "8080", "MODEL_PATH": "/models/iris", "ORRIS_MODEL": "/opt/model"})
    settings = read_settings(translated)
    assert (settings.port, settings.model, settings.host) == (8080, "/models/iris", "127.0.0.1")
    assert read_settings(translate({"PORT": "8080", "ORRIS_PORT": "9000"}, model_named=True)).port == 9000
    assert read_settings(translate({"PORT": "8080", "AIP_HTTP_PORT": "8090"}, model_named=True)).port == 8090
    with pytest.raises(SettingsError, match="PORT=http"):
        translate({"PORT": "http"})


# what the reference projects promise

NAMED_CURL = '{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}'
CURLS = [
    pytest.param(
        "/predict", NAMED_CURL, {"prediction": 0, "prediction_label": "setosa", "model_version": "1.0.0"}, id="H0"
    ),
    pytest.param(
        "/api/v1/predict",
        '{ "sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2 }',
        {"prediction": 0, "prediction_label": "setosa", "model_version": "1.0.0"},
        id="H1",
    ),
    pytest.param("/predict/", NAMED_CURL, {"predicted_class": "setosa"}, id="H2"),
    pytest.param("/predict", '{\n  "features": [5.1, 3.5, 1.4, 0.2]\n}', {"prediction": 0}, id="H3"),
    pytest.param(
        "/predict",
        '{"instances": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3], [5.9, 3.0, 4.2, 1.5]]}',
        {"predictions": ["setosa", "virginica", "versicolor"]},
        id="H4",
    ),
]


@pytest.mark.parametrize(("route", "body", "expected"), CURLS)
def test_the_curls_of_the_reference_projects_work(
    server: Server, route: str, body: str, expected: dict[str, Any]
) -> None:
    """The curl commands of the reference projects work as they are printed."""
    command = ["curl", "-s", "-X", "POST", server.url + route, "-H", "Content-Type: application/json", "-d", body]
    said = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE_SECONDS).stdout)
    assert said | expected == said
    assert said["request_id"]

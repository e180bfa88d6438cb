"""Tests of the Open Inference Protocol V2 over REST, with Triton's client and plain JSON on real processes."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import orris
from orris.api import Bundle
from orris.errors import NotReadyError, OrrisError, OverloadedError, Problem, RowError, ServingError
from orris.protocols.openinference import PROTOCOL, OpenInference
from orris.protocols.status import refused
from orris.protocols.tensors import DATATYPES, from_values, input_specs, to_raw
from orris.serving.catalog import Catalog, Live
from orris.serving.engine import Engine
from orris.serving.exchange import Reply
from orris.serving.request_context import RequestContext
from orris.serving.routing import Router, RouteTable
from orris.telemetry.metrics import Metrics
from orris.telemetry.request_log import RequestLog
from orris.version import __version__
from tests.servers import Server, client

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of gevent, at import
    import tritonclient.http as triton
    from tritonclient.utils import InferenceServerException

IRIS, CHURN = "/v2/models/iris/infer", "/v2/models/churn/infer"
ROW = [5.1, 3.5, 1.4, 0.2]
ROWS = [ROW, [6.7, 3.0, 5.2, 2.3]]
NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
JSON = {"content-type": "application/json"}

PEOPLE: dict[str, tuple[str, list[Any]]] = {
    "age": ("FP64", [45.5, None, 61.0]),
    "visits": ("INT64", [3, None, 7]),
    "member": ("BOOL", [True, None, False]),
    "town": ("BYTES", ["São Paulo", None, 'New "York"']),
    "tariff": ("INT64", [20, None, 30]),
    "spend": ("FP64", [20.5, 30.25, 0.5]),
}


def tensor(
    data: Any, shape: tuple[int, ...] = (1, 4), datatype: str = "FP64", name: str = "input-0", **more: Any
) -> dict[str, Any]:
    """Return an input."""
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": data, **more}


def people(indices: list[int]) -> list[dict[str, Any]]:
    """Return inputs of the mixed model: one tensor per column."""
    return [
        tensor([values[i] for i in indices], (len(indices), 1), datatype, name)
        for name, (datatype, values) in PEOPLE.items()
    ]


def outputs(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the outputs of a response, by name."""
    return {output["name"]: output for output in document["outputs"]}


@pytest.fixture
def ask_mixed(mixed_server: Server) -> Iterator[httpx.Client]:
    """Return a client of ``mixed_server``."""
    with client(mixed_server) as asking:
        yield asking


@pytest.fixture
def tritonic(server: Server) -> Iterator[triton.InferenceServerClient]:
    """Return Triton's client of ``server``."""
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as asking:
        yield asking


@pytest.fixture(scope="module")
def engine(iris: Bundle) -> Engine:
    """Return the iris model in this process."""
    return Engine.load(iris.folder)


@pytest.fixture(scope="module")
def mixed_engine(mixed: Bundle) -> Engine:
    """Return the mixed model in this process."""
    return Engine.load(mixed.folder)


# Health and metadata


def test_health_answers(ask: httpx.Client) -> None:
    """Health of the server, a model and a version is 200 with a JSON body."""
    assert ask.get("/v2/health/live").json() == {"live": True}
    assert ask.get("/v2/health/ready").json() == {"ready": True}
    assert ask.get("/v2/models/iris/ready").json() == {"name": "iris", "ready": True}
    assert ask.get("/v2/models/iris/versions/1.0.0/ready").json() == {"name": "iris", "ready": True}


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_server_metadata_names_the_extensions(ask: httpx.Client, path: str) -> None:
    """Server metadata names the extensions, with and without the trailing slash and without a redirect."""
    answer = ask.get(path)
    assert answer.status_code == 200
    assert answer.json() == {
        "name": "orris",
        "version": __version__,
        "extensions": ["binary_tensor_data", "model_repository", "model_configuration", "statistics"],
    }


@pytest.mark.parametrize("path", ["/v2/models/iris", "/v2/models/iris/versions/1.0.0"])
def test_model_metadata_names_inputs_and_outputs(ask: httpx.Client, path: str) -> None:
    """Model metadata has one input per column, and labels and probabilities as outputs."""
    assert ask.get(path).json() == {
        "name": "iris",
        "versions": ["1.0.0"],
        "platform": "orris_onnx",
        "inputs": [{"name": name, "datatype": "FP64", "shape": [-1, 1]} for name in NAMES],
        "outputs": [
            {"name": "predict", "datatype": "BYTES", "shape": [-1]},
            {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 3]},
        ],
        "properties": {
            "task": "classification",
            "target": "species",
            "labels": '["setosa","versicolor","virginica"]',
        },
    }


def test_metadata_of_a_mixed_model_names_its_datatypes(ask_mixed: httpx.Client) -> None:
    """Text travels as BYTES, integers and their categories as INT64, booleans as BOOL."""
    inputs = ask_mixed.get("/v2/models/churn").json()["inputs"]
    assert {spec["name"]: spec["datatype"] for spec in inputs} == {
        name: datatype for name, (datatype, _) in PEOPLE.items()
    }


def test_models_are_listed(ask: httpx.Client) -> None:
    """The list of models has the form that KServe defines."""
    assert ask.get("/v2/models").json() == {"models": ["iris"]}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/models/rose"),
        ("GET", "/v2/models/rose/ready"),
        ("GET", "/v2/models/iris/versions/9.9.9"),
        ("GET", "/v2/models/iris/versions/9.9.9/ready"),
        ("POST", "/v2/models/rose/infer"),
        ("POST", "/v2/models/iris/versions/9.9.9/infer"),
        ("GET", "/v2/nothing"),
    ],
)
def test_unknown_models_and_paths_are_404(ask: httpx.Client, method: str, path: str) -> None:
    """Unknown models, versions and paths get 404 in the protocol's own shape."""
    answer = ask.request(method, path, json={"inputs": [tensor(ROW)]} if method == "POST" else None)
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("GET", IRIS, "POST"), ("POST", "/v2/models/iris", "GET, HEAD")]
)
def test_other_methods_are_405(ask: httpx.Client, method: str, path: str, allowed: str) -> None:
    """Other methods get 405 in the protocol's own shape, with the allowed methods."""
    answer = ask.request(method, path)
    assert (answer.status_code, answer.headers["allow"], list(answer.json())) == (405, allowed, ["error"])


# Infer


@pytest.mark.parametrize("path", [IRIS, "/v2/models/iris/versions/1.0.0/infer"])
@pytest.mark.parametrize(
    "inputs",
    [
        [tensor([value for row in ROWS for value in row], (2, 4))],
        [tensor(ROWS, (2, 4), name="predict")],
        [tensor([row[j] for row in ROWS], (2, 1), name=name) for j, name in enumerate(NAMES)],
        [tensor([[row[j]] for row in ROWS], (2, 1), name=name) for j, name in reversed(list(enumerate(NAMES)))],
        [tensor([row[j] for row in ROWS], (2,), "FP32", name) for j, name in enumerate(NAMES)],
    ],
    ids=["flat", "nested", "columns", "nested columns in another order", "columns of one dimension"],
)
def test_rows_are_answered(ask: httpx.Client, iris: Bundle, path: str, inputs: list[dict[str, Any]]) -> None:
    """Rows in every form, with and without a version in the path, get the labels and probabilities of Python."""
    document = ask.post(path, json={"inputs": inputs}).json()
    assert (document["model_name"], document["model_version"]) == ("iris", "1.0.0")
    proba = orris.load(iris).predict_proba(ROWS)
    assert document["outputs"] == [
        {"name": "predict", "datatype": "BYTES", "shape": [2], "data": ["setosa", "virginica"]},
        {"name": "predict_proba", "datatype": "FP64", "shape": [2, 3], "data": proba.ravel().tolist()},
    ]


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_one_row_is_answered_as_a_named_row(ask: httpx.Client, datatype: str) -> None:
    """One row is answered as the named row is, to the last bit."""
    named = ask.post("/predict", json=dict(zip(NAMES, ROW, strict=True))).json()
    for inputs in (
        [tensor(ROW, datatype=datatype)],
        [tensor([ROW], datatype=datatype)],
        [tensor([value], (1, 1), datatype, name) for name, value in zip(NAMES, ROW, strict=True)],
    ):
        found = outputs(ask.post(IRIS, json={"inputs": inputs}).json())
        assert found["predict"]["data"] == [named["prediction_label"]]
        assert found["predict_proba"]["data"] == named["probabilities"]


@pytest.mark.parametrize("indices", [[0], [1], [2], [0, 1, 2]])
def test_mixed_rows_are_answered_as_named_rows(ask_mixed: httpx.Client, indices: list[int]) -> None:
    """Text, booleans, integers and null for missing values are answered as in named rows."""
    rows = [{name: values[i] for name, (_, values) in PEOPLE.items()} for i in indices]
    named = ask_mixed.post("/predict", json=rows).json()["predictions"]
    found = outputs(ask_mixed.post(CHURN, json={"inputs": people(indices)}).json())
    assert found["predict"]["data"] == [answer["prediction_label"] for answer in named]
    assert (
        np.abs(np.array(found["predict_proba"]["data"]) - np.ravel([answer["probabilities"] for answer in named])).max()
        <= 1e-15
    )


def test_the_id_is_echoed(ask: httpx.Client) -> None:
    """The caller's id is echoed, and without one the id is the request's."""
    assert ask.post(IRIS, json={"id": 'my "id"', "inputs": [tensor(ROW)]}).json()["id"] == 'my "id"'
    for given_ in ({}, {"id": ""}, {"id": None}):
        answer = ask.post(IRIS, json={**given_, "inputs": [tensor(ROW)]})
        assert answer.json()["id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("names", [["predict"], ["predict_proba"], ["predict_proba", "predict"]])
def test_outputs_are_the_requested_ones(ask: httpx.Client, names: list[str]) -> None:
    """The outputs are the requested ones, in the order of the request."""
    document = ask.post(IRIS, json={"inputs": [tensor(ROW)], "outputs": [{"name": name} for name in names]}).json()
    assert [output["name"] for output in document["outputs"]] == names


def test_unknown_keys_and_parameters_are_tolerated(ask: httpx.Client) -> None:
    """Unknown keys and parameters, such as the model's name in Triton's examples, are ignored."""
    body = {
        "model_name": "iris",
        "parameters": {"content_type": "np", "priority": 3},
        "inputs": [tensor(ROW, parameters={"content_type": "np"}, note="?")],
        "outputs": [{"name": "predict", "parameters": {"content_type": "str"}}],
    }
    assert outputs(ask.post(IRIS, json=body).json())["predict"]["data"] == ["setosa"]


def test_an_unusual_value_is_answered_with_a_warning(ask: httpx.Client) -> None:
    """Warnings are JSON text in the response's ``parameters``, which hold no lists."""
    document = ask.post(IRIS, json={"inputs": [tensor([5.1, 3.5, 1.4, 30])]}).json()
    told = json.loads(document["parameters"]["warnings"])
    assert told == [{"row": 0, "column": "petal_width", "problem": "outside the range that training saw"}]
    assert "parameters" not in ask.post(IRIS, json={"inputs": [tensor(ROW)]}).json()


def test_ten_thousand_rows_are_answered(ask: httpx.Client, iris: Bundle) -> None:
    """Ten thousand rows in one request are answered in order and equal to the answers in Python."""
    rows = np.random.default_rng(0).uniform(0.1, 8, (10_000, 4))
    document = ask.post(IRIS, json={"inputs": [tensor(rows.ravel().tolist(), rows.shape)]}).json()
    assert outputs(document)["predict_proba"]["data"] == orris.load(iris).predict_proba(rows).ravel().tolist()


BAD: list[tuple[Any, str]] = [
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b"\xff\xfe{", "not JSON"),
    (b"[" * 100_000, "not an inference request"),
    (b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP64","data":' + b"[" * 60_000, "nested too deeply"),
    (b'{"inputs":[{"name":"\\ud800","shape":[1,4],"datatype":"FP64","data":[NaN]}]}', "not JSON"),
    (b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP64","data":[-NaN]}]}', "not JSON"),
    (b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP64","data":[Infinity]}]}', "not JSON"),
    ([], "not an inference request"),
    ({}, "inputs"),
    ({"inputs": []}, "no input"),
    ({"id": 7, "inputs": [tensor(ROW)]}, "$.id"),
    ({"inputs": [tensor(ROW, (1, 3))]}, "3 elements, the data has 4"),
    ({"inputs": [tensor(ROW, (4,))]}, "[n, 4]"),
    ({"inputs": [tensor(ROW, (1, -4))]}, "negative"),
    ({"inputs": [tensor([*ROW[:3], "0.2"])]}, "a number"),
    ({"inputs": [tensor(ROW, datatype="FP16")]}, "binary data"),
    ({"inputs": [tensor(ROW, datatype="DOUBLE")]}, "no datatype 'DOUBLE'"),
    ({"inputs": [tensor(ROW, datatype="INT64")]}, "does not fit INT64"),
    ({"inputs": [tensor([5.1, -3.5, 1.4, 0.2])]}, "row 0, column 'sepal_width': Measurement must be positive"),
    ({"inputs": [tensor([*ROW, 5.1, 3.5, 1.4, None], (2, 4))]}, "row 1, column 'petal_width': a value is needed"),
    ({"inputs": [tensor([5.1], (1, 1), name="sepal_length")]}, "column 'sepal_width': this column is missing"),
    ({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64"}]}, "neither data nor binary_data_size"),
    ({"inputs": [tensor(ROW, parameters={"binary_data_size": 32})]}, "both data and binary_data_size"),
    ({"inputs": [tensor(None, parameters={"binary_data_size": 32})]}, "more than the binary data"),
    ({"inputs": [tensor(None, parameters={"binary_data_size": -1})]}, "more than the binary data"),
    ({"inputs": [tensor(None, parameters={"binary_data_size": True})]}, "binary_data_size"),
    ({"inputs": [tensor(ROW)], "outputs": [{"name": "score"}]}, "no output 'score'; it has predict, predict_proba"),
    ({"inputs": [tensor(ROW)], "outputs": [{"name": "predict"}, {"name": "predict"}]}, "twice"),
    ({"inputs": [tensor(ROW)], "parameters": {"binary_data_output": "yes"}}, "binary_data_output"),
]


@pytest.mark.parametrize(("body", "said"), BAD, ids=[f"{str(body)[:60]}-{said}" for body, said in BAD])
def test_a_bad_request_is_400_with_an_error(ask: httpx.Client, body: Any, said: str) -> None:
    """A bad request gets 400 and only ``error``, which names the problem."""
    content = body if isinstance(body, bytes) else json.dumps(body)
    answer = ask.post(IRIS, content=content, headers=JSON)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


def test_several_problems_are_reported_together(ask: httpx.Client) -> None:
    """An error names each problem with row and column, without the caller's values."""
    error = ask.post(IRIS, json={"inputs": [tensor([-5.25, 3.5, 1.4, -0.25])]}).json()["error"]
    assert "column 'sepal_length'" in error
    assert "column 'petal_width'" in error
    assert "5.25" not in error


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "application/octet-stream"}, 200),
        ({"content-type": "text/csv"}, 415),
        ({"content-type": "application/json; charset=latin-1"}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 200),
        ({"content-type": "application/json", "content-encoding": "br"}, 415),
    ],
)
def test_content_types_are_held_to(ask: httpx.Client, headers: dict[str, str], status: int) -> None:
    """JSON, octets that may be all JSON, and gzip are read; any other compression is refused."""
    content = json.dumps({"inputs": [tensor(ROW)]}).encode()
    answer = ask.post(
        IRIS, content=gzip.compress(content) if "content-encoding" in headers else content, headers=headers
    )
    assert answer.status_code == status
    assert status == 200 or list(answer.json()) == ["error"]


@pytest.mark.parametrize("shape", [[4], [1, 2, 2], [4, 1]])
def test_a_shape_that_holds_no_rows_is_refused_by_its_shape(ask: httpx.Client, shape: list[int]) -> None:
    """A shape that holds no rows is refused with advice that one row has the shape [1, 4]."""
    refused = ask.post(IRIS, json={"inputs": [{"name": "rows", "shape": shape, "datatype": "FP64", "data": ROW}]})
    assert refused.status_code == 400
    assert f"shape {shape} is not [n, 4]; one row has shape [1, 4]" in refused.json()["error"]


def test_base64_of_mlservers_codec_is_decoded(mixed_server: Server) -> None:
    """Elements with the content type base64 are answered as the same elements in plain text."""
    with client(mixed_server) as asking:
        example = asking.get("/openapi.json").json()["paths"]["/v2/models/{model}/infer"]["post"]
        body = example["requestBody"]["content"]["application/json"]["example"]
        plain = asking.post("/v2/models/churn/infer", json=body).json()["outputs"]
        texts = [tensor for tensor in body["inputs"] if tensor["datatype"] == "BYTES"]
        assert texts
        for tensor in texts:
            tensor["parameters"] = {"content_type": "base64"}
            tensor["data"] = [base64.b64encode(value.encode()).decode() for value in tensor["data"]]
        assert asking.post("/v2/models/churn/infer", json=body).json()["outputs"] == plain
        texts[0]["data"] = ["not base64!"]
        assert "element 0 is not base64" in asking.post("/v2/models/churn/infer", json=body).json()["error"]


@pytest.mark.parametrize("content_type", ["pd", "np", "str", "datetime"])
def test_content_types_of_mlservers_codecs_are_known(ask: httpx.Client, content_type: str) -> None:
    """A known content type of the request is accepted, and an unknown one refused with 400."""
    body = {"inputs": [tensor(ROW)], "parameters": {"content_type": content_type}}
    assert ask.post(IRIS, json=body).status_code == 200
    refused = ask.post(IRIS, json=body | {"parameters": {"content_type": "hg-json"}})
    assert (refused.status_code, "content type 'hg-json' is not read here" in refused.text) == (400, True)
    body = {"inputs": [tensor(ROW, parameters={"content_type": "image"})]}
    refused = ask.post(IRIS, json=body)
    assert (refused.status_code, "content type 'image' is not read here" in refused.text) == (400, True)


@pytest.mark.parametrize("binary", [False, True])
def test_output_0_is_another_name_of_predict(ask: httpx.Client, *, binary: bool) -> None:
    """A request for ``output-0``, the name that KServe's runtimes use, is answered under that name."""
    outputs = [{"name": "output-0", "parameters": {"binary_data": binary}}]
    answer = ask.post(IRIS, json={"inputs": [tensor(ROW)], "outputs": outputs})
    length = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    named = json.loads(answer.content[:length])["outputs"][0]
    assert (named["name"], named["shape"], named["datatype"]) == ("output-0", [1], "BYTES")
    assert answer.content[length:] == (b"\x06\0\0\0setosa" if binary else b"")


def test_a_long_request_is_read_as_a_short_one(ask: httpx.Client) -> None:
    """The data of a body of more than 256 KiB are parsed apart and answered as in a short body."""
    rows = [[5.1, 3.5, 1.4, 0.2]] * 20_000
    many = {"name": "rows", "shape": [20_000, 4], "datatype": "FP64", "data": rows}
    answer = ask.post(IRIS, json={"inputs": [many]}).json()["outputs"][0]
    assert answer["data"] == ["setosa"] * 20_000
    refused = ask.post(IRIS, json={"inputs": [many | {"shape": [10, 4]}]})
    assert (refused.status_code, "more elements than shape [10, 4]" in refused.text) == (400, True)


def test_a_body_over_the_limit_is_413(ask: httpx.Client) -> None:
    """A body over the limit gets 413 in the protocol's own shape."""
    answer = ask.post(IRIS, content=b" " * (33 * 1024 * 1024), headers=JSON)
    assert (answer.status_code, list(answer.json())) == (413, ["error"])


# Binary tensors


def post_binary(ask: httpx.Client, document: Any, raw: bytes, length: str | None = None) -> httpx.Response:
    """Send a request with binary data behind its JSON."""
    head = json.dumps(document).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": length or str(len(head))}
    return ask.post(IRIS, content=head + raw, headers=headers)


def binary(shape: tuple[int, ...], datatype: str, size: int, name: str = "x") -> dict[str, Any]:
    """Return an input whose data stand behind the JSON."""
    return {"name": name, "shape": list(shape), "datatype": datatype, "parameters": {"binary_data_size": size}}


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name not in {"BYTES", "BOOL"}])
def test_binary_data_of_every_numeric_datatype_are_read(ask: httpx.Client, datatype: str) -> None:
    """The same small integers in each numeric datatype get the same answer."""
    row = np.array([[5, 3, 1, 2]])
    raw = row.astype(DATATYPES[datatype]).tobytes()
    if datatype == "BF16":
        raw = (row.astype(np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    found = post_binary(ask, {"inputs": [binary((1, 4), datatype, len(raw))]}, raw).json()
    expected = ask.post(IRIS, json={"inputs": [tensor([5, 3, 1, 2], datatype="INT64")]}).json()
    assert found["outputs"] == expected["outputs"]


def test_binary_and_json_inputs_may_be_mixed(ask: httpx.Client) -> None:
    """Binary data stand in the order of the inputs that announce them, beside inputs in JSON."""
    inputs = [
        binary((1, 1), "FP64", 8, NAMES[0]),
        tensor([ROW[1]], (1, 1), name=NAMES[1]),
        binary((1,), "FP64", 8, NAMES[2]),
        tensor([ROW[3]], (1, 1), name=NAMES[3]),
    ]
    found = post_binary(ask, {"inputs": inputs}, np.array([ROW[0], ROW[2]]).tobytes()).json()
    assert found["outputs"] == ask.post(IRIS, json={"inputs": [tensor(ROW)]}).json()["outputs"]


@pytest.mark.parametrize(
    ("parameters", "of_output", "expected"),
    [
        ({"binary_data_output": True}, None, {"predict", "predict_proba"}),
        ({"binary_data_output": True}, False, {"predict"}),
        ({"binary_data_output": False}, True, {"predict_proba"}),
        ({}, True, {"predict_proba"}),
        ({}, None, set()),
    ],
)
def test_outputs_are_binary_where_requested(
    ask: httpx.Client, iris: Bundle, parameters: dict[str, bool], of_output: bool | None, expected: set[str]
) -> None:
    """An output's own ``binary_data`` overrides the request's ``binary_data_output``."""
    wanted: list[dict[str, Any]] = [{"name": "predict"}, {"name": "predict_proba"}]
    if of_output is not None:
        wanted[1]["parameters"] = {"binary_data": of_output}
    answer = ask.post(IRIS, json={"inputs": [tensor(ROW)], "parameters": parameters, "outputs": wanted})
    length = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    found = outputs(json.loads(answer.content[:length]))
    raw = {name: output["parameters"]["binary_data_size"] for name, output in found.items() if "parameters" in output}
    assert set(raw) == expected
    assert sum(raw.values()) == len(answer.content) - length
    assert ("inference-header-content-length" in answer.headers) == bool(expected)
    if "predict_proba" in raw:
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.content[-24:] == orris.load(iris).predict_proba([ROW]).tobytes()
    if "predict" in raw:
        assert answer.content[length : length + 10] == b"\6\0\0\0setosa"


@pytest.mark.parametrize(
    ("size", "raw", "length", "said"),
    [
        (32, b"\0" * 24, None, "more than the binary data"),
        (32, b"\0" * 40, None, "8 bytes of binary data belong to no input"),
        (24, b"\0" * 24, None, "32 bytes in raw form, not 24"),
        (32, b"\0" * 32, "x", "Inference-Header-Content-Length"),
        (32, b"\0" * 32, "-1", "Inference-Header-Content-Length"),
        (32, b"\0" * 32, "9" * 30, "Inference-Header-Content-Length"),
        (32, b"\0" * 32, "100000", "Inference-Header-Content-Length"),
        (32, b"\0" * 32, "5", "not JSON"),
        (32, b"\xff" * 32, None, "row 0, column 'sepal_length': a value is needed"),
    ],
)
def test_binary_data_that_do_not_fit_are_refused(
    ask: httpx.Client, size: int, raw: bytes, length: str | None, said: str
) -> None:
    """Binary data that do not fit their input get 400 with the mismatch."""
    answer = post_binary(ask, {"inputs": [binary((1, 4), "FP64", size)]}, raw, length)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


# Triton's client


def as_input(name: str, values: Any, datatype: str, *, is_binary: bool = True) -> triton.InferInput:
    """Return an input of Triton's client."""
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=is_binary)
    return made


def test_tritons_client_reads_health_and_metadata(tritonic: triton.InferenceServerClient) -> None:
    """Triton's client reads health and metadata, with and without versions."""
    assert tritonic.is_server_live()
    assert tritonic.is_server_ready()
    assert tritonic.is_model_ready("iris")
    assert tritonic.is_model_ready("iris", "1.0.0")
    assert not tritonic.is_model_ready("rose")
    assert tritonic.get_server_metadata()["name"] == "orris"
    assert [spec["name"] for spec in tritonic.get_model_metadata("iris", "1.0.0")["inputs"]] == NAMES


@pytest.mark.parametrize("sends_binary", [True, False])
@pytest.mark.parametrize("gets_binary", [True, False, None])
def test_tritons_client_infers(
    tritonic: triton.InferenceServerClient, iris: Bundle, *, sends_binary: bool, gets_binary: bool | None
) -> None:
    """Inputs and outputs are binary or JSON, independently; a request without outputs gets all as binary data."""
    wanted = None
    if gets_binary is not None:
        wanted = [triton.InferRequestedOutput(name, binary_data=gets_binary) for name in ("predict", "predict_proba")]
    inputs = [as_input("input-0", np.array(ROWS), "FP64", is_binary=sends_binary)]
    result = tritonic.infer("iris", inputs, model_version="1.0.0", outputs=wanted, request_id="r-1")
    assert result.get_response()["id"] == "r-1"
    labels = [label if isinstance(label, str) else label.decode() for label in result.as_numpy("predict").tolist()]
    assert labels == ["setosa", "virginica"]
    assert np.array_equal(result.as_numpy("predict_proba"), orris.load(iris).predict_proba(ROWS))


def test_tritons_client_gets_errors(tritonic: triton.InferenceServerClient) -> None:
    """Triton's client raises with the text of ``error``."""
    with pytest.raises(InferenceServerException, match="row 0, column 'sepal_length': Measurement must be positive"):
        tritonic.infer("iris", [as_input("x", np.zeros((1, 4)), "FP64")])
    with pytest.raises(InferenceServerException, match="rose"):
        tritonic.infer("rose", [as_input("x", np.ones((1, 4)), "FP64")])


@pytest.mark.parametrize("is_binary", [True, False])
def test_tritons_client_infers_mixed_columns(mixed_server: Server, mixed: Bundle, *, is_binary: bool) -> None:
    """Text travels as BYTES; missing values are NaN, also as JSON, and empty texts."""
    columns = []
    for name, (datatype, values) in PEOPLE.items():
        if datatype == "BYTES":
            columns.append(
                as_input(
                    name, np.array([[value or ""] for value in values], dtype=object), "BYTES", is_binary=is_binary
                )
            )
        else:
            floats = np.array([[math.nan if value is None else float(value)] for value in values])
            columns.append(as_input(name, floats, "FP64", is_binary=is_binary))
    with triton.InferenceServerClient(mixed_server.url.removeprefix("http://")) as asking:
        found = asking.infer("churn", columns)
    rows = [{name: values[i] for name, (_, values) in PEOPLE.items()} for i in range(3)]
    expected = orris.load(mixed)
    assert [label.decode() for label in found.as_numpy("predict").tolist()] == list(expected.predict(rows))
    assert np.array_equal(found.as_numpy("predict_proba"), expected.predict_proba(rows))


# What is seen in process only


def ask_probe(catalog: Catalog, path: str) -> Reply:
    """Return a probe's reply."""
    context = RequestContext(Metrics(), RequestLog(), max_body_bytes=1, max_in_flight=1)
    router = Router(RouteTable(PROTOCOL), context, catalog, refuse=refused, require_admin=lambda _: None)
    probe = router.probe(path)
    assert probe is not None
    reply = probe({}, "r")
    assert reply is not None
    return reply


def test_a_model_that_is_unloaded_is_not_ready(engine: Engine) -> None:
    """After an unload the server and the model are 503 with ``error``, and the list of models leaves it out."""
    catalog = Catalog()
    slot = catalog.add(Live.of(engine, Metrics()))
    paths = ("/v2/health/ready", "/v2/models/iris/ready", "/v2/models/iris")
    assert [ask_probe(catalog, path).status for path in paths] == [200, 200, 200]
    slot.live = None
    slot.pinned.clear()
    for path in paths:
        assert (ask_probe(catalog, path).status, list(json.loads(ask_probe(catalog, path).body))) == (503, ["error"])
    assert ask_probe(catalog, "/v2/models").body == b'{"models":[]}'
    assert ask_probe(catalog, "/v2/health/live").status == 200


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ServingError("/secret/path failed"), 500, "request id r-7"),
        (OverloadedError("too many"), 503, "too many"),
        (NotReadyError("not yet"), 503, "not yet"),
        (RowError([Problem(i, "a", "wrong") for i in range(50)]), 400, "row 9, column 'a': wrong; and 40 more"),
    ],
)
def test_an_internal_error_reveals_only_the_request_id(error: OrrisError, status: int, said: str) -> None:
    """An internal error is answered with the request id only."""
    reply = OpenInference().refuse(error, "r-7")
    assert reply.status == status
    assert said in json.loads(reply.body)["error"]
    assert b"secret" not in reply.body
    assert ((b"retry-after", b"1") in reply.headers) == (status == 503)


@pytest.mark.parametrize("is_binary", [True, False])
def test_a_regression_answers_numbers(tmp_path_factory: pytest.TempPathFactory, *, is_binary: bool) -> None:
    """A regression answers FP64 and has no output for probabilities."""
    table = pd.DataFrame({"x": np.arange(60.0), "y": np.arange(60.0) * 2 + 1})
    bundle = orris.train(
        table, target="y", name="line", model="linear", version="1.0.0", store=tmp_path_factory.mktemp("store")
    )
    line, dialect = Engine.load(bundle.folder), OpenInference()
    asked = dialect.read(
        line,
        json.dumps({"inputs": [tensor([3, 4], (2, 1))], "parameters": {"binary_data_output": is_binary}}).encode(),
        {},
    )
    answers = line.run(asked.rows)
    assert answers.values is not None
    reply = dialect.write(line, asked, answers, "r", [])
    if is_binary:
        assert reply.body.endswith(answers.values.tobytes())
    else:
        expected = {"name": "predict", "datatype": "FP64", "shape": [2], "data": answers.values.tolist()}
        assert json.loads(reply.body)["outputs"] == [expected]


def test_a_route_forgets_versions_that_no_longer_answer(iris: Bundle) -> None:
    """What a route computes of a version is kept for few versions, however often the model is swapped."""
    dialect, body = OpenInference(), json.dumps({"inputs": [tensor(ROW)]}).encode()
    for _ in range(20):
        assert dialect.read(Engine.load(iris.folder), body, {}).rows.tolist() == [ROW]
    assert len(dialect._plans) <= 8


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(sorted(DATATYPES))
)
VALUES = (
    LEAVES
    | st.lists(LEAVES, max_size=4)
    | st.dictionaries(st.sampled_from(["name", "binary_data", "x"]), LEAVES, max_size=2)
)
USUAL: list[dict[str, Any]] = [
    {"inputs": [tensor(ROW)]},
    {
        "inputs": [tensor(ROWS, (2, 4), "FP32")],
        "id": "i",
        "outputs": [{"name": "predict", "parameters": {"binary_data": True}}],
    },
    {
        "inputs": [tensor([value], (1, 1), name=name) for name, value in zip(NAMES, ROW, strict=True)],
        "parameters": {"binary_data_output": True},
    },
    {"inputs": people([0])},
    {"inputs": people([0, 1, 2]), "parameters": {}},
]


@st.composite
def almost_usual(draw: st.DrawFn) -> tuple[bool, Any]:
    """Draw a usual request with up to three parts changed or removed, and whether it is for the mixed model."""
    usual = draw(st.sampled_from(USUAL))
    request = json.loads(json.dumps(usual))
    for _ in range(draw(st.integers(0, 3))):
        place: Any = request
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if place[key] and isinstance(place[key], dict | list) and draw(st.integers(0, 3)):
                place = place[key]
                continue
            if draw(st.integers(0, 4)):
                place[key] = draw(VALUES)
            else:
                del place[key]
            break
    return len(usual["inputs"]) == len(PEOPLE), request


def answered(engine: Engine, body: bytes, length: bytes | None) -> Reply:
    """Return the dialect's answer to a body, or its refusal."""
    dialect = OpenInference()
    headers = {} if length is None else {b"inference-header-content-length": length}
    try:
        asked = dialect.read(engine, body, headers)
        return dialect.write(engine, asked, engine.run(asked.rows), "r", [])
    except OrrisError as error:
        return dialect.refuse(error, "r")


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(almost_usual(), st.none() | st.just(b"") | st.binary(max_size=64))
def test_no_request_fails_the_server(
    engine: Engine, mixed_engine: Engine, asked: tuple[bool, Any], raw: bytes | None
) -> None:
    """Requests with any tensors, shapes, datatypes and bytes are answered, or refused with 400."""
    is_mixed, request = asked
    head = json.dumps(request).encode()
    reply = answered(
        mixed_engine if is_mixed else engine, head + (raw or b""), None if raw is None else b"%d" % len(head)
    )
    assert reply.status in {200, 400}


PLAUSIBLE: dict[str, list[Any]] = {
    "FP64": [45.5, 0, -1.5, math.nan, math.inf, 1e300],
    "INT64": [20, 10, 3, 0, -1, 2**53 + 1],
    "BOOL": [True, False],
    "BYTES": [b"Oslo", b"Rome", b"", b"Nowhere", b"\xff"],
}


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_any_binary_data_are_answered_or_refused(mixed_engine: Engine, data: st.DataObject) -> None:
    """One binary tensor per column, of plausible values, another datatype or any bytes, is answered or refused."""
    n_rows = data.draw(st.integers(1, 3))
    inputs, raws = [], []
    strange = data.draw(st.sets(st.integers(0, 8), max_size=3))
    for j, spec in enumerate(input_specs(mixed_engine.schema)):
        datatype = spec.datatype
        plausible = st.sampled_from(PLAUSIBLE[datatype] if j in strange else PLAUSIBLE[datatype][:2])
        values = data.draw(st.lists(plausible, min_size=n_rows, max_size=n_rows))
        raw = to_raw(from_values("x", datatype, [n_rows], values))
        if j in strange:
            datatype = data.draw(st.sampled_from([datatype, *DATATYPES]))
            raw = data.draw(st.just(raw) | st.binary(min_size=len(raw), max_size=len(raw)) | st.binary(max_size=16))
        inputs.append(binary((n_rows, 1), datatype, len(raw), spec.name))
        raws.append(raw)
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    reply = answered(mixed_engine, head + b"".join(raws), b"%d" % len(head))
    assert reply.status in {200, 400}
    assert reply.status == 200 or strange


def test_the_conformance_table_names_tests_that_exist() -> None:
    """Each row of the documentation is held by a test of this folder."""
    folder = Path(__file__).parent
    page = (folder.parents[1] / "docs" / "protocols.md").read_text("utf-8")
    section = page.partition("## Open Inference Protocol V2\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(test_\w+)`", section))
    defined = {
        name
        for file in folder.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)
    }
    assert len(named) > 30
    assert named <= defined

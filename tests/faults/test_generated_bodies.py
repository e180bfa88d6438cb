"""Tests of generated requests to every predict route, none of which may cause a server error."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.sizes import N_BODIES
from tests.servers import Server
from tests.waiting import PATIENCE_SECONDS

ROUTES = ("/predict", "/api/v1/predict", "/v1/models/iris:predict", "/v2/models/iris/infer", "/invocations")
ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
TENSOR = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [5.1, 3.5, 1.4, 0.2]}

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
keys = st.sampled_from(
    [
        *ROW,
        *TENSOR,
        "instances",
        "features",
        "inputs",
        "outputs",
        "id",
        "parameters",
        "dataframe_split",
        "columns",
        "index",
    ]
)
objects = st.dictionaries(keys, json_values | st.just([TENSOR]) | st.just([ROW]) | st.just(list(ROW)), max_size=5)
bodies = st.binary(max_size=200) | (objects | json_values).map(lambda value: json.dumps(value).encode())
content_types = st.sampled_from(["application/json", "text/csv", "application/octet-stream", "text/plain", ""])


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[http.client.HTTPConnection]:
    """Open one connection for all requests, so that an answer out of step would show."""
    opened = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
    yield opened
    opened.close()


@settings(
    max_examples=N_BODIES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(route=st.sampled_from(ROUTES), body=bodies, content_type=content_types)
def test_no_body_gets_a_server_error(
    connection: http.client.HTTPConnection, route: str, body: bytes, content_type: str
) -> None:
    """Every generated body is answered with a status below 500 and its own request id."""
    headers = {"x-request-id": f"r{hash(body) & 0xFFFF}"} | ({"content-type": content_type} if content_type else {})
    try:
        answer = _sent(connection, route, body, headers)
    except ConnectionError:  # it was idle for too long on a busy machine; a body that ends connections does so again
        connection.close()
        answer = _sent(connection, route, body, headers)
    assert answer.status < 500
    assert answer.headers["x-request-id"] == headers["x-request-id"]


def _sent(
    connection: http.client.HTTPConnection, route: str, body: bytes, headers: dict[str, str]
) -> http.client.HTTPResponse:
    connection.request("POST", route, body, headers)
    answer = connection.getresponse()
    answer.read()
    return answer

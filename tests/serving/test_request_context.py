"""Tests of the request context, which counts and logs a finished request of any protocol in one place."""

from __future__ import annotations

import asyncio
import json
import os
from time import perf_counter
from typing import Any

import pytest

from orris.serving.request_context import Record, RequestContext
from orris.telemetry.metrics import Metrics
from orris.telemetry.request_log import RequestLog
from orris.telemetry.tracecontext import Arrival


def record(method: str = "GET", code: str = "", **more: Any) -> Record:
    """Return a finished request of a route named ``/x``."""
    return Record(method, "/x", 200, "order-42", perf_counter(), {}, None, Arrival, code, **more)


async def logged(*records: Record) -> tuple[Metrics, list[dict[str, Any]]]:
    """Return the counts and the log lines of these requests."""
    readable, writable = os.pipe()
    metrics, log = Metrics(), RequestLog(writable)
    context = RequestContext(metrics, log, max_body_bytes=1, max_in_flight=1)
    for each in records:
        context.finished(each)
    log.close()
    os.close(writable)
    with os.fdopen(readable) as lines:
        return metrics, [json.loads(line) for line in lines]


@pytest.mark.parametrize(("method", "counted"), [("GET", "GET"), ("BREW", "(other)")])
def test_a_request_over_http_is_counted_by_method_and_route(method: str, counted: str) -> None:
    """A request over HTTP is counted by method and route, and an unknown method creates no series of its own."""
    metrics, lines = asyncio.run(logged(record(method)))
    assert dict(metrics.routes[counted, "/x"].statuses) == {200: 1}
    assert [(line["method"], line["route"], line["request_id"]) for line in lines] == [(counted, "/x", "order-42")]


def test_a_call_over_grpc_is_counted_by_its_code() -> None:
    """A call over gRPC is counted and logged by its code, and not as a request over HTTP."""
    metrics, lines = asyncio.run(logged(record("POST", "OK")))
    assert metrics.routes == {}
    assert metrics.calls == {("/x", "OK"): 1}
    assert (lines[0]["method"], lines[0]["code"]) == ("gRPC", "OK")


def test_input_values_are_not_computed_unless_the_log_holds_them() -> None:
    """Input values are not even computed unless the log is configured to hold them."""

    def values() -> tuple[dict[str, Any], ...]:
        raise AssertionError("values were computed")

    _, lines = asyncio.run(logged(record(values=values)))
    assert "values" not in lines[0]

"""Tests of a real server's traces, as a receiver of OTLP gets them over a real connection."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import orris
from orris.api import Bundle
from orris.errors import ServingError
from orris.protocols.grpc.generated import open_inference_pb2 as pb
from orris.server.assembly import assemble
from orris.serving.engine import Engine
from orris.serving.http.asgi import Awaited
from orris.settings import Settings
from orris.telemetry.exporting import Export
from orris.telemetry.sampling import Ids, read_rule
from orris.telemetry.tracecontext import Arrival, Call, ModelPrediction, Request
from orris.telemetry.tracing import Tracing, read_resource
from tests.example_tables import TABLE
from tests.receivers import Received, Receiver, grpc_receiver, http_receiver
from tests.servers import Server, client, serving
from tests.waiting import PATIENCE_SECONDS, eventually

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
PARENT = "00f067aa0ba902b7"
SERVICE = "inference.GRPCInferenceService"
SERVER, INTERNAL = Span.SpanKind.SPAN_KIND_SERVER, Span.SpanKind.SPAN_KIND_INTERNAL
REMOTE_PARENT = 0x300
"""OTLP's flags: it is known whether the parent is remote, and it is."""


def new_trace(flags: str = "01") -> tuple[str, dict[str, str]]:
    """Return the id of a caller's new trace, and the headers that carry it."""
    trace_id = secrets.token_hex(16)
    return trace_id, {"traceparent": f"00-{trace_id}-{PARENT}-{flags}"}


def exporting(receiver: Receiver, **more: str) -> dict[str, str]:
    """Return the variables of a server that exports to this receiver over gRPC without delay."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50", **more}


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with two versions of iris."""
    store = tmp_path_factory.mktemp("store")
    for version in ("1.0.0", "2.0.0"):
        orris.train(store=store, table=TABLE, target="species", name="iris", version=version)
    return store


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Run a receiver over gRPC."""
    with grpc_receiver() as receiving:
        yield receiving


@pytest.fixture(scope="module")
def traced(versions: Path, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with a shadow, over HTTP and gRPC, that records every trace."""
    arguments = ("iris@1.0.0", "--shadow", "iris@2.0.0", "--store", str(versions), "--grpc-port", "0")
    with serving(*arguments, folder=tmp_path_factory.mktemp("traced"), environ=exporting(receiver)) as running:
        yield running


@pytest.fixture
def ask(traced: Server) -> Iterator[httpx.Client]:
    """Return a client of ``traced``."""
    with client(traced) as asking:
        yield asking


def lines(server: Server, trace_id: str) -> list[dict[str, Any]]:
    """Wait for the lines of the log about this trace and return them."""
    return eventually(
        lambda: [line for line in map(json.loads, server.log_lines()) if line.get("trace_id") == trace_id]
    )


def calling(channel: grpc.Channel, method: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    """Return a call of the service that takes and returns messages as bytes."""
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/{method}")
    return call


def within(inner: Received, outer: Received) -> bool:
    """Return whether one span's time lies in another's."""
    start, end = outer.span.start_time_unix_nano, outer.span.end_time_unix_nano
    return bool(start <= inner.span.start_time_unix_nano <= inner.span.end_time_unix_nano <= end)


def test_a_trace_goes_on_from_the_caller_to_the_model(traced: Server, receiver: Receiver, ask: httpx.Client) -> None:
    """A request has a server span under the caller's and a model span under that, and its log line names the first."""
    trace_id, headers = new_trace()
    answer = ask.post("/api/v1/predict", json=ROW, headers={**headers, "tracestate": "vendor=x"})
    spans = receiver.trace(trace_id, 2)
    server, model = spans["POST /api/v1/predict"], spans["model_prediction"]
    assert (server.span.kind, server.parent_id, server.span.flags & REMOTE_PARENT) == (SERVER, PARENT, REMOTE_PARENT)
    assert (model.span.kind, model.parent_id) == (INTERNAL, server.span_id)
    assert server.span.trace_state == model.span.trace_state == "vendor=x"
    assert server.attributes == {
        "http.request.method": "POST",
        "http.route": "/api/v1/predict",
        "http.response.status_code": 200,
        "url.path": "/api/v1/predict",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "127.0.0.1",
        "server.port": traced.port,
        "user_agent.original": f"python-httpx/{httpx.__version__}",
        "orris.request_id": answer.headers["x-request-id"],
    }
    assert model.attributes == {
        "orris.model.name": "iris",
        "orris.model.version": "1.0.0",
        "orris.rows": 1,
        "orris.predicted_class": answer.json()["prediction_label"],
    }
    assert within(model, server)
    assert server.scope == ("orris", orris.__version__)
    assert server.resource["service.name"] == "orris"
    assert server.resource["process.pid"] == traced.process.pid
    assert answer.headers["traceparent"] == f"00-{trace_id}-{server.span_id}-01"
    (line,) = lines(traced, trace_id)
    assert (line["span_id"], line["trace_flags"], line["request_id"]) == (
        server.span_id,
        "01",
        answer.headers["x-request-id"],
    )


def test_a_request_without_a_trace_begins_one(traced: Server, receiver: Receiver, ask: httpx.Client) -> None:
    """A request without a trace context begins a trace, which the answer names."""
    answer = ask.post("/api/v1/predict", json=[ROW, ROW])
    version, trace_id, span_id, flags = answer.headers["traceparent"].split("-")
    spans = receiver.trace(trace_id, 2)
    assert (version, flags) == ("00", "03")
    assert spans["POST /api/v1/predict"].span_id == span_id
    assert spans["POST /api/v1/predict"].parent_id == ""
    assert spans["model_prediction"].attributes["orris.rows"] == 2
    assert "orris.predicted_class" not in spans["model_prediction"].attributes
    assert lines(traced, trace_id)


@pytest.mark.parametrize(
    "text", ["nonsense", f"00-{'0' * 32}-{PARENT}-01", f"ff-{'a' * 32}-{PARENT}-01", f"00-{'A' * 32}-{PARENT}-01"]
)
def test_a_malformed_trace_context_begins_a_new_trace(receiver: Receiver, ask: httpx.Client, text: str) -> None:
    """A malformed ``traceparent`` begins a new trace, and its ``tracestate`` is ignored."""
    answer = ask.post("/api/v1/predict", json=ROW, headers={"traceparent": text, "tracestate": "vendor=x"})
    trace_id = answer.headers["traceparent"].split("-")[1]
    assert trace_id not in text.lower()
    server = receiver.trace(trace_id, 2)["POST /api/v1/predict"]
    assert (server.parent_id, server.span.trace_state) == ("", "")


def test_an_unsampled_trace_is_not_recorded(traced: Server, receiver: Receiver, ask: httpx.Client) -> None:
    """A trace that the caller does not sample is not recorded; its context returns unchanged and the log names it."""
    unrecorded, headers = new_trace("00")
    answer = ask.post("/api/v1/predict", json=ROW, headers=headers)
    assert answer.headers["traceparent"] == headers["traceparent"]
    (line,) = lines(traced, unrecorded)
    assert (line["trace_flags"], "span_id" in line) == ("00", False)
    recorded, headers = new_trace()
    ask.post("/api/v1/predict", json=ROW, headers=headers)
    receiver.trace(recorded, 2)
    assert unrecorded not in {span.trace_id for span in receiver.spans}


def test_a_refusal_has_a_server_span_alone(receiver: Receiver, ask: httpx.Client) -> None:
    """A refused request has a server span without an error status, and no model span."""
    trace_id, headers = new_trace()
    assert ask.post("/api/v1/predict", json={**ROW, "petal_width": "wide"}, headers=headers).status_code == 422
    (server,) = receiver.trace(trace_id, 1).values()
    assert server.attributes["http.response.status_code"] == 422
    assert server.span.status.code == Status.STATUS_CODE_UNSET
    assert "error.type" not in server.attributes


@pytest.mark.parametrize(
    ("method", "path", "status", "name", "route"),
    [
        ("GET", "/v2/models/iris", 200, "GET /v2/models/{model}", "/v2/models/{model}"),
        ("GET", "/api/v1/predict", 405, "GET /api/v1/predict", "/api/v1/predict"),
        ("POST", "/api/v1/predict?debug=1", 200, "POST /api/v1/predict", "/api/v1/predict"),
        ("GET", "/no/such/page", 404, "GET", None),
        ("PROPFIND", "/api/v1/predict", 405, "HTTP /api/v1/predict", "/api/v1/predict"),
    ],
)
def test_other_requests_have_a_server_span_by_their_route(
    receiver: Receiver, ask: httpx.Client, method: str, path: str, status: int, name: str, route: str | None
) -> None:
    """Server spans are named by the route template: no query, unknown path or unknown method makes a name."""
    trace_id, headers = new_trace()
    answer = ask.request(method, path, headers=headers, json=ROW if status == 200 and method == "POST" else None)
    assert answer.status_code == status
    server = receiver.trace(trace_id, 2 if method == "POST" else 1)[name]
    assert (server.attributes.get("http.route"), server.attributes["url.path"]) == (route, path.partition("?")[0])
    assert server.attributes["http.response.status_code"] == status
    assert answer.headers["traceparent"] == f"00-{trace_id}-{server.span_id}-01"


def test_probes_and_scrapes_are_not_recorded(receiver: Receiver, ask: httpx.Client) -> None:
    """Probes and scrapes are not recorded, even if their caller samples its trace."""
    probed, headers = new_trace()
    for path in ("/health", "/ready", "/metrics", "/v2/health/live", "/ping"):
        assert ask.get(path, headers=headers).headers["traceparent"] == headers["traceparent"]
    trace_id, headers = new_trace()
    ask.post("/api/v1/predict", json=ROW, headers=headers)
    receiver.trace(trace_id, 2)
    assert probed not in {span.trace_id for span in receiver.spans}


def test_a_long_body_is_traced_too(receiver: Receiver, ask: httpx.Client) -> None:
    """A body that is read and answered on a thread has the same spans as a short one."""
    trace_id, headers = new_trace()
    assert ask.post("/api/v1/predict", json=[ROW] * 2_000, headers=headers).status_code == 200
    spans = receiver.trace(trace_id, 2)
    assert spans["model_prediction"].attributes["orris.rows"] == 2_000
    assert within(spans["model_prediction"], spans["POST /api/v1/predict"])


def test_a_call_over_grpc_follows_the_conventions(traced: Server, receiver: Receiver) -> None:
    """A call over gRPC has the conventions' names, and its metadata carry the context in and out."""
    tensors = [pb.ModelInferRequest.InferInputTensor(name="input", datatype="FP64", shape=[1, 4])]
    tensors[0].contents.fp64_contents.extend(ROW.values())
    infer = pb.ModelInferRequest(model_name="iris", inputs=tensors)
    trace_id, headers = new_trace()
    with grpc.insecure_channel(f"127.0.0.1:{traced.grpc_port}") as channel:
        _, outcome = calling(channel, "ModelInfer").with_call(
            infer.SerializeToString(), metadata=tuple(headers.items()), timeout=PATIENCE_SECONDS
        )
    spans = receiver.trace(trace_id, 2)
    server, model = spans[f"{SERVICE}/ModelInfer"], spans["model_prediction"]
    trailing, told = dict(outcome.trailing_metadata()), server.attributes
    assert told.pop("user_agent.original").startswith("grpc-python/")
    assert told == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{SERVICE}/ModelInfer",
        "rpc.response.status_code": "OK",
        "orris.request_id": trailing["x-request-id"],
    }
    assert (server.span.kind, server.parent_id, model.parent_id) == (SERVER, PARENT, server.span_id)
    assert model.attributes["orris.predicted_class"] == "setosa"
    assert trailing["traceparent"] == f"00-{trace_id}-{server.span_id}-01"


def test_other_calls_over_grpc_have_a_server_span(traced: Server, receiver: Receiver) -> None:
    """Other calls over gRPC, refused ones included, have a server span; probes have none."""
    with grpc.insecure_channel(f"127.0.0.1:{traced.grpc_port}") as channel:
        probed, headers = new_trace()
        calling(channel, "ServerLive")(b"", metadata=tuple(headers.items()), timeout=PATIENCE_SECONDS)
        trace_id, headers = new_trace()
        wanted = pb.ModelMetadataRequest(name="nobody").SerializeToString()
        with pytest.raises(grpc.RpcError):
            calling(channel, "ModelMetadata")(wanted, metadata=tuple(headers.items()), timeout=PATIENCE_SECONDS)
    server = receiver.trace(trace_id, 1)[f"{SERVICE}/ModelMetadata"]
    assert server.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert server.span.status.code == Status.STATUS_CODE_UNSET
    assert probed not in {span.trace_id for span in receiver.spans}


def test_a_shadow_has_a_trace_of_its_own_linked_to_the_request(receiver: Receiver, ask: httpx.Client) -> None:
    """The shadow's span begins after the answer, in a trace of its own that links to the request."""
    trace_id, headers = new_trace()
    ask.post("/api/v1/predict", json=ROW, headers=headers)
    server = receiver.trace(trace_id, 2)["POST /api/v1/predict"]
    place = (trace_id, server.span_id)
    spans = receiver.wait(lambda spans: any(place in span.links for span in spans))
    (shadow,) = [span for span in spans if place in span.links]
    assert (shadow.name, shadow.parent_id) == ("shadow_prediction", "")
    assert shadow.trace_id != trace_id
    assert shadow.attributes == {
        "orris.model.name": "iris",
        "orris.model.version": "2.0.0",
        "orris.rows": 1,
        "orris.predicted_class": "setosa",
        "orris.shadow.agreed": True,
    }


def test_buckets_of_durations_name_the_trace_of_a_recorded_request(ask: httpx.Client) -> None:
    """Duration buckets in OpenMetrics carry exemplars of recorded traces, and never of unrecorded ones."""
    trace_id, headers = new_trace()
    ask.post("/api/v1/predict", json=ROW, headers=headers)
    unrecorded, headers = new_trace("00")
    ask.post("/api/v1/predict", json=ROW, headers=headers)
    text = ask.get("/metrics", headers={"accept": "application/openmetrics-text"}).text
    marked = [line for line in text.splitlines() if f'# {{trace_id="{trace_id}"}}' in line]
    assert len(marked) == 1
    assert marked[0].startswith("http_request_duration_seconds_bucket{")
    assert 'route="/api/v1/predict"' in marked[0]
    assert unrecorded not in text


# other variables


def test_the_exporter_over_http_follows_its_variables(iris: Bundle, tmp_path: Path) -> None:
    """The exporter over HTTP uses the configured compression, headers and service, and flushes at SIGTERM."""
    with http_receiver() as receiver:
        environ = exporting(
            receiver,
            ORRIS_TRACING="on",
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
            OTEL_EXPORTER_OTLP_HEADERS="x-tenant=flowers",
            OTEL_SERVICE_NAME="flowers",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=stage",
            OTEL_BSP_SCHEDULE_DELAY="600000",
        )
        trace_id, headers = new_trace()
        with serving(str(iris.folder), folder=tmp_path, environ=environ) as server:
            with client(server) as ask:
                ask.post("/api/v1/predict", json=ROW, headers=headers)
            assert receiver.spans == []
            assert server.stop() == 0
        spans = receiver.trace(trace_id, 2)
    assert spans["model_prediction"].parent_id == spans["POST /api/v1/predict"].span_id
    resource = spans["model_prediction"].resource
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("flowers", "stage")
    assert (receiver.metadata["x-tenant"], receiver.metadata["content-encoding"]) == ("flowers", "gzip")


def test_each_worker_exports_all_its_spans(iris: Bundle, tmp_path: Path) -> None:
    """Every worker exports its own spans, and at SIGTERM those that still wait."""
    with grpc_receiver() as receiver:
        environ = exporting(receiver, OTEL_BSP_SCHEDULE_DELAY="600000")
        sent = []
        with serving(str(iris.folder), "--workers", "2", folder=tmp_path, environ=environ) as server:
            # The kernel spreads connections over the workers: 32 of them miss one with a chance of 1 in 2 ** 31.
            for _ in range(32):
                trace_id, headers = new_trace()
                sent.append(trace_id)
                with client(server) as ask:
                    assert ask.post("/api/v1/predict", json=ROW, headers=headers).status_code == 200
            assert server.stop() == 0
        spans = receiver.wait(lambda spans: len(spans) >= 64)
    by_trace = {trace_id: [span for span in spans if span.trace_id == trace_id] for trace_id in sent}
    assert {len(found) for found in by_trace.values()} == {2}
    assert all(len({span.resource["process.pid"] for span in found}) == 1 for found in by_trace.values())
    pids = {span.resource["process.pid"] for span in spans}
    assert len(pids) == 2
    assert server.process.pid not in pids
    assert len({span.resource["service.instance.id"] for span in spans}) == 2
    assert len({span.span_id for span in spans}) == 64


@pytest.mark.parametrize(("ratio", "flags", "n_spans"), [("0", "01", 0), ("1", "00", 2)])
def test_a_ratio_of_all_traces_is_recorded(iris: Bundle, tmp_path: Path, ratio: str, flags: str, n_spans: int) -> None:
    """The sampler ``traceidratio`` decides by the trace id and ignores the caller's flag."""
    with grpc_receiver() as receiver:
        environ = exporting(receiver, OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG=ratio)
        trace_id, headers = new_trace(flags)
        with serving(str(iris.folder), folder=tmp_path, environ=environ) as server:
            with client(server) as ask:
                ask.post("/api/v1/predict", json=ROW, headers=headers)
                own = ask.post("/api/v1/predict", json=ROW).headers.get("traceparent")
            assert server.stop() == 0
        assert sum(span.trace_id == trace_id for span in receiver.spans) == n_spans
        assert len(receiver.spans) == 2 * n_spans
        assert (own is not None) == bool(n_spans)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_an_unreachable_collector_delays_nothing(iris: Bundle, tmp_path: Path, protocol: str) -> None:
    """Without a collector requests are answered, shutdown waits as configured, and lost spans are logged."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_BSP_EXPORT_TIMEOUT": "300",
    }
    with serving(str(iris.folder), folder=tmp_path, environ=environ) as server:
        with client(server) as ask:
            assert {ask.post("/api/v1/predict", json=ROW).status_code for _ in range(200)} == {200}
        assert server.stop() == 0
        assert server.process.stderr is not None
        told = server.process.stderr.read()
    assert "spans were not taken in time and are lost" in told
    assert "Traceback" not in told


def test_exports_resume_when_the_collector_returns(iris: Bundle, tmp_path: Path) -> None:
    """After a restart of the collector, the same server exports its new spans to it."""
    with grpc_receiver() as receiver:
        port = receiver.port
        with serving(str(iris.folder), folder=tmp_path, environ=exporting(receiver)) as server, client(server) as ask:
            first, headers = new_trace()
            ask.post("/api/v1/predict", json=ROW, headers=headers)
            receiver.trace(first, 2)
            receiver.stop()
            assert ask.post("/api/v1/predict", json=ROW).status_code == 200
            with grpc_receiver(port) as again:
                later, headers = new_trace()
                ask.post("/api/v1/predict", json=ROW, headers=headers)
                again.trace(later, 2)


def test_the_successor_of_a_killed_worker_exports(iris: Bundle, tmp_path: Path) -> None:
    """The process that replaces a killed worker has an exporter of its own."""
    with grpc_receiver() as receiver:
        arguments = (str(iris.folder), "--workers", "2")
        with serving(*arguments, folder=tmp_path, environ=exporting(receiver)) as server:

            def pids() -> set[int]:
                return {span.resource["process.pid"] for span in receiver.spans}

            def ask_until(n: int) -> None:
                deadline = time.monotonic() + PATIENCE_SECONDS
                while len(pids()) < n and time.monotonic() < deadline:
                    try:
                        with client(server) as ask:
                            ask.post("/api/v1/predict", json=ROW)
                    except httpx.TransportError:
                        time.sleep(0.05)
                assert len(pids()) >= n

            ask_until(2)
            os.kill(max(pids()), signal.SIGKILL)
            ask_until(3)


# in this process


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_exporter_for_google_cloud_sends_the_trace() -> None:
    """Names, parents, links and attributes arrive over Cloud Trace's own API, here at a stand-in."""
    from google.cloud.trace_v2 import BatchWriteSpansRequest, TraceServiceClient
    from google.cloud.trace_v2.services.trace_service.transports import TraceServiceGrpcTransport
    from opentelemetry.exporter.cloud_trace import CloudTraceSpanExporter

    written: list[Any] = []

    def write(request: bytes, _context: Any) -> bytes:
        written.extend(BatchWriteSpansRequest.deserialize(request).spans)
        return b""

    handlers: dict[str, Any] = {"BatchWriteSpans": grpc.unary_unary_rpc_method_handler(write)}
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("google.devtools.cloudtrace.v2.TraceService", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            make: Any = CloudTraceSpanExporter
            exporter = make("a-project", TraceServiceClient(transport=TraceServiceGrpcTransport(channel=channel)))
            tracing = Tracing(read_rule({}), Ids(), Export([exporter], 10), read_resource())
            trace_id, headers = new_trace()
            place = tracing.decide({b"traceparent": headers["traceparent"].encode()})
            assert place is not None
            told = Request(
                "POST",
                "/predict",
                503,
                "",
                "too much",
                "r-1",
                time.perf_counter(),
                Arrival("/predict"),
                {b"host": b"iris"},
            )
            asked = ModelPrediction("iris", "1.0.0", Call(time.perf_counter(), 0.0, 1), 1, "setosa")
            tracing.answered(place, told, asked)
            tracing.shadowed(place, asked, True)
            assert tracing.close()
    finally:
        server.stop(0).wait()
    spans = {span.display_name.value: span for span in written}
    model, request, shadow = spans["model_prediction"], spans["POST /predict"], spans["shadow_prediction"]
    assert model.name == f"projects/a-project/traces/{trace_id}/spans/{model.span_id}"
    assert (model.parent_span_id, request.parent_span_id) == (request.span_id, PARENT)
    assert model.attributes.attribute_map["orris.predicted_class"].string_value.value == "setosa"
    assert request.attributes.attribute_map["orris.request_id"].string_value.value == "r-1"
    assert [(link.trace_id, link.span_id) for link in shadow.links.link] == [(trace_id, request.span_id)]


class Broken:
    """A model that fails."""

    has_probabilities = True

    def run(self, _rows: Any) -> Any:
        """Fail."""
        raise ServingError("out of memory")


def ask_together(engine: Engine, rows: list[dict[str, float]]) -> tuple[list[int], tuple[ReadableSpan, ...]]:
    """Send each row in one tick of the loop; return the statuses of the answers, and all spans."""
    exporter = InMemorySpanExporter()
    tracing = Tracing(read_rule({}), Ids(), Export([exporter]), read_resource())

    async def asking() -> list[int]:
        served = assemble([(engine, "iris")], Settings(access_log=False, tracing="off"))
        served.routes.context.tracing = tracing
        predict_route = served.routes.predict_routes[b"/api/v1/predict"]
        exchanges = [Awaited(json.dumps(row).encode(), {}, Arrival("/api/v1/predict")) for row in rows]
        for exchange in exchanges:
            predict_route.enter(exchange)
        return [(await exchange.reply).status for exchange in exchanges]

    statuses = asyncio.run(asking())
    assert tracing.close()
    return statuses, exporter.get_finished_spans()


def test_requests_that_share_a_call_of_the_model_are_linked(iris: Bundle) -> None:
    """A shared call of the model has a span in a trace of its own, linked to and from each request's spans."""
    statuses, spans = ask_together(Engine.load(iris.folder), [ROW, ROW, ROW])
    assert statuses == [200] * 3
    (batch,) = [span for span in spans if span.name == "model_batch"]
    servers = [span for span in spans if span.name == "POST /api/v1/predict"]
    models = [span for span in spans if span.name == "model_prediction"]
    assert len(spans) == 7
    assert batch.parent is None
    assert batch.attributes is not None
    assert (
        batch.attributes["orris.batch.requests"],
        batch.attributes["orris.batch.rows"],
        batch.attributes["orris.rows"],
    ) == (3, 3, 3)
    assert [link.context for link in batch.links] == [span.context for span in servers]
    assert [[link.context for link in span.links] for span in models] == [[batch.context]] * 3
    assert len({span.context.trace_id for span in spans if span.context is not None}) == 4
    assert {span.start_time for span in models} == {batch.start_time}


def test_a_model_that_fails_is_seen_in_the_trace(iris: Bundle) -> None:
    """The spans record why a model failed, while the answers do not."""
    engine: Any = replace(Engine.load(iris.folder), runtime=Broken())
    statuses, spans = ask_together(engine, [ROW])
    assert statuses == [500]
    model, server = spans
    assert model.attributes is not None
    assert server.attributes is not None
    assert (model.attributes["error.type"], server.attributes["error.type"]) == ("ServingError", "500")
    assert (model.status.is_ok, server.status.is_ok) == (False, False)
    assert server.status.description == "out of memory"


# on and off


def run(
    *, environ: dict[str, str], code: str = "", arguments: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process with these variables."""
    command = [sys.executable, "-c", code] if code else [sys.executable, "-m", "orris", "serve", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


LOADED = """
import os, sys
from pathlib import Path
from orris.server.assembly import assemble
from orris.serving.engine import Engine
from orris.settings import read_settings
served = assemble([(Engine.load(Path(os.environ["BUNDLE"])), "iris")], read_settings(os.environ))
print(served.tracing is not None, any(name.startswith("opentelemetry") for name in sys.modules))
"""


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "False False"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "ORRIS_TRACING": "off"}, "False False"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, "False False"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, "True True"),
    ],
)
def test_opentelemetry_is_imported_only_for_tracing(iris: Bundle, environ: dict[str, str], expected: str) -> None:
    """A server without tracing does not import OpenTelemetry."""
    done = run(environ={"BUNDLE": str(iris.folder), **environ}, code=LOADED)
    assert done.stdout.strip() == expected, done.stderr


def test_without_tracing_the_callers_context_returns(server: Server) -> None:
    """Without tracing, a valid trace context returns unchanged, the log names it, and nothing is recorded."""
    trace_id, headers = new_trace()
    with client(server) as ask:
        for path in ("/api/v1/predict", "/api/v1/predict?x=1"):
            assert ask.post(path, json=ROW, headers=headers).headers["traceparent"] == headers["traceparent"]
        assert ask.get("/health", headers=headers).headers["traceparent"] == headers["traceparent"]
        assert "traceparent" not in ask.post("/api/v1/predict", json=ROW, headers={"traceparent": "nonsense"}).headers
        assert "traceparent" not in ask.post("/api/v1/predict", json=ROW).headers
    assert {line.get("trace_flags") for line in lines(server, trace_id)} == {"00"}


def test_an_unsupported_variable_stops_the_process(iris: Bundle) -> None:
    """An unsupported value of an OpenTelemetry variable stops the process, and the message lists the supported ones."""
    done = run(
        environ={"ORRIS_TRACING": "on", "OTEL_TRACES_EXPORTER": "jaeger"},
        arguments=(str(iris.folder), "--port", "0", "--grpc-port", "off"),
    )
    assert done.returncode == 2
    assert "OTEL_TRACES_EXPORTER=jaeger" in done.stderr
    assert "otlp" in done.stderr

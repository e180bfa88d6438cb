"""Tests of the parts of tracing: which requests are recorded, the content of spans, and their export."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, SpanKind, StatusCode, set_span_in_context

from orris.errors import MissingExtraError, SettingsError
from orris.server.tracing import wants_tracing
from orris.settings import Settings, read_settings
from orris.telemetry.exporting import HTTP_PORT, Export, protocol, read_export
from orris.telemetry.request_log import LogStyle, RequestLog
from orris.telemetry.sampling import Ids, read_ids, read_rule, span_context
from orris.telemetry.semantics import Attributes, failed, of_request, title
from orris.telemetry.tracecontext import Arrival, Call, ModelPrediction, Request, parse
from orris.telemetry.tracing import Propagation, Tracing, read_propagation, read_resource, read_skips, start_tracing
from tests.waiting import PATIENCE_SECONDS

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{PARENT}-01".encode()


def tracing(exporter: SpanExporter | None = None, *, ids: Ids | None = None, **environ: str) -> Tracing:
    """Return tracing with these variables, to this exporter."""
    export = Export([exporter] if exporter is not None else [])
    return Tracing(read_rule(environ), ids or Ids(), export, read_resource(), propagation=read_propagation(environ))


def request(
    status: int = 200, *, method: str = "POST", route: str = "/predict", code: str = "", error: str = "", path: str = ""
) -> Request:
    """Return an answered request."""
    headers = {b"host": b"[::1]:8000", b"user-agent": b"curl/8"}
    return Request(method, route, status, code, error, "r-1", perf_counter(), Arrival(path, "https", "1.1"), headers)


# the caller's place


def test_a_traceparent_is_read_as_w3c_defines_it() -> None:
    """Ids and all flag bits are read, and the answer's header is the caller's."""
    found = parse(GIVEN)
    assert found is not None
    assert (found.trace_id, found.parent_id, found.flags, found.header) == (TRACE, PARENT, 1, GIVEN)
    assert not found.recorded
    assert found.span_id == ""


@pytest.mark.parametrize(
    "text",
    [
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-01-what",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-zz",
        f"00_{TRACE}_{PARENT}_01",
        f"00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01",
        f"01-{TRACE}-{PARENT}-01-{'x' * 600}",
        f"01-{TRACE}-{PARENT}-01x",
        f"01-{TRACE}-{PARENT}-01-a\r\nset-cookie: a",
        "",
    ],
)
def test_a_malformed_traceparent_is_ignored(text: str) -> None:
    """A malformed ``traceparent`` is treated as a missing one."""
    assert parse(text.encode()) is None


def test_a_later_version_of_traceparent_is_read() -> None:
    """Of a later version of ``traceparent``, the fields that version 00 defines are read, as W3C demands."""
    found = parse(f"cc-{TRACE}-{PARENT}-03-more".encode())
    assert found is not None
    assert (found.trace_id, found.parent_id, found.flags) == (TRACE, PARENT, 3)


@given(
    st.binary(max_size=80) | st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.{0,3}", fullmatch=True)
)
def test_any_traceparent_is_read_or_ignored(content: bytes) -> None:
    """No ``traceparent`` raises, and one that is read is printable, because it goes back in a header."""
    found = parse(content)
    assert found is None or (found.header.isascii() and b"\r" not in found.header and b"\n" not in found.header)


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("a=1,b=2", "a=1,b=2"),
        ("tenant@system=x y , b=2", "tenant@system=x y,b=2"),
        ("A=1", ""),
        ("a=1,a=2", ""),
        ("a", ""),
        (",".join(f"k{i}=1" for i in range(33)), ""),
        ("a=" + "x" * 600, ""),
        ("a=\u00e9", ""),
    ],
)
def test_a_tracestate_is_kept_if_it_is_valid(state: str, kept: str, caplog: pytest.LogCaptureFixture) -> None:
    """A malformed ``tracestate`` is dropped without a log line, and the trace goes on."""
    exporter = InMemorySpanExporter()
    under = tracing(exporter)
    place = under.decide({b"traceparent": GIVEN, b"tracestate": state.encode("latin-1")})
    assert place is not None
    under.answered(place, request())
    assert under.close()
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert span.context.trace_state.to_header() == kept
    assert span.context.trace_id == int(TRACE, 16)
    assert not caplog.records


# which are recorded

SAMPLERS: dict[str, Sampler] = {
    "always_on": ALWAYS_ON,
    "always_off": ALWAYS_OFF,
    "traceidratio": TraceIdRatioBased(0.25),
    "parentbased_always_on": DEFAULT_ON,
    "parentbased_always_off": DEFAULT_OFF,
    "parentbased_traceidratio": ParentBasedTraceIdRatio(0.25),
}


class Dealt(Ids):
    """Ids that a test chooses."""

    def __init__(self, trace_id: int) -> None:
        super().__init__()
        self.custom = True
        self._dealt = trace_id

    def trace(self) -> int:
        """Return the chosen id."""
        return self._dealt


@pytest.mark.parametrize("name", SAMPLERS)
@given(trace_id=st.integers(1, 2**128 - 1), parent=st.sampled_from([None, 0, 1]))
def test_samplers_decide_as_the_sdk_does(name: str, trace_id: int, parent: int | None) -> None:
    """Each sampler of the specification decides as the SDK's does, on every id and for every caller."""
    text = f"{trace_id:032x}"
    under = tracing(ids=Dealt(trace_id), OTEL_TRACES_SAMPLER=name, OTEL_TRACES_SAMPLER_ARG="0.25")
    headers = {b"traceparent": f"00-{text}-{PARENT}-{parent:02x}".encode()} if parent is not None else {}
    place = under.decide(headers)
    context = Context()
    if parent is not None:
        context = set_span_in_context(NonRecordingSpan(span_context(text, PARENT, parent, remote=True)), context)
    assert (place is not None and place.recorded) == (
        SAMPLERS[name].should_sample(context, trace_id, "x").decision is Decision.RECORD_AND_SAMPLE
    )


@pytest.mark.parametrize(
    ("ratio", "below", "above"), [(0.0, 0, 0), (1.0, 2**64 - 1, None), (0.5, 2**63 - 1, 2**63), (2.0**-64, 0, 1)]
)
def test_the_bound_is_exact(ratio: float, below: int, above: int | None) -> None:
    """The bound of a ratio is exact at 0 and 1 too, where no trace or every one is recorded."""
    bound = read_rule({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": repr(ratio)}).bound
    assert (below < bound) == (ratio > 0)
    assert above is None or not above < bound


@pytest.mark.parametrize("argument", ["two", "2", "-1", "nan"])
def test_a_malformed_ratio_is_logged_and_records_all(argument: str, caplog: pytest.LogCaptureFixture) -> None:
    """A malformed ratio is logged and records every trace, as OpenTelemetry's specification demands."""
    under = tracing(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG=argument)
    assert all(place is not None and place.recorded for place in (under.decide({}) for _ in range(100)))
    assert f"OTEL_TRACES_SAMPLER_ARG={argument}" in caplog.text


def test_an_unknown_sampler_is_logged_and_the_default_used(caplog: pytest.LogCaptureFixture) -> None:
    """An unknown sampler is logged and the default used, as OpenTelemetry's specification demands."""
    assert read_rule({"OTEL_TRACES_SAMPLER": "allways_on"}) == read_rule({})
    assert "OTEL_TRACES_SAMPLER=allways_on" in caplog.text


def test_an_unrecorded_request_may_have_no_trace_id() -> None:
    """An unrecorded request has a trace id only if the log samples by it."""
    environ = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0", "OTEL_TRACES_EXPORTER": "none"}
    assert start_tracing(environ).decide({}) is None
    place = start_tracing(environ, numbered=True).decide({})
    assert place is not None
    assert len(place.trace_id) == 32
    assert (place.recorded, place.logged_id, place.header) == (False, "", b"")


def test_traces_and_log_sample_the_same_requests() -> None:
    """With equal shares, traces and log select the same requests by the trace id."""
    environ = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25", "OTEL_TRACES_EXPORTER": "none"}
    under, log = start_tracing(environ, numbered=True), RequestLog(style=LogStyle(sample=0.25))
    places = [place for place in (under.decide({}) for _ in range(2_000)) if place is not None]
    assert len(places) == 2_000
    assert {place.recorded for place in places} == {True, False}
    assert all(log.wants(200, "r-1", place.trace_id) == place.recorded for place in places)


def test_ids_are_well_formed_and_new() -> None:
    """Ids are new, of 16 and of 8 bytes, in lower-case hexadecimal."""
    under = tracing()
    places = [under.decide({}) for _ in range(1_000)]
    ids = [(place.trace_id, place.span_id) for place in places if place is not None]
    assert len({trace for trace, _ in ids}) == len({span for _, span in ids}) == 1_000
    assert all(re.fullmatch("[0-9a-f]{32} [0-9a-f]{16}", " ".join(each)) for each in ids)
    assert all(place is not None and parse(place.header) is not None for place in places)


PACKAGE = """
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, get_current_span, set_span_in_context

class Even(Sampler):
    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None):
        parent = get_current_span(parent_context).get_span_context()
        if parent.is_valid and parent.span_id == 13:
            raise RuntimeError("unlucky")
        return SamplingResult(Decision.DROP if trace_id % 2 else Decision.RECORD_AND_SAMPLE)
    def get_description(self):
        return "even"

def even(argument):
    if argument == "broken":
        raise ValueError("no such argument")
    return Even()

class Counting(IdGenerator):
    n = 0
    def generate_span_id(self):
        self.n += 1
        return self.n
    def generate_trace_id(self):
        return 2 * self.generate_span_id()

class Pair(TextMapPropagator):
    fields = {"x-pair"}
    def extract(self, carrier, context=None, getter=None):
        context = context or Context()
        if "x-pair" not in carrier:
            return context
        trace, span = carrier["x-pair"].split(":")
        place = SpanContext(int(trace, 16), int(span, 16), True, TraceFlags(1))
        return set_span_in_context(NonRecordingSpan(place), context)
    def inject(self, carrier, context=None, setter=None):
        pass
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package that brings a sampler, a generator of ids and a propagator."""
    (tmp_path / "pairs.py").write_text(PACKAGE)
    info = tmp_path / "pairs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pairs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[opentelemetry_traces_sampler]\neven = pairs:even\n[opentelemetry_id_generator]\ncounting = pairs:Counting\n"
        "[opentelemetry_propagator]\npair = pairs:Pair\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("package")
def test_a_packages_sampler_decides() -> None:
    """A package's sampler decides for new and for callers' traces; if it fails, requests are answered unrecorded."""
    under = tracing(ids=Dealt(2), OTEL_TRACES_SAMPLER="even")
    root = under.decide({})
    assert root is not None
    assert root.recorded
    odd = under.decide({b"traceparent": f"00-{'0' * 31}3-{PARENT}-01".encode()})
    unlucky = under.decide({b"traceparent": f"00-{TRACE}-{13:016x}-01".encode()})
    assert odd is not None
    assert unlucky is not None
    assert not odd.recorded
    assert not unlucky.recorded
    with pytest.raises(
        SettingsError, match="OTEL_TRACES_SAMPLER=even with OTEL_TRACES_SAMPLER_ARG=broken: no such argument"
    ):
        read_rule({"OTEL_TRACES_SAMPLER": "even", "OTEL_TRACES_SAMPLER_ARG": "broken"})


@pytest.mark.usefixtures("package")
def test_a_packages_ids_are_used() -> None:
    """The ids of a package's generator are used, and the random flag is not set for them."""
    ids = read_ids({"OTEL_PYTHON_ID_GENERATOR": "counting"})
    assert (ids.trace(), ids.span(), ids.flags) == (2, f"{2:016x}", 0)
    with pytest.raises(SettingsError, match="OTEL_PYTHON_ID_GENERATOR=other"):
        read_ids({"OTEL_PYTHON_ID_GENERATOR": "other"})


@pytest.mark.usefixtures("package")
def test_a_packages_propagator_continues_other_traces() -> None:
    """A trace in another system's headers is continued, and the answer names it as W3C does."""
    under = tracing(OTEL_PROPAGATORS="tracecontext,pair")
    place = under.decide({b"x-pair": b"aa:bb"})
    assert place is not None
    assert (place.trace_id, place.parent_id, place.recorded) == (f"{0xAA:032x}", f"{0xBB:016x}", True)
    assert place.header == f"00-{place.trace_id}-{place.span_id}-01".encode()
    both = under.decide({b"x-pair": b"aa:bb", b"traceparent": GIVEN})
    assert both is not None
    assert both.trace_id == TRACE
    broken = under.decide({b"x-pair": b"nonsense"})
    assert broken is not None
    assert broken.parent_id == ""


def test_without_propagators_every_trace_begins_here() -> None:
    """Without propagators the caller's context is not read, and the answer has none."""
    place = tracing(OTEL_PROPAGATORS="none").decide({b"traceparent": GIVEN})
    assert place is not None
    assert place.trace_id != TRACE
    assert place.header == b""
    with pytest.raises(SettingsError, match="OTEL_PROPAGATORS=b33: no installed package brings b33"):
        read_propagation({"OTEL_PROPAGATORS": "b33"})
    assert Propagation().w3c


# what spans say

OLD = {
    "http.method",
    "http.target",
    "http.status_code",
    "http.url",
    "net.host.name",
    "rpc.system",
    "rpc.service",
    "rpc.grpc.status_code",
}
"""Names that the conventions had before."""


@pytest.mark.parametrize(
    ("told", "name", "says"),
    [
        (request(), "POST /predict", {"http.request.method": "POST", "http.route": "/predict", "url.scheme": "https"}),
        (request(path="/predict/"), "POST /predict", {"url.path": "/predict/", "network.protocol.version": "1.1"}),
        (request(), "POST /predict", {"server.address": "::1", "server.port": 8000, "user_agent.original": "curl/8"}),
        (
            request(404, method="GET", route="(unmatched)", path="/x"),
            "GET",
            {"url.path": "/x", "http.response.status_code": 404},
        ),
        (
            request(405, method="BREW"),
            "HTTP /predict",
            {"http.request.method": "_OTHER", "http.request.method_original": "BREW"},
        ),
        (request(503), "POST /predict", {"http.response.status_code": 503, "error.type": "503"}),
        (request(code="OK", route="M", path="a.B/M"), "a.B/M", {"rpc.method": "a.B/M", "rpc.system.name": "grpc"}),
        (
            request(500, code="INTERNAL", path="a.B/M"),
            "a.B/M",
            {"rpc.response.status_code": "INTERNAL", "error.type": "INTERNAL"},
        ),
    ],
)
def test_a_server_span_follows_the_conventions(told: Request, name: str, says: Attributes) -> None:
    """A span is named by route and has the conventions' attributes for HTTP (stable) and gRPC (release candidate)."""
    attributes = of_request(told)
    assert title(told) == name
    assert says.items() <= attributes.items()
    assert not {
        "http.method",
        "http.target",
        "http.status_code",
        "http.url",
        "rpc.system",
        "rpc.service",
        "rpc.grpc.status_code",
    } & set(attributes)
    assert ("http.route" in attributes) == (not told.code and told.route != "(unmatched)")


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        (request(200), False),
        (request(422), False),
        (request(500), True),
        (request(503), True),
        (request(400, code="INVALID_ARGUMENT"), False),
        (request(503, code="UNAVAILABLE"), True),
        (request(429, code="RESOURCE_EXHAUSTED"), False),
    ],
)
def test_the_callers_mistakes_are_no_errors_of_the_server(told: Request, wrong: bool) -> None:
    """Only 5xx, and the codes that gRPC counts as such, are errors of the server span."""
    assert failed(told) is wrong
    assert ("error.type" in of_request(told)) is wrong


def test_spans_have_the_times_that_were_measured() -> None:
    """The model's span lies within the request's, lasts as long as the call, and both are in the past."""
    exporter = InMemorySpanExporter()
    under = tracing(exporter)
    place = under.decide({})
    assert place is not None
    before, start = time.time_ns(), perf_counter()
    told = request()._replace(started=start)
    under.answered(place, told, ModelPrediction("iris", "1.0.0", Call(perf_counter(), 0.0, 3), 3))
    assert under.close()
    model, server = exporter.get_finished_spans()
    assert (model.name, server.kind, model.kind) == ("model_prediction", SpanKind.SERVER, SpanKind.INTERNAL)
    assert model.attributes == {"orris.model.name": "iris", "orris.model.version": "1.0.0", "orris.rows": 3}
    assert server.context is not None
    assert model.parent is not None
    assert model.parent.span_id == server.context.span_id
    times = [server.start_time, model.start_time, model.end_time, server.end_time]
    assert None not in times
    assert times == sorted(times, key=lambda each: each or 0)
    assert abs((server.start_time or 0) - before) < 10_000_000_000


def test_a_model_that_fails_is_the_error_of_both_spans() -> None:
    """If the model fails, both spans have an error with the name of the exception."""
    exporter = InMemorySpanExporter()
    under = tracing(exporter)
    place = under.decide({})
    assert place is not None
    under.answered(
        place,
        request(500, error="out of memory"),
        ModelPrediction("iris", "1", Call(perf_counter(), 0.0, 1), 1, failure="ServingError"),
    )
    assert under.close()
    model, server = exporter.get_finished_spans()
    assert (model.status.status_code, server.status.status_code) == (StatusCode.ERROR, StatusCode.ERROR)
    assert server.status.description == "out of memory"
    assert model.attributes is not None
    assert model.attributes["error.type"] == "ServingError"


def test_limits_on_attributes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attributes are limited in number and in length, as the variables set."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "4")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
    exporter = InMemorySpanExporter()
    under = tracing(exporter)
    place = under.decide({})
    assert place is not None
    under.answered(place, request())
    assert under.close()
    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert len(span.attributes) == 4
    assert all(len(value) <= 3 for value in span.attributes.values() if isinstance(value, str))
    assert span.dropped_attributes > 0


def test_the_resource_describes_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resource has the variables' attributes, and defaults where they are not set."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=stage,service.version=7")
    told = read_resource().attributes
    assert (told["service.name"], told["service.version"], told["deployment.environment.name"]) == (
        "orris",
        "7",
        "stage",
    )
    assert told["telemetry.sdk.language"] == "python"
    assert told["service.instance.id"]
    monkeypatch.setenv("OTEL_SERVICE_NAME", "flowers")
    assert read_resource().attributes["service.name"] == "flowers"


def test_excluded_paths_are_not_recorded() -> None:
    """By default probes and scrapes are excluded, and OTEL_PYTHON_EXCLUDED_URLS replaces that list."""
    default = read_skips({}, "/health".__eq__)
    assert [default(path) for path in ("/health", "/healthy", "/predict")] == [True, False, False]
    told = read_skips({"OTEL_PYTHON_EXCLUDED_URLS": "ready, ^/doc"}, "/health".__eq__)
    assert [told(path) for path in ("/health", "/ready", "/docs", "/a/docs")] == [False, True, True, False]
    assert not read_skips({"OTEL_PYTHON_EXCLUDED_URLS": ""}, "/health".__eq__)("/health")
    with pytest.raises(SettingsError, match="OTEL_PYTHON_EXCLUDED_URLS"):
        read_skips({"OTEL_PYTHON_EXCLUDED_URLS": "("}, "".__eq__)


# where they go


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_SERVICE_NAME": "iris"}, False),
    ],
)
def test_tracing_is_on_if_a_destination_is_set(environ: dict[str, str], on: bool) -> None:
    """``auto`` traces if a destination is set, ``off`` never, and ``on`` unless OpenTelemetry is disabled."""
    assert wants_tracing(Settings(), environ) is on
    assert wants_tracing(Settings(tracing="off"), environ) is False
    assert wants_tracing(Settings(tracing="on"), environ) is ("OTEL_SDK_DISABLED" not in environ)


@pytest.mark.parametrize(("text", "switch"), [("true", "on"), ("ON", "on"), ("0", "off"), ("auto", "auto")])
def test_the_switch_is_read_as_other_switches_are(text: str, switch: str) -> None:
    """The switch is read in any case, and by other spellings of yes and no."""
    assert read_settings({"ORRIS_TRACING": text}).tracing == switch


@pytest.mark.parametrize(
    ("environ", "exporter"),
    [
        ({}, "otlp_proto_grpc"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "otlp_proto_http"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/base"}, "otlp_proto_http"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "otlp_proto_grpc"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:no"}, "otlp_proto_grpc"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "otlp_proto_http"),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
            "otlp_proto_grpc",
        ),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
            "otlp_proto_grpc",
        ),
    ],
)
def test_the_protocol_follows_the_variable_or_the_port(environ: dict[str, str], exporter: str) -> None:
    """The protocol is the variable's, or else that of the port, since the SDK reads neither."""
    assert protocol(environ) == exporter


def test_unknown_exporters_and_protocols_stop_the_process() -> None:
    """The error of an unknown exporter or protocol names the variable and the known values."""
    with pytest.raises(SettingsError, match=r"OTEL_TRACES_EXPORTER=jaeger: .*otlp"):
        read_export({"OTEL_TRACES_EXPORTER": "jaeger"})
    with pytest.raises(
        SettingsError, match="OTEL_EXPORTER_OTLP_PROTOCOL=http/json: not spoken here; there are grpc and http/protobuf"
    ):
        read_export({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})


def test_an_exporter_whose_extra_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of an exporter that is not installed has the command that installs it."""
    monkeypatch.setattr("orris.telemetry.exporting.entry_points", lambda **_: [])
    with pytest.raises(MissingExtraError, match=r"install .*\[otel\]"):
        read_export({"OTEL_TRACES_EXPORTER": "otlp"})
    with pytest.raises(MissingExtraError, match=r"install .*\[gcp-trace\]"):
        read_export({"OTEL_TRACES_EXPORTER": "gcp_trace"})


def test_none_exports_nowhere() -> None:
    """The exporter ``none`` has no queue and closes at once."""
    export = read_export({"OTEL_TRACES_EXPORTER": "none"})
    assert export.queues == []
    assert export.close()


@pytest.mark.filterwarnings("ignore:CloudTraceSpanExporter is deprecated:DeprecationWarning")
def test_an_exporter_that_does_not_start_is_skipped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exporter without credentials is logged and skipped, and the other exporter works."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file")
    export = read_export({"OTEL_TRACES_EXPORTER": "gcp_trace,console"})
    assert "spans are not exported by gcp_trace: it does not start" in caplog.text
    assert "/no/such/file" in caplog.text
    assert len(export.queues) == 1
    assert export.close()


class Stuck(SpanExporter):
    """An exporter that accepts nothing until it is shut down."""

    def __init__(self) -> None:
        self.ending = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 (the base class' name)
        """Wait."""
        self.ending.wait(PATIENCE_SECONDS)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Stop waiting."""
        self.ending.set()


def test_the_end_waits_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end an exporter that cannot send is stopped after a bounded time."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    stuck = Stuck()
    export = Export([stuck], 0.05)
    under = Tracing(read_rule({}), Ids(), export, read_resource())
    place = under.decide({})
    assert place is not None
    under.answered(place, request())
    assert not under.close()
    assert stuck.ending.is_set()


def test_a_full_queue_drops_spans_and_holds_up_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Spans beyond the queue and the batch in export are dropped and counted."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    stuck = Stuck()
    export = Export([stuck], 0.05)
    under = Tracing(read_rule({}), Ids(), export, read_resource())
    for _ in range(1_000):
        place = under.decide({})
        assert place is not None
        under.answered(place, request())
    assert not under.close()
    told = [record.getMessage() for record in caplog.records]
    assert [text.partition(",")[0] for text in told[:-1]] == ["spans are dropped"]
    dropped = re.fullmatch(r"spans of (\d+) requests were dropped in all", told[-1])
    assert dropped is not None
    assert 1_000 - 16 <= int(dropped.group(1)) < 1_000


def test_a_failure_in_tracing_does_not_fail_the_request(caplog: pytest.LogCaptureFixture) -> None:
    """A failure while spans are recorded is logged with the request's id."""
    under = tracing(InMemorySpanExporter())
    place = under.decide({})
    assert place is not None
    under.answered(place._replace(span_id="no id"), request())
    assert "the spans of request r-1 could not be made" in caplog.text
    assert under.close()


# the collector's configurations

COLLECTORS = sorted((Path(__file__).parents[2] / "observability" / "collector").glob("*.yaml"))


@pytest.mark.parametrize("file", COLLECTORS, ids=lambda file: file.name)
def test_the_collectors_configuration_fits_orris(file: Path) -> None:
    """The collector's pipelines use all its parts, and it listens where Orris sends; no collector has read the file."""
    document = yaml.safe_load(file.read_text("utf-8"))
    pipelines = document["service"]["pipelines"]
    assert set(pipelines) == {"traces"}
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipelines["traces"][kind]) == set(document[kind])
    assert set(document["service"]["extensions"]) == set(document["extensions"])
    assert pipelines["traces"]["processors"][0] == "memory_limiter"
    protocols = document["receivers"]["otlp"]["protocols"]
    assert {name: told["endpoint"].rpartition(":")[2] for name, told in protocols.items()} == {
        "grpc": "4317",
        "http": str(HTTP_PORT),
    }
    asked = [exporter["auth"]["authenticator"] for exporter in document["exporters"].values() if "auth" in exporter]
    assert set(asked) <= set(document["extensions"])

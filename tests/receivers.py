"""Receivers of OTLP, over gRPC and over HTTP, that keep what a server exports to them."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.waiting import PATIENCE_SECONDS


@dataclass(frozen=True)
class Received:
    """A span as it arrived.

    Attributes:
        span: The message.
        resource: What was said of the process.
        scope: Who made the span, and the version.
    """

    span: Span
    resource: dict[str, Any]
    scope: tuple[str, str]

    @property
    def name(self) -> str:
        """The span's name."""
        return str(self.span.name)

    @property
    def trace_id(self) -> str:
        """In hexadecimal."""
        return self.span.trace_id.hex()

    @property
    def span_id(self) -> str:
        """In hexadecimal."""
        return self.span.span_id.hex()

    @property
    def parent_id(self) -> str:
        """In hexadecimal; empty: the span is a root."""
        return self.span.parent_span_id.hex()

    @property
    def attributes(self) -> dict[str, Any]:
        """The span's attributes."""
        return plain(self.span.attributes)

    @property
    def links(self) -> set[tuple[str, str]]:
        """Trace and span ids of the linked spans."""
        return {(link.trace_id.hex(), link.span_id.hex()) for link in self.span.links}


@dataclass
class Receiver:
    """The exports that have arrived.

     / Attributes: /     port: Where it listens. /     spans: All spans, in the order of their arrival. /
    metadata: Headers of the latest export, in lower case. /     stop: Ends it.
    """

    port: int = 0
    spans: list[Received] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    stop: Callable[[], object] = lambda: None
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def endpoint(self) -> str:
        """What ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set to."""
        return f"http://127.0.0.1:{self.port}"

    def take(self, request: ExportTraceServiceRequest, metadata: dict[str, str]) -> None:
        """Keep an export."""
        with self._arrived:
            self.metadata = metadata
            for group in request.resource_spans:
                resource = plain(group.resource.attributes)
                for scoped in group.scope_spans:
                    scope = scoped.scope.name, scoped.scope.version
                    self.spans += (Received(span, resource, scope) for span in scoped.spans)
            self._arrived.notify_all()

    def wait(self, enough: Callable[[list[Received]], bool]) -> list[Received]:
        """Wait for this number of spans and return all."""
        with self._arrived:
            arrived = self._arrived.wait_for(lambda: enough(self.spans), PATIENCE_SECONDS)
            assert arrived, [span.name for span in self.spans]
            return list(self.spans)

    def trace(self, trace_id: str, n_spans: int) -> dict[str, Received]:
        """Wait for this number of spans of a trace and return them by name."""
        spans = self.wait(lambda spans: sum(span.trace_id == trace_id for span in spans) >= n_spans)
        found = [span for span in spans if span.trace_id == trace_id]
        assert len(found) == n_spans
        return {span.name: span for span in found}


def plain(attributes: Any) -> dict[str, Any]:
    """OTLP's key-value messages as a dictionary."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


class _Calls(TraceServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 (protobuf's name)
        self.receiver.take(request, {key: str(value) for key, value in context.invocation_metadata()})
        return ExportTraceServiceResponse()


@contextmanager
def grpc_receiver(port: int = 0) -> Iterator[Receiver]:
    """Run a receiver of OTLP over gRPC; on a free port, unless one is given."""
    receiver = Receiver()
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    add_TraceServiceServicer_to_server(_Calls(receiver), server)  # type: ignore[no-untyped-call]
    receiver.port = server.add_insecure_port(f"127.0.0.1:{port}")
    receiver.stop = lambda: server.stop(0).wait()
    server.start()
    try:
        yield receiver
    finally:
        receiver.stop()


@contextmanager
def http_receiver() -> Iterator[Receiver]:
    """Run a receiver of OTLP over HTTP, as protobuf, at ``/v1/traces``."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            known = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
            if known:
                content = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
                receiver.take(
                    ExportTraceServiceRequest.FromString(content),
                    {key.lower(): value for key, value in self.headers.items()},
                )
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class' name)
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

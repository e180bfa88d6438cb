"""Names and attributes of spans, from OpenTelemetry's semantic conventions.

They follow HTTP (stable) and RPC and gRPC (release candidate).

Spans never hold the query and the body of a request, header values other than ``Host`` and ``User-Agent``, or the
client's address: these may be secrets, or personal.
"""

from __future__ import annotations

from opentelemetry.util.types import AttributeValue

from orris.telemetry.tracecontext import ModelPrediction, Request

Attributes = dict[str, AttributeValue]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY"})
"""Methods that the conventions know; any other is ``_OTHER``."""

GRPC_FAILURES = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Statuses that are a server's error; all others are the caller's."""

LONGEST = 1_024
"""Characters of a text that a caller chose."""


def failed(request: Request) -> bool:
    """Whether the server span has failed: 5xx, or what gRPC counts so. A caller's mistake is none."""
    return request.code in GRPC_FAILURES if request.code else request.status >= 500


def title(request: Request) -> str:
    """The server span's name, from a bounded set whatever paths and methods are requested."""
    if request.code:
        return request.arrival.path or request.route
    method = request.method if request.method in METHODS else "HTTP"
    return method if request.route.startswith("(") else f"{method} {request.route}"


def of_request(request: Request) -> Attributes:
    """The attributes of the server span."""
    arrival, headers = request.arrival, request.headers
    if request.code:
        attributes: Attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": arrival.path or request.route,
            "rpc.response.status_code": request.code,
            "orris.request_id": request.request_id,
        }
    else:
        known = request.method in METHODS
        attributes = {
            "http.request.method": request.method if known else "_OTHER",
            "url.path": (arrival.path or request.route)[:LONGEST],
            "url.scheme": arrival.scheme,
            "http.response.status_code": request.status,
            "network.protocol.version": arrival.version,
            "orris.request_id": request.request_id,
        }
        if not known:
            attributes["http.request.method_original"] = request.method[:LONGEST]
        if not request.route.startswith("("):
            attributes["http.route"] = request.route
        host = headers.get(b"host")
        if host:
            attributes.update(_server(host, arrival.scheme))
    agent = headers.get(b"user-agent")
    if agent:
        attributes["user_agent.original"] = agent.decode("latin-1")[:LONGEST]
    if failed(request):
        attributes["error.type"] = request.code or str(request.status)
    return attributes


def _server(host: bytes, scheme: str) -> Attributes:
    """Address and port that the client requested."""
    name, colon, port = host.decode("latin-1").rpartition(":")
    if not colon or not port.isdecimal():
        name, port = host.decode("latin-1"), "443" if scheme == "https" else "80"
    return {"server.address": name.strip("[]")[:LONGEST], "server.port": int(port[:5])}


def of_model(prediction: ModelPrediction) -> Attributes:
    """The attributes of the span around a model.

    The batch's rows and requests are there only if several requests share it.
    """
    call = prediction.call
    attributes: Attributes = {
        "orris.model.name": prediction.name,
        "orris.model.version": prediction.version,
        "orris.rows": prediction.n_rows,
    }
    if prediction.label:
        attributes["orris.predicted_class"] = prediction.label
    if call.n_requests > 1:
        attributes["orris.batch.requests"] = call.n_requests
        attributes["orris.batch.rows"] = call.n_rows
    if prediction.failure:
        attributes["error.type"] = prediction.failure
    return attributes

"""The routes that machines ask all day, answered without FastAPI: probes, metrics, and the bare ``/``."""

from __future__ import annotations

from functools import partial

import msgspec

from orris.errors import NotReadyError
from orris.serving.catalog import Live
from orris.serving.exchange import TEXT, Headers, Reply
from orris.serving.operations import PROBLEM, json_object, of, reading
from orris.serving.operations import TEXT as TEXT_CONTENT
from orris.serving.protocol import Credential, Get, Protocol, Target
from orris.serving.routing import Probe
from orris.telemetry.metrics import Metrics

_TAG = "health"
_TEXT: dict[str, object] = {"type": "string"}


def probes(metrics: Metrics, *, page: Probe | None = None) -> Protocol:
    """The record of these routes; ``page`` answers browsers that ask for ``/``, if there is a page for them."""
    version = json_object(("status", "model_version"), status=_TEXT, model_version=_TEXT)
    metered = reading(
        "Metrics for Prometheus, of all workers", "metrics", {**TEXT_CONTENT, **of("application/openmetrics-text")}
    )
    expose = partial(_expose, metrics)
    routes = (
        Get("/", Credential.NONE, operation=_WELCOME, answer=partial(_welcome, page)),
        Get("/health", Credential.NONE, traced=False, operation=_ALIVE, answer=health),
        Get(
            "/ready",
            Credential.NONE,
            traced=False,
            operation=reading(
                "Readiness: whether every model has reproduced its golden rows and the server is not draining",
                _TAG,
                json_object(("status", "model", "model_version"), status=_TEXT, model=_TEXT, model_version=_TEXT),
                status_503=PROBLEM,
            ),
            answer=ready,
        ),
        Get(
            "/api/v1/health",
            Credential.NONE,
            traced=False,
            operation=reading("Health of the model, with its version", _TAG, version, status_503=PROBLEM),
            answer=model_health,
        ),
        Get("/metrics", Credential.METRICS, traced=False, operation=metered, answer=expose),
        Get("/api/v1/metrics", Credential.METRICS, traced=False, operation=metered, answer=expose),
    )
    return Protocol("probes", routes)


_WELCOME = reading("`OK` for programs; a browser gets the playground", _TAG, {**TEXT_CONTENT, **of("text/html")})
_ALIVE = reading(
    "Liveness: whether the process answers. It says nothing of the model",
    _TAG,
    json_object(("status",), status=_TEXT),
)


def _welcome(page: Probe | None, _target: Target, headers: Headers, request_id: str) -> Reply | None:
    """``OK`` for programs; a browser gets a page."""
    if page is not None and b"text/html" in headers.get(b"accept", b""):
        return page(headers, request_id)
    return Reply(200, b"OK", TEXT)


def health(_target: Target, _headers: Headers, _request_id: str) -> Reply:
    """Liveness: the process answers. It says nothing of the model."""
    return _json({"status": "healthy"})


def ready(target: Target, _headers: Headers, _request_id: str) -> Reply:
    """Readiness: every model has reproduced its golden rows, and the server is not draining."""
    manifest = _ready(target).engine.manifest
    return _json({"status": "ready", "model": manifest.name, "model_version": manifest.version})


def model_health(target: Target, _headers: Headers, _request_id: str) -> Reply:
    """Health of the model: 200 with its version, or 503."""
    return _json({"status": "healthy", "model_version": _ready(target).version})


def _ready(target: Target) -> Live:
    if not target.catalog.ready:
        raise NotReadyError("the server is not ready, or is draining")
    return target.live()


def _expose(metrics: Metrics, _target: Target, headers: Headers, _request_id: str) -> Reply:
    """Prometheus exposition, as text or OpenMetrics by negotiation."""
    content, content_type = metrics.render(headers.get(b"accept", b"").decode("latin-1"))
    return Reply(200, content, content_type.encode())


def _json(document: dict[str, str]) -> Reply:
    return Reply(200, msgspec.json.encode(document))

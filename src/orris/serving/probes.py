"""The routes that machines ask all day, answered without FastAPI: probes, metrics, and the bare ``/``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from orris.serving.catalog import Live
from orris.serving.exchange import JSON, ProblemDocument, Reply
from orris.telemetry.metrics import Metrics

Headers = Mapping[bytes, bytes]
Probe = Callable[[Headers, str], Reply | None]
"""``(request headers, request id)`` -> the reply, or ``None`` to leave the request to the pages."""

TEXT = b"text/plain; charset=utf-8"


class Probes:
    """Answers by path; see ``routes``."""

    def __init__(self, live: Live, metrics: Metrics, problem: ProblemDocument) -> None:
        self._live = live
        self._metrics = metrics
        self._problem = problem
        self.routes: dict[str, Probe] = {
            "/": self.welcome,
            "/health": self.health,
            "/ready": self.ready,
            "/api/v1/health": self.model_health,
            "/metrics": self.metrics,
            "/api/v1/metrics": self.metrics,
        }

    def welcome(self, headers: Headers, _request_id: str) -> Reply | None:
        """``OK`` for programs; a browser gets a page."""
        return None if b"text/html" in headers.get(b"accept", b"") else Reply(200, b"OK", TEXT)

    def health(self, _headers: Headers, _request_id: str) -> Reply:
        """Liveness: the process answers. It says nothing of the model."""
        return _json({"status": "healthy"})

    def ready(self, _headers: Headers, request_id: str) -> Reply:
        """Readiness: the golden rows have been reproduced, and the server is not draining."""
        manifest = self._live.engine.manifest
        return self._if_ready({"status": "ready", "model": manifest.name, "model_version": manifest.version}, request_id)

    def model_health(self, _headers: Headers, request_id: str) -> Reply:
        """Health of the model: 200 with its version, or 503."""
        return self._if_ready({"status": "healthy", "model_version": self._live.engine.manifest.version}, request_id)

    def metrics(self, headers: Headers, _request_id: str) -> Reply:
        """Prometheus exposition, as text or OpenMetrics by negotiation."""
        content, content_type = self._metrics.render(headers.get(b"accept", b"").decode("latin-1"))
        return Reply(200, content, content_type.encode())

    def _if_ready(self, document: dict[str, str], request_id: str) -> Reply:
        if self._live.ready:
            return _json(document)
        return self._problem(503, request_id, "the server is not ready, or is draining")


def _json(document: dict[str, str]) -> Reply:
    return Reply(200, msgspec.json.encode(document), JSON)

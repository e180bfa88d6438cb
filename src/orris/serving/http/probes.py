"""The routes that machines ask all day, answered without FastAPI: probes, metrics, and the bare ``/``."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from orris.serving.catalog import Catalog
from orris.serving.exchange import JSON, TEXT, Headers, ProblemDocument, Reply
from orris.telemetry.metrics import Metrics

Probe = Callable[[Headers, str], Reply | None]
"""``(request headers, request id)`` -> the reply, or ``None`` to leave the request to the pages."""


class Probes:
    """Answers by path; see ``routes``. ``page`` answers browsers that ask for ``/``, if there is a page for them."""

    def __init__(
        self, catalog: Catalog, metrics: Metrics, problem: ProblemDocument, *, page: Probe | None = None
    ) -> None:
        self._catalog = catalog
        self._metrics = metrics
        self._problem = problem
        self._page = page
        self.routes: dict[str, Probe] = {
            "/": self.welcome,
            "/health": self.health,
            "/ready": self.ready,
            "/api/v1/health": self.model_health,
            "/metrics": self.metrics,
            "/api/v1/metrics": self.metrics,
        }

    def welcome(self, headers: Headers, request_id: str) -> Reply | None:
        """``OK`` for programs; a browser gets a page."""
        if self._page is not None and b"text/html" in headers.get(b"accept", b""):
            return self._page(headers, request_id)
        return Reply(200, b"OK", TEXT)

    def health(self, _headers: Headers, _request_id: str) -> Reply:
        """Liveness: the process answers. It says nothing of the model."""
        return _json({"status": "healthy"})

    def ready(self, _headers: Headers, request_id: str) -> Reply:
        """Readiness: every model has reproduced its golden rows, and the server is not draining."""
        if not self._catalog.ready:
            return self._problem(503, request_id, "the server is not ready, or is draining")
        live = self._catalog.default.current()
        return _json({"status": "ready", "model": live.engine.manifest.name, "model_version": live.version})

    def model_health(self, _headers: Headers, request_id: str) -> Reply:
        """Health of the model: 200 with its version, or 503."""
        if not self._catalog.ready:
            return self._problem(503, request_id, "the server is not ready, or is draining")
        return _json({"status": "healthy", "model_version": self._catalog.default.current().version})

    def metrics(self, headers: Headers, _request_id: str) -> Reply:
        """Prometheus exposition, as text or OpenMetrics by negotiation."""
        content, content_type = self._metrics.render(headers.get(b"accept", b"").decode("latin-1"))
        return Reply(200, content, content_type.encode())


def _json(document: dict[str, str]) -> Reply:
    return Reply(200, msgspec.json.encode(document), JSON)

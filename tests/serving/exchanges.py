"""A predict route in process, with a real model, and exchanges that keep their replies."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from orris.api import Bundle
from orris.protocols.named import NamedRows
from orris.serving.catalog import Catalog, Live
from orris.serving.engine import Engine
from orris.serving.exchange import Exchange, Reply
from orris.serving.predict_route import PredictRoute
from orris.serving.request_context import RequestContext
from orris.telemetry.metrics import Metrics
from orris.telemetry.request_log import RequestLog

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
BODY = json.dumps(ROW).encode()
ROUTE = "/predict"


class Kept(Exchange):
    """An exchange that keeps its reply."""

    def __init__(self, body: bytes = BODY, headers: dict[bytes, bytes] | None = None) -> None:
        super().__init__(body, headers or {})
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def finish(self, reply: Reply) -> None:
        """Keep the reply; a second one raises."""
        self.reply.set_result(reply)

    async def document(self) -> dict[str, Any]:
        """Return the reply's body, parsed."""
        document: dict[str, Any] = json.loads((await self.reply).body)
        return document


def predict_route(bundle: Bundle, **limits: Any) -> PredictRoute:
    """Return a route of named rows that a bundle's model answers, without a log."""
    metrics = Metrics()
    context = RequestContext(
        metrics, RequestLog(enabled=False), **{"max_body_bytes": 1_000_000, "max_in_flight": 100, **limits}
    )
    catalog = Catalog()
    slot = catalog.add(Live.of(Engine.load(bundle.folder), metrics))
    return PredictRoute(NamedRows(), ROUTE, slot.pick, context)

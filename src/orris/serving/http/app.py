"""The ASGI application.

Predict routes go to their predict routes, probes are answered at once, everything else goes to the pages.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

from orris.serving.exchange import Headers, ProblemDocument, Reply, request_id_of, send_reply
from orris.serving.http.asgi import ClientGoneError, Scope, arrival_of, pass_through, read_body
from orris.serving.http.cors import Cors
from orris.serving.http.security_headers import harden
from orris.serving.request_context import Record
from orris.serving.routing import Probe, Router
from orris.telemetry.metrics import Metrics
from orris.telemetry.request_log import RequestLog

Guard = Callable[[str, Headers, str], Reply | None]
"""``(path, request headers, request id)`` -> the refusal of a request that may not pass, or ``None``."""

logger = logging.getLogger(__name__)


class App:
    """Dispatches the requests that no predict route took, and gives each a request id, a count and a log line.

    Args:
        routes: The predict routes of predict routes and what answers GET at once; changed in place as models come and
            go.
        build_pages: Makes the ASGI application for all other routes; called when the first of them is asked for.
        problem: Writes the answer to a request that no route takes.
        metrics: Where requests are counted.
        log: Where a line per request goes.
        guard: Refuses requests that lack a credential; predict routes are guarded by their predict_routes. ``None``:
            all may pass.
        cors: What answers say about origins; ``None``: nothing.
    """

    def __init__(
        self,
        routes: Router,
        build_pages: Callable[[], Any],
        *,
        problem: ProblemDocument,
        metrics: Metrics,
        log: RequestLog,
        guard: Guard | None = None,
        cors: Cors | None = None,
    ) -> None:
        self._routes = routes
        self._build_pages = build_pages
        self._pages: asyncio.Future[Any] | None = None
        self._problem = problem
        self._metrics = metrics
        self._log = log
        self._guard = guard
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """One connection's request, or the server's lifespan."""
        if scope["type"] == "http":
            predict_route = self._routes.predict_routes.get(scope["path"].encode())
            if predict_route is not None and scope["method"] == "POST":
                await pass_through(predict_route, scope, receive, send, cors=self._cors)
            else:
                await self._observed(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                self._log.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _observed(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer, and record the request as a predict route does."""
        start = perf_counter()
        headers = dict(scope["headers"])
        request_id = request_id_of(headers.get(b"x-request-id"))
        scope["orris.request_id"] = request_id
        status = 0
        trace = self._routes.context.placed(headers, scope["path"])
        allowed = self._cors.headers(headers) if self._cors is not None else ()
        if trace is not None and trace.header:
            allowed = (*allowed, (b"traceparent", trace.header))

        async def observing(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                ours = [(b"x-request-id", request_id.encode()), (b"x-process-time", b"%.6f" % (perf_counter() - start))]
                message["headers"] = [*harden(message.get("headers", [])), *ours, *allowed]
            await send(message)

        self._metrics.in_flight += 1
        try:
            route = await self._answer(scope, receive, observing, headers, request_id)
        except ClientGoneError:
            return
        except Exception:
            logger.exception("request %s failed", request_id)
            route = _route(scope)
            if not status:
                await send_reply(observing, self._problem(500, request_id, ""))
        finally:
            self._metrics.in_flight -= 1
        self._routes.context.finished(
            Record(scope["method"], route, status, request_id, start, headers, trace, lambda: arrival_of(scope))
        )

    async def _answer(self, scope: Scope, receive: Any, send: Any, headers: dict[bytes, bytes], request_id: str) -> str:
        """Answer a request that is not for the fast path; returns its route template."""
        path, method = scope["path"], scope["method"]
        predict_route = self._routes.predict_routes.get(path.encode())
        refusal = self._refused(path, method, headers, request_id)
        if refusal is not None:
            await send_reply(send, refusal)
            return predict_route.route if predict_route is not None else self._routes.template(path)
        if predict_route is not None:
            await send_reply(send, self._told(path, 405, request_id, "this route answers POST"), (b"allow", b"POST"))
            return predict_route.route
        probe = self._routes.probe(path)
        if probe is not None:
            reply = self._probed(probe, path, method, headers, request_id)
            if reply is not None:
                await send_reply(send, reply)
                return self._routes.template(path)
        action = self._routes.action(path)
        if action is not None:
            if method != "POST":
                reply = self._told(path, 405, request_id, "this route answers POST")._replace(
                    headers=((b"allow", b"POST"),)
                )
            else:
                body = await read_body(receive, self._routes.context.max_body_bytes)
                reply = await action(body, headers, request_id)
            await send_reply(send, reply)
            return self._routes.template(path)
        if self._routes.error_of(path) is not None:
            await send_reply(send, self._told(path, 404, request_id, f"there is no {path[:200]} here"))
            return "(unmatched)"
        pages = await self._pages_ready()
        await pages(scope, receive, send)
        return _route(scope)

    def _refused(self, path: str, method: str, headers: Headers, request_id: str) -> Reply | None:
        """The answer to a browser's preflight, to a request that may not pass, or to what is not offered."""
        if method == "OPTIONS" and self._cors is not None:
            asked = self._cors.preflight(headers)
            if asked is not None:
                return asked
        refusal = self._guard(path, headers, request_id) if self._guard is not None else None
        return refusal or self._routes.absent(path, request_id)

    def _told(self, path: str, status: int, request_id: str, detail: str) -> Reply:
        """A refusal in the shape of the path's protocol."""
        return (self._routes.error_of(path) or self._problem)(status, request_id, detail)

    def _probed(
        self, probe: Probe, path: str, method: str, headers: dict[bytes, bytes], request_id: str
    ) -> Reply | None:
        if method not in {"GET", "HEAD"}:
            return self._told(path, 405, request_id, "this route answers GET")._replace(
                headers=((b"allow", b"GET, HEAD"),)
            )
        return probe(headers, request_id)

    async def _pages_ready(self) -> Any:
        """The pages, imported and built on a thread when first asked for: most servers never need FastAPI."""
        if self._pages is None:
            self._pages = asyncio.get_running_loop().run_in_executor(None, self._build_pages)
        return await self._pages


def _route(scope: Scope) -> str:
    """The template of the route that the pages matched: bounded, whatever paths are asked for."""
    return getattr(scope.get("route"), "path", None) or "(unmatched)"

"""The pages in FastAPI: model information and documentation.

Imported with the first request for one of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fastapi_offline
import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from orris.serving.access.gate import Access
from orris.serving.catalog import Catalog
from orris.serving.exchange import ProblemDocument, Reply
from orris.serving.http.probes import Probe
from orris.serving.pages.card import describe
from orris.serving.pages.openapi import document
from orris.serving.routing import Router
from orris.version import __version__

_ASSETS = Path(fastapi_offline.__file__).parent / "static"
_SERVED_ASSETS = frozenset({"favicon.png", "swagger-ui.css", "swagger-ui-bundle.js"})

_DOCS_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{root}/docs/assets/favicon.png">
<link rel="stylesheet" href="{root}/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{root}/docs/assets/swagger-ui-bundle.js"></script>
<script src="{root}/docs/start.js"></script>
</body>
</html>
"""
_DOCS_JS = """"use strict";
const url = location.pathname.replace(/docs\\/?$/, "") + "openapi.json";
SwaggerUIBundle({url, dom_id: "#swagger-ui", validatorUrl: null});
"""
_DOCS_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"


def build_pages(catalog: Catalog, routes: Router, *, problem: ProblemDocument, access: Access) -> FastAPI:
    """The FastAPI application.

    Args:
        catalog: What is loaded.
        routes: What is answered without FastAPI; described in the OpenAPI document as well.
        problem: Writes problem documents.
        access: The access rules; described in the OpenAPI document.
    """
    app = FastAPI(title="Orris", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    _add_errors(app, problem)
    for path, probe in routes.probes.items():
        if path != "/" and not path.startswith("/ui/"):
            app.add_api_route(
                path, _probed(probe), methods=["GET"], description=probe.__doc__, name=path.strip("/").replace("/", "_")
            )
    _add_model(app, catalog, routes)
    _add_documentation(app, catalog, routes, access)
    return app


def predict_paths(routes: Router) -> list[str]:
    """The paths of all predict routes."""
    return [path.decode() for path in routes.predict_routes]


def response(reply: Reply) -> Response:
    """A reply as FastAPI returns it."""
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, reply.status, headers | {"content-type": reply.content_type.decode()})


def _request_id(request: Request) -> str:
    """The id that ``App`` gave the request."""
    return str(request.scope["orris.request_id"])


def _probed(probe: Probe) -> Any:
    async def endpoint(request: Request) -> Response:
        reply = probe(dict(request.scope["headers"]), _request_id(request))
        return response(reply) if reply is not None else Response(status_code=404)

    return endpoint


def _add_errors(app: FastAPI, problem: ProblemDocument) -> None:
    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        detail = (
            f"there is no {request.url.path[:200]} here; see /api/v1/ for the routes"
            if error.status_code == 404
            else ""
        )
        answer = response(problem(error.status_code, _request_id(request), detail))
        answer.headers.update(error.headers or {})
        return answer


def _add_model(app: FastAPI, catalog: Catalog, routes: Router) -> None:
    @app.get("/api/v1/model/info")
    async def model_info() -> Response:
        """The loaded model: schema, metrics, parity verdict and provenance."""
        return Response(msgspec.json.encode(describe(catalog.default.current())), media_type="application/json")

    @app.get("/api/v1/")
    async def endpoints() -> dict[str, Any]:
        """The routes."""
        manifest = catalog.default.current().engine.manifest
        pages = [route.path for route in app.routes if isinstance(route, Route)]
        readable = ["/", *(path for path in pages if not path.startswith("/docs/"))]
        everything = {"POST": [*predict_paths(routes), *(action.route for action in routes.actions)], "GET": readable}
        return {"service": "orris", "model": manifest.name, "model_version": manifest.version, "endpoints": everything}


def _add_documentation(app: FastAPI, catalog: Catalog, routes: Router, access: Access) -> None:
    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> JSONResponse:
        """The OpenAPI document."""
        described = document(app, catalog.default.current().engine, routes, access)
        root = request.scope.get("root_path", "")
        return JSONResponse({**described, "servers": [{"url": root}]} if root else described)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        """Interactive documentation; works offline."""
        page = _DOCS_HTML.format(root=request.scope.get("root_path", ""), title=f"Orris · {catalog.default.name}")
        return HTMLResponse(
            page, headers={"content-security-policy": _DOCS_POLICY, "x-content-type-options": "nosniff"}
        )

    @app.get("/docs/assets/{name}", include_in_schema=False)
    async def docs_asset(name: str) -> FileResponse:
        """A file of Swagger UI. Not a mount: Starlette's looks for files below a proxy's path, too."""
        if name not in _SERVED_ASSETS:
            raise HTTPException(404)
        return FileResponse(_ASSETS / name)

    @app.get("/docs/start.js", include_in_schema=False)
    async def docs_start() -> Response:
        """Starts the documentation page."""
        return Response(_DOCS_JS, media_type="text/javascript")

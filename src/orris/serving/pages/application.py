"""The pages of ``record`` in FastAPI: what is loaded, and the documentation.

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

from orris.serving.access.gate import Access
from orris.serving.catalog import Catalog
from orris.serving.exchange import ProblemDocument, Reply
from orris.serving.pages.card import describe
from orris.serving.pages.openapi import Schemas, document
from orris.serving.protocol import Get, Page, Post, Predict, Route
from orris.serving.routing import RouteTable
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
const address = location.pathname.replace(/docs\\/?$/, "") + "openapi.json";
async function show(key) {
  const answer = await fetch(address, key ? {headers: {"x-api-key": key}} : {});
  if (answer.status === 401) {
    const given = prompt(key ? "This key is not known. API key:" : "API key:");
    return given ? show(given) : undefined;
  }
  const ui = SwaggerUIBundle({spec: await answer.json(), dom_id: "#swagger-ui", validatorUrl: null});
  if (key) ui.preauthorizeApiKey("apiKey", key);
}
show("");
"""
_DOCS_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"


def build_pages(
    catalog: Catalog, table: RouteTable, *, problem: ProblemDocument, access: Access, schemas: Schemas
) -> FastAPI:
    """The FastAPI application.

    Args:
        catalog: What is loaded.
        table: The records of all routes, which the OpenAPI document describes.
        problem: Writes problem documents.
        access: The access rules; described in the OpenAPI document.
        schemas: The named schemas of the protocols, for the same.
    """
    app = FastAPI(title="Orris", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    _add_errors(app, problem)
    _add_model(app, catalog, table)
    _add_documentation(app, catalog, table, access, schemas)
    return app


def response(reply: Reply) -> Response:
    """A reply as FastAPI returns it."""
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, reply.status, headers | {"content-type": reply.content_type.decode()})


def _request_id(request: Request) -> str:
    """The id that ``App`` gave the request."""
    return str(request.scope["orris.request_id"])


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


def _add_model(app: FastAPI, catalog: Catalog, table: RouteTable) -> None:
    @app.get("/api/v1/model/info")
    async def model_info() -> Response:
        """The loaded model: schema, metrics, parity verdict and provenance."""
        return Response(msgspec.json.encode(describe(catalog.default.current())), media_type="application/json")

    @app.get("/api/v1/")
    async def endpoints() -> dict[str, Any]:
        """The routes."""
        manifest = catalog.default.current().engine.manifest
        posts = [route.template for route in table if isinstance(route, Predict | Post)]
        gets = [route.template for route in table if isinstance(route, Get | Page) and not _is_part(route)]
        everything = {"POST": posts, "GET": gets}
        return {"service": "orris", "model": manifest.name, "model_version": manifest.version, "endpoints": everything}


def _is_part(route: Route) -> bool:
    """Whether a route is a part of a page, which is not documented on its own."""
    return route.template.startswith(("/docs/", "/ui/"))


def _add_documentation(app: FastAPI, catalog: Catalog, table: RouteTable, access: Access, schemas: Schemas) -> None:
    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> JSONResponse:
        """The OpenAPI document."""
        described = document(catalog.default.current().engine, table, access, schemas)
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

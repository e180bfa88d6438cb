"""Puts a server together: models, protocols, limits, telemetry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from orris.protocols import named
from orris.protocols.status import problem_document
from orris.serving.app import App
from orris.serving.catalog import Catalog, Live
from orris.serving.connection import Connection
from orris.serving.door import Desk
from orris.serving.mount import Switchboard
from orris.serving.probes import Probes
from orris.telemetry.logs import RequestLog
from orris.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from orris.serving.engine import Engine
    from orris.settings import Settings

PROTOCOLS = (named.mount,)
"""What is spoken; a later one may not take a path of an earlier one."""


@dataclass(frozen=True)
class Served:
    """A server that is ready to listen.

    Attributes:
        app: The ASGI application.
        connection: Makes the HTTP protocol of a connection.
        catalog: What is loaded.
        routes: Its routes.
    """

    app: App
    connection: Callable[..., Connection]
    catalog: Catalog
    routes: Switchboard


def assemble(engines: list[tuple[Engine, str]], settings: Settings) -> Served:
    """Put a server together for loaded models, each with the reference that it was asked for by; the first is the default."""
    metrics, log, catalog = Metrics(), RequestLog(enabled=settings.access_log), Catalog()
    desk = Desk(metrics, log, max_body_bytes=settings.max_body_bytes, max_in_flight=settings.max_in_flight)
    routes = Switchboard(PROTOCOLS, desk, errors={})
    routes.probes.update(Probes(catalog, metrics, problem_document).routes)
    for engine, reference in engines:
        catalog.add(Live.of(engine, metrics), reference)
    for slot in catalog:
        routes.connect(slot, default=slot is catalog.default)

    def pages() -> Any:
        from orris.serving.pages import build_pages  # noqa: PLC0415 (FastAPI and pydantic, which most servers never need)

        return build_pages(catalog, routes, problem=problem_document)

    app = App(routes, pages, problem=problem_document, metrics=metrics, log=log)
    connection = partial(Connection, routes.doors, max_header_bytes=settings.max_header_bytes, request_seconds=settings.request_seconds)
    return Served(app, connection, catalog, routes)

"""Puts a server together: models, protocols, limits, telemetry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from orris.protocols import instances, invocations, named, openinference
from orris.protocols.repository import Repository
from orris.protocols.status import problem_document
from orris.server.access import build_access, build_cors, build_guard
from orris.server.changes import add_second_versions, build_control
from orris.server.grpc import build_grpc
from orris.server.logs import build_log
from orris.server.tracing import build_tracing
from orris.serving.catalog import Catalog, Live
from orris.serving.control import Control
from orris.serving.exchange import ProblemDocument
from orris.serving.http.app import App
from orris.serving.http.connection import Connection
from orris.serving.http.probes import Probes
from orris.serving.pages.card import Cards
from orris.serving.pages.drift import DriftRoutes
from orris.serving.pages.playground import Playground
from orris.serving.processes.board import Board, LocalBoard
from orris.serving.request_context import RequestContext
from orris.serving.routing import Router
from orris.telemetry.drift import Drift
from orris.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from orris.serving.engine import Engine
    from orris.serving.http.server import Companion
    from orris.settings import Settings
    from orris.telemetry.tracing import Tracing

PROTOCOLS = (named.mount, openinference.mount, instances.mount, invocations.mount)
"""What is spoken; a later one may not take a path of an earlier one."""

ERRORS: dict[str, ProblemDocument] = {
    "/v1": instances.error_document,
    "/v2": openinference.error_document,
    "/invocations": invocations.error_document,
}
"""Who writes the errors of a path that begins like this; all others are problem documents."""


@dataclass(frozen=True)
class Served:
    """A server that is ready to listen.

    Attributes:
        app: The ASGI application.
        connection: Makes the HTTP protocol of a connection.
        catalog: What is loaded.
        routes: Its routes.
        metrics: What it counts.
        control: What changes it while it runs.
        companions: Servers that start and stop with it: gRPC's.
        tracing: What records spans, to be closed at the end.
    """

    app: App
    connection: Callable[..., Connection]
    catalog: Catalog
    routes: Router
    metrics: Metrics
    control: Control
    companions: tuple[Companion, ...] = ()
    tracing: Tracing | None = None


def assemble(
    engines: list[tuple[Engine, str]],
    settings: Settings,
    board: Board | LocalBoard | None = None,
    grpc_port: int | None = None,
) -> Served:
    """Put a server together for loaded models, each with its reference.

    The first model is the default.
    """
    board = board or LocalBoard()
    metrics, catalog = Metrics(Drift(settings.drift_window_seconds)), Catalog()
    log = build_log(settings, [engine.schema for engine, _ in engines], metrics.dropped)
    access, cors = build_access(settings, n_workers=board.n_workers), build_cors(settings)
    admit = access.admit if access.guards else None
    tracing = build_tracing(settings)
    limits = {"max_body_bytes": settings.max_body_bytes, "max_in_flight": settings.max_in_flight}
    context = RequestContext(metrics, log, **limits, admit=admit, tracing=tracing)
    # First, so that a platform's route which is spoken anyway stays what it is.
    protocols = (instances.vertex_mount(settings.predict_route), *PROTOCOLS) if settings.predict_route else PROTOCOLS
    if grpc_port is not None:
        from orris.protocols.grpc.dialect import mount as grpc_mount  # noqa: PLC0415 (protobuf, which not every server needs)

        protocols = (*protocols, grpc_mount)
    cards = Cards(catalog, problem_document, pages=settings.docs)
    routes = Router((*protocols, cards.mount, DriftRoutes(metrics, problem_document).mount), context, errors=ERRORS)
    playground = Playground(settings.root_path) if settings.docs else None
    routes.probes.update(
        Probes(catalog, metrics, problem_document, page=playground.page if playground is not None else None).routes
    )
    routes.probes.update(playground.routes if playground is not None else {})
    for protocol in (openinference, instances, invocations):
        routes.probes.update(protocol.server_probes(catalog))
    if settings.health_route:
        routes.probes.setdefault(settings.health_route, instances.vertex_health(catalog))
    for engine, reference in engines:
        catalog.add(Live.of(engine, metrics), reference)
    add_second_versions(catalog, context, settings)
    for slot in catalog:
        routes.connect(slot, default=slot is catalog.default)
    control = build_control(catalog, routes, settings, board)
    repository = Repository(catalog, control, access.require_admin)
    routes.actions += repository.actions()

    def pages() -> Any:
        from orris.serving.pages.application import build_pages  # noqa: PLC0415 (FastAPI and pydantic, which most servers never need)

        return build_pages(catalog, routes, problem=problem_document, access=access)

    guard = build_guard(access, routes, settings)
    app = App(routes, pages, problem=problem_document, metrics=metrics, log=log, guard=guard, cors=cors)
    connection = partial(
        Connection,
        routes.predict_routes,
        max_header_bytes=settings.max_header_bytes,
        request_seconds=settings.request_seconds,
        cors=cors,
    )
    catalog.workers_ready = lambda: board.all_ready
    if isinstance(board, Board):
        metrics.share(board)
    companions: tuple[Companion, ...] = ()
    if grpc_port is not None:
        grpc = build_grpc(
            grpc_port, settings, catalog=catalog, routes=routes, access=access, control=control, repository=repository
        )
        companions = (grpc,)
    return Served(app, connection, catalog, routes, metrics, control, companions, tracing)

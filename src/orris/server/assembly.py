"""Puts a server together: models, protocols, limits, telemetry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orris.protocols import descriptions, instances, invocations, named, openinference, triton
from orris.protocols.repository import Repository
from orris.protocols.status import problem_document, refused
from orris.server.access import build_access, build_cors, build_guard
from orris.server.changes import add_second_versions, build_control
from orris.server.grpc import GrpcAccess, build_grpc
from orris.server.logs import build_log
from orris.server.tracing import build_tracing
from orris.serving.catalog import Catalog, Live
from orris.serving.control import Control
from orris.serving.http.app import App
from orris.serving.http.context import HttpContext
from orris.serving.http.receiving import Receiving
from orris.serving.pages.card import Cards
from orris.serving.pages.drift import drift_routes
from orris.serving.pages.playground import Playground
from orris.serving.pages.probes import probes
from orris.serving.pages.record import PAGES
from orris.serving.processes.board import Board, LocalBoard
from orris.serving.protocol import Protocol
from orris.serving.request_context import RequestContext
from orris.serving.routing import Router, RouteTable
from orris.telemetry.drift import Drift
from orris.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from orris.serving.access.gate import Access
    from orris.serving.engine import Engine
    from orris.serving.http.cors import Cors
    from orris.serving.http.options import Companion
    from orris.settings import Settings
    from orris.telemetry.request_log import RequestLog
    from orris.telemetry.tracing import Tracing

PROTOCOLS = (named.PROTOCOL, openinference.PROTOCOL, instances.PROTOCOL, invocations.PROTOCOL)
"""The protocols over HTTP; a later one may not take a path of an earlier one."""


@dataclass(frozen=True)
class Served:
    """A server that is ready to listen.

    Attributes:
        app: The ASGI application.
        http: The state that connections share.
        catalog: The loaded models.
        routes: Its routes.
        metrics: Its counts.
        control: Changes of the models while it runs.
        companions: Servers that start and stop with it: gRPC's.
        tracing: The recorder of spans, to be closed at the end.
    """

    app: App
    http: HttpContext
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
    grpc: GrpcAccess | None = None,
    protocols: Sequence[Protocol] = (),
) -> Served:
    """Put a server together for loaded models.

    Args:
        engines: The models, each with its reference; the first is the default.
        settings: Limits, access, telemetry, pages.
        board: The counts that the workers share; by default this process is the only one.
        grpc: How clients reach the server over gRPC; ``None``: they do not.
        protocols: Further protocols beside Orris' own.
    """
    board = board or LocalBoard()
    metrics, catalog, table = Metrics(Drift(settings.drift_window_seconds)), Catalog(), RouteTable()
    log = build_log(settings, [engine.schema for engine, _ in engines], metrics.dropped)
    access, cors = build_access(settings, table, n_workers=board.n_workers), build_cors(settings)
    tracing = build_tracing(settings, table.untraced)
    context = _request_context(settings, metrics, log, access, tracing)
    table.add(*PROTOCOLS, triton.extensions(metrics), *_own_pages(settings, metrics), *protocols)
    if grpc is not None:
        from orris.protocols.grpc.dialect import PROTOCOL  # noqa: PLC0415 (protobuf, which not every server needs)

        table.add(PROTOCOL)
    routes = Router(table, context, catalog, refuse=refused, require_admin=access.require_admin)
    for engine, reference in engines:
        catalog.add(Live.of(engine, metrics), reference)
    add_second_versions(catalog, context, settings)
    control = build_control(catalog, routes, settings, board)
    repository = Repository(catalog, control)
    # Last, so that a platform's route which a protocol has already keeps its meaning.
    table.add(repository.protocol(), instances.vertex(settings.predict_route, settings.health_route))
    for slot in catalog:
        routes.connect(slot, default=slot is catalog.default)

    def pages() -> Any:
        from orris.serving.pages.application import build_pages  # noqa: PLC0415 (FastAPI and pydantic, which most servers never need)

        return build_pages(catalog, table, problem=problem_document, access=access, schemas=descriptions.schemas)

    guard = build_guard(access, table, settings)
    app = App(routes, pages, problem=problem_document, metrics=metrics, log=log, guard=guard, cors=cors)
    http = _http_context(settings, routes, cors)
    catalog.workers_ready = lambda: board.all_ready
    if isinstance(board, Board):
        metrics.share(board)
    companions: tuple[Companion, ...] = ()
    if grpc is not None:
        listener = build_grpc(
            grpc,
            settings,
            catalog=catalog,
            routes=routes,
            access=access,
            control=control,
            repository=repository,
            receiving=http.receiving,
        )
        companions = (listener,)
    return Served(app, http, catalog, routes, metrics, control, companions, tracing)


def _request_context(
    settings: Settings, metrics: Metrics, log: RequestLog, access: Access, tracing: Tracing | None
) -> RequestContext:
    """The limits of requests, and the places that record them."""
    return RequestContext(
        metrics,
        log,
        max_body_bytes=settings.max_body_bytes,
        max_in_flight=settings.max_in_flight,
        max_queue_seconds=settings.max_queue_seconds,
        admit=access.admit if access.guards else None,
        tracing=tracing,
    )


def _http_context(settings: Settings, routes: Router, cors: Cors | None) -> HttpContext:
    """The state that connections share, with their limits."""
    return HttpContext(
        routes.predict_routes,
        Receiving(settings.max_receiving_bytes),
        max_header_bytes=settings.max_header_bytes,
        request_seconds=settings.request_seconds,
        keep_alive_seconds=settings.keep_alive_seconds,
        cors=cors,
    )


def _own_pages(settings: Settings, metrics: Metrics) -> Iterator[Protocol]:
    """The records of Orris' own probes and pages."""
    playground = Playground(settings.root_path) if settings.docs else None
    yield probes(metrics, page=playground.page if playground is not None else None)
    if playground is not None:
        yield playground.protocol
    yield Cards(pages=settings.docs).protocol
    yield drift_routes(metrics)
    yield PAGES

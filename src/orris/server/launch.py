"""Starts a server: one process, or a supervisor and its workers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orris.errors import SettingsError
from orris.server.grpc import GrpcAccess, listen_grpc
from orris.server.logs import start_server_log
from orris.server.tracing import wants_tracing
from orris.serving.http.listening import listen, listen_unix
from orris.serving.processes.board import Board, LocalBoard
from orris.serving.processes.cpus import auto_threads, auto_workers, available_cpus
from orris.serving.processes.exit import exit_now
from orris.telemetry.server_log import announce, tell
from orris.telemetry.tracecontext import FLUSH_SECONDS

if TYPE_CHECKING:
    import socket

    from orris.serving.engine import Engine
    from orris.serving.processes.sharing import Sharing
    from orris.serving.protocol import Protocol
    from orris.settings import Settings


def launch(models: Sequence[str], settings: Settings, protocols: Sequence[Protocol] = ()) -> int:
    """Serve until a signal stops the process; returns the exit code.

    With one worker everything happens in this process. With more this one supervises, and what is large (NumPy, ONNX
    Runtime, uvicorn) is imported in the workers only.

    Args:
        models: References, folders or URLs of bundles; the first is the default. Empty: what the settings name.
        settings: The settings.
        protocols: Protocols that are spoken beside Orris' own.
    """
    references = list(models) or [settings.model]
    _occupy_standard_descriptors()
    start_server_log(settings)
    settings = _counted(settings)
    n_workers = int(settings.workers)
    if n_workers == 1:
        board = LocalBoard()
        engines = _load(references, settings, board)
        listeners = _listeners(settings, 1)
        grpc = listen_grpc(settings, 1)
        try:
            code = _serve(engines, settings, board, listeners, grpc, protocols)
        finally:
            _tidy(settings)
        if code:
            exit_now(code)  # threads that were given up are not waited for
        return code
    from orris.serving.processes.sharing import Sharing  # noqa: PLC0415
    from orris.serving.processes.supervisor import Supervisor  # noqa: PLC0415

    listeners = _listeners(settings, n_workers)
    grpc = listen_grpc(settings, n_workers)
    shared = Board(n_workers)
    sharing = Sharing(n_workers), Sharing(n_workers)

    def work() -> int:
        return _serve(_load(references, settings, shared), settings, shared, listeners, grpc, protocols, sharing)

    stop_seconds = (
        settings.drain_seconds
        + settings.shutdown_seconds
        + (FLUSH_SECONDS if wants_tracing(settings, os.environ) else 0)
    )
    try:
        return Supervisor(
            shared, work, [*listeners, *grpc], hang_seconds=settings.hang_seconds, stop_seconds=stop_seconds
        ).run()
    finally:
        _tidy(settings)


def _load(references: list[str], settings: Settings, board: Board | LocalBoard) -> list[tuple[Engine, str]]:
    """The models, each with its reference; tried in a child process, unless a worker has loaded them already."""
    from orris.server.changes import as_wanted, second_references  # noqa: PLC0415 (ONNX Runtime, which a supervisor does without)
    from orris.server.trial import TRIAL_SECONDS, try_start  # noqa: PLC0415

    if settings.start_trial and not board.wanted()[1]:
        tried = [*references, *second_references(settings)]
        try_start(tried, settings, max(TRIAL_SECONDS, settings.call_seconds))
    return as_wanted(references, settings, board)


def _occupy_standard_descriptors() -> None:
    """Keep sockets off the descriptors of standard input, output and error when the parent closed them.

    libuv aborts over a socket on one of them.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)


def _counted(settings: Settings) -> Settings:
    """The settings with numbers for ``auto``."""
    cpus = available_cpus()
    workers = auto_workers(cpus) if settings.workers == "auto" else settings.workers
    threads = auto_threads(cpus, workers) if settings.threads == "auto" else settings.threads
    if "auto" in {settings.workers, settings.threads}:
        tell(f"{cpus:g} processors are granted: --workers {workers} --threads {threads}")
    return msgspec.structs.replace(settings, workers=workers, threads=threads)


def _listeners(settings: Settings, n_workers: int) -> list[socket.socket]:
    for flag, file in (("--tls-cert", settings.tls_cert), ("--tls-key", settings.tls_key)):
        if file and not Path(file).is_file():
            raise SettingsError(f"{flag} {file}: there is no such file")
    if settings.tls_key and not settings.tls_cert:
        raise SettingsError(f"--tls-key {settings.tls_key} is of no use without --tls-cert")
    if settings.uds:
        return [listen_unix(Path(settings.uds))]
    return listen(settings.host, settings.port, n_workers=n_workers)


def _tidy(settings: Settings) -> None:
    if settings.uds:
        Path(settings.uds).unlink(missing_ok=True)


def _serve(
    engines: list[tuple[Engine, str]],
    settings: Settings,
    board: Board | LocalBoard,
    listeners: list[socket.socket],
    grpc: list[socket.socket],
    protocols: Sequence[Protocol],
    sharing: tuple[Sharing | None, Sharing | None] = (None, None),
) -> int:
    """Serve from this process, over HTTP and, if ``grpc`` has sockets, over gRPC."""
    from orris.server.assembly import assemble  # noqa: PLC0415
    from orris.serving.calls import watch_calls  # noqa: PLC0415
    from orris.serving.http.options import Access, Ending, Hooks  # noqa: PLC0415
    from orris.serving.http.server import serve  # noqa: PLC0415

    grpc_port = grpc[0].getsockname()[1] if grpc else None
    reached = GrpcAccess(grpc, board, sharing[1]) if grpc else None
    served = assemble(engines, settings, board, reached, protocols)
    watch_calls(settings.call_seconds, f"worker {board.seat}: " if board.n_workers > 1 else "")
    server_log = start_server_log(settings, served.metrics.dropped)
    address = _address(settings, listeners[0])

    def ready() -> None:
        if board.announces():
            for engine, _ in engines:
                path = _predict_path(engine, engines[0][0])
                _announce(engine, address, path, settings, board.n_workers, grpc_port)

    def stop() -> None:
        served.catalog.draining = True

    access = Access(
        listeners, sharing[0], settings.tls_cert, settings.tls_key, settings.root_path, settings.forwarded_allow_ips
    )
    hooks = Hooks(
        on_ready=ready,
        on_stop=stop,
        on_beat=(
            served.http.on_beat,
            served.metrics.drift.fold,
            served.metrics.publish,
            served.control.on_beat,
            server_log.push,
        ),
        companions=served.companions,
        in_flight=lambda: served.metrics.in_flight,
    )
    ending = Ending(settings.drain_seconds, settings.shutdown_seconds)
    try:
        return serve(served.app, http=served.http, access=access, board=board, hooks=hooks, ending=ending)
    finally:
        if served.tracing is not None and not served.tracing.close():
            tell("spans were not taken in time and are lost", "warning")
        server_log.end()


def _predict_path(engine: Engine, default: Engine) -> str:
    """The shortest path on which a model answers, beside the default one."""
    name = engine.manifest.name
    if engine is default:
        return "/api/v1/predict"
    if name == default.manifest.name:
        return f"/api/v1/models/{name}/versions/{engine.manifest.version}/predict"
    return f"/api/v1/models/{name}/predict"


def _address(settings: Settings, listener: socket.socket) -> str:
    """The URL of the server, as a client on this machine would write it."""
    scheme = "https" if settings.tls_cert else "http"
    if settings.uds:
        return f"{scheme}+unix://{settings.uds}"
    host = "localhost" if settings.host in {"127.0.0.1", "0.0.0.0", "::", "::1"} else settings.host  # noqa: S104
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def _announce(engine: Engine, url: str, path: str, settings: Settings, n_workers: int, grpc_port: int | None) -> None:
    from orris.schema.documents import example_row  # noqa: PLC0415

    manifest = engine.manifest
    by = f" from {n_workers} workers" if n_workers > 1 else ""
    grpc = f"  ·  gRPC on port {grpc_port}" if grpc_port is not None else ""
    docs = f"  ·  docs {url}/docs" if settings.docs and not settings.uds else ""
    announce(f"Serving {manifest.name}@{manifest.version} ({manifest.verdict.strategy}) on {url}{docs}{grpc}{by}")
    announce(f"Ready after {_process_seconds():.2f} s; {len(manifest.golden.rows)} golden rows reproduced. Try it:")
    row = json.dumps(example_row(engine.schema), ensure_ascii=False).replace("'", "'\\''")
    where = f"--unix-socket {settings.uds} {url.partition('+')[0]}://localhost" if settings.uds else url
    key = ' -H "Authorization: Bearer $KEY"' if settings.api_keys_file or settings.jwt_jwks else ""
    announce(f"\n  curl -X POST {where}{path} -H 'Content-Type: application/json'{key} -d '{row}'\n")


def _process_seconds() -> float:
    """Seconds since this process started."""
    try:
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, AttributeError):
        return time.process_time()

"""``orris serve``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orris.cli.terminal import StoreOption, tell

if TYPE_CHECKING:
    from orris.serving.engine import Engine
    from orris.settings import Settings

EXAMPLES = "Examples:  orris serve   ·   orris serve iris:prod --port 9000   ·   orris serve ./artifacts/iris/versions/1.0.0"


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="NAME, NAME@VERSION, NAME:ALIAS or a bundle's folder; the first is the default [default: the only model]"),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1, or ORRIS_HOST]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one [default: 8000, or ORRIS_PORT]")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads for one call of the model [default: 1, or ORRIS_THREADS]")] = None,
    access_log: Annotated[
        bool | None, typer.Option("--access-log/--no-access-log", help="A JSON line per request on standard output [default: on]")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Serve a model over HTTP. Ready once the golden rows of its bundle have been reproduced."""
    from orris.settings import read_settings  # noqa: PLC0415

    settings = read_settings(os.environ, store=store, host=host, port=port, threads=threads, access_log=access_log)
    references = models or [""]
    run([(load_engine(reference, settings), reference) for reference in references], settings)


def load_engine(model: str, settings: Settings) -> Engine:
    """Resolve, verify, audit, load, reproduce."""
    from orris.api import locate  # noqa: PLC0415
    from orris.serving.engine import Engine  # noqa: PLC0415

    folder = locate(model, settings.store)
    if settings.verify_key:
        from orris.signing import verify  # noqa: PLC0415

        verify(folder, Path(settings.verify_key))
    return Engine.load(folder, threads=settings.threads, max_rows=settings.max_rows)


def run(engines: list[tuple[Engine, str]], settings: Settings) -> None:
    """Serve until told to stop."""
    from orris.cli.assembly import assemble  # noqa: PLC0415
    from orris.serving.server import serve as listen  # noqa: PLC0415

    served = assemble(engines, settings)

    def ready(port: int) -> None:
        for engine, _ in engines:
            _announce(engine, settings.host, port)

    def stop() -> None:
        served.catalog.draining = True

    listen(served.app, protocol=served.connection, host=settings.host, port=settings.port, on_ready=ready, on_stop=stop)


def _announce(engine: Engine, host: str, port: int) -> None:
    import json  # noqa: PLC0415

    from orris.schema.documents import example_row  # noqa: PLC0415

    manifest = engine.manifest
    shown = "localhost" if host in {"127.0.0.1", "0.0.0.0", "::", "::1"} else host  # noqa: S104
    url = f"http://{shown}:{port}"
    tell(f"Serving {manifest.name}@{manifest.version} ({manifest.verdict.strategy}) on {url}  ·  docs {url}/docs")
    tell(f"Ready after {_process_seconds():.2f} s; {len(manifest.golden.rows)} golden rows reproduced. Try it:")
    row = json.dumps(example_row(engine.schema), ensure_ascii=False).replace("'", "'\\''")
    tell(f"\n  curl -X POST {url}/api/v1/predict -H 'Content-Type: application/json' -d '{row}'\n")


def _process_seconds() -> float:
    """Seconds since this process started."""
    try:
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, AttributeError):
        return time.process_time()

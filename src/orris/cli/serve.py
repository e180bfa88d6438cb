"""``orris serve``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from orris.cli.terminal import StoreOption

EXAMPLES = (
    "Examples:  orris serve   ·   orris serve iris:prod --port 9000   ·   orris serve ./artifacts/iris/versions/1.0.0"
)


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help=(
                "NAME, NAME@VERSION, NAME:ALIAS, a bundle's folder or URL; the first is the default [default:"
                " ORRIS_MODEL]"
            )
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1, or ORRIS_HOST]")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one [default: 8000, or ORRIS_PORT]")
    ] = None,
    grpc_port: Annotated[
        str | None,
        typer.Option(
            metavar="PORT|auto|off", help="Port for gRPC; 0 takes a free one [default: auto: 8001, if it is free]"
        ),
    ] = None,
    uds: Annotated[Path | None, typer.Option(help="Unix socket to listen on, instead of host and port")] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Processes; auto: what the container's CPU quota grants [default: 1, or ORRIS_WORKERS]",
        ),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(metavar="N|auto", help="Threads for one call of the model [default: 1, or ORRIS_THREADS]"),
    ] = None,
    drain_seconds: Annotated[
        float | None,
        typer.Option(help="When stopping: how long requests are accepted after /ready has turned 503 [default: 0]"),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM): speak HTTPS")] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Its private key (PEM); not needed if it is in the same file")
    ] = None,
    root_path: Annotated[str | None, typer.Option(help="Path that a proxy takes off before requests come here")] = None,
    forwarded_allow_ips: Annotated[
        str | None, typer.Option(help="Proxies whose X-Forwarded headers are believed, with commas [default: none]")
    ] = None,
    access_log: Annotated[
        bool | None,
        typer.Option("--access-log/--no-access-log", help="A line per request on standard output [default: on]"),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(metavar="debug|info|warning|error", help="Least level of what is logged [default: info]"),
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(metavar="json|gcp|console", help="Form of the log's lines [default: json]")
    ] = None,
    api_keys: Annotated[
        Path | None,
        typer.Option(
            "--api-keys", help="File of API keys; predictions then need one [default: none, or ORRIS_API_KEYS_FILE]"
        ),
    ] = None,
    admin_token_file: Annotated[
        Path | None, typer.Option(help="File that holds the admin token; without one, load, unload and reload are off")
    ] = None,
    jwt_jwks: Annotated[
        str | None, typer.Option(help="File or https URL of the keys that JSON Web Tokens are signed with")
    ] = None,
    jwt_issuer: Annotated[str | None, typer.Option(help="What 'iss' of a token has to be")] = None,
    jwt_audience: Annotated[str | None, typer.Option(help="What 'aud' of a token has to be")] = None,
    rate_limit: Annotated[
        float | None, typer.Option(help="Requests per second of each caller; 0: unlimited [default: 0]")
    ] = None,
    watch: Annotated[
        float | None, typer.Option(help="Follow the models' aliases: look every so many seconds [default: 0, never]")
    ] = None,
    shadow: Annotated[
        str | None, typer.Option(metavar="NAME@VERSION", help="Version that is asked a copy of the requests")
    ] = None,
    shadow_share: Annotated[
        float | None, typer.Option(help="Share of the requests that the shadow is asked [default: 1]")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME@VERSION=SHARE", help="Version that a share of the requests goes to")
    ] = None,
    split_header: Annotated[
        str | None, typer.Option(help="Equal values of this header go to the same version [default: by chance]")
    ] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="Origin whose pages may call this server from a browser; may be repeated")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Serve a model over HTTP and gRPC. Ready once the golden rows of its bundle have been reproduced."""
    from orris.server.platforms import translate  # noqa: PLC0415
    from orris.settings import read_settings  # noqa: PLC0415

    settings = read_settings(
        translate(os.environ, model_named=bool(models)),
        store=store,
        host=host,
        port=port,
        grpc_port=grpc_port,
        uds=str(uds) if uds else None,
        workers=workers,
        threads=threads,
        drain_seconds=drain_seconds,
        tls_cert=str(tls_cert) if tls_cert else None,
        tls_key=str(tls_key) if tls_key else None,
        root_path=root_path,
        forwarded_allow_ips=forwarded_allow_ips,
        access_log=access_log,
        log_level=log_level,
        log_format=log_format,
        api_keys_file=str(api_keys) if api_keys else None,
        admin_token_file=str(admin_token_file) if admin_token_file else None,
        jwt_jwks=jwt_jwks,
        jwt_issuer=jwt_issuer,
        jwt_audience=jwt_audience,
        rate_limit=rate_limit,
        watch_seconds=watch,
        shadow=shadow,
        shadow_share=shadow_share,
        split=split,
        split_header=split_header,
        cors_origins=",".join(cors_origin) if cors_origin else None,
    )
    from orris.server.launch import launch  # noqa: PLC0415

    raise typer.Exit(launch(models or (), settings))

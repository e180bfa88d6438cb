"""``orris ping``: checks whether a running server is ready.

An image's health check runs it, so it imports little.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from orris.cli.terminal import say

EXAMPLES = "Examples:  orris ping   ·   orris ping http://localhost:9000   ·   orris ping grpc://localhost:8001"


def ping(
    url: Annotated[
        str | None,
        typer.Argument(
            help="Server, or page of it [default: this machine's, by ORRIS_PORT, ORRIS_UDS and ORRIS_TLS_CERT]"
        ),
    ] = None,
    timeout_seconds: Annotated[
        float, typer.Option("--timeout", min=0.01, help="Seconds to wait for the answer.")
    ] = 2.0,
) -> None:
    """Check whether a running server is ready: exit code 0 if it is, 1 if not."""
    from orris.cli.readiness import connect, grpc_status, own_server, status  # noqa: PLC0415 (http.client, which no other command needs)

    if url is None:
        from orris.server.platforms import translate  # noqa: PLC0415
        from orris.settings import read_settings  # noqa: PLC0415

        connection, path = own_server(read_settings(translate(os.environ)), timeout_seconds)
        url = "the server of this machine"
    elif url.startswith("grpc://"):
        say(f"{url}: {grpc_status(url, timeout_seconds)}")
        return
    else:
        connection, path = connect(url, timeout_seconds)
    say(f"{url}: {status(connection, path, url)}")

"""The floor of ``throughput.py``.

A raw ASGI application that reads the body and gives a fixed answer, on Orris' uvicorn settings.

What it costs is uvicorn's: parse HTTP, make a task, call, reply. No ASGI application on uvicorn is faster. The predict
routes of Orris are answered without an ASGI task, so they may come closer to it than an application could.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

import uvicorn

ANSWER = (
    b'{"prediction":0,"prediction_label":"setosa","probabilities":[0.9847031668428455,0.015296771119383028,6.203777137248208e-8],'
    b'"request_id":"465119f259cdab833c9afecdeb51b127","model_version":"1.0.0"}'
)
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """One request, or the server's lifespan."""
    if scope["type"] == "http":
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": ANSWER})
        return
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def main() -> None:
    """Listen on a free port, tell which, and serve until told to stop.

    The options are those of ``orris/serving/server.py``.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
    )
    print(f"the floor on http://localhost:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()

"""The floor of ``throughput.py``: a raw ASGI application that reads the body and gives a fixed answer, on the server settings of Orris.

What it costs is uvicorn's: parse HTTP, call, reply. Nothing that answers over uvicorn can be faster.
"""

from __future__ import annotations

import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orris.serving.server import serve

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


def announce(port: int) -> None:
    """Tell ``harness.serving`` where to find us."""
    print(f"the floor on http://localhost:{port}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    serve(app, protocol=HttpToolsProtocol, host="127.0.0.1", port=0, on_ready=announce, on_stop=lambda: None)

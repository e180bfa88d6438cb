"""A predict route for ASGI servers.

A path in another spelling than the router has it comes in here.
"""

from __future__ import annotations

import asyncio
from typing import Any

from orris.errors import OrrisError, TooLargeError
from orris.serving.exchange import Exchange, Headers, Reply, send_reply
from orris.serving.http.cors import Cors
from orris.serving.http.security_headers import NOSNIFF
from orris.serving.predict_route import PredictRoute
from orris.telemetry.tracecontext import Arrival

Scope = dict[str, Any]


class ClientGoneError(Exception):
    """The client disconnected before its body had arrived, so there is no one to answer."""


class Awaited(Exchange):
    """An exchange whose reply is awaited."""

    __slots__ = ("came", "reply")

    def __init__(self, body: bytes, headers: Headers, came: Arrival) -> None:
        super().__init__(body, headers)
        self.came = came
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def finish(self, reply: Reply) -> None:
        """Wake the waiter."""
        if not self.reply.done():
            self.reply.set_result(reply)

    def arrival(self) -> Arrival:
        """When and how the request arrived, as the connection measured it."""
        return self.came

    @property
    def traceparent(self) -> tuple[tuple[bytes, bytes], ...]:
        """The answer's header that names the place in a trace."""
        return ((b"traceparent", self.trace.header),) if self.trace is not None and self.trace.header else ()


async def pass_through(
    predict_route: PredictRoute, scope: Scope, receive: Any, send: Any, *, cors: Cors | None = None
) -> None:
    """Answer one POST of an ASGI server."""
    headers = dict(scope["headers"])
    allowed = cors.headers(headers) if cors is not None else ()
    exchange = Awaited(b"", headers, arrival_of(scope))
    try:
        if predict_route.context.admit is not None:
            predict_route.context.admit(headers)
        if announced(headers) > predict_route.context.max_body_bytes:
            raise too_large(predict_route.context.max_body_bytes)
        exchange.body = await read_body(receive, predict_route.context.max_body_bytes)
    except ClientGoneError:
        return
    except OrrisError as error:
        predict_route.refuse(exchange, error)
    else:
        predict_route.take(exchange)
    reply = await exchange.reply
    await send_reply(
        send, reply, (b"x-request-id", exchange.request_id.encode("ascii")), NOSNIFF, *exchange.traceparent, *allowed
    )


def arrival_of(scope: Scope) -> Arrival:
    """How an ASGI server's request came."""
    return Arrival(scope["path"], scope.get("scheme", "http"), scope.get("http_version", "1.1"))


async def read_body(receive: Any, max_body_bytes: int) -> bytes:
    """The whole body; raises ``ClientGoneError`` or ``TooLargeError``."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > max_body_bytes:
            raise too_large(max_body_bytes)
        more = message.get("more_body", False)
    return b"".join(parts)


def announced(headers: Headers) -> int:
    """The length that a request says its body has; 0 if it says nothing. The parser has checked that it is a number."""
    return int(headers.get(b"content-length", 0))


def too_large(max_body_bytes: int) -> TooLargeError:
    """The refusal of a body over the limit."""
    return TooLargeError(f"the body is longer than {max_body_bytes} bytes; send the rows in parts")

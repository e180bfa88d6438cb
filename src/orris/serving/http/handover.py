"""One request's way through uvicorn's HTTP protocol to the ASGI application, and back.

A connection reads every request itself and hands over those that are for no predict route: uvicorn's unmodified
protocol is given the head as it was understood, and the body in the framing that the head announces, so that it sees
exactly one request and none that begins inside another's body. Its transport is a stand-in for the connection's, which
stops to act when the request has been answered. The connection learns of that from the ASGI application.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orris.serving.http.answers import CONTINUE

if TYPE_CHECKING:
    from orris.serving.http.context import HttpContext

STATE_KEY = "orris.handover"
"""Where the ASGI scope's ``state`` holds the request's ``Handover``."""

_HOP_BY_HOP = frozenset({b"connection", b"upgrade", b"http2-settings", b"content-length", b"transfer-encoding"})

Asgi = Callable[[dict[str, Any], Any, Any], Any]


class Handover:
    """A request that uvicorn answers.

    Args:
        head: The request's head, but for its last line; see ``head_of``.
        chunked: Whether its body comes in chunks.
        keep_alive: Whether the connection stays open after it.
        context: What the connections of the process share.
        done: Called when the request has been answered.

    Attributes:
        answer: None: uvicorn writes it.
        n_waiting: Bytes of the body that wait for the request's turn.
        n_received: Bytes of the body that ``Receiving`` counts.
        ended: Uvicorn has answered.
    """

    answer = None

    def __init__(
        self,
        head: bytes,
        *,
        chunked: bool,
        keep_alive: bool,
        context: HttpContext,
        done: Callable[[Handover], None],
    ) -> None:
        self.keep_alive = keep_alive
        self.n_waiting = 0
        self.n_received = 0
        self.ended = False
        self._head = head
        self._chunked = chunked
        self._waiting: list[bytes] = []
        self._context = context
        self._done = done
        self._transport: _Transport | None = None
        self._protocol: HttpToolsProtocol | None = None

    @property
    def started(self) -> bool:
        """Whether uvicorn has been given the request."""
        return self._protocol is not None

    def start(self, transport: asyncio.Transport, *, last: bool) -> None:
        """It is this request's turn: those before it on the connection have been answered.

        Args:
            transport: The connection's.
            last: Let the answer say that it is the connection's last.
        """
        context = self._context
        self._transport = _Transport(transport)
        self._protocol = HttpToolsProtocol(context.config, context.server_state, {**context.app_state, STATE_KEY: self})
        self._protocol.connection_made(self._transport)
        end = b"\r\n" if self.keep_alive and not last else b"connection: close\r\n\r\n"
        waiting, self._waiting, self.n_waiting = self._waiting, [], 0
        self._protocol.data_received(b"".join([self._head, end, *waiting]))

    def body(self, data: bytes) -> None:
        """A part of the body."""
        framed = b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data
        if self._protocol is None:
            self._waiting.append(framed)
            self.n_waiting += len(data)
        elif not self.ended:
            self._protocol.data_received(framed)

    def complete(self) -> None:
        """The body has ended."""
        if not self._chunked:
            return
        if self._protocol is None:
            self._waiting.append(b"0\r\n\r\n")
        elif not self.ended:
            self._protocol.data_received(b"0\r\n\r\n")

    @property
    def answering(self) -> bool:
        """Whether a part of the answer has been written."""
        return self._transport is not None and self._transport.answering

    def give_up(self) -> None:
        """Answer nothing; to the ASGI application it is as if the client were gone."""
        ended, self.ended = self.ended, True
        if self._protocol is not None and self._transport is not None and not ended:
            self._transport.released = True
            self._protocol.connection_lost(None)

    def close_after(self) -> None:
        """Let this answer be the connection's last, if it has not begun."""
        if self._protocol is not None and not self.ended:
            self._protocol.shutdown()

    def pause_writing(self) -> None:
        """The client does not read."""
        if self._protocol is not None and not self.ended:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._protocol is not None and not self.ended:
            self._protocol.resume_writing()

    def lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._protocol is not None and not self.ended:
            self._protocol.connection_lost(exc)

    def answered(self) -> None:
        """The ASGI application has returned: let go of uvicorn's protocol once it has acted on that."""
        asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        if self.ended or self._protocol is None or self._transport is None:
            return
        self.ended = True
        self._transport.released = True
        self._protocol.connection_lost(None)  # cancels its timer, and closes a transport that is released
        self._done(self)


class _Transport(asyncio.Transport):
    """The connection's transport, as long as uvicorn answers on it.

    Attributes:
        released: Nothing more is written.
        answering: A part of the answer has been written.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self.released = False
        self.answering = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The connection's."""
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether nothing can be written."""
        return self.released or self._transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write on the connection."""
        if not self.released:
            self.answering = self.answering or data[:12] != CONTINUE[:12]
            self._transport.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write on the connection."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Close the connection."""
        if not self.released:
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection off."""
        if not self.released:
            self._transport.abort()

    def pause_reading(self) -> None:
        """Let the client wait with its body."""
        if not self.released:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Let it go on."""
        if not self.released:
            self._transport.resume_reading()


def head_of(method: bytes, url: bytes, version: str, headers: Iterable[tuple[bytes, bytes]], framing: bytes) -> bytes:
    """The head of a request as it was understood, but for the empty line at its end.

    Args:
        method: The method.
        url: The target.
        version: HTTP's, ``1.0`` or ``1.1``.
        headers: Names in lower case, and values; those that are about the connection are left out.
        framing: The lines that say how long the body is; empty: there is no body.
    """
    lines = [b"%b %b HTTP/%b\r\n" % (method, url, version.encode("ascii"))]
    lines += [b"%b: %b\r\n" % header for header in headers if header[0] not in _HOP_BY_HOP]
    return b"".join([*lines, framing])


def reporting(app: Asgi) -> Asgi:
    """The application, which tells a request's ``Handover`` when it has answered."""

    async def reported(scope: dict[str, Any], receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        finally:
            handover = scope.get("state", {}).get(STATE_KEY)
            if handover is not None:
                handover.answered()

    return reported

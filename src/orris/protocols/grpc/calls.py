"""Calls that coroutines answer: those that ask no model, and streams of messages in either direction."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, Protocol

from orris.errors import BodyError, NotReadyError, OrrisError, RequestTimeoutError
from orris.protocols.grpc.dialect import MAX_TEXT
from orris.protocols.grpc.exchange import LATE
from orris.protocols.grpc.messages import Message, MessageReader, framed, inflated
from orris.protocols.grpc.metadata import RESPONSE, CallHead, refused, trailers
from orris.protocols.status import code_of, status_and_text
from orris.serving.exchange import Headers, request_id_of

if TYPE_CHECKING:
    from orris.serving.http.receiving import Receiving
    from orris.serving.http2.stream import Stream

SHORT_BYTES = 1_048_576
"""Longest message of a call that takes no rows."""

logger = logging.getLogger(__name__)


class CallLimits(NamedTuple):
    """What bounds a call.

    Attributes:
        max_message_bytes: Longest message.
        request_seconds: Longest time until a message that has begun is whole.
        receiving: Bounds the bytes of all messages.
    """

    max_message_bytes: int
    request_seconds: float
    receiving: Receiving

    def of_short(self) -> CallLimits:
        """The limits of a call whose messages have names and no rows."""
        return self._replace(max_message_bytes=min(self.max_message_bytes, SHORT_BYTES))


class CallEnded(Exception):  # noqa: N818 (it is how a call ends with a status, whose name says whether it is an error)
    """A call ends with a status other than OK.

    Attributes:
        code: The status' name.
        text: Its text.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Method(Protocol):
    """What answers the calls of one path."""

    def begin(self, stream: Stream, head: CallHead) -> None:
        """A call has begun: give its stream a receiver, or answer it."""


UnaryAnswer = Callable[[bytes, "CoroutineCall"], Awaitable[bytes]]
"""``(message, call)`` -> the answer; may raise ``CallEnded`` or ``OrrisError``."""

Check = Callable[[Headers], None]
"""``(metadata)`` -> nothing; raises ``OrrisError`` if the caller may not make the call."""

StreamAnswer = Callable[[AsyncIterator[bytes], "CoroutineCall"], AsyncGenerator[bytes]]
"""``(messages, call)`` -> the answers; may raise as well."""


class Unary:
    """A method with one message in, and one out.

    A call that ``check`` refuses is answered at its headers, with an empty message: ``answer`` checks it again, and
    records it.
    """

    def __init__(self, answer: UnaryAnswer, limits: CallLimits, check: Check | None = None) -> None:
        self.answer = answer
        self.limits = limits
        self.check = check

    def begin(self, stream: Stream, head: CallHead) -> None:
        """A call has begun."""
        call = stream.receiver = UnaryCall(self, stream, head)
        if self.check is not None:
            try:
                self.check(head.metadata)
            except OrrisError:
                call.answer_without_message()


class Streaming:
    """A method with any number of messages in and out."""

    def __init__(self, answer: StreamAnswer, limits: CallLimits) -> None:
        self.answer = answer
        self.limits = limits

    def begin(self, stream: Stream, head: CallHead) -> None:
        """A call has begun."""
        stream.receiver = StreamCall(self, stream, head)


class CoroutineCall:
    """A call that a coroutine answers, and the receiver of its stream.

    Attributes:
        headers: The caller's metadata.
        trailing: Fields of the trailers; the coroutine may add to them.
    """

    def __init__(self, limits: CallLimits, stream: Stream, head: CallHead) -> None:
        self.headers: Headers = head.metadata
        self.trailing: list[tuple[bytes, bytes]] = []
        self._limits = limits
        self._stream = stream
        self._encoding = head.encoding
        self._deadline = inf if head.timeout_seconds is inf else perf_counter() + head.timeout_seconds
        self._reader = MessageReader(stream, limits.max_message_bytes, limits.receiving)
        self._since = perf_counter()
        self._headers_sent = False
        self._task: asyncio.Task[None] | None = None

    # the receiver of the stream

    def data(self, data: bytes, ended: bool) -> None:
        """Bytes of messages."""
        before = self._reader.begun
        try:
            self._take(data, ended)
        except OrrisError as error:
            self._refuse(error)
        if self._reader.begun and not before:
            self._since = perf_counter()

    def _take(self, data: bytes, ended: bool) -> None:
        raise NotImplementedError

    def cancelled(self) -> None:
        """The caller does not wait any more."""
        self._close()

    def look(self, now: float) -> None:
        """End a call whose time is up."""
        if now > self._deadline:
            self._end("DEADLINE_EXCEEDED", LATE)
        elif self._waits_for_rest() and now - self._since > self._limits.request_seconds:
            self._refuse(RequestTimeoutError(f"a message was not whole after {self._limits.request_seconds:g} s"))

    def _waits_for_rest(self) -> bool:
        return self._reader.begun

    def end_if_idle(self) -> None:
        """The server stops: end the call if it waits for a message that may never come."""

    # the answer

    async def _run(self) -> None:
        """Answer; every outcome ends the stream."""
        try:
            await self._answer()
        except CallEnded as ended:
            self._end(ended.code, ended.text)
        except OrrisError as error:
            self._refuse(error)
        except Exception as error:
            logger.exception("a call failed")
            self._refuse(error)
        finally:
            self._close()

    async def _answer(self) -> None:
        raise NotImplementedError

    async def _content(self, message: Message) -> bytes:
        """A message without its compression, which is undone on a thread."""
        if not message.compressed:
            return message.content
        loop, limit = asyncio.get_running_loop(), self._limits.max_message_bytes
        return await loop.run_in_executor(None, inflated, message, self._encoding, limit)

    def _send(self, content: bytes) -> None:
        if not self._headers_sent:
            self._headers_sent = True
            self._stream.send_headers(RESPONSE)
        self._stream.send(framed(content))

    def _refuse(self, error: Exception) -> None:
        _, text = status_and_text(error, request_id_of(self.headers.get(b"x-request-id")))
        self._end(code_of(error), text)

    def _end(self, code: str, text: str = "") -> None:
        stream, text = self._stream, text[:MAX_TEXT]
        if stream.open:
            if self._headers_sent:
                stream.end(trailers(code, text, self.trailing))
            else:
                stream.send_headers(refused(code, text, self.trailing), end=True)
        self._close()

    def _close(self) -> None:
        self._reader.close()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()


class UnaryCall(CoroutineCall):
    """A call with one message in, and one out."""

    def __init__(self, method: Unary, stream: Stream, head: CallHead) -> None:
        super().__init__(method.limits, stream, head)
        self._method = method
        self._message = Message(b"", compressed=False)

    def answer_without_message(self) -> None:
        """Answer at once; what still comes is dropped."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def _take(self, data: bytes, ended: bool) -> None:
        if self._task is not None:
            return
        message = self._reader.only(data, ended=ended)
        if message is not None:
            self._message = message
            self._task = asyncio.get_running_loop().create_task(self._run())

    def _waits_for_rest(self) -> bool:
        return not self._stream.ended

    async def _answer(self) -> None:
        content = await self._method.answer(await self._content(self._message), self)
        self._send(content)
        self._stream.end(trailers("OK", "", self.trailing))


class StreamCall(CoroutineCall):
    """A call with any number of messages in and out."""

    def __init__(self, method: Streaming, stream: Stream, head: CallHead) -> None:
        super().__init__(method.limits, stream, head)
        self._method = method
        self._queue: deque[Message] = deque()
        self._broken: OrrisError | None = None
        self._came = asyncio.Event()
        self._waits = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    def _take(self, data: bytes, ended: bool) -> None:
        messages = self._reader.feed(data)
        self._queue += messages
        if ended and self._reader.begun:
            raise BodyError("the call ended within a message")
        if messages or ended:
            self._came.set()

    def end_if_idle(self) -> None:
        """The server stops: end the call if it waits for a message that may never come."""
        if self._waits and not self._queue:
            self._refuse(NotReadyError("the server is stopping; try another"))

    async def _answer(self) -> None:
        async with aclosing(self._method.answer(self._messages(), self)) as answers:
            async for content in answers:
                self._send(content)
                await self._stream.drained()
        if not self._headers_sent:
            self._headers_sent = True
            self._stream.send_headers(RESPONSE)
        self._stream.end(trailers("OK", "", self.trailing))

    async def _messages(self) -> AsyncIterator[bytes]:
        """The messages, each when the one before it has been answered."""
        while True:
            while self._queue:
                message = self._queue.popleft()
                yield await self._content(message)
                self._reader.free(message)
                await asyncio.sleep(0)  # other calls have their turn
            if self._stream.ended:
                return
            self._came.clear()
            self._waits = True
            await self._came.wait()
            self._waits = False

"""Messages on a stream: each behind five bytes that say whether it is compressed, and how long it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orris.errors import BodyError, TooLargeError
from orris.serving.content_encoding import plain_body
from orris.serving.http2.stream import STREAM_WINDOW, Stream

if TYPE_CHECKING:
    from orris.serving.http.receiving import Receiving

PREFIX_BYTES = 5

MESSAGE_BYTES = 128
"""What a message counts beside its content: an empty one takes memory as well."""


class Message(NamedTuple):
    """A message that has come.

    Attributes:
        content: Its bytes, as they were sent.
        compressed: Whether they are compressed.
    """

    content: bytes
    compressed: bool


class MessageReader:
    """Reads the messages of a stream from its data.

    A message counts among the bytes that the process is receiving from its prefix on, until it is freed.

    Args:
        stream: The stream, which is granted what a message needs.
        max_bytes: Longest message.
        receiving: Bounds the bytes of all messages.
    """

    __slots__ = ("_max_bytes", "_messages", "_n_bytes", "_n_counted", "_n_wanted", "_parts", "_receiving", "_stream")

    def __init__(self, stream: Stream, max_bytes: int, receiving: Receiving) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._receiving = receiving
        self._messages: list[Message] = []
        self._parts: list[bytes] = []
        self._n_bytes = 0
        self._n_wanted = -1
        self._n_counted = 0

    @property
    def begun(self) -> bool:
        """A message has begun, and is not whole."""
        return self._n_bytes > 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole with these data.

        Raises:
            BodyError: A prefix that is none.
            TooLargeError: A message is longer than the limit.
            OverloadedError: Too many bytes are being received.
        """
        if data:
            self._parts.append(data)
            self._n_bytes += len(data)
        if self._n_bytes < max(PREFIX_BYTES, self._n_wanted):
            return []
        content, at = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts), 0
        found: list[Message] = []
        while self._n_bytes >= max(PREFIX_BYTES, self._n_wanted):
            if self._n_wanted < 0:
                self._begin(content[at : at + PREFIX_BYTES])
                if self._n_bytes < self._n_wanted:
                    break
            stop = at + self._n_wanted
            found.append(Message(content[at + PREFIX_BYTES : stop], content[at] == 1))
            at, self._n_bytes, self._n_wanted = stop, self._n_bytes - self._n_wanted, -1
        self._parts = [content[at:]] if self._n_bytes else []
        return found

    def only(self, data: bytes, *, ended: bool) -> Message | None:
        """The message of a call with a single one, once the call has ended; raises as ``feed`` does, too.

        Raises:
            BodyError: There is another number of messages.
        """
        self._messages += self.feed(data)
        if len(self._messages) > 1 or (self._messages and self.begun):
            raise BodyError("this call takes one message")
        if ended and not self._messages:
            raise BodyError("the call ended before its message")
        return self._messages[0] if ended else None

    def _begin(self, prefix: bytes) -> None:
        if prefix[0] > 1:
            raise BodyError("a message does not begin with 0 or 1")
        n_bytes = int.from_bytes(prefix[1:], "big")
        if n_bytes > self._max_bytes:
            raise TooLargeError(f"the message is longer than {self._max_bytes} bytes; send the rows in parts")
        self._receiving.take(n_bytes + MESSAGE_BYTES)
        self._n_counted += n_bytes + MESSAGE_BYTES
        self._n_wanted = PREFIX_BYTES + n_bytes
        missing = self._n_wanted - self._n_bytes
        if missing > self._stream.receivable:
            self._stream.grant(missing - self._stream.receivable)

    def free(self, message: Message) -> None:
        """A message of a stream with several is done with: the client may send as much more."""
        n_bytes = len(message.content) + MESSAGE_BYTES
        self._n_counted -= n_bytes
        self._receiving.free(n_bytes)
        if self._stream.receivable < STREAM_WINDOW // 2:
            self._stream.grant(STREAM_WINDOW - self._stream.receivable)

    def close(self) -> None:
        """The call is over: nothing of it is counted any more."""
        self._receiving.free(self._n_counted)
        self._n_counted = 0
        self._parts = []


def inflated(message: Message, encoding: bytes, max_bytes: int) -> bytes:
    """The content of a message without its compression; raises ``BodyError`` or ``TooLargeError``."""
    if not message.compressed:
        return message.content
    if encoding == b"identity":
        raise BodyError("a message is compressed, and grpc-encoding does not say how")
    return plain_body(message.content, {b"content-encoding": encoding}, max_bytes)


def framed(content: bytes) -> bytes:
    """A message with its prefix, uncompressed."""
    return b"\0" + len(content).to_bytes(4, "big") + content

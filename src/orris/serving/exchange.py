"""The seam between the server and the protocols.

A *dialect* reads a body into encoded rows and writes answers as bytes. An *exchange* is one request on its way through:
the predict route that a connection or an ASGI server hands it to asks the model, and finishes it with a reply.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from orris.errors import MediaTypeError, OrrisError, Problem
from orris.runtime import Answers
from orris.schema.arrays import FloatArray
from orris.serving.engine import Engine
from orris.telemetry.tracecontext import Arrival, TraceContext

Headers = Mapping[bytes, bytes]

JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"
TEXT = b"text/plain; charset=utf-8"

_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


class Query(NamedTuple):
    """The rows of a request, and how its answer is to be written.

    Attributes:
        rows: Encoded rows, float64 ``(n_rows, n_columns)``.
        single: It was one row rather than a list.
        context: Whatever the dialect needs again to write the answer.
        unknown: Names of columns that the schema does not have, and that were ignored.
    """

    rows: FloatArray
    single: bool = False
    context: Any = None
    unknown: tuple[str, ...] = ()


class Reply(NamedTuple):
    """A status, a body, the body's content type, and headers of its own.

    ``code`` is the status' name in gRPC, for the answer to a call over gRPC; otherwise it is empty. Then ``status`` is
    what HTTP would say, and the body of a refusal is its text.
    """

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    code: str = ""

    def for_id(self, request_id: bytes) -> Reply:
        """The reply with this request id in the place of ``ANY_ID``."""
        return self._replace(body=self.body.replace(ANY_ID, request_id))


ANY_ID = b"0123456789abcdef0123456789abcdef"
"""Stands for the request id in a reply that many requests get; as long as an id that ``id_of`` makes."""


class Dialect(Protocol):
    """A protocol that is served. It translates, and does nothing else; it may be called from several threads."""

    def read(self, engine: Engine, body: bytes, headers: Headers) -> Query:
        """The rows of a body; raises ``BodyError``, ``MediaTypeError`` or ``RowError``."""

    def write(self, engine: Engine, query: Query, answers: Answers, request_id: str, warnings: list[Problem]) -> Reply:
        """The answer."""

    def refuse(self, error: OrrisError, request_id: str) -> Reply:
        """The answer to a request that cannot be answered."""

    def codecs(self, engine: Engine) -> tuple[RowCodec, ...]:
        """Read and write the usual requests of a tick together; each is offered what those before it did not take."""


class RowCodec(Protocol):
    """The usual requests of a dialect for one version: one row, plainly right. Anything else is the dialect's.

    What it reads and writes is what ``Dialect.read`` and ``Dialect.write`` would, for all requests of a tick at once.
    """

    def takes(self, headers: Headers) -> bool:
        """Whether requests with these headers may be usual ones."""

    def read(self, bodies: Sequence[bytes]) -> tuple[FloatArray, Sequence[int] | None]:
        """The codes of the bodies' rows.

        Returns:
            float64 ``(n_taken, n_columns)``, and the positions of the bodies that were taken; ``None``: all of them.
            The dialect has to read the others.
        """

    def query(self, row: FloatArray) -> Query:
        """The result that ``Dialect.read`` would give for a row, ``(1, n_columns)``."""

    def write(self, answers: Answers, ids: list[bytes]) -> list[bytes]:
        """The answers' bodies of as many requests as there are rows; none of them has warnings."""


class Exchange:
    """One request: its body and headers, its place in a trace, and ``finish``, which sends the reply.

    Attributes:
        id: The caller's id, or a new one.
        started: ``perf_counter()`` when it was there; a predict route sets it to the turn of the loop that read it.
    """

    __slots__ = ("body", "headers", "id", "started", "trace")

    def __init__(self, body: bytes, headers: Headers) -> None:
        self.body = body
        self.headers = headers
        self.id = id_of(headers.get(b"x-request-id"))
        self.trace: TraceContext | None = None
        self.started = perf_counter()

    @property
    def request_id(self) -> str:
        """The id, as text."""
        return self.id.decode("ascii")

    def finish(self, reply: Reply) -> None:
        """Send the reply; called once, on the loop's thread."""
        raise NotImplementedError

    @staticmethod
    def succeed(exchanges: Sequence[Any], bodies: Sequence[bytes], microseconds: int) -> None:
        """``finish`` of several exchanges of this class with status 200 and a body of JSON.

        Args:
            exchanges: The exchanges; they entered in the same turn of the loop.
            bodies: The body for each.
            microseconds: How long they took.
        """
        del microseconds
        for exchange, body in zip(exchanges, bodies, strict=True):
            exchange.finish(Reply(200, body))

    @staticmethod
    def refuse_together(exchanges: Sequence[Any], reply: Reply) -> None:
        """``finish`` of several exchanges of this class with the same refusal.

        Args:
            exchanges: The exchanges; they entered in the same turn of the loop.
            reply: The refusal, for the request id ``ANY_ID``.
        """
        for exchange in exchanges:
            exchange.finish(reply.for_id(exchange.id))

    def arrival(self) -> Arrival:
        """How the request came; needed for traced requests alone."""
        return Arrival()


ProblemDocument = Callable[[int, str, str], Reply]
"""``(status, request id, detail)`` -> the reply to a request that cannot be answered."""


async def send_reply(send: Any, reply: Reply, *headers: tuple[bytes, bytes]) -> None:
    """Hand a reply to an ASGI server."""
    sent = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % len(reply.body)),
        *headers,
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": sent})
    await send({"type": "http.response.body", "body": reply.body})


def request_id_of(given: bytes | None) -> str:
    """The caller's request id, if it is sane, or a new one."""
    return id_of(given).decode("ascii")


def id_of(given: bytes | None) -> bytes:
    """``request_id_of`` in ASCII."""
    if given is not None and _SANE_REQUEST_ID.fullmatch(given):
        return given
    if not FRESH_IDS:
        # One call of the system for many ids: a call for each would cost more than the rest of this function.
        drawn = os.urandom(_N_FRESH * 16).hex().encode("ascii")
        FRESH_IDS.extend(drawn[i : i + 32] for i in range(0, len(drawn), 32))
    return FRESH_IDS.pop()


_N_FRESH = 256
FRESH_IDS: list[bytes] = []
"""Unused ids; ``id_of`` fills the list."""
os.register_at_fork(after_in_child=FRESH_IDS.clear)


def is_plain_json(headers: Headers) -> bool:
    """Whether a body is said to be JSON and nothing more, not even in which charset or content encoding."""
    return headers.get(b"content-type") == JSON and b"content-encoding" not in headers


def require_json(headers: Headers) -> None:
    """Raise ``MediaTypeError`` unless the body says that it is JSON in UTF-8, or says nothing."""
    content_type = headers.get(b"content-type", b"")
    if content_type in {b"application/json", b""}:
        return
    kind, charset = media_type(content_type)
    if kind not in {"application/json", "text/json"} and not kind.endswith("+json"):
        raise MediaTypeError(
            f"content type '{kind[:100]}' is not read here; send JSON with  Content-Type: application/json"
        )
    if charset not in {"", "utf-8", "utf8"}:
        raise MediaTypeError(f"charset '{charset[:100]}' is not read here; send JSON as UTF-8")


def media_type(content_type: bytes) -> tuple[str, str]:
    """The media type and the charset of a ``content-type`` header, both lower case; an absent charset is empty."""
    kind, _, parameters = content_type.decode("latin-1").lower().partition(";")
    return kind.strip(), parameters.partition("charset=")[2].split(";")[0].strip(' "')

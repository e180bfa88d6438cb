"""The seam between the server and the protocols: a dialect reads a body into encoded rows, and writes answers as bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from orris.errors import OrrisError, Problem
from orris.runtime import Answers
from orris.serving.engine import Engine

FloatArray = npt.NDArray[np.float64]

JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"

_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


class Asked(NamedTuple):
    """What a body asks for: encoded rows, float64 ``(n_rows, n_columns)``, and whether it was one row rather than a list."""

    rows: FloatArray
    single: bool


class Reply(NamedTuple):
    """A status, a body, the body's content type, and headers of its own."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


ProblemDocument = Callable[[int, str, str], Reply]
"""``(status, request id, detail)`` -> the reply to a request that cannot be answered."""


async def send_reply(send: Any, reply: Reply, *headers: tuple[bytes, bytes]) -> None:
    """Hand a reply to the ASGI server."""
    sent = [(b"content-type", reply.content_type), (b"content-length", b"%d" % len(reply.body)), *headers, *reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": sent})
    await send({"type": "http.response.body", "body": reply.body})


class Dialect(Protocol):
    """A protocol that is served. It translates, and does nothing else."""

    def read(self, engine: Engine, body: bytes) -> Asked:
        """The rows that a body asks about; raises ``BodyError`` or ``RowError``."""

    def write(self, engine: Engine, asked: Asked, answers: Answers, request_id: str, warnings: list[Problem]) -> bytes:
        """The answer's body."""

    def refuse(self, error: OrrisError, request_id: str) -> Reply:
        """The answer to a request that cannot be answered."""


def request_id_of(given: bytes | None) -> str:
    """The caller's request id, if it is sane, or a new one."""
    if given is not None and _SANE_REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return os.urandom(16).hex()

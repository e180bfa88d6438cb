"""The fast lane: a raw ASGI callable for a predict route. Nothing here waits, allocates or looks up more than it must."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial
from time import perf_counter, time
from typing import Any, NamedTuple

from orris.errors import MediaTypeError, OrrisError, Problem, ServingError, TooLargeError
from orris.runtime import Answers
from orris.serving.catalog import Live
from orris.serving.exchange import Asked, Dialect, Reply, request_id_of, send_reply
from orris.telemetry.logs import Line, RequestLog
from orris.telemetry.metrics import Metrics

Scope = dict[str, Any]

OFF_LOOP_BYTES = 64 * 1024
"""Bodies longer than this are read and answered on a thread, so that probes and small requests do not wait behind them."""

MAX_WARNINGS = 100
"""Warnings that one answer carries; all of them are counted."""

logger = logging.getLogger(__name__)


class ClientGoneError(Exception):
    """The client went away before its body had arrived: there is nobody to answer."""


class Outcome(NamedTuple):
    """What became of a request: its reply, and what the metrics and the log want to know."""

    reply: Reply
    asked: Asked | None = None
    answers: Answers | None = None
    unusual: tuple[tuple[int, int, str], ...] = ()
    seconds: float = 0.0
    error: str = ""


class Lane:
    """Serves one predict route.

    Args:
        dialect: Reads bodies and writes answers.
        route: The route template: the label of metrics and logs.
        live: The version that answers.
        metrics: Where requests are counted.
        log: Where a line per request goes.
        max_body_bytes: Longest body.
    """

    def __init__(self, dialect: Dialect, route: str, live: Live, *, metrics: Metrics, log: RequestLog, max_body_bytes: int) -> None:
        self._dialect = dialect
        self._route = route
        self._live = live
        self._metrics = metrics
        self._log = log
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer one POST."""
        start = perf_counter()
        given_id, content_type, traceparent = _headers(scope["headers"])
        request_id = request_id_of(given_id)
        self._metrics.in_flight += 1
        try:
            outcome = await self._outcome(receive, content_type, request_id)
            spent = b"%.6f" % (perf_counter() - start)
            await send_reply(send, outcome.reply, (b"x-request-id", request_id.encode("ascii")), (b"x-process-time", spent))
        except ClientGoneError:
            outcome = Outcome(Reply(499, b""), error="the client went away before its body had arrived")
        finally:
            self._metrics.in_flight -= 1
        self._record(outcome, request_id, perf_counter() - start, traceparent)

    async def _outcome(self, receive: Any, content_type: bytes, request_id: str) -> Outcome:
        try:
            _check_content_type(content_type)
            body = await _read(receive, self._max_body_bytes)
            if len(body) > OFF_LOOP_BYTES:
                return await asyncio.get_running_loop().run_in_executor(None, partial(self._answer, body, request_id))
            return self._answer(body, request_id)
        except OrrisError as error:
            return self._refused(error, request_id)

    def _answer(self, body: bytes, request_id: str) -> Outcome:
        """Read, run, write; runs on the loop or on a thread, and touches nothing shared."""
        engine = self._live.engine
        try:
            asked = self._dialect.read(engine, body)
            before = perf_counter()
            answers = engine.run(asked.rows)
            seconds = perf_counter() - before
            unusual: tuple[tuple[int, int, str], ...] = ()
            warnings: list[Problem] = []
            if not engine.watch.usual(asked.rows):
                unusual = tuple(engine.watch.kinds(asked.rows))
                warnings = [engine.watch.describe(*found) for found in unusual[:MAX_WARNINGS]]
            payload = self._dialect.write(engine, asked, answers, request_id, warnings)
            return Outcome(Reply(200, payload), asked, answers, unusual, seconds)
        except OrrisError as error:
            return self._refused(error, request_id)
        except Exception as error:
            logger.exception("request %s failed", request_id)
            return self._refused(ServingError(str(error)), request_id)

    def _refused(self, error: OrrisError, request_id: str) -> Outcome:
        return Outcome(self._dialect.refuse(error, request_id), error=str(error))

    def _record(self, outcome: Outcome, request_id: str, seconds: float, traceparent: bytes) -> None:
        status = outcome.reply.status
        self._metrics.finished("POST", self._route, status, seconds)
        engine, counts = self._live.engine, self._live.counts
        n_rows, label = 0, ""
        if outcome.answers is not None and outcome.asked is not None:
            n_rows = len(outcome.asked.rows)
            counts.seconds.observe(outcome.seconds)
            counts.rows.observe(n_rows)
            labels = outcome.answers.labels
            label = counts.answered(None if labels is None else labels.tolist(), n_rows)
            for _, column, kind in outcome.unusual:
                counts.warnings[engine.schema.columns[column].name, kind] += 1
        elif 400 <= status < 500:
            self._metrics.rejected[str(status)] += 1
        if self._log.enabled:
            level = "info" if status < 400 else "warning" if status < 500 else "error"
            milliseconds = round(seconds * 1e3, 3)
            version = engine.manifest.version
            trace = _trace_id(traceparent)
            self._log.add(
                Line(time(), level, request_id, "POST", self._route, status, milliseconds, trace, version, n_rows, label, outcome.error)
            )


def _headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes | None, bytes, bytes]:
    """The values of ``x-request-id``, ``content-type`` and ``traceparent``."""
    request_id, content_type, traceparent = None, b"", b""
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == b"x-request-id":
            request_id = value
        elif name == b"traceparent":
            traceparent = value
    return request_id, content_type, traceparent


def _check_content_type(content_type: bytes) -> None:
    """Raise ``MediaTypeError`` unless the body says that it is JSON in UTF-8, or says nothing."""
    if content_type in {b"application/json", b""}:
        return
    kind, _, parameters = content_type.decode("latin-1").lower().partition(";")
    kind = kind.strip()
    if kind not in {"application/json", "text/json"} and not kind.endswith("+json"):
        raise MediaTypeError(f"content type '{kind[:100]}' is not read here; send JSON with  Content-Type: application/json")
    charset = parameters.partition("charset=")[2].split(";")[0].strip(' "')
    if charset and charset not in {"utf-8", "utf8"}:
        raise MediaTypeError(f"charset '{charset[:100]}' is not read here; send JSON as UTF-8")


async def _read(receive: Any, max_body_bytes: int) -> bytes:
    """The whole body; most arrive in one message."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        parts = [body]
        size = len(body)
        while message.get("more_body", False) and size <= max_body_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        body = b"".join(parts)
    if len(body) > max_body_bytes:
        raise TooLargeError(f"the body is longer than {max_body_bytes} bytes; send the rows in parts")
    return body


def _trace_id(traceparent: bytes) -> str:
    """The trace id of a W3C ``traceparent``; empty if there is none."""
    return traceparent[3:35].decode("ascii", "replace") if len(traceparent) >= 55 else ""

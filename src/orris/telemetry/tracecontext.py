"""W3C Trace Context (w3.org/TR/trace-context): the trace that a request belongs to, read strictly.

This module is all that predict routes, exchanges and connections know of tracing, whether it is on or not. ``tracing``
records spans.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

FLUSH_SECONDS = 5.0
"""How long the end of the process waits for spans to leave, unless ``OTEL_BSP_EXPORT_TIMEOUT`` says less."""

SAMPLED, RANDOM = 0x01, 0x02
"""Trace flags: the trace is recorded; the last 56 bits of its id are random."""

_TRACEPARENT = re.compile(rb"[ \t]*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]*)?[ \t]*")
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16
_NO_TRACE_ID, _NO_SPAN_ID = "0" * 32, "0" * 16
_LONGEST = 512
USUAL_LENGTH = 55
"""Of a ``traceparent`` of version 00."""
_HEXADECIMAL = b"0123456789abcdef"
_new = tuple.__new__
"""Makes a named tuple in a third of the time."""


class TraceContext(NamedTuple):
    """The place of a request in a trace.

    Attributes:
        trace_id: 32 lower-case hexadecimal digits.
        span_id: Of the request's own span, 16 digits; empty: it has none, for nothing of it is recorded here.
        parent_id: Of the caller's span; empty: the trace begins here.
        flags: What the caller said of the trace, or, of a span of ours, what is to be said of it.
        recorded: Whether spans of this request are recorded.
        header: ``traceparent`` of the answer; empty: none.
        state: The caller's ``tracestate``, as it came.
    """

    trace_id: str
    span_id: str
    parent_id: str
    flags: int
    recorded: bool
    header: bytes
    state: bytes = b""

    @property
    def logged_id(self) -> str:
        """The trace id, if the caller sent one or the trace is recorded."""
        return self.trace_id if self.recorded or self.parent_id else ""


def parse(traceparent: bytes) -> TraceContext | None:
    """The caller's place in a trace, from its ``traceparent``.

    ``None`` if that is not valid, and then the request is as if it had none.

    Of a version that is not known yet, what version 00 defines is read. The answer's header is the caller's, as it
    came: whoever records no span forwards what it was given.
    """
    usual = _parse_usual(traceparent)
    if usual is not None:
        return usual
    if len(traceparent) > _LONGEST:
        return None
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == b"ff" or (rest is not None and version == b"00") or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceContext(
        trace_id.decode("ascii"), "", span_id.decode("ascii"), int(flags, 16), False, traceparent.strip(b" \t")
    )


def has_usual_form(traceparent: bytes) -> bool:
    """Whether it has the length of version 00 and consists of lower-case hexadecimal digits and three dashes."""
    return len(traceparent) == USUAL_LENGTH and traceparent.translate(None, _HEXADECIMAL) == b"---"


def _parse_usual(traceparent: bytes) -> TraceContext | None:
    """``parse`` for a valid one of version 00, in half of the time; ``None``: look closer."""
    if not has_usual_form(traceparent):
        return None
    text = traceparent.decode("ascii")
    trace_id, span_id = text[3:35], text[36:52]
    if text[:3] != "00-" or text[35] != "-" or text[52] != "-" or trace_id == _NO_TRACE_ID or span_id == _NO_SPAN_ID:
        return None
    return _new(TraceContext, (trace_id, "", span_id, int(text[53:], 16), False, traceparent, b""))


class Arrival(NamedTuple):
    """How a request came.

    Attributes:
        path: The path without its query, which may hold secrets; of a call over gRPC ``SERVICE/METHOD``; empty: it is
            the route.
        scheme: ``http`` or ``https``.
        version: HTTP's, as ``1.1``.
    """

    path: str = ""
    scheme: str = "http"
    version: str = "1.1"


class Request(NamedTuple):
    """An answered request, for its server span.

    Attributes:
        method: HTTP's, as it came.
        route: The route's template; one in brackets is none.
        code: The gRPC status' name, of a call over gRPC; otherwise empty.
        error: Why it was refused or failed.
        started: ``perf_counter()`` at its beginning.
    """

    method: str
    route: str
    status: int
    code: str
    error: str
    request_id: str
    started: float
    arrival: Arrival
    headers: Mapping[bytes, bytes]


class Call(NamedTuple):
    """A call of a model.

    Attributes:
        start: ``perf_counter()`` at its beginning.
        seconds: How long it took.
        n_rows: Rows of all requests that share it.
        n_requests: Requests that share it.
    """

    start: float
    seconds: float
    n_rows: int
    n_requests: int = 1


class ModelPrediction(NamedTuple):
    """The part of a request that the model answered, for the span around the model.

    Attributes:
        call: The call that answered it, perhaps with other requests.
        n_rows: Rows of this request.
        label: For a single row of a classifier: the predicted class.
        failure: The name of what the model failed with; empty: it answered.
    """

    name: str
    version: str
    call: Call
    n_rows: int
    label: str = ""
    failure: str = ""

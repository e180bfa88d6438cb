"""The fields of a log line, and its forms: for machines, for Google Cloud, and for people.

Requests become a ``Line``, events of the server become a ``Message``; a *writer* turns either into bytes. No line is
longer than ``LONGEST_LINE``, so that a pipe takes it in one piece from each of several processes. Standard library and
msgspec only: the supervisor of several workers writes messages too, and stays small.

Fields: OpenTelemetry's names for JSON logs (``trace_id``, ``span_id``, ``trace_flags``), and beside them those that
Google Cloud's agents take out of structured lines (cloud.google.com/logging/docs/structured-logging).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec

from orris.telemetry.tracecontext import TraceContext

Format = Literal["json", "gcp", "console"]
Level = Literal["debug", "info", "warning", "error"]

LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")

LONGEST_LINE = 4_096
"""Bytes of the longest line, with its end: what Linux writes to a pipe in one piece (``PIPE_BUF``)."""

_CUTS = (2_000, 1_000, 500, 200, 100, 40, 0)
"""Lengths of texts that are tried, one after the other, when a line is too long."""


class Line(msgspec.Struct, omit_defaults=True, gc=False):
    """One request.

    Attributes:
        time: Its end, in UTC; written as ISO 8601.
        milliseconds: From the first byte read to the last byte handed over.
        sampled: Whether its trace is recorded; written as ``trace_flags``.
        label: For a single row: the predicted class.
        code: The gRPC status' name, of a call over gRPC; ``status`` is what HTTP would have said.
        warnings: Unusual input values, as ``column:kind``, each once.
        values: Input values by column, of the first rows; only if they were asked for.
        weight: Requests that this line stands for, where only a share of them is logged.
        trace_flags: Set when the line is written.
        shortened: Something was cut off to make the line fit.
    """

    time: datetime
    level: str
    request_id: str
    method: str
    route: str
    status: int
    milliseconds: float
    trace_id: str = ""
    span_id: str = ""
    sampled: bool = False
    model_version: str = ""
    rows: int = 0
    label: str = ""
    error: str = ""
    code: str = ""
    warnings: tuple[str, ...] = ()
    values: tuple[dict[str, Any], ...] = ()
    weight: float = 0.0
    trace_flags: str = ""
    shortened: bool = False

    def place(self, trace: TraceContext | None) -> None:
        """Say to which trace the request belongs, if to any."""
        if trace is not None:
            self.trace_id, self.span_id, self.sampled = trace.logged_id, trace.span_id, trace.recorded


class Message(msgspec.Struct, omit_defaults=True, gc=False):
    """An event of the server.

    Attributes:
        logger: The part of the program that tells.
        exception: The traceback of what failed.
        source: File, line number and function that logged an error; for Google Cloud.
    """

    time: datetime
    level: str
    message: str
    logger: str = ""
    exception: str = ""
    source: tuple[str, int, str] | None = None


class UsualLines:
    """Lines in ``json`` of requests that differ in id, trace and label alone, from prepared bytes.

    They have been answered, one row each, or were refused for the same reason.

    Each is what ``writer("json")`` makes of the same ``Line``, but for zeros at the end of ``milliseconds``.

    Args:
        route: The route's template.
        version: The model's version.
        labels: Texts of the labels, by position; empty: lines have none.
        status: Their HTTP status: 200, or 500 and higher.
        error: Why they were refused; empty: they were answered.
        code: The gRPC status' name, of calls over gRPC; otherwise empty.

    Attributes:
        fit: No line can become longer than ``LONGEST_LINE``.
    """

    def __init__(
        self, route: str, version: str, labels: Sequence[str], *, status: int = 200, error: str = "", code: str = ""
    ) -> None:
        encode = msgspec.json.encode
        self._level = b"error" if error else b"info"
        method = "gRPC" if code else "POST"
        self._start = b'","method":%b,"route":%b,"status":%d,"milliseconds":' % (encode(method), encode(route), status)
        end = b',"model_version":%b' % encode(version)
        end += b',"error":%b' % encode(error) if error else b',"rows":1'
        ends = [end + b',"label":%b' % encode(label) if label else end for label in labels] or [end]
        self._ends = [end + b',"code":%b' % encode(code) for end in ends] if code else ends
        self.fit = len(self._start) + max(map(len, self._ends)) < LONGEST_LINE - 512

    def write(
        self, time: datetime, requests: Sequence[Identified], microseconds: int, labels: Sequence[int] | None
    ) -> bytes:
        """The lines of requests that began and ended at the same time.

        Args:
            time: Their end, in UTC.
            requests: Id and trace of each.
            microseconds: How long they took.
            labels: Position of each one's label; ``None``: the model has none.
        """
        start = b'{"time":"%b","level":"%b","request_id":"' % (_iso(time), self._level)
        middle = b"%b%d.%03d" % (self._start, *divmod(microseconds, 1_000))
        if labels is None:
            labels = [0] * len(requests)
        ends = {label: b"%b%b}\n" % (middle, self._ends[label]) for label in set(labels)}
        lines: list[bytes] = []
        for request, label in zip(requests, labels, strict=True):
            if request.trace is None:
                lines += (start, request.id, ends[label])
            else:
                place, flagged = _placed(request.trace)
                lines += (start, request.id, middle, place, self._ends[label], flagged, b"}\n")
        return b"".join(lines)


def _placed(trace: TraceContext) -> tuple[bytes, bytes]:
    """The members of a line that say which trace it belongs to, and that nothing of it is recorded."""
    trace_id = trace.logged_id.encode("ascii")
    if not trace_id:
        return b"", b""
    span = b',"span_id":"%b"' % trace.span_id.encode("ascii") if trace.span_id else b""
    return b',"trace_id":"%b"%b' % (trace_id, span), b',"trace_flags":"00"'


class Identified(Protocol):
    """A request, as far as its usual line describes it."""

    id: bytes
    trace: TraceContext | None


def _iso(time: datetime) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode("ascii")


Writer = Callable[[Sequence["Line | Message"]], bytes]
"""Lines as bytes, each with its end and none longer than ``LONGEST_LINE``."""


def writer(form: Format, *, project: str = "", colour: bool = False) -> Writer:
    """The writer of lines in this form.

    Args:
        form: ``json``, ``gcp`` or ``console``.
        project: Google Cloud project that traces belong to; empty: their names are left out.
        colour: Whether levels are coloured; of ``console`` only.
    """
    encoder = msgspec.json.Encoder()
    encode = encoder.encode
    if form == "console":
        return lambda lines: b"".join(
            [_whole(line, lambda fits: console(fits, colour=colour).encode("utf-8", "replace")) for line in lines]
        )
    if form == "gcp":
        return lambda lines: b"".join([_whole(line, lambda fits: encode(google(fits, project))) for line in lines])

    def plain(lines: Sequence[Line | Message]) -> bytes:
        content = encoder.encode_lines([_flagged(line) for line in lines])
        if len(content) > LONGEST_LINE and max(map(len, content.split(b"\n"))) >= LONGEST_LINE:
            return b"".join([_whole(line, lambda fits: encode(_flagged(fits))) for line in lines])
        return content

    return plain


def _flagged(line: Line | Message) -> Line | Message:
    """The line with what stands for the fields that JSON does not have."""
    if type(line) is Line:
        if line.trace_id:
            line.trace_flags, line.sampled = flags(line), False
    elif isinstance(line, Message):
        line.source = None
    return line


def flags(line: Line) -> str:
    """The trace flags of W3C, in hexadecimal: ``01``: the trace is recorded."""
    return line.trace_flags or ("01" if line.sampled else "00")


def _whole(line: Line | Message, write: Callable[[Line | Message], bytes]) -> bytes:
    """The line with its end, shortened until it fits: first the values, then every text."""
    content = write(line)
    for length in _CUTS:
        if len(content) < LONGEST_LINE:
            break
        line = _shortened(line, length)
        content = write(line)
    return content + b"\n"


def _shortened(line: Line | Message, length: int) -> Line | Message:
    if isinstance(line, Message):
        return msgspec.structs.replace(line, message=cut(line.message, length), exception=cut(line.exception, length))
    if len(line.values) > 1:
        return msgspec.structs.replace(line, values=line.values[: len(line.values) // 2], shortened=True)
    texts = {
        name: cut(getattr(line, name), length) for name in ("error", "label", "route", "model_version", "request_id")
    }
    return msgspec.structs.replace(line, **texts, values=(), warnings=line.warnings[: length // 100], shortened=True)


def cut(text: str, length: int) -> str:
    """Shorten a text in the middle: of a traceback, the beginning and the exception stay."""
    if len(text) <= length:
        return text
    head = length // 3
    return f"{text[:head]} … {text[len(text) - (length - head) :]}"


# Google Cloud

_GOOGLE_FIELDS = (
    "request_id",
    "milliseconds",
    "model_version",
    "rows",
    "label",
    "error",
    "code",
    "warnings",
    "values",
    "weight",
    "shortened",
)
"""Fields of a request's line that keep their names."""


def google(line: Line | Message, project: str = "") -> dict[str, Any]:
    """The line with the fields that Cloud Logging interprets.

    All other fields keep their names.
    """
    return _google_message(line) if isinstance(line, Message) else _google_request(line, project)


def _google_message(line: Message) -> dict[str, Any]:
    document: dict[str, Any] = {
        "severity": line.level.upper(),
        "time": line.time,
        "message": line.message,
        "logger": line.logger,
        "stack_trace": line.exception,
    }
    if line.source is not None:
        file, number, function = line.source
        document["logging.googleapis.com/sourceLocation"] = {"file": file, "line": str(number), "function": function}
    return {key: value for key, value in document.items() if value}


def _google_request(line: Line, project: str) -> dict[str, Any]:
    document: dict[str, Any] = {"severity": line.level.upper(), "time": line.time}
    status = f"{line.status} {line.code}" if line.code else str(line.status)
    document["message"] = f"{line.method} {line.route} {status}{': ' if line.error else ''}{line.error}"
    document["httpRequest"] = {
        "requestMethod": line.method,
        "requestUrl": line.route,
        "status": line.status,
        "latency": f"{line.milliseconds / 1e3:.6f}s",
    }
    if line.trace_id:
        if project:
            document["logging.googleapis.com/trace"] = f"projects/{project}/traces/{line.trace_id}"
        document["logging.googleapis.com/spanId"] = line.span_id
        document["logging.googleapis.com/trace_sampled"] = flags(line) == "01"
        document |= {"trace_id": line.trace_id, "span_id": line.span_id, "trace_flags": flags(line)}
    document["logging.googleapis.com/labels"] = {
        "route": line.route,
        **({"model_version": line.model_version} if line.model_version else {}),
    }
    document |= {name: getattr(line, name) for name in _GOOGLE_FIELDS}
    return {
        key: value for key, value in document.items() if value not in ("", 0, (), None) or key.endswith("trace_sampled")
    }


# people

_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31"}
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
"""Visible forms of control characters: input must not steer a terminal, nor begin a line of its own."""


def console(line: Line | Message, *, colour: bool = False) -> str:
    """The line for a terminal; a message's traceback follows on lines of its own."""
    level = f"{line.level.upper():7}"
    if colour:
        level = f"\x1b[{_COLOURS.get(line.level, '0')}m{level}\x1b[0m"
    start = f"{line.time:%H:%M:%S}.{line.time.microsecond // 1000:03d} {level} "
    if isinstance(line, Message):
        trace = "".join(f"\n    {_shown(part)}" for part in line.exception.splitlines())
        return f"{start}{_shown(line.message)}{trace}"
    rows = f"{line.rows} row{'s' if line.rows != 1 else ''}" if line.rows else ""
    parts = [
        f"{line.method} {line.route} {line.status}",
        line.code,
        f"{line.milliseconds:.3f} ms",
        line.model_version,
        rows,
        line.label,
    ]
    parts += [line.error, *(f"warning {found}" for found in line.warnings)]
    parts += [msgspec.json.encode(row).decode() for row in line.values]
    parts += [f"request {line.request_id}", f"trace {line.trace_id}" if line.trace_id else ""]
    parts += [f"stands for {line.weight:g}" if line.weight > 1 else "", "shortened" if line.shortened else ""]
    return start + _shown("  ".join(part for part in parts if part))


def _shown(text: str) -> str:
    return text.translate(_CONTROLS)

"""The exporters of spans that the ``OTEL_*`` variables name, each with a bounded queue and a thread.

What an exporter does when it fails, or when nobody listens, is its thread's matter: requests only ever put a span into
the queue, or drop it when that is full. Built in the process that serves, after workers have been forked: neither
threads nor gRPC's channels survive a fork.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from urllib.parse import urlsplit

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult

from orris.errors import MissingExtraError, SettingsError
from orris.telemetry.tracecontext import FLUSH_SECONDS

EXTRAS = {"otlp_proto_grpc": "otel", "otlp_proto_http": "otel", "gcp_trace": "gcp-trace"}
"""The extra that brings an exporter."""

PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}

SPANS_OF_A_REQUEST = 3
"""Its own, the model's, and perhaps that of the call that it shared."""

TELLING_SECONDS = 10.0
"""Time between two warnings that spans are dropped."""

HTTP_PORT = 4318
"""The port of OTLP over HTTP: an endpoint with it and without a protocol means HTTP."""

logger = logging.getLogger(__name__)


class _Counted(SpanExporter):
    """An exporter, and how many spans it was given."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.exporter = exporter
        self.n_given = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Count, and export."""
        self.n_given += len(spans)
        return self.exporter.export(spans)

    def shutdown(self, timeout_millis: float = 30_000) -> None:
        """End the exporter."""
        takes_time = "timeout_millis" in inspect.signature(self.exporter.shutdown).parameters
        self.exporter.shutdown(**({"timeout_millis": timeout_millis} if takes_time else {}))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """As the exporter has it."""
        return self.exporter.force_flush(timeout_millis)


class Queue:
    """The queue of one exporter, and the thread that sends it.

    The SDK's queue has the same bound, but logs each span that it drops, which costs several times as much as making
    it. So a span that finds no room is not made at all: a missing receiver costs less than a present one.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self.exporter = _Counted(exporter)
        self.processor = BatchSpanProcessor(self.exporter)
        self._bound = _number("OTEL_BSP_MAX_QUEUE_SIZE", 2_048)
        self._n_put = 0

    @property
    def has_room(self) -> bool:
        """Whether the spans of one more request find room."""
        waiting = self._n_put - self.exporter.n_given
        return waiting == 0 or waiting + SPANS_OF_A_REQUEST <= self._bound

    def put(self, span: ReadableSpan) -> None:
        """Let a span wait for its turn."""
        self._n_put += 1
        self.processor.on_end(span)


class Export:
    """The exporters of a process. ``open`` and ``put`` belong to the loop's thread.

    Args:
        exporters: Take spans; each gets a queue and a thread, as ``OTEL_BSP_*`` says.
        flush_seconds: Longest time that ``close`` takes.
    """

    def __init__(self, exporters: Sequence[SpanExporter], flush_seconds: float = FLUSH_SECONDS) -> None:
        self.queues = [Queue(exporter) for exporter in exporters]
        self._open: list[Queue] = []
        self._flush_seconds = flush_seconds
        self._n_dropped = 0
        self._told = -TELLING_SECONDS

    def open(self) -> bool:
        """Whether there is room for the spans of a request anywhere; those of one request all go to the same queues."""
        self._open = [queue for queue in self.queues if queue.has_room]
        if len(self._open) < len(self.queues):
            self._drop()
        return bool(self._open)

    def put(self, span: ReadableSpan) -> None:
        """Let a span wait in the queues that had room."""
        for queue in self._open:
            queue.put(span)

    def _drop(self) -> None:
        self._n_dropped += 1
        now = time.monotonic()
        if now - self._told >= TELLING_SECONDS:
            self._told = now
            logger.warning(
                "spans are dropped, of %d requests so far: too many wait for whoever receives them", self._n_dropped
            )

    def close(self) -> bool:
        """Send the queued spans; returns whether all exporters finished in time. The rest is dropped."""
        threads = [threading.Thread(target=queue.processor.shutdown, daemon=True) for queue in self.queues]
        for thread in threads:
            thread.start()
        end = time.monotonic() + self._flush_seconds
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        late = [queue for queue, thread in zip(self.queues, threads, strict=True) if thread.is_alive()]
        for queue in late:
            # Ends its waiting for the next try. The thread that waits is a daemon, and holds up nothing.
            try:
                queue.exporter.shutdown(0)
            except Exception as error:  # noqa: BLE001 (the process ends)
                logger.warning("an exporter of spans did not stop: %s", error)
        if self._n_dropped:
            logger.warning("spans of %d requests were dropped in all", self._n_dropped)
        return not late


def read_export(environ: Mapping[str, str]) -> Export:
    """The exporters of ``OTEL_TRACES_EXPORTER``; by default OTLP.

    One that cannot start, for instance for lack of credentials, is logged as an error and gets no spans; the server
    serves.

    Raises: SettingsError: An exporter or a protocol is unknown. MissingExtraError: An exporter's extra is not
    installed.
    """
    names = [name.strip() for name in (environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp").split(",")]
    exporters = []
    for name in dict.fromkeys(filter(None, names)):
        if name.lower() == "none":
            continue
        make = _factory(name, environ)
        try:
            exporters.append(make())
        except Exception:
            logger.exception("spans are not exported by %s: it does not start", name)
    return Export(
        exporters, min(FLUSH_SECONDS, _milliseconds(environ, "OTEL_BSP_EXPORT_TIMEOUT", FLUSH_SECONDS * 1e3) / 1e3)
    )


def _factory(name: str, environ: Mapping[str, str]) -> Callable[[], SpanExporter]:
    """The factory of an exporter."""
    if name == "console":
        # Standard output belongs to the log of requests; there and here a line is a document.
        return lambda: ConsoleSpanExporter(out=sys.stderr, formatter=lambda span: span.to_json(indent=None) + "\n")
    wanted = protocol(environ) if name == "otlp" else name
    found = list(entry_points(group="opentelemetry_traces_exporter", name=wanted))
    if not found:
        if wanted in EXTRAS:
            raise MissingExtraError(EXTRAS[wanted], f"exporting spans with OTEL_TRACES_EXPORTER={name}")
        known = sorted(
            {"otlp", "none", *EXTRAS, *(each.name for each in entry_points(group="opentelemetry_traces_exporter"))}
        )
        raise SettingsError(
            f"OTEL_TRACES_EXPORTER={name}: no installed package exports that way; known are {', '.join(known)}"
        )
    try:
        loaded: Callable[[], SpanExporter] = found[0].load()
    except ImportError:
        raise MissingExtraError(
            EXTRAS.get(wanted, "otel"), f"exporting spans with OTEL_TRACES_EXPORTER={name}"
        ) from None
    return loaded


def protocol(environ: Mapping[str, str]) -> str:
    """The exporter for the configured OTLP protocol.

    The default is HTTP for port 4318, and gRPC for all others.

    Raises: SettingsError: The protocol is not supported.
    """
    key = next(
        (
            key
            for key in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
            if environ.get(key, "").strip()
        ),
        "",
    )
    if not key:
        endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or ""
        return PROTOCOLS["http/protobuf" if _port(endpoint) == HTTP_PORT else "grpc"]
    spoken = PROTOCOLS.get(environ[key].strip().lower())
    if spoken is None:
        raise SettingsError(f"{key}={environ[key]}: not spoken here; there are {' and '.join(PROTOCOLS)}")
    return spoken


def _port(endpoint: str) -> int | None:
    try:
        return urlsplit(endpoint if "//" in endpoint else f"//{endpoint}").port
    except ValueError:
        return None


def _number(key: str, default: int) -> int:
    """A whole number of the process' environment, as the SDK reads it."""
    try:
        return int(os.environ.get(key, default))
    except ValueError:
        return default


def _milliseconds(environ: Mapping[str, str], key: str, default: float) -> float:
    try:
        return max(0.0, float(environ.get(key, "").strip() or default))
    except ValueError:
        logger.warning("%s=%s is no number of milliseconds: %g is taken", key, environ[key], default)
        return default

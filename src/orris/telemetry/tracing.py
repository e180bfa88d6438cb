"""Records spans of requests with OpenTelemetry, after they have been answered.

A predict route asks ``decide`` just before it answers; what it is told depends on nothing but what came with the
request (``sampling``). Of a request that is recorded the spans are made at its end, with the times that were measured
on the way: most requests are not recorded, and have no span at all. Spans are handed to queues (``exporting``) as
``ReadableSpan``; nothing here may raise, nor wait.

Imported only where tracing is on: OpenTelemetry is not loaded otherwise. Names and attributes are those of
OpenTelemetry's semantic conventions for HTTP servers (stable) and for gRPC (release candidate); what is ours begins
with ``orris.``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from random import getrandbits
from time import perf_counter

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceState, get_current_span

from orris.errors import SettingsError
from orris.telemetry.exporting import Export, read_export
from orris.telemetry.sampling import LOW, Ids, Rule, read_ids, read_rule, span_context
from orris.telemetry.semantics import Attributes, failed, of_model, of_request, title
from orris.telemetry.tracecontext import RANDOM, SAMPLED, Call, ModelPrediction, Request, TraceContext, parse
from orris.version import __version__

Headers = Mapping[bytes, bytes]

SPAN_OF_MODEL, SPAN_OF_BATCH, SPAN_OF_SHADOW = "model_prediction", "model_batch", "shadow_prediction"

MOST_ATTRIBUTES = 32
"""No span of ours has more: a limit above costs nothing."""

CLOCK_SECONDS = 1.0
"""Time between two looks at the system's clock."""

LONGEST_STATE = 512

_MEMBER = rb"[ \t]*([a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\x2d-<>-~]{0,255}[!-+\x2d-<>-~][ \t]*)?"
_TRACESTATE = re.compile(_MEMBER + rb"(," + _MEMBER + rb"){0,31}")
"""Up to 32 members. The library checks again, and warns of each that is wrong: no caller may write into the log."""

_OK = Status(StatusCode.UNSET)

logger = logging.getLogger(__name__)


class _Batch:
    """A call of a model that several requests share, while their spans are made."""

    __slots__ = ("context", "links", "prediction")

    def __init__(self, prediction: ModelPrediction, context: SpanContext) -> None:
        self.prediction = prediction
        self.context = context
        self.links: list[Link] = []


class _Steady(Resource):
    """A resource that computes its hash once.

    The encoder needs it with each span, and it is JSON of all attributes.
    """

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


class _Clock:
    """Converts ``perf_counter`` to nanoseconds since 1970.

    The two clocks are compared again now and then, as clocks are set, but not for every span: those of one request are
    made together, and keep their order.
    """

    __slots__ = ("_compared", "_offset")

    def __init__(self) -> None:
        self._compared, self._offset = -CLOCK_SECONDS, 0

    def look(self) -> float:
        """This moment; compares again if that is due."""
        now = perf_counter()
        if now - self._compared >= CLOCK_SECONDS:
            self._compared, self._offset = now, time.time_ns() - int(now * 1e9)
        return now

    def at(self, moment: float) -> int:
        """A moment in nanoseconds."""
        return int(moment * 1e9) + self._offset

    def during(self, call: Call) -> tuple[int, int]:
        """The beginning and the end of a call."""
        return self.at(call.start), self.at(call.start + call.seconds)


class Propagation:
    """How a caller's place in a trace is found.

    Args:
        w3c: In ``traceparent`` and ``tracestate``.
        others: And if there is none, by these.
    """

    def __init__(self, *, w3c: bool = True, others: tuple[TextMapPropagator, ...] = ()) -> None:
        self.w3c = w3c
        self.others = others

    def extract(self, headers: Headers) -> TraceContext | None:
        """The caller's place, in a form that is not W3C's."""
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        for propagator in self.others:
            try:
                found = get_current_span(propagator.extract(carrier)).get_span_context()
            except Exception:
                logger.exception("a propagator failed")
                continue
            if found.is_valid:
                trace_id, parent_id, flags = f"{found.trace_id:032x}", f"{found.span_id:016x}", int(found.trace_flags)
                header = _header(trace_id, parent_id, flags) if self.w3c else b""
                return TraceContext(trace_id, "", parent_id, flags, False, header)
        return None


class Tracing:
    """The recorder of spans of one process. ``decide`` and ``answered`` belong to the loop's thread.

    Args:
        rule: Which requests are recorded.
        ids: Where new ids come from.
        export: Where spans go.
        resource: What is said of this process.
        propagation: How a caller's place is found.
        skips: Whether nothing is recorded of a path.
        numbered: Requests that are not recorded get a trace id too, as the log chooses its lines by it.
    """

    def __init__(
        self,
        rule: Rule,
        ids: Ids,
        export: Export,
        resource: Resource,
        *,
        propagation: Propagation | None = None,
        skips: Callable[[str], bool] = lambda _: False,
        numbered: bool = False,
    ) -> None:
        self.skips = skips
        self._numbered = numbered
        self._follows, self._bound, self._custom = rule
        self._ids = ids
        self._export = export
        self._resource = resource
        self._propagation = propagation or Propagation()
        self._w3c, self._others = self._propagation.w3c, bool(self._propagation.others)
        self._traceparent = b"traceparent" if self._w3c else b""  # no header has an empty name
        self._plain = not (numbered or self._others or self._custom is not None or ids.custom)
        self._scope = InstrumentationScope("orris", __version__)
        self._limits = SpanLimits()
        self._batch: _Batch | None = None
        self._clock = _Clock()

    # before the answer

    def decide(self, headers: Headers) -> TraceContext | None:
        """The place of a request in a trace, and whether it is recorded.

        ``None``: it belongs to no known trace.
        """
        given = headers.get(self._traceparent)
        if given is None and self._plain:
            # Most requests end here: a random number, and it is not below the bound.
            low = getrandbits(64)
            return (
                self._recorded(f"{getrandbits(64):016x}{low:016x}", "", RANDOM | SAMPLED) if low < self._bound else None
            )
        parent = parse(given) if given is not None else None
        if parent is None and self._others:
            parent = self._propagation.extract(headers)
        if parent is None:
            return self._root()
        if self._follows:
            recorded = bool(parent.flags & SAMPLED)
        elif self._custom is None:
            recorded = int(parent.trace_id[16:], 16) < self._bound
        else:
            recorded = self._custom(
                parent.trace_id, span_context(parent.trace_id, parent.parent_id, parent.flags, remote=True)
            )
        if not recorded:
            return parent
        return self._recorded(
            parent.trace_id, parent.parent_id, parent.flags | SAMPLED, headers.get(b"tracestate", b"")
        )

    def _root(self) -> TraceContext | None:
        """The beginning of a trace."""
        number = self._ids.trace()
        trace_id, flags = f"{number:032x}", self._ids.flags
        if number & LOW < self._bound if self._custom is None else self._custom(trace_id, None):
            return self._recorded(trace_id, "", flags | SAMPLED)
        return TraceContext(trace_id, "", "", flags, False, b"") if self._numbered else None

    def _recorded(self, trace_id: str, parent_id: str, flags: int, state: bytes = b"") -> TraceContext:
        span_id = self._ids.span()
        header = _header(trace_id, span_id, flags) if self._w3c else b""
        return TraceContext(trace_id, span_id, parent_id, flags, True, header, state)

    # after the answer

    def answered(self, context: TraceContext, request: Request, prediction: ModelPrediction | None = None) -> None:
        """Record the spans of a request that has been answered just now, and is to be recorded."""
        try:
            if not self._export.open():
                return
            now, at = self._clock.look(), self._clock.at
            state = _state(context.state)
            own = span_context(context.trace_id, context.span_id, context.flags, state=state)
            parent = (
                span_context(context.trace_id, context.parent_id, context.flags, state=state, remote=True)
                if context.parent_id
                else None
            )
            if prediction is not None:
                self._predicted(context, own, prediction)
            status = Status(StatusCode.ERROR, request.error[:500] or None) if failed(request) else _OK
            self._emit(
                title(request),
                own,
                parent,
                of_request(request),
                at(request.started),
                at(now),
                kind=SpanKind.SERVER,
                status=status,
            )
        except Exception:
            logger.exception("the spans of request %s could not be made", request.request_id)

    def _predicted(self, context: TraceContext, own: SpanContext, prediction: ModelPrediction) -> None:
        """Record the span around the model, and link it with the batch's."""
        call = prediction.call
        place = span_context(context.trace_id, self._ids.span(), context.flags, state=own.trace_state)
        links: tuple[Link, ...] = ()
        if call.n_requests > 1:
            batch = self._batch
            if batch is None or batch.prediction.call != call:
                begun = self._new()
                batch = self._batch = _Batch(prediction, begun)
                # The predict routes of one call are reported at once: what comes soon comes after the last of them.
                asyncio.get_running_loop().call_soon(self._together, batch)
            batch.links.append(Link(own))
            links = (Link(batch.context),)
        status = Status(StatusCode.ERROR) if prediction.failure else _OK
        self._emit(
            SPAN_OF_MODEL, place, own, of_model(prediction), *self._clock.during(call), links=links, status=status
        )

    def _together(self, batch: _Batch) -> None:
        """Record the call that several requests shared, as a trace of its own.

        It is linked to the requests that are recorded.
        """
        self._batch = None
        call = batch.prediction.call
        try:
            told = of_model(batch.prediction._replace(n_rows=call.n_rows, label=""))
            self._emit(SPAN_OF_BATCH, batch.context, None, told, *self._clock.during(call), links=tuple(batch.links))
        except Exception:
            logger.exception("the span of a batch could not be made")

    def shadowed(self, context: TraceContext, prediction: ModelPrediction, agreed: bool | None) -> None:
        """Record a shadow's answer to a recorded request, as a trace of its own.

        It is linked to the request's server span.
        """
        try:
            if not self._export.open():
                return
            self._clock.look()
            place = self._new()
            link = Link(span_context(context.trace_id, context.span_id, context.flags, state=_state(context.state)))
            told = of_model(prediction)
            if agreed is not None:
                told["orris.shadow.agreed"] = agreed
            status = Status(StatusCode.ERROR) if prediction.failure else _OK
            self._emit(
                SPAN_OF_SHADOW, place, None, told, *self._clock.during(prediction.call), links=(link,), status=status
            )
        except Exception:
            logger.exception("the span of a shadow could not be made")

    def _new(self) -> SpanContext:
        """The place of a span that begins a trace."""
        return span_context(f"{self._ids.trace():032x}", self._ids.span(), self._ids.flags | SAMPLED)

    def _emit(
        self,
        name: str,
        place: SpanContext,
        parent: SpanContext | None,
        attributes: Attributes,
        start: int,
        end: int,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        links: tuple[Link, ...] = (),
        status: Status = _OK,
    ) -> None:
        """Put a finished span into the queues."""
        limits = self._limits
        kept: Attributes | BoundedAttributes = attributes
        if (
            limits.max_span_attribute_length is not None
            or (limits.max_span_attributes or MOST_ATTRIBUTES) < MOST_ATTRIBUTES
        ):
            kept = BoundedAttributes(
                limits.max_span_attributes, attributes, max_value_len=limits.max_span_attribute_length
            )
        span = ReadableSpan(
            name,
            place,
            parent,
            self._resource,
            kept,
            links=links if limits.max_links is None else links[: limits.max_links],
            kind=kind,
            status=status,
            start_time=start,
            end_time=end,
            instrumentation_scope=self._scope,
        )
        self._export.put(span)

    def close(self) -> bool:
        """Send what waits; returns whether everything left in time."""
        return self._export.close()


def _header(trace_id: str, span_id: str, flags: int) -> bytes:
    return f"00-{trace_id}-{span_id}-{flags:02x}".encode("ascii")


def _state(tracestate: bytes) -> TraceState | None:
    """The caller's ``tracestate``.

    An invalid one, or one over 512 bytes, is dropped, and the trace goes on without.
    """
    if not 0 < len(tracestate) <= LONGEST_STATE or _TRACESTATE.fullmatch(tracestate) is None:
        return None
    return TraceState.from_header([tracestate.decode("ascii")])


def start_tracing(
    environ: Mapping[str, str], skipped: Callable[[str], bool] = lambda _: False, *, numbered: bool = False
) -> Tracing:
    """Tracing as the ``OTEL_*`` variables have it; in each worker anew.

    Args:
        environ: Where the variables are; those that the SDK reads by itself, it reads from the process' environment.
        skipped: Whether nothing is recorded of a path, unless ``OTEL_PYTHON_EXCLUDED_URLS`` names others.
        numbered: As ``Tracing`` has it.

    Raises:
        SettingsError: A variable names what nobody knows.
        MissingExtraError: An exporter whose extra is not installed.
    """
    rule, ids, propagation = read_rule(environ), read_ids(environ), read_propagation(environ)
    skips = read_skips(environ, skipped)
    try:
        SpanLimits()
    except ValueError as error:
        raise SettingsError(f"a limit of OpenTelemetry: {error}") from None
    try:
        export = read_export(environ)
    except ValueError as error:
        raise SettingsError(f"OpenTelemetry: {error}") from None
    return Tracing(rule, ids, export, read_resource(), propagation=propagation, skips=skips, numbered=numbered)


def read_resource() -> Resource:
    """The attributes of this process: ``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``, and defaults."""
    found = Resource.create()
    given = found.attributes
    own: dict[str, str | int] = {"process.pid": os.getpid()}
    if str(given.get(SERVICE_NAME, "")).startswith("unknown_service"):
        own[SERVICE_NAME] = "orris"
    if SERVICE_VERSION not in given:
        own[SERVICE_VERSION] = __version__
    if SERVICE_INSTANCE_ID not in given:
        own[SERVICE_INSTANCE_ID] = str(uuid.uuid4())
    return _Steady(found.merge(Resource(own)))


def read_propagation(environ: Mapping[str, str]) -> Propagation:
    """How ``OTEL_PROPAGATORS`` has a caller's place found; raises ``SettingsError`` if no package brings one."""
    names = [
        name.strip().lower()
        for name in (environ.get("OTEL_PROPAGATORS", "").strip() or "tracecontext,baggage").split(",")
    ]
    others = []
    for name in dict.fromkeys(names):
        if name in {"tracecontext", "baggage", "none", ""}:
            continue
        found = list(entry_points(group="opentelemetry_propagator", name=name))
        if not found:
            raise SettingsError(f"OTEL_PROPAGATORS={environ['OTEL_PROPAGATORS']}: no installed package brings {name}")
        others.append(found[0].load()())
    return Propagation(
        w3c="tracecontext" in names and "none" not in names, others=() if "none" in names else tuple(others)
    )


def read_skips(environ: Mapping[str, str], skipped: Callable[[str], bool]) -> Callable[[str], bool]:
    """Whether nothing is recorded of a path.

    It is skipped, or a pattern of ``OTEL_PYTHON_EXCLUDED_URLS`` is found in it.

    Raises: SettingsError: A pattern is not a valid regular expression.
    """
    text = environ.get("OTEL_PYTHON_EXCLUDED_URLS")
    if text is None:
        return skipped
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        return lambda _: False
    try:
        pattern = re.compile("|".join(parts))
    except re.error as error:
        raise SettingsError(f"OTEL_PYTHON_EXCLUDED_URLS={text}: {error}") from None
    return lambda path: pattern.search(path) is not None

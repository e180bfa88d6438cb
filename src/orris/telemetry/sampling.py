"""Decides which requests are traced, from the request's headers, before any span is made.

The samplers that OpenTelemetry's specification names become two facts, whether the caller's decision is followed and a
bound for trace ids: a request that is not recorded costs a random number and a comparison. Trace ids are compared as
``TraceIdRatioBased`` does it, by their low 64 bits, so that servers which sample the same share sample the same traces.
Other samplers come from the packages that bring them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from random import getrandbits
from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, TraceState, set_span_in_context

from orris.errors import SettingsError
from orris.telemetry.tracecontext import RANDOM

DEFAULT = "parentbased_always_on"
NAMES = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)

EVERY, NONE = 2**64, 0
"""Bounds above and below all trace ids."""

LOW = 2**64 - 1
"""The bits of a trace id that it is decided by."""

logger = logging.getLogger(__name__)


class Rule(NamedTuple):
    """How it is decided.

    Attributes:
        follows: A caller's decision is taken over.
        bound: Otherwise a trace is recorded if the low 64 bits of its id are below this number.
        custom: What decides instead: ``(trace id, the caller's place or None)`` -> whether to record.
    """

    follows: bool
    bound: int
    custom: Callable[[str, SpanContext | None], bool] | None = None


def read_rule(environ: Mapping[str, str]) -> Rule:
    """The rule of ``OTEL_TRACES_SAMPLER`` and ``OTEL_TRACES_SAMPLER_ARG``.

    An unknown value is logged as a warning, and the default is used, as OpenTelemetry's specification demands.

    Raises: SettingsError: Another package's sampler does not start.
    """
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() or DEFAULT
    argument = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if name not in NAMES:
        found = list(entry_points(group="opentelemetry_traces_sampler", name=name))
        if found:
            return Rule(False, EVERY, _custom(found[0].load(), name, argument))
        logger.warning(
            "OTEL_TRACES_SAMPLER=%s is not known: %s is taken; known are %s", name, DEFAULT, ", ".join(NAMES)
        )
        name = DEFAULT
    root = name.removeprefix("parentbased_")
    ratio = _ratio(argument) if root == "traceidratio" else float(root == "always_on")
    return Rule(name.startswith("parentbased_"), round(ratio * EVERY))


def _ratio(argument: str) -> float:
    try:
        ratio = float(argument or 1)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        logger.warning("OTEL_TRACES_SAMPLER_ARG=%s is no share between 0 and 1: 1 is taken", argument)
        return 1.0
    return ratio


def _custom(factory: Callable[[str], Sampler], name: str, argument: str) -> Callable[[str, SpanContext | None], bool]:
    """The decision of another package's sampler.

    It gets the kind of our spans only, as the route is not known yet.
    """
    try:
        sampler = factory(argument)
    except Exception as error:
        raise SettingsError(f"OTEL_TRACES_SAMPLER={name} with OTEL_TRACES_SAMPLER_ARG={argument}: {error}") from error

    def sampled(trace_id: str, parent: SpanContext | None) -> bool:
        context = set_span_in_context(NonRecordingSpan(parent), Context()) if parent is not None else Context()
        try:
            return (
                sampler.should_sample(context, int(trace_id, 16), "request", SpanKind.SERVER).decision
                is Decision.RECORD_AND_SAMPLE
            )
        except Exception:
            logger.exception("the sampler %s failed", name)
            return False

    return sampled


class Ids:
    """New ids of traces and spans.

    Args:
        generator: Makes them; ``None``: they are random, as ``random`` draws anew in each process.

    Attributes:
        custom: Something else than ``random`` makes them.
        flags: What is said of a trace that begins here: its id is random, or not.
    """

    def __init__(self, generator: IdGenerator | None = None) -> None:
        self._generator = generator
        self.custom = generator is not None
        # Older versions of the library do not ask whether ids are random.
        self.flags = RANDOM if generator is None or getattr(generator, "is_trace_id_random", bool)() else 0

    def trace(self) -> int:
        """The id of a new trace, of 128 bits."""
        return self._generator.generate_trace_id() if self._generator is not None else getrandbits(128)

    def span(self) -> str:
        """The id of a new span: 16 hexadecimal digits."""
        number = self._generator.generate_span_id() if self._generator is not None else getrandbits(64)
        return f"{number or 1:016x}"


def read_ids(environ: Mapping[str, str]) -> Ids:
    """The ids that ``OTEL_PYTHON_ID_GENERATOR`` asks for; raises ``SettingsError`` if no package brings it."""
    name = environ.get("OTEL_PYTHON_ID_GENERATOR", "").strip() or "random"
    if name == "random":
        return Ids()
    found = list(entry_points(group="opentelemetry_id_generator", name=name))
    if not found:
        raise SettingsError(
            f"OTEL_PYTHON_ID_GENERATOR={name}: no installed package brings it; without the variable ids are random"
        )
    return Ids(found[0].load()())


def span_context(
    trace_id: str, span_id: str, flags: int, *, remote: bool = False, state: TraceState | None = None
) -> SpanContext:
    """A place in a trace, as OpenTelemetry's libraries have it."""
    return SpanContext(int(trace_id, 16), int(span_id, 16), remote, TraceFlags(flags), state)

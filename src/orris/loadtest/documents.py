"""Runs as JSON: ``report.json`` holds the whole run, so that it can be read again, compared and drawn.

Histograms are HdrHistogram's compressed text, with the sum and the maximum that it does not keep.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from orris.errors import LoadTestError
from orris.loadtest.assertions import Finding
from orris.loadtest.histogram import Histogram
from orris.loadtest.run import Part, Run

Kind = TypeVar("Kind")

FORMAT = 1
"""Of ``report.json``. A change that older versions cannot read increments it."""

PERCENTILES = ("p50", "p75", "p90", "p95", "p99", "p99.9")


class Document(msgspec.Struct, kw_only=True):
    """``report.json``.

    Attributes:
        format: ``FORMAT``.
        summary: The main numbers, in units that their names say.
        littles_law: Verdict and words of the check; ``None``: it could not be made.
        assertions: What was asserted, measured, and whether it holds.
        run: Everything.
    """

    format: int
    summary: dict[str, Any]
    littles_law: dict[str, Any] | None
    assertions: list[Finding]
    run: Run


def summary(part: Part) -> dict[str, Any]:
    """The main numbers of a part, for machines; ``None`` is a number that nothing was measured for."""
    latency = part.latency
    return {
        "seconds": part.seconds,
        "offered": part.offered,
        "offered_per_second": part.offered_per_second,
        "answered": part.answered,
        "throughput_per_second": part.throughput_per_second,
        "errors": part.errors,
        "error_share": part.error_share,
        "received_bytes": part.received_bytes,
        "latency_ms": {
            "mean": _milliseconds(latency.mean_seconds),
            **{name: _milliseconds(latency.quantile_seconds(float(name[1:]) / 100)) for name in PERCENTILES},
            "max": _milliseconds(latency.max_seconds if latency.count else math.nan),
        },
    }


def encode(run: Run, findings: list[Finding]) -> bytes:
    """A run as ``report.json`` holds it."""
    law = run.littles_law
    document = Document(
        format=FORMAT,
        summary=summary(run.whole),
        littles_law=None if law is None else {"verdict": law.verdict, "words": law.words},
        assertions=findings,
        run=run,
    )
    return msgspec.json.format(as_json(document), indent=1) + b"\n"


def as_json(value: Any) -> bytes:
    """Any part of a run as JSON."""
    return msgspec.json.encode(value, enc_hook=_plain)


def from_json(content: bytes, kind: type[Kind]) -> Kind:
    """A part of a run from its JSON."""
    return msgspec.json.decode(content, type=kind, dec_hook=_histogram)


def read_run(path: Path) -> Run:
    """The run of a ``report.json``, or of the folder that holds one.

    Raises:
        LoadTestError: It cannot be read, or is of another format.
    """
    file = path / "report.json" if path.is_dir() else path
    try:
        content = file.read_bytes()
    except OSError as error:
        raise LoadTestError(f"{file}: {error.strerror}") from error
    try:
        head = msgspec.json.decode(content, type=_Head)
        if head.format > FORMAT:
            raise LoadTestError(
                f"{file} has the format {head.format}; this Orris reads up to {FORMAT}: install a newer one"
            )
        return from_json(content, Document).run
    except msgspec.MsgspecError as error:
        raise LoadTestError(f"{file} is no report of a load test: {error}") from None


class _Head(msgspec.Struct):
    format: int


class _Stored(msgspec.Struct):
    """A histogram; without latencies only its zeros."""

    hdr: str = ""
    sum_seconds: float = 0.0
    max_seconds: float = 0.0


def _plain(value: Any) -> Any:
    if isinstance(value, Histogram):
        return _Stored(value.encoded() if value.count else "", value.sum_seconds, value.max_seconds)
    raise NotImplementedError(f"{type(value).__name__} in a report")


def _histogram(kind: type, value: Any) -> Any:
    if kind is not Histogram:
        raise NotImplementedError(f"{kind.__name__} in a report")
    stored = msgspec.convert(value, _Stored)
    if not stored.hdr:
        return Histogram()
    try:
        return Histogram.decoded(stored.hdr, sum_seconds=stored.sum_seconds, max_seconds=stored.max_seconds)
    except Exception as error:  # The library raises whatever zlib, base64 and struct do.
        raise ValueError(f"a histogram cannot be read: {error}") from error


def _milliseconds(seconds: float) -> float | None:
    return None if math.isnan(seconds) else seconds * 1e3

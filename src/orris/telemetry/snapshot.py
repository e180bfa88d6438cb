"""A process' counts as one document that can be sent, added to others, and kept when the process is gone.

Standard library and msgspec only: the supervisor of several workers reads it too, and stays small.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

Labels = tuple[str, ...]
Values = dict[str, list[tuple[Labels, float]]]
Pane = tuple[str, str, str, int, bytes]
"""A stretch of time of a sketch of drift: model, version, layout of its slots, number, counts (``<u4``).

See ``telemetry/drift.py``.
"""


class Exemplar(NamedTuple):
    """A request that a bucket of a histogram counted, and whose trace was recorded.

    Attributes:
        bucket: The bucket's position.
        value: What was observed.
        time: When, in Unix time.
    """

    family: str
    labels: Labels
    bucket: int
    trace_id: str
    value: float
    time: float


class Snapshot(msgspec.Struct, array_like=True):
    """Values by family and labels.

    Attributes:
        counters: Only grow; they outlive their process.
        gauges: Hold as long as their process lives.
        histograms: Counts per bucket (not cumulative) and the sum of what was observed; they outlive their process.
        infos: Facts, by labels; they hold as long as their process lives.
        maxima: Gauges of which the largest counts; they outlive their process.
        panes: What is counted for drift; equal numbers add up where they are read. They hold as long as their process
            lives.
        exemplars: At most one of each bucket; they hold as long as their process lives.
    """

    counters: Values = {}
    gauges: Values = {}
    histograms: dict[str, list[tuple[Labels, list[int], float]]] = {}
    infos: dict[str, list[tuple[Labels, dict[str, str]]]] = {}
    maxima: Values = {}
    panes: list[Pane] = []
    exemplars: list[Exemplar] = []


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)


def encode(snapshot: Snapshot) -> bytes:
    """A snapshot as bytes."""
    return _encoder.encode(snapshot)


def decode(content: bytes) -> Snapshot:
    """The snapshot of these bytes; empty bytes are an empty one."""
    return _decoder.decode(content) if content else Snapshot()


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Add up snapshots: counters, gauges and histograms are summed, maxima keep the largest.

    One of each fact is kept, and the latest of the exemplars.
    """
    counters: dict[str, dict[Labels, float]] = {}
    gauges: dict[str, dict[Labels, float]] = {}
    histograms: dict[str, dict[Labels, tuple[list[int], float]]] = {}
    infos: dict[str, dict[Labels, dict[str, str]]] = {}
    maxima: dict[str, dict[Labels, float]] = {}
    panes: list[Pane] = []
    exemplars: dict[tuple[str, Labels, int], Exemplar] = {}
    for snapshot in snapshots:
        _add(counters, snapshot.counters)
        _add(gauges, snapshot.gauges)
        for name, series in snapshot.histograms.items():
            sums = histograms.setdefault(name, {})
            for labels, counts, total in series:
                before, sum_before = sums.get(labels, ([0] * len(counts), 0.0))
                sums[labels] = [a + b for a, b in zip(before, counts, strict=True)], sum_before + total
        for name, facts in snapshot.infos.items():
            infos.setdefault(name, {}).update(facts)
        for name, values in snapshot.maxima.items():
            for labels, value in values:
                largest = maxima.setdefault(name, {})
                largest[labels] = max(value, largest.get(labels, value))
        panes += snapshot.panes
        for mark in snapshot.exemplars:
            where = mark.family, mark.labels, mark.bucket
            exemplars[where] = max(mark, exemplars.get(where, mark), key=_when)
    return Snapshot(
        {name: list(sums.items()) for name, sums in counters.items()},
        {name: list(sums.items()) for name, sums in gauges.items()},
        {name: [(labels, *sums) for labels, sums in series.items()] for name, series in histograms.items()},
        {name: list(facts.items()) for name, facts in infos.items()},
        {name: list(largest.items()) for name, largest in maxima.items()},
        panes,
        list(exemplars.values()),
    )


def fold(retired: bytes, last: bytes, cpu_seconds: float = 0.0) -> bytes:
    """Add what a process that is gone has counted to what others before it have.

    Args:
        retired: The sum of those before it; may be empty.
        last: Its last snapshot; may be empty.
        cpu_seconds: Processor time that it has used.
    """
    gone = Snapshot(counters={CPU_SECONDS: [((), cpu_seconds)]})
    total = merge([decode(retired), decode(last), gone])
    return encode(Snapshot(counters=total.counters, histograms=total.histograms, maxima=total.maxima))


CPU_SECONDS = "process_cpu_seconds"
"""Family of the processor time of workers that are gone; that of living ones is asked of the system."""


def _when(mark: Exemplar) -> float:
    return mark.time


def _add(sums: dict[str, dict[Labels, float]], values: Values) -> None:
    for name, series in values.items():
        family = sums.setdefault(name, {})
        for labels, value in series:
            family[labels] = family.get(labels, 0) + value

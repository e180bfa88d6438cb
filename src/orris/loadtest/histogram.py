"""Latencies as an HdrHistogram: microseconds with three significant digits, whatever their size.

The layout of buckets, and the encoding as text, are those of HdrHistogram (https://github.com/HdrHistogram), so that
its tools read what is written here. Recording works on whole arrays, and only buckets that hold something are kept.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

DIGITS = 3
MAX_MICROSECONDS = 3_600_000_000
"""An hour: a longer latency is counted as one."""

_HALF = 1024  # half of the 2 × 10³ values that three digits tell apart, as a power of two
_BITS = 11


class Histogram:
    """How often each latency occurred.

    Attributes:
        indices: ``(n_buckets,)`` int64, ascending: HdrHistogram's index of each bucket that holds something.
        counts: ``(n_buckets,)`` int64: how often.
        sum_seconds: The sum of all latencies, exactly as recorded.
        max_seconds: The longest, exactly as recorded; 0.0 if there is none.
    """

    __slots__ = ("counts", "indices", "max_seconds", "sum_seconds")

    def __init__(
        self,
        indices: Integers | None = None,
        counts: Integers | None = None,
        sum_seconds: float = 0.0,
        max_seconds: float = 0.0,
    ) -> None:
        self.indices: Integers = np.empty(0, np.int64) if indices is None else indices
        self.counts: Integers = np.empty(0, np.int64) if counts is None else counts
        self.sum_seconds, self.max_seconds = sum_seconds, max_seconds

    @classmethod
    def of(cls, seconds: npt.ArrayLike) -> Histogram:
        """The histogram of latencies in seconds, in any order; negative ones count as 0."""
        values = np.maximum(np.asarray(seconds, np.float64), 0.0)
        if not values.size:
            return cls()
        indices, counts = np.unique(bucket_indices(values), return_counts=True)
        return cls(indices, counts.astype(np.int64), float(values.sum()), float(values.max()))

    @classmethod
    def total(cls, parts: list[Histogram]) -> Histogram:
        """All of them together."""
        return reduce(lambda whole, part: whole + part, parts, cls())

    def __add__(self, other: Histogram) -> Histogram:
        if not other.indices.size:
            return self
        if not self.indices.size:
            return other
        indices, places = np.unique(np.concatenate([self.indices, other.indices]), return_inverse=True)
        counts = np.zeros(len(indices), np.int64)
        np.add.at(counts, places, np.concatenate([self.counts, other.counts]))
        return Histogram(
            indices, counts, self.sum_seconds + other.sum_seconds, max(self.max_seconds, other.max_seconds)
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Histogram)
            and np.array_equal(self.indices, other.indices)
            and np.array_equal(self.counts, other.counts)
            and (self.sum_seconds, self.max_seconds) == (other.sum_seconds, other.max_seconds)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def count(self) -> int:
        """How many latencies were recorded."""
        return int(self.counts.sum())

    @property
    def mean_seconds(self) -> float:
        """The mean; NaN without latencies."""
        return self.sum_seconds / self.count if self.count else float("nan")

    def quantile_seconds(self, quantile: float) -> float:
        """The smallest recorded latency that at least this share of all do not exceed (nearest rank), in seconds.

        It is the upper end of its bucket, as in HdrHistogram, at most 0.1 % too high.

        Args:
            quantile: Between 0 and 1: 0.99 is the 99th percentile.

        Returns:
            Seconds; NaN without latencies.
        """
        if not self.count:
            return float("nan")
        rank = max(1, int(np.ceil(quantile * self.count - 1e-9)))
        place = int(np.searchsorted(np.cumsum(self.counts), rank))
        return min(float(highest_microseconds(self.indices[place : place + 1])[0]) / 1e6, self.max_seconds)

    def encoded(self) -> str:
        """The histogram as HdrHistogram's compressed V2 text, in microseconds."""
        histogram = _library()(1, MAX_MICROSECONDS, DIGITS)
        for value, count in zip(lowest_microseconds(self.indices).tolist(), self.counts.tolist(), strict=True):
            histogram.record_value(value, count)
        text: bytes = histogram.encode()
        return text.decode("ascii")

    @classmethod
    def decoded(cls, text: str, *, sum_seconds: float | None = None, max_seconds: float | None = None) -> Histogram:
        """Read HdrHistogram's compressed V2 text.

        Args:
            text: Of a histogram of microseconds from 1 with three digits.
            sum_seconds: The exact sum, which the text does not hold; without it, that of the buckets' middles.
            max_seconds: The exact maximum; without it, the upper end of the last bucket.
        """
        histogram = _library().decode(text.encode("ascii"))
        recorded = [
            (item.value_iterated_to, item.count_added_in_this_iter_step)
            for item in histogram.get_recorded_iterator()
            if item.count_added_in_this_iter_step
        ]
        values = np.array([value for value, _ in recorded], np.float64)
        counts = np.array([count for _, count in recorded], np.int64)
        indices = bucket_indices(values / 1e6)
        middles = (lowest_microseconds(indices) + highest_microseconds(indices)) / 2e6
        top = float(highest_microseconds(indices[-1:])[0]) / 1e6 if len(indices) else 0.0
        return cls(
            indices,
            counts,
            float(middles @ counts) if sum_seconds is None else sum_seconds,
            top if max_seconds is None else max_seconds,
        )


def bucket_indices(seconds: Floats) -> Integers:
    """HdrHistogram's index of the bucket of each latency in seconds, not negative."""
    microseconds = np.minimum(np.rint(seconds * 1e6), MAX_MICROSECONDS).astype(np.int64)
    # frexp's exponent is the number of bits.
    buckets: Integers = np.frexp((microseconds | (2 * _HALF - 1)).astype(np.float64))[1].astype(np.int64) - _BITS
    indices: Integers = buckets * _HALF + (microseconds >> buckets)
    return indices


def lowest_microseconds(indices: Integers) -> Integers:
    """The least value of each bucket."""
    buckets = np.maximum(indices // _HALF - 1, 0)
    values: Integers = (indices - buckets * _HALF) << buckets
    return values


def highest_microseconds(indices: Integers) -> Integers:
    """The greatest value of each bucket."""
    widths: Integers = np.int64(1) << np.maximum(indices // _HALF - 1, 0)
    highest: Integers = lowest_microseconds(indices) + widths - 1
    return highest


def _library() -> Any:
    from orris.errors import MissingExtraError  # noqa: PLC0415

    try:
        from hdrh.histogram import HdrHistogram  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("load", "a load test") from error
    return HdrHistogram

"""Tests of latency histograms, held against HdrHistogram's own library and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from orris.loadtest.histogram import MAX_MICROSECONDS, Histogram, bucket_indices, highest_microseconds

SAMPLES = np.random.default_rng(0).lognormal(-6, 1.5, 20_000)


@given(st.integers(0, MAX_MICROSECONDS))
def test_buckets_are_hdrhistograms(microseconds: int) -> None:
    """A latency falls into the bucket that HdrHistogram's library gives to it, and the bucket ends where its does."""
    theirs = HdrHistogram(1, MAX_MICROSECONDS, 3)
    index = bucket_indices(np.array([microseconds / 1e6]))
    assert index[0] == theirs._counts_index_for(microseconds)
    assert highest_microseconds(index)[0] == theirs.get_highest_equivalent_value(microseconds)


@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.9, 0.99, 0.999, 1.0])
def test_quantiles_are_numpys_to_three_digits(quantile: float) -> None:
    """A quantile is NumPy's of all samples, at most 0.1 % and a microsecond above."""
    exact = float(np.quantile(SAMPLES, quantile, method="inverted_cdf"))
    assert Histogram.of(SAMPLES).quantile_seconds(quantile) == pytest.approx(exact, rel=1e-3, abs=1e-6)


def test_quantiles_are_those_of_hdrhistograms_library() -> None:
    """Quantiles are those that HdrHistogram's library finds in the same samples."""
    theirs = HdrHistogram(1, MAX_MICROSECONDS, 3)
    for value in np.rint(SAMPLES * 1e6).astype(int).tolist():
        theirs.record_value(value)
    ours = Histogram.of(SAMPLES)
    for percentile in (50, 75, 90, 99, 99.9):
        expected = theirs.get_value_at_percentile(percentile) / 1e6
        assert ours.quantile_seconds(percentile / 100) == pytest.approx(expected, rel=2e-3)


def test_the_sum_of_histograms_is_the_histogram_of_all() -> None:
    """Two histograms add up to the histogram of both samples, mean and maximum included."""
    parts = Histogram.of(SAMPLES[:7000]) + Histogram.of(SAMPLES[7000:]) + Histogram()
    whole = Histogram.of(SAMPLES)
    assert np.array_equal(parts.indices, whole.indices)
    assert np.array_equal(parts.counts, whole.counts)
    assert parts.mean_seconds == pytest.approx(float(SAMPLES.mean()))
    assert parts.max_seconds == float(SAMPLES.max())


def test_the_encoded_text_is_read_by_hdrhistograms_library() -> None:
    """The text is HdrHistogram's: its library reads the counts, and what it reads encodes to the same text."""
    ours = Histogram.of(SAMPLES)
    theirs = HdrHistogram.decode(ours.encoded().encode())
    assert theirs.get_total_count() == len(SAMPLES)
    back = Histogram.decoded(ours.encoded(), sum_seconds=ours.sum_seconds, max_seconds=ours.max_seconds)
    assert back == ours
    assert Histogram.decoded(ours.encoded()).mean_seconds == pytest.approx(ours.mean_seconds, rel=1e-3)


def test_an_empty_histogram_has_no_quantile() -> None:
    """Without latencies there is no quantile and no mean, and the text is empty of counts."""
    assert np.isnan(Histogram().quantile_seconds(0.5))
    assert np.isnan(Histogram().mean_seconds)
    assert Histogram.decoded(Histogram().encoded()) == Histogram()


def test_a_latency_beyond_an_hour_counts_as_an_hour() -> None:
    """A latency over the histogram's range falls into its last bucket, and keeps its size as the maximum."""
    histogram = Histogram.of([7200.0])
    assert histogram.count == 1
    assert histogram.max_seconds == 7200.0

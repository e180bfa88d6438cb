"""Tests of counts, their sums over workers, and their exposition."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from orris.telemetry.metrics import Metrics
from orris.telemetry.snapshot import decode, encode, fold, merge
from orris.version import __version__


@dataclass
class Others:
    """Stand-ins for the other workers of a board."""

    snapshots: list[bytes] = field(default_factory=list)
    retired: bytes = b""
    own: bytes = b""
    n_workers: int = 3
    n_ready: int = 2
    restarts: int = 1

    def publish(self, snapshot: bytes) -> bool:
        """Keep this worker's snapshot."""
        self.own = snapshot
        return len(snapshot) < 100_000

    def gathered(self) -> tuple[list[bytes], bytes]:
        """Return the other workers' snapshots."""
        return self.snapshots, self.retired

    def pids(self) -> list[int]:
        """Return the server's processes."""
        return [os.getppid(), os.getpid()]


def counted(n_requests: int, in_flight: int = 0) -> Metrics:
    """Return a worker that has answered so many requests, each a row of class 1 in 3 ms."""
    metrics = Metrics()
    model = metrics.model("iris", "1.0.0", ("setosa", "versicolor"), {"format": "onnx"})
    for _ in range(n_requests):
        metrics.finished("POST", "/predict", 200, 0.003)
        metrics.called("/inference.GRPCInferenceService/ModelInfer", "OK", 0.003)
        metrics.rejected["422"] += 1
        model.called(1e-5, 1, np.array([1]))
        model.warnings["petal_width", "range"] += 1
    metrics.in_flight = in_flight
    return metrics


def samples(metrics: Metrics) -> dict[str, float]:
    """Return the exposition's samples, by name and labels."""
    text = metrics.render("")[0].decode()
    return {
        f"{sample.name}{sorted(sample.labels.items()) or ''}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


REQUESTS = "http_requests_total[('method', 'POST'), ('route', '/predict'), ('status', '200')]"


def test_one_process_reports_every_family() -> None:
    """Every family is in the exposition, buckets are cumulative, and there is one worker."""
    found = samples(counted(7, in_flight=2))
    assert found[REQUESTS] == 7
    assert (
        found["orris_grpc_requests_total[('code', 'OK'), ('method', '/inference.GRPCInferenceService/ModelInfer')]"]
        == 7
    )
    assert (
        found["http_request_duration_seconds_bucket[('le', '0.0025'), ('method', 'POST'), ('route', '/predict')]"] == 0
    )
    assert (
        found["http_request_duration_seconds_bucket[('le', '0.005'), ('method', 'POST'), ('route', '/predict')]"] == 7
    )
    assert found["http_request_duration_seconds_bucket[('le', '+Inf'), ('method', 'POST'), ('route', '/predict')]"] == 7
    assert found["orris_predictions_total[('label', 'versicolor'), ('model', 'iris'), ('version', '1.0.0')]"] == 7
    assert found["orris_predictions_total[('label', 'setosa'), ('model', 'iris'), ('version', '1.0.0')]"] == 0
    assert (
        found[
            "orris_input_warnings_total[('column', 'petal_width'), ('kind', 'range'), ('model', 'iris'), ('version',"
            " '1.0.0')]"
        ]
        == 7
    )
    assert found["orris_model_info[('format', 'onnx'), ('model', 'iris'), ('version', '1.0.0')]"] == 1
    assert found["orris_rejected_total[('reason', '422')]"] == 7
    assert found["orris_requests_in_flight"] == 2
    assert (found["orris_workers"], found["orris_workers_ready"], found["orris_worker_restarts_total"]) == (1, 1, 0)


def test_a_snapshot_restores_every_count() -> None:
    """A snapshot's bytes decode to all counts that were encoded."""
    snapshot = counted(3, in_flight=1).snapshot()
    assert decode(encode(snapshot)) == snapshot


def test_a_sum_over_workers_equals_the_counts_of_one_process() -> None:
    """The sum of workers' counters, gauges, histograms and facts equals one worker's with all requests."""
    parts = [counted(2, in_flight=1), counted(5), counted(4, in_flight=2)]
    total = merge(part.snapshot() for part in parts)
    expected = counted(11, in_flight=3).snapshot()
    for name in expected.counters:
        if not name.startswith("python_gc"):
            assert dict(total.counters[name]) == dict(expected.counters[name])
    assert total.gauges == expected.gauges
    assert [counts for _, counts, _ in total.histograms["orris_batch_rows"]] == [
        counts for _, counts, _ in expected.histograms["orris_batch_rows"]
    ]
    assert total.infos == expected.infos


def test_a_dead_worker_keeps_its_counts_and_not_its_gauges() -> None:
    """A dead worker's answered requests stay counted, and none of its requests is in flight any more."""
    retired = fold(b"", encode(counted(5, in_flight=3).snapshot()), cpu_seconds=1.5)
    retired = fold(retired, encode(counted(2, in_flight=1).snapshot()), cpu_seconds=0.5)
    gone = decode(retired)
    assert dict(gone.counters["http_requests"]) == {("POST", "/predict", "200"): 7}
    assert gone.counters["process_cpu_seconds"] == [((), 2.0)]
    assert (gone.gauges, gone.infos) == ({}, {})


def test_a_worker_answers_for_all() -> None:
    """A worker reports its own counts, the other workers', and those of dead ones."""
    others = Others(
        [encode(counted(10, in_flight=4).snapshot())], fold(b"", encode(counted(100, in_flight=9).snapshot()), 1e6)
    )
    metrics = counted(1, in_flight=1)
    metrics.share(others)
    found = samples(metrics)
    assert found[REQUESTS] == 111
    assert found["orris_requests_in_flight"] == 5
    assert (found["orris_workers"], found["orris_workers_ready"], found["orris_worker_restarts_total"]) == (3, 2, 1)
    assert found["process_cpu_seconds_total"] > 1e6
    alone = samples(counted(1))
    assert found["process_resident_memory_bytes"] > alone["process_resident_memory_bytes"]
    assert found["process_max_fds"] <= alone["process_max_fds"]


def test_a_scrape_publishes_its_counts_first() -> None:
    """A worker puts its counts on the board before it answers a scrape, so counters never decrease if it dies."""
    others = Others()
    metrics = counted(6)
    metrics.share(others)
    metrics.render("")
    assert dict(decode(others.own).counters["http_requests"]) == {("POST", "/predict", "200"): 6}


def test_a_version_that_is_gone_keeps_its_counts_for_a_while() -> None:
    """An unloaded version is no longer reported as loaded, and of very many only the latest are kept."""
    metrics = Metrics()
    for number in range(40):
        version = f"1.0.{number}"
        metrics.model("iris", version, ("a", "b"), {"format": "onnx"}).called(0.001, 3, np.array([0, 1, 1]))
        metrics.forget("iris", version)
    text = metrics.render("")[0].decode()
    assert "orris_model_info" not in text.replace("# HELP orris_model_info", "").replace("# TYPE orris_model_info", "")
    kept = [
        f"1.0.{number}"
        for number in range(40)
        if f'orris_batch_rows_sum{{model="iris",version="1.0.{number}"}} 3.0' in text
    ]
    assert kept == [f"1.0.{number}" for number in range(24, 40)]


def test_the_version_that_went_last_is_kept_longest() -> None:
    """Versions are dropped in the order in which they were unloaded, not in which they were loaded."""
    metrics = Metrics()
    metrics.model("iris", "1.0.0", ("a",), {"format": "onnx"}).called(0.001, 1, np.array([0]))
    for number in range(16):
        metrics.model("iris", f"2.0.{number}", ("a",), {"format": "onnx"})
        metrics.forget("iris", f"2.0.{number}")
    metrics.forget("iris", "1.0.0")
    metrics.forget("iris", "2.0.15")  # a second time, and a version that never was: nothing happens
    metrics.forget("iris", "3.0.0")
    assert [version for _, version in metrics.models] == [*(f"2.0.{number}" for number in range(1, 16)), "1.0.0"]
    assert metrics.models["iris", "1.0.0"].predictions == [1]


def test_sums_do_not_fall_when_a_version_is_dropped() -> None:
    """If a worker drops a version before the others, the server's counts of the version do not decrease."""
    others = Others([encode(counted(10).snapshot())])
    metrics = counted(4)
    metrics.share(others)
    metrics.model("iris", "2.0.0", ("setosa", "versicolor"), {"format": "onnx"})
    metrics.forget("iris", "1.0.0")
    assert (
        samples(metrics)["orris_predictions_total[('label', 'versicolor'), ('model', 'iris'), ('version', '1.0.0')]"]
        == 14
    )


# exemplars

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SLOW, QUICK = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"


def exemplars(metrics: Metrics) -> dict[tuple[str, str], tuple[str, float]]:
    """Return trace id and value of each exemplar, by route and bound, as an OpenMetrics parser reads them."""
    text = metrics.render(OPENMETRICS)[0].decode()
    families = openmetrics.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return {
        (sample.labels["route"], sample.labels["le"]): (sample.exemplar.labels["trace_id"], sample.exemplar.value)
        for family in families
        for sample in family.samples
        if sample.exemplar is not None
    }


def test_a_sampled_request_is_the_exemplar_of_its_bucket() -> None:
    """The latest sampled request of each bucket is its exemplar, in OpenMetrics only."""
    metrics = counted(5)
    assert exemplars(metrics) == {}
    metrics.finished("POST", "/predict", 200, 0.0031, "0" * 32)
    metrics.finished("POST", "/predict", 200, 0.0032, QUICK)
    metrics.finished("POST", "/predict", 200, 99.0, SLOW)
    metrics.finished("POST", "/predict", 200, 0.0033)
    assert exemplars(metrics) == {("/predict", "0.005"): (QUICK, 0.0032), ("/predict", "+Inf"): (SLOW, 99.0)}
    assert QUICK not in metrics.render("")[0].decode()


def test_the_latest_exemplar_of_all_workers_is_kept() -> None:
    """Of all living workers' exemplars the latest is kept, and those of dead ones are dropped."""
    first, second = counted(1), counted(1)
    first.finished("POST", "/predict", 200, 0.0031, SLOW)
    first.finished("POST", "/predict", 200, 0.3, SLOW)
    second.finished("POST", "/predict", 200, 0.0032, QUICK)
    for order in ([first, second], [second, first]):
        order[0].share(Others([encode(order[1].snapshot())]))
        assert exemplars(order[0]) == {("/predict", "0.005"): (QUICK, 0.0032), ("/predict", "0.5"): (SLOW, 0.3)}
    assert decode(fold(b"", encode(first.snapshot()))).exemplars == []


def test_versions_and_threads_are_reported() -> None:
    """The metrics report the libraries' versions and the threads of all processes."""
    found = samples(counted(1))
    assert any(key.startswith("orris_build_info") and f"('version', '{__version__}')" in key for key in found)
    metrics = counted(1)
    metrics.share(Others())
    assert samples(metrics)["orris_threads"] > found["orris_threads"] >= 1

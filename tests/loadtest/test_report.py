"""Tests of the report's files, and of reading them again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orris.errors import LoadTestError
from orris.loadtest import Run, Step
from orris.loadtest.assertions import parse_assertion
from orris.loadtest.documents import read_run
from orris.loadtest.report import FILES, comparison_warnings, warnings_of, write_report
from tests.loadtest.runs import CALM, made_run, varying

HOSTILE = "<script>alert(1)</script>|*"


@pytest.fixture(scope="module")
def run() -> Run:
    """Two steps of a rate, with two errors whose text is hostile."""
    slices = varying(np.random.default_rng(0), 8)
    made = made_run(slices, errors={"HTTP 422": 2}, steps=(Step(200, 4), Step(200, 4)), mean_in_flight=2.2)
    return replace(made, samples={"HTTP 422": HOSTILE})


@pytest.fixture(scope="module")
def folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's report."""
    folder = tmp_path_factory.mktemp("report") / "made"
    write_report(run, folder, [parse_assertion("p99<1s"), parse_assertion("errors==0")])
    return folder


def test_the_json_is_the_whole_run(run: Run, folder: Path) -> None:
    """A run that is read from its report is the run that was written, histograms included."""
    assert read_run(folder) == run
    assert read_run(folder / "report.json") == run


def test_the_json_begins_with_the_main_numbers(run: Run, folder: Path) -> None:
    """Programs find throughput, latency and assertions without reading histograms."""
    document = json.loads((folder / "report.json").read_text("utf-8"))
    assert document["summary"]["throughput_per_second"] == run.whole.throughput_per_second
    assert document["summary"]["latency_ms"]["p99"] == run.whole.latency.quantile_seconds(0.99) * 1e3
    assert [each["passed"] for each in document["assertions"]] == [True, False]
    assert document["littles_law"]["verdict"] == "consistent"


def test_the_page_embeds_its_plots_and_escapes_its_data(folder: Path) -> None:
    """The page holds every plot and loads nothing; what a server said is shown as text."""
    page = (folder / "report.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 4
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "1 of 2 assertions fail" in page
    assert not {"http-equiv", "default-src"} - set(page.replace('"', " ").replace("=", " ").split())
    text = (folder / "report.md").read_text("utf-8")
    assert HOSTILE not in text
    assert "| 1: 4 s | 200 | 200.0 |" in text
    for name in ("latency_over_time", "throughput_over_time", "histogram", "throughput_latency"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"({name}.png)" in text


def test_a_run_without_answers_has_a_report(tmp_path: Path) -> None:
    """A run in which nothing was answered has all files, and says so."""
    write_report(made_run([[], []], errors={"connection refused": 3}), tmp_path)
    assert [name for name in FILES if not (tmp_path / name).exists()] == []
    assert "No request was answered." in (tmp_path / "report.md").read_text("utf-8")


def test_a_driver_without_time_is_a_warning() -> None:
    """A driver that used its whole core, or was late by much of the latency, makes the first warning."""
    busy = made_run([[0.01] * 100], driver=replace(CALM, cpu_share=0.97))
    assert "used 97% of a processor core" in warnings_of(busy)[0]
    late = made_run([[0.01] * 100], driver=replace(CALM, late_share=0.5, late_p99_seconds=0.02))
    assert "sent late: 20.0 ms" in warnings_of(late)[0]
    assert warnings_of(made_run([[0.01] * 100])) == []


def test_a_report_shows_no_number_that_was_not_measured(tmp_path: Path) -> None:
    """Locust and wrk do not say how late they send, so their reports have no such line; the open loop's has."""
    own = made_run([[0.01] * 100] * 2)
    write_report(own, tmp_path / "own")
    write_report(replace(own, engine="wrk", loop="closed"), tmp_path / "wrk")
    assert "Driver was late by" in (tmp_path / "own" / "report.md").read_text("utf-8")
    assert "Driver was late by" not in (tmp_path / "wrk" / "report.md").read_text("utf-8")


def test_unlike_runs_are_compared_with_a_warning() -> None:
    """Runs of different rates or connections are compared, with a warning that they differ."""
    a, b = made_run([[0.01] * 100] * 5), made_run([[0.01] * 50] * 5)
    assert comparison_warnings(a, a) == []
    assert comparison_warnings(a, replace(b, connections=9)) == [
        "the runs have different rates: 100/s for 5 s and 50/s for 5 s",
        "the runs have different connections: 8 and 9",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [("{", "is no report"), ('{"format": 99}', "has the format 99"), ('{"format": 1}', "is no report")],
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    """A file that is no report, or one of a newer format, is refused by name."""
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(LoadTestError, match=problem):
        read_run(tmp_path)


def test_a_histogram_that_is_cut_is_refused(folder: Path, tmp_path: Path) -> None:
    """A report whose histogram was changed is refused, not read as something else."""
    text = (folder / "report.json").read_text("utf-8")
    document = json.loads(text)
    document["run"]["slices"][0]["latency"]["hdr"] = "HISTFAAAAB"
    (tmp_path / "report.json").write_text(json.dumps(document))
    with pytest.raises(LoadTestError, match="a histogram cannot be read"):
        read_run(tmp_path)


def test_a_report_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing report is named."""
    with pytest.raises(LoadTestError, match="No such file"):
        read_run(tmp_path / "nothing.json")

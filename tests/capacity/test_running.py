"""Tests of short measurements of real servers."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orris.api import Bundle
from orris.capacity import measure, measure_url
from orris.cli import main
from orris.cli.app import app
from orris.errors import CapacityError
from tests.capacity.queues import Queue
from tests.servers import Server


def test_a_running_server_is_measured_with_what_it_says_of_itself(server: Server) -> None:
    """The rates that were asked for are measured, with the server's processor time and memory."""
    found = measure_url(server.url, seconds_each=0.3, first_per_second=50, max_per_second=100, connections=8)
    assert len(found.points) >= 2
    assert found.model == "iris@1.0.0"
    for point in found.points:
        assert point.cpu_cores >= 0
        assert point.memory_bytes > 10 * 2**20
        assert point.p99_seconds >= point.p50_seconds > 0


def test_a_model_is_served_measured_and_planned(iris: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``orris plan MODEL`` serves the model, and writes the plan that follows from its latencies in every form.

    The latencies are a queue's: those of a real server on a busy machine need not grow with the rate.
    """
    monkeypatch.setattr("orris.capacity.running.measure", partial(measure, driver=Queue("M/M/1")))
    done = CliRunner().invoke(
        app,
        [
            "plan",
            str(iris.folder),
            "--cpus",
            "1",
            "--rows-per-request",
            "400",
            "--seconds",
            "10",
            "--output",
            str(tmp_path / "plan"),
            "--json",
            "--price",
            "0.04",
        ],
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    law = found["plan"]["fit"]
    assert 0 < law["knee_per_second"] < law["capacity_per_second"]
    assert found["plan"]["usable_per_second"] == law["knee_per_second"]
    assert found["plan"]["cost_per_million"] > 0
    assert found["rows_per_request"] == 400
    assert any("held to 1" in condition for condition in found["conditions"])
    assert {file.name for file in (tmp_path / "plan").iterdir()} == {
        "plan.html",
        "plan.json",
        "plan.md",
        "values.yaml",
    }


def test_a_model_that_cannot_be_served_is_an_error_with_what_the_server_said(tmp_path: Path) -> None:
    """The message of a server that does not start is that of ``orris serve``."""
    done = CliRunner().invoke(app, ["plan", "nothing", "--store", str(tmp_path)])
    assert isinstance(done.exception, CapacityError)
    assert "orris serve does not start" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--p99", "soon"], "a time is a number and a unit"),
        (["--workers", "many"], "a number from 1 on"),
        (["--scaler", "hand"], "hpa, keda or none"),
        (["--protocol", "v1=x"], "'x' is no number"),
        (["--header", "x"], "'Name: value'"),
        (["--max-rate", "150", "--first-rate", "50"], "--max-rate above 200"),
    ],
)
def test_wrong_usage_names_the_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    """A malformed option is refused by name with exit code 2, before anything is sent."""
    target = "http://127.0.0.1:9" if "--header" in arguments else "iris"
    monkeypatch.setattr(sys, "argv", ["orris", "plan", target, *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert problem in " ".join(capsys.readouterr().err.replace("│", " ").split())

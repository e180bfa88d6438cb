"""Tests of ``orris load``: what it prints, its exit codes, and what Ctrl-C keeps."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from orris.cli import main
from orris.cli.load_view import drawn
from orris.loadtest.documents import encode
from tests.loadtest.runs import made_run, varying
from tests.servers import Server
from tests.waiting import PATIENCE_SECONDS

SHORT = ["--rate", "100", "--seconds", "0.5", "--warm-up", "0.1", "--connections", "4"]


def load(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run ``orris load`` in this process; returns the exit code."""
    monkeypatch.setattr(sys, "argv", ["orris", "load", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_load_test_prints_its_numbers(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A run whose assertions hold exits with 0, prints its numbers, and writes a report."""
    arguments = ["--assert", "errors==0", "--assert", "answered>0", "--mix", "native=3,v1=1", "--report", str(tmp_path)]
    assert load(monkeypatch, server.url, *SHORT, *arguments) == 0
    output = capsys.readouterr().out
    assert "iris@1.0.0. Open loop: 100 requests a second for 0.5 s after 0.1 s of warm-up" in output
    assert "✓ errors==0   (0)" in output
    assert "v1" in output
    assert {"report.html", "report.json", "report.md", "histogram.png"} <= {each.name for each in tmp_path.iterdir()}


def test_an_assertion_that_does_not_hold_fails(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that misses an assertion exits with 1, and its JSON says which."""
    assert load(monkeypatch, server.url, *SHORT, "--assert", "throughput>=1000000", "--json") == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["assertions"][0]["passed"] is False
    assert printed["offered"] == 50
    assert printed["errors"] == {}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "Missing argument"),
        (["http://x", "http://y"], "one URL is needed"),
        (["http://x", "--rate", "fast"], "--rate fast: a number above 0"),
        (["http://x", "--rate", "0"], "--rate 0: a number above 0"),
        (["http://x", "--rate", "1", "--users", "1"], "give one of them"),
        (["http://x", "--engine", "ab"], "there are asyncio, locust, wrk"),
        (["http://x", "--engine", "wrk", "--rate", "5"], "keeps --connections busy"),
        (["http://x", "--engine", "locust"], "needs --users"),
        (["http://x", "--users", "1", "--think", "2..1"], "--think 2..1"),
        (["http://x", "--mix", "native=x"], "'x' is no number"),
        (["http://x", "--assert", "p99<20"], "is written with ms"),
        (["http://x", "--header", "nothing"], "'Name: value'"),
        (["http://x", "--body", "none.json"], "--body none.json: No such file"),
        (["http://x", "--mix", "soap"], "there is no protocol 'soap'"),
        (["localhost:8000"], "is no server's URL"),
        (["compare", "a"], "compare takes two reports"),
    ],
)
def test_wrong_usage_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    """Wrong usage exits with 2 before a server is asked, and says what to write."""
    assert load(monkeypatch, *arguments) == 2
    assert problem in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_server_that_is_not_there_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a server the exit code is 1, and the address is named."""
    assert load(monkeypatch, "http://127.0.0.1:9") == 1
    assert "http://127.0.0.1:9 does not answer: Connection refused" in capsys.readouterr().err


def test_ctrl_c_keeps_what_was_measured(server: Server) -> None:
    """Ctrl-C ends a run, which then prints the numbers until then and exits with 0."""
    command = [sys.executable, "-m", "orris", "load", server.url, "--rate", "50", "--seconds", "600", "--warm-up", "0"]
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert any("answered/s" in line for line in process.stderr)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0
    printed = json.loads(output)
    assert printed["interrupted"] is True
    assert 0 < printed["seconds"] < 600
    assert printed["answered"] > 0


def test_reports_are_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Two reports are compared in a table, or as JSON, with ratios and their intervals."""
    generator = np.random.default_rng(0)
    for name, factor in (("before", 1.0), ("after", 2.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_bytes(encode(made_run(varying(generator, 12, factor=factor)), []))
    before, after = str(tmp_path / "before"), str(tmp_path / "after" / "report.json")
    assert load(monkeypatch, "compare", before, after) == 0
    assert "worse" in capsys.readouterr().out
    assert load(monkeypatch, "compare", before, after, "--json") == 0
    ratios = {each["name"]: each for each in json.loads(capsys.readouterr().out)["ratios"]}
    assert ratios["p50"]["low"] < 2.0 < ratios["p50"]["high"]
    assert ratios["throughput"]["ratio"] == 1.0


def test_the_live_view_shows_the_last_second_and_the_whole() -> None:
    """The live table shows rates, percentiles and errors by kind, and a bar for each slice."""
    run = made_run(varying(np.random.default_rng(0), 5), errors={"HTTP 503": 7})
    console = Console(file=io.StringIO(), width=140)
    console.print(drawn(list(run.slices), "iris", 30.0))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "5 of 30 s" in text
    assert "since the beginning" in text
    assert "HTTP 503" in text
    assert "p99 by slice" in text

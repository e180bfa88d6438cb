"""Tests of the experiment on this machine: real replicas under a real quota, a real HAProxy, a real wrk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orris.api import Bundle
from orris.autoscaling.driver import read_load
from orris.autoscaling.local import CHART_SPEC, LocalSettings, run_local
from orris.autoscaling.report import HEADER, html, markdown, table, write_report
from orris.autoscaling.results import Experiment, Scenario, read_experiment
from orris.errors import ExperimentError
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
needs_programs = pytest.mark.skipif(
    shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None or shutil.which("wrk") is None,
    reason="HAProxy or wrk is not installed: apt-get install haproxy wrk",
)


@needs_programs
def test_replicas_follow_the_load_and_everything_is_written(iris: Bundle, tmp_path: Path) -> None:
    """A load beyond one replica's quota brings a second, the analysis says why, and four files hold it all."""
    # A target that a replica passes as well where the machine is so busy that it does not get its quota.
    settings = LocalSettings(
        [str(iris.folder)],
        scenarios=[(2, 20)],
        cores=0.15,
        load_seconds=9,
        after_seconds=1,
        faster=15,
        target_percent=10,
    )
    said: list[str] = []
    found = run_local(settings, said.append)
    scenario = found.scenarios[0]
    assert any(step.current == 1 and step.replicas == 2 for step in scenario.steps), said
    up = next(step for step in scenario.steps if step.replicas == 2)
    assert up.usage_percent is not None
    assert up.usage_percent > 11
    assert scenario.load is not None
    assert scenario.load.requests > 0
    assert scenario.load.failed < scenario.load.requests  # a busy machine may be too slow for some
    assert {point.phase for point in scenario.points} == {"before", "load", "after"}
    assert scenario.observations
    files = write_report(found, tmp_path)
    assert [file.name for file in files] == [f"autoscaling.{kind}" for kind in ("json", "png", "md", "html")]
    assert read_experiment(files[0]) == found
    assert len(table(found)[0]) == len(HEADER)
    assert children(os.getpid()) & replica_ids() == set()


@needs_programs
def test_an_interrupt_ends_every_process_and_keeps_what_was_measured(mixed: Bundle, tmp_path: Path) -> None:
    """After SIGINT during the load the results are there, marked as interrupted, and no process is left.

    The model is one of another table than iris: its requests are drawn from the schema.
    """
    command = [
        sys.executable,
        "-m",
        "orris",
        "experiment",
        "autoscaling",
        "--local",
        str(mixed.folder),
        "--faster",
        "15",
    ]
    command += ["--max-replicas", "2", "--connections", "20", "--cpu", "0.2", "--target", "10", "--load-seconds", "600"]
    command += ["--output", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "1 → 2 replicas" in line:
                break
        started = children(process.pid)
        assert len(started) >= 3  # a replica, HAProxy, wrk
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 1
    assert not {pid for pid in started if parent(pid)}
    found = json.loads((tmp_path / "autoscaling.json").read_text("utf-8"))
    assert found["interrupted"] is True
    assert found["scenarios"][0]["points"]
    assert found["scenarios"][0]["load"]["requests"] > 0
    assert found["scenarios"][0]["load"]["refused"] < found["scenarios"][0]["load"]["requests"]


def children(pid: int) -> set[int]:
    """The processes that this process has started and that run."""
    numbers = (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return {number for number in numbers if parent(number) == pid}


def parent(pid: int) -> int:
    """The process that has started this one; 0 if it has ended, whether or not its status has been read."""
    try:
        state, number = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return 0
    return 0 if state == "Z" else int(number)


def replica_ids() -> set[int]:
    """Processes whose command line is that of a replica, HAProxy or wrk of an experiment."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if b"haproxy" in line or b"--no-access-log" in line or line.startswith(b"wrk"):
                found.add(int(folder.name))
    return found


def test_a_missing_program_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HAProxy or wrk the error says which Debian package has it."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(ExperimentError, match="haproxy is not installed: install it with  apt-get install haproxy"):
        run_local(LocalSettings(["iris"]))


@needs_programs
def test_a_replica_that_does_not_start_is_explained(tmp_path: Path) -> None:
    """A model that is not there ends the experiment with the server's own words."""
    with pytest.raises(ExperimentError, match=r"replica-1 ended with exit code 1: .*no-such-model"):
        run_local(LocalSettings(["no-such-model", "--store", str(tmp_path)], cores=0.5))


def test_wrk_without_numbers_is_explained() -> None:
    """Output without a summary is an error with its last line."""
    with pytest.raises(ExperimentError, match="wrk gave no numbers: unable to connect"):
        read_load("unable to connect", 10, 0.1)


def test_the_autoscaler_is_the_charts() -> None:
    """The policies and the target equal the defaults of the chart's values."""
    import yaml

    values = yaml.safe_load((ROOT / "charts/orris/values.yaml").read_text("utf-8"))["autoscaling"]
    assert values["hpa"]["cpuPercent"] == CHART_SPEC.target
    for name, rules in (("scaleUp", CHART_SPEC.scale_up), ("scaleDown", CHART_SPEC.scale_down)):
        behavior = values["behavior"][name]
        assert behavior["stabilizationWindowSeconds"] == rules.stabilization_window_seconds
        assert [(each["type"], each["value"], each["periodSeconds"]) for each in behavior["policies"]] == [
            (policy.type, policy.value, policy.period_seconds) for policy in rules.policies
        ]


def test_results_of_another_form_are_refused(tmp_path: Path) -> None:
    """A file that is absent, holds something else or is of a newer format is refused by name."""
    file = tmp_path / "a.json"
    with pytest.raises(ExperimentError, match=r"a\.json cannot be read"):
        read_experiment(file)
    file.write_text('{"size": "local"}')
    with pytest.raises(ExperimentError, match="is not the result of an autoscaling experiment"):
        read_experiment(file)
    file.write_text('{"size": "local", "at": "", "conditions": {}, "format": 99}')
    with pytest.raises(ExperimentError, match="has format 99"):
        read_experiment(file)


def test_names_are_escaped_in_reports(tmp_path: Path) -> None:
    """A name with HTML or a column separator in it is shown as it is."""
    experiment = Experiment("local", "", {"machine": "a|b"}, [Scenario("<b>|", 1, 1, 0.1, 60)])
    picture = tmp_path / "a.png"
    picture.write_bytes(b"")
    assert "&lt;b&gt;|" in html(experiment, picture)
    assert "| &lt;b&gt;\\| |" in markdown(experiment)
    assert "a\\|b" in markdown(experiment)


def test_scenarios_come_in_pairs(tmp_path: Path) -> None:
    """Maxima and connections that do not pair up, and no size at all, are wrong usage."""
    command = [sys.executable, "-m", "orris", "experiment", "autoscaling"]
    for arguments, text in ((["--local", "--max-replicas", "2"], "come in pairs"), ([], "--local")):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 2
        assert text in done.stderr


def test_the_documented_results_are_the_measured_ones() -> None:
    """The table of docs/autoscaling.md equals what ``python -m tools.autoscaling_docs`` makes of the results."""
    from tools import autoscaling_docs

    text = autoscaling_docs.PAGE.read_text("utf-8")
    assert autoscaling_docs.page(text) == text
    assert autoscaling_docs.PICTURE.is_file()

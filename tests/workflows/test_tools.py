"""Tests of the programs that workflows use: versions, reports, live tests, releases and load tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import Server
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, stdin: str = "", expect: int = 0, environ: dict[str, str] | None = None) -> str:
    """Standard output and standard error of a program that ends with this exit code."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("ORRIS_", "GITHUB_"))}
    done = subprocess.run(
        list(command),
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=clean | (environ or {}),
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def tool(name: str, *arguments: str | Path, stdin: str = "", expect: int = 0) -> str:
    """One of tools/, with this Python."""
    return run(sys.executable, ROOT / "tools" / f"{name}.py", *arguments, stdin=stdin, expect=expect)


@pytest.mark.parametrize(
    ("tags", "arguments", "expected"),
    [
        ([], ["patch"], "0.0.1"),
        ([], ["minor"], "0.1.0"),
        (["v0.9.0", "v0.10.0", "v0.2.7"], ["patch"], "0.10.1"),
        (["v1.2.3", "v1.2.4-rc.1", "nightly", "v2", "1.9.0"], ["minor"], "1.3.0"),
        (["v1.2.3"], ["major"], "2.0.0"),
        (["v1.2.3"], ["custom", "2.0.0-rc.1"], "2.0.0-rc.1"),
        (["v1.2.3"], ["custom", "v1.0.7"], "1.0.7"),
    ],
)
def test_the_next_version_follows_the_newest_release(tags: list[str], arguments: list[str], expected: str) -> None:
    """The next version follows the numerically newest release, not a candidate or another tag."""
    assert tool("next_version", *arguments, stdin="\n".join(tags)).strip() == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["custom", "1.2.3"],
        ["custom", ""],
        ["custom", "1.2"],
        ["custom", "1.2.3+build"],
        ["custom", "1.2.3; rm -rf /"],
        ["build"],
        ["patch", "1.0.0"],
        [],
    ],
    ids=["taken", "none", "short", "metadata", "shell", "part", "both", "nothing"],
)
def test_a_version_that_cannot_be_is_refused(arguments: list[str]) -> None:
    """A version is refused if it exists, is not semantic, is no container tag, or was not requested explicitly."""
    tool("next_version", *arguments, stdin="v1.2.3\n", expect=2)


JUNIT = """<testsuites><testsuite>
<testcase classname="tests.test_a" name="test_one" time="1.5"/>
<testcase classname="tests.test_a" name="test_two[@everyone &lt;b&gt;]" time="0.5"><failure message="m">E ```
assert 1 == 2</failure></testcase>
<testcase classname="tests.test_a" name="test_three" time="0"><skipped message="no tool"/></testcase>
</testsuite></testsuites>"""


def report(tmp_path: Path, junit: str | None, log: str = "") -> str:
    """The report of a run."""
    (tmp_path / "log").write_text(log)
    if junit is not None:
        (tmp_path / "junit.xml").write_text(junit)
    output = tmp_path / "new" / "report.md"
    tool(
        "ci_report",
        "--title",
        "Tests",
        "--junit",
        tmp_path / "junit.xml",
        "--log",
        tmp_path / "log",
        "--output",
        output,
    )
    return output.read_text()


def test_a_red_run_is_reported_with_its_failures(tmp_path: Path) -> None:
    """The report begins with counts, and a test's own text can neither end its block nor become markup."""
    text = report(tmp_path, JUNIT)
    assert text.startswith("## ❌ Tests: 1 passed, 1 failed, 1 skipped\n")
    assert "````text\nE ```\nassert 1 == 2\n````" in text
    assert "@everyone" not in text.partition("| slowest")[0]
    assert "&lt;b&gt;" in text


def test_a_green_run_is_reported_in_one_line(tmp_path: Path) -> None:
    """The report of a passing run is one line and its slowest tests."""
    text = report(tmp_path, re.sub(r"<testcase[^>]*test_t(?:.|\n)*</testcase>\n", "", JUNIT))
    assert text.startswith("## ✅ Tests: 1 passed, 0 failed\n")
    assert "| `tests/test_a::test_one` | 1.5 |" in text


def test_a_run_without_results_shows_its_log(tmp_path: Path) -> None:
    """Without a complete result file the report shows the end of the log, without colours."""
    for junit in (None, JUNIT[:40]):
        text = report(tmp_path, junit, log="first\n" * 100 + "\x1b[31mlast words\x1b[0m")
        assert text.startswith("## ❌ Tests: it ended before any test\n")
        assert "\nlast words\n" in text


def test_a_report_has_room_in_a_comment(tmp_path: Path) -> None:
    """A report fits the size of a comment, however many tests failed."""
    case = '<testcase classname="t" name="n{}" time="0"><failure>' + "x" * 5_000 + "</failure></testcase>"
    text = report(tmp_path, "<testsuite>" + "".join(case.format(i) for i in range(200)) + "</testsuite>")
    assert len(text) < 21_000


def test_the_live_test_passes_against_a_server(server: Server, tmp_path: Path) -> None:
    """Every check of the live test passes on a real server, and its JUnit file becomes a report."""
    text = tool("live", server.url, "--junit", tmp_path / "junit.xml")
    assert "FAILED" not in text
    assert text.count("ok ") == 7
    assert report(tmp_path, None).startswith("## ✅ Tests: 7 passed, 0 failed\n")


def test_the_live_test_fails_for_another_model_and_for_no_server(server: Server) -> None:
    """For another model or no server the live test ends with exit code 1 and names the failed check."""
    assert "another model" in tool("live", server.url, "--digest", "0" * 64, expect=1)
    assert "is not ready" in tool("live", "http://127.0.0.1:9", "--wait", "0.1", expect=1)


@pytest.fixture(scope="module")
def orris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that runs this Python's ``orris``."""
    program = tmp_path_factory.mktemp("bin") / "orris"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m orris "$@"\n')
    program.chmod(0o755)
    return program


def test_a_release_publishes_the_model_that_was_evaluated(orris: Path, tmp_path: Path) -> None:
    """The candidate is trained again under the version, has the same digest, and is fetched for the image.

    It comes from the store, or from the file that is attached to a release, whose bytes are the same each time.
    """
    environ = {"ORRIS": str(orris), "CANDIDATE": str(tmp_path / "candidate"), "RELEASE": str(tmp_path / "release")}
    environ["IMAGE_MODEL"] = str(tmp_path / "image" / "model")
    store, outputs = str(tmp_path / "store"), tmp_path / "outputs"
    run(orris, "train", "--params", "params.yaml", "--store", environ["CANDIDATE"])
    script = ROOT / "scripts" / "release_model.sh"
    run(script, "build", "1.2.3", environ=environ | {"GITHUB_OUTPUT": str(outputs)})
    values = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    assert Path(values["manifest"]).parts[-4:] == ("iris", "versions", "1.2.3", "manifest.json")
    run(script, "publish", "1.2.3", store, environ=environ)
    assert "another model" in run(script, "fetch", "1.2.3", store, "0" * 64, environ=environ, expect=1)
    assert "MODEL_STORE" in run(script, "fetch", "1.2.3", "", values["digest"], environ=environ, expect=2)
    run(script, "fetch", "1.2.3", store, values["digest"], environ=environ)
    run(orris, "models", "verify", environ["IMAGE_MODEL"], "--digest", values["digest"])
    packed = tmp_path / "packed" / "iris-1.2.3.tar.gz"
    written = set()
    for _ in range(2):
        run(script, "pack", "1.2.3", environ=environ | {"PACKED": str(packed.parent)})
        written.add(packed.read_bytes())
    assert len(written) == 1
    shutil.rmtree(environ["IMAGE_MODEL"])
    run(script, "unpack", packed, values["digest"], environ=environ)
    run(orris, "models", "verify", environ["IMAGE_MODEL"], "--digest", values["digest"])
    assert "another model" in run(script, "unpack", packed, "0" * 64, environ=environ, expect=1)


def recorder(folder: Path, name: str, script: str = "") -> Path:
    """A program that writes down how it was called, and then does what the script says."""
    program = folder / name
    program.write_text(f'#!/bin/bash\necho "{name} $*" >> {folder / "calls"}\n{script}\n')
    program.chmod(0o755)
    return program


def calls(folder: Path) -> list[str]:
    """How the programs were called."""
    return (folder / "calls").read_text().splitlines()


CONTEXT = "gke_project_zone_stage"
KUBECTL = """case "$*" in
  *current-context*) echo "${CONTEXT:-gke_project_zone_stage}" ;;
esac"""
# What the command writes: see tests/cluster/test_experiment.py for the command itself on a real API server.
ORRIS = """while [[ $1 != --output ]]; do shift; done
load='{"p99_ms": '"${P99:-12.5}"', "failed": '"${LOST:-0}"'}'
[[ -z ${NO_NUMBERS:-} ]] || load=null
first='{"connections": 1000, "load": '"$load"'}' second='{"connections": 2000, "load": '"$load"'}'
echo '{"scenarios": ['"$first, $second"']}' > "$2/autoscaling.json"
exit "${CODE:-0}"
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A folder with programs that stand in for a cluster: there is none here."""
    recorder(tmp_path, "kubectl", KUBECTL)
    recorder(tmp_path, "orris", ORRIS)
    recorder(tmp_path, "flux")
    return tmp_path


def loadtest(cluster: Path, expect: int, environ: dict[str, str]) -> str:
    """The script, with the stand-ins found first."""
    given = {"ENVIRONMENT": "stage", "OUT": str(cluster / "out"), "ORRIS": str(cluster / "orris")}
    given |= {"PATH": f"{cluster}:{os.environ['PATH']}"}
    return run(ROOT / "scripts" / "loadtest.sh", expect=expect, environ=given | environ)


@pytest.mark.parametrize(
    ("environ", "expect", "says"),
    [
        ({}, 0, "2000 connections: p99 12.5 ms, within 1000"),
        ({"P99": "1000.5"}, 1, "p99 is 1000.5 ms, and 1000 are allowed"),
        ({"LOST": "3"}, 1, "1000 connections: 3 requests failed"),
        ({"NO_NUMBERS": "1"}, 1, "p99 is missing ms"),
        ({"CODE": "1"}, 1, "2000 connections: p99 12.5 ms, within 1000"),
    ],
    ids=["fast", "slow", "failures", "no numbers", "interrupted"],
)
def test_a_load_test_is_judged_and_flux_resumes(cluster: Path, environ: dict[str, str], expect: int, says: str) -> None:
    """A load test is judged by its numbers; whether it passed or not, Flux stands aside meanwhile and then resumes."""
    assert says in loadtest(cluster, expect, environ)
    done = [call for call in calls(cluster) if call.startswith(("flux", "orris"))]
    assert done == [
        "flux suspend helmrelease orris --namespace orris",
        f"orris experiment autoscaling --context {CONTEXT} --namespace orris --output {cluster / 'out'}",
        "flux resume helmrelease orris --namespace orris",
    ]


@pytest.mark.parametrize(
    "environ", [{"ENVIRONMENT": "prod"}, {"CONTEXT": "gke_project_zone_prod"}, {"CONTEXT": "live"}], ids=str
)
def test_a_load_test_of_production_changes_nothing(cluster: Path, environ: dict[str, str]) -> None:
    """A load test of production is refused by the environment's name and by the cluster's."""
    assert "never runs there" in loadtest(cluster, 2, environ)
    done = calls(cluster) if (cluster / "calls").exists() else []
    assert [call for call in done if "current-context" not in call] == []


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"VERSION": "1.2.3", "TO": "dev", "IMAGE_DIGEST": "sha256:0a"},
            "promote 1.2.3 --to dev --push --report build/promotion.md --image-digest sha256:0a",
        ),
        (
            {"VERSION": "1.2.3", "FROM": "dev", "TO": "stage"},
            "promote 1.2.3 --to stage --push --report build/promotion.md --from dev",
        ),
        ({"TO": "prod"}, "promote --to prod --push --report build/promotion.md --rollback"),
    ],
    ids=["first", "onward", "back"],
)
def test_a_promotion_passes_its_arguments_on(tmp_path: Path, environ: dict[str, str], expected: str) -> None:
    """The script promotes a given version, or rolls back without one."""
    program = recorder(tmp_path, "orris")
    run(ROOT / "scripts" / "promote.sh", environ=environ | {"ORRIS": str(program)})
    assert calls(tmp_path) == [f"orris {expected}"]


def test_a_chart_is_signed_by_the_digest_that_was_pushed(tmp_path: Path) -> None:
    """A chart is signed by its pushed digest, and a push without a digest is a failure."""
    digest = f"sha256:{'5f' * 32}"
    recorder(tmp_path, "helm", f'[[ $1 != push ]] || echo "Digest: {digest}" >&2')
    recorder(tmp_path, "cosign")
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    text = run(ROOT / "scripts" / "chart.sh", "1.2.3", "registry.test/charts", environ=environ)
    assert f"oci://registry.test/charts/orris:1.2.3@{digest}" in text
    assert calls(tmp_path)[-1] == f"cosign sign --yes registry.test/charts/orris@{digest}"
    recorder(tmp_path, "helm")
    assert "named no digest" in run(
        ROOT / "scripts" / "chart.sh", "1.2.3", "registry.test/charts", environ=environ, expect=1
    )


def test_a_live_test_of_an_image_restricts_and_removes_it(tmp_path: Path, server: Server) -> None:
    """The container has a read-only root and no capabilities, is removed afterwards, and fails with a wrong user."""
    script = '[[ $1 != run ]] || echo c0ffee\n[[ "$*" != "exec c0ffee id -u" ]] || echo "${USER_ID:-10001}"'
    recorder(tmp_path, "engine", script)
    environ = {
        "ENGINE": str(tmp_path / "engine"),
        "PORT": str(server.port),
        "PYTHON": sys.executable,
        "PLATFORM": "linux/arm64",
    }
    run(ROOT / "scripts" / "live.sh", "orris:ci", environ=environ)
    done = calls(tmp_path)
    assert "--read-only --tmpfs /tmp --cap-drop ALL" in done[0]
    assert "--platform linux/arm64 orris:ci serve" in done[0]
    assert "engine exec c0ffee orris ping" in done
    assert done[-1] == "engine rm --force c0ffee"
    assert "runs as user 0" in run(
        ROOT / "scripts" / "live.sh", "orris:ci", environ=environ | {"USER_ID": "0"}, expect=1
    )

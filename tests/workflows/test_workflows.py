"""Tests of the GitHub workflows: valid, pinned, with few rights, and only naming what exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from orris.cli.app import app
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))
SOME = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    """A workflow; its ``on``, which YAML 1.1 takes for a truth value, by that name."""
    content: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    content["on"] = content.pop(True)
    return content


def steps(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every step, with the name of its job."""
    for name, job in read(path)["jobs"].items():
        for step in job.get("steps", []):
            yield name, step


def output_of(*command: str | Path) -> str:
    """Return a tool's output, with its exit code unless that is 0; the other tools are on its PATH."""
    environ = {**os.environ, "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    done = subprocess.run(
        list(command), cwd=ROOT, capture_output=True, text=True, check=False, env=environ, timeout=PATIENCE_SECONDS
    )
    return f"exit code {done.returncode}\n{done.stdout}{done.stderr}" if done.returncode else ""


def test_every_documented_workflow_exists() -> None:
    """The workflows from a change to production exist, and the three that monitor."""
    assert {path.stem for path in WORKFLOWS} == {
        "ci",
        "train",
        "release",
        "build",
        "deploy",
        "promote",
        "loadtest",
        "sanity",
    }


def test_actionlint_finds_nothing(record_property: Callable[[str, object], None]) -> None:
    """actionlint, with ShellCheck over every step's script, finds nothing."""
    n_steps = sum(1 for path in WORKFLOWS for _ in steps(path))
    record_property(
        "validated",
        f"workflows: {len(WORKFLOWS)} files, {n_steps} steps by actionlint, ShellCheck, zizmor and their schema",
    )
    assert output_of(TOOLS / "actionlint", "-shellcheck", str(TOOLS / "shellcheck"), *WORKFLOWS) == ""


def test_zizmor_finds_nothing() -> None:
    """zizmor, offline, finds no injection, stolen credential, unpinned action or right that is too wide."""
    assert output_of(TOOLS / "zizmor", "--offline", "--no-progress", "--quiet", "--persona", "pedantic", FOLDER) == ""


@pytest.mark.parametrize(
    ("schema", "files"),
    [("github-workflows", WORKFLOWS), ("dependabot", [FOLDER / "dependabot.yml"])],
    ids=["workflows", "dependabot"],
)
def test_the_schema_accepts_them(schema: str, files: list[Path]) -> None:
    """SchemaStore's schema, which check-jsonschema brings along, accepts every workflow."""
    assert output_of(TOOLS / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files) == ""


@SOME
def test_every_action_is_pinned_to_a_commit_that_was_reviewed(path: Path) -> None:
    """Every action is pinned to a commit of tests/workflows/pins.txt, and our own workflows to the same commit."""
    lines = (Path(__file__).parent / "pins.txt").read_text("utf-8").splitlines()
    allowed = {
        f"{name}@{commit} # {tag}" for name, tag, commit in (line.split() for line in lines if not line.startswith("#"))
    }
    used = re.findall(r"^\s+(?:- )?uses: (.+)$", path.read_text("utf-8"), re.MULTILINE)
    assert used
    for name in used:
        if name.startswith("$/"):
            assert (ROOT / name[2:]).is_file(), name
        else:
            assert name in allowed, f"{name} is not in tests/workflows/pins.txt"
            assert re.search(r"@[0-9a-f]{40} # v\d", name)


def test_no_pin_is_left_over() -> None:
    """Every pin in the table is used by a workflow."""
    text = "".join(path.read_text("utf-8") for path in WORKFLOWS)
    lines = (Path(__file__).parent / "pins.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#") and line.split()[2] not in text] == []


@SOME
def test_rights_are_granted_job_by_job(path: Path) -> None:
    """A workflow has no rights, each job lists its own, and runs have time limits and do not race."""
    workflow = read(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert isinstance(job["permissions"], dict), name
        assert "uses" in job or 5 <= job["timeout-minutes"] <= 90, name
        assert "uses" in job or re.fullmatch(r"ubuntu-\d\d\.04", job["runs-on"]), name
    assert "concurrency" in workflow or all("concurrency" in job for job in workflow["jobs"].values())


def test_a_change_gets_no_right_to_write_and_no_cloud() -> None:
    """Jobs that run a change's code may only read, and the job that comments runs none of it."""
    ci = read(FOLDER / "workflows" / "ci.yml")
    for name, job in ci["jobs"].items():
        writes = {right for right, level in job["permissions"].items() if level == "write"}
        runs_code = any("checkout" in step.get("uses", "") for step in job["steps"])
        assert not (writes and runs_code), name
        assert "id-token" not in job["permissions"]
    assert [
        path.stem
        for path in WORKFLOWS
        if "pull_request_target" in read(path)["on"] or "workflow_run" in read(path)["on"]
    ] == []
    assert [path.stem for path in WORKFLOWS if "pull_request" in read(path)["on"]] == ["ci"]


@SOME
def test_there_is_no_secret_to_leak(path: Path) -> None:
    """Clouds and signatures use the identity of the run, so there is no long-lived key."""
    text = path.read_text("utf-8")
    assert "secrets." not in text
    assert "credentials_json" not in text


@SOME
def test_no_script_holds_an_expression(path: Path) -> None:
    """Scripts hold no expression, because values come through the environment."""
    assert [step["run"] for _, step in steps(path) if "${{" in step.get("run", "")] == []
    assert [
        step
        for _, step in steps(path)
        if "checkout" in step.get("uses", "") and step["with"]["persist-credentials"] is not False
    ] == []


def test_ci_runs_the_local_script() -> None:
    """CI runs the same script as a developer, and reports whether it passed or not."""
    jobs = read(FOLDER / "workflows" / "ci.yml")["jobs"]
    assert any("bash .ci/run" in step.get("run", "") for step in jobs["tests"]["steps"])
    for job in ("tests", "image"):
        [report] = [step for step in jobs[job]["steps"] if "GITHUB_STEP_SUMMARY" in step.get("run", "")]
        assert report["if"] == "always()"
    assert jobs["comment"]["if"].startswith("always() && ")


def test_nothing_is_pushed_before_it_has_been_tested_live() -> None:
    """The build tests an image live before it logs in to push, and ci a pull request's image before it pushes it."""
    names = [step.get("name", step.get("uses", "")) for _, step in steps(FOLDER / "workflows" / "build.yml")]
    at = [
        next(i for i, name in enumerate(names) if word in name)
        for word in ("test them live", "vulnerabilities", "docker/login-action", "Push both", "Sign")
    ]
    assert at == sorted(at)
    pushed = [
        step
        for _, step in steps(FOLDER / "workflows" / "build.yml")
        if "push=true" in str(step.get("with", {}).get("outputs", ""))
    ]
    assert [step["name"] for step in pushed] == ["Push both as one image"]
    ci = read(FOLDER / "workflows" / "ci.yml")["jobs"]
    assert [name for name, job in ci.items() if "docker login" in str(job)] == ["preview"]
    assert ci["preview"]["needs"] == "image"
    assert "head.repo.full_name == github.repository" in ci["preview"]["if"]
    tested = [step.get("name", "") for step in ci["image"]["steps"]]
    assert tested.index("Start it and test it live") < tested.index("Keep it, for the pull request's own name")
    tags = {line.strip() for line in scripts(FOLDER / "workflows" / "ci.yml").splitlines() if "for tag in" in line}
    assert tags == {'for tag in "pr-$PULL_REQUEST" "pr-$PULL_REQUEST-${COMMIT:0:7}"; do'}


def test_all_three_builds_of_the_image_are_the_same() -> None:
    """The three builds of the image have equal arguments, target and time."""
    builds = [
        step for _, step in steps(FOLDER / "workflows" / "build.yml") if "build-push-action" in step.get("uses", "")
    ]
    assert len(builds) == 3
    for key in ("build-args", "target", "context"):
        assert len({step["with"][key] for step in builds}) == 1
    assert len({str(step["env"]) for step in builds}) == 1
    declared = set(re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE))
    assert {line.partition("=")[0] for line in builds[0]["with"]["build-args"].splitlines()} <= declared


def test_stage_and_prod_wait_for_an_approval() -> None:
    """Stage and prod are promoted one after the other, each in the environment that it changes."""
    jobs = read(FOLDER / "workflows" / "deploy.yml")["jobs"]
    assert [(name, job.get("needs"), job["with"].get("from"), job["with"]["to"]) for name, job in jobs.items()] == [
        ("dev", None, None, "dev"),
        ("stage", "dev", "dev", "stage"),
        ("prod", "stage", "stage", "prod"),
    ]
    assert read(FOLDER / "workflows" / "promote.yml")["jobs"]["promote"]["environment"] == "${{ inputs.to }}"


def test_a_load_test_never_names_production() -> None:
    """A load test runs in the environment of stage, and its script refuses others."""
    workflow = read(FOLDER / "workflows" / "loadtest.yml")
    assert workflow["jobs"]["loadtest"]["environment"] == "stage-loadtest"
    assert not workflow["on"]["workflow_dispatch"]


def scripts(path: Path) -> str:
    """Everything that the workflow runs, with continued lines joined."""
    return "\n".join(step.get("run", "") for _, step in steps(path)).replace("\\\n", " ")


@SOME
def test_every_file_and_target_that_is_named_exists(path: Path) -> None:
    """Every script, tool and Makefile target that a workflow names exists."""
    text = scripts(path)
    for name in re.findall(r"\b(?:scripts|tools)/\w+\.(?:sh|py)\b", text):
        assert (ROOT / name).is_file(), name
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][\w-]*)", text)) <= targets


def commands() -> Iterator[str]:
    """The arguments of every ``orris …`` in workflows and scripts, variables as they stand."""
    texts = [scripts(path) for path in WORKFLOWS] + [
        path.read_text("utf-8") for path in sorted(ROOT.glob("scripts/*.sh"))
    ]
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            for found in re.findall(r'^(?!#).*(?:\.venv/bin/orris|"\$ORRIS") ([a-z][^|;)>]*)', line.strip()):
                yield found.strip()


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_orris_command_parses(line: str) -> None:
    """Every ``orris`` command exists, knows each option, and takes as many arguments."""
    command: Any = typer.main.get_command(app)
    words = [word.replace("$", "").replace("{", "").replace("}", "") or "x" for word in shlex.split(line)]
    words = [word for word in words if not word.endswith("[@]")]
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, f"there is no command '{words[0]}'"
        command = command.commands[words.pop(0)]
    if words:
        command.make_context(line, words)


def test_there_are_commands_to_parse() -> None:
    """The pattern of the test above finds commands."""
    assert len(set(commands())) >= 8

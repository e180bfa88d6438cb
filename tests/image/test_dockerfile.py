"""Tests of the Dockerfile's rules, and of the script that builds it with every engine."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from orris.settings import Settings
from tests.image.dockerfile import ROOT, argument, instructions, stages
from tests.waiting import PATIENCE_SECONDS

TOOLS = Path(sys.executable).parent
SCRIPTS = sorted(ROOT.glob("scripts/*.sh"))


def test_hadolint_finds_nothing() -> None:
    """Hadolint finds nothing with every rule on."""
    done = subprocess.run(
        [TOOLS / "hadolint", "--failure-threshold", "style", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    """ShellCheck finds nothing in the scripts."""
    done = subprocess.run(
        [TOOLS / "shellcheck", "--severity", "style", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert os.access(script, os.X_OK)


def test_the_base_is_pinned_by_digest_and_used_by_every_stage() -> None:
    """The base has a tag and a digest, and a build argument replaces it in every stage."""
    base = argument("", "PYTHON_IMAGE")
    assert re.fullmatch(r"docker\.io/library/python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    origins = [rest.partition(" AS ")[0] for word, rest in instructions() if word == "FROM"]
    assert set(origins) <= {"${PYTHON_IMAGE}", *stages()}


def test_the_base_has_the_python_that_the_tests_run_on() -> None:
    """The base has the minor version of Python that the tests run on."""
    assert f"python:3.{sys.version_info.minor}." in argument("", "PYTHON_IMAGE")


def test_every_install_is_hashed_or_of_the_wheel_just_built() -> None:
    """Every package from an index has a hash, and no compiler runs."""
    commands = [
        part for word, rest in stages()["build"] if word == "RUN" for part in rest.split("&&") if " install " in part
    ]
    assert len(commands) == 3
    for command in commands:
        hashed = "--require-hashes" in command and "--only-binary=:all:" in command
        assert hashed or ("--no-index" in command and "--no-deps" in command), command


@pytest.mark.parametrize("lock", ["serve", "cloud", "build"])
def test_every_requirement_of_a_lock_has_hashes(lock: str) -> None:
    """Every requirement has a version and hashes, and the image's locks hold no library for training."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")
    blocks = re.split(r"\n(?=[a-z])", text)
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block or "==" not in block] == []
    names = {re.split(r"[=\[ ]", block)[0] for block in blocks}
    assert not names & {"pandas", "scikit-learn", "scipy", "matplotlib", "pip", "setuptools"}


def test_the_server_runs_as_a_number_without_a_shell() -> None:
    """The user is a number, as Kubernetes' restricted profile needs, and signals reach the server directly."""
    server = dict(stages()["server"])
    uid, _, gid = server["USER"].partition(":")
    assert (int(uid), int(gid)) == (10001, 10001)
    assert json.loads(server["ENTRYPOINT"]) == ["orris"]
    assert json.loads(server["CMD"]) == ["serve"]  # SageMaker says `serve` too
    assert server["EXPOSE"] == f"{Settings().port} 8001"


def test_the_health_check_is_orris_itself() -> None:
    """The health check runs ``orris ping``, because the image has no curl."""
    check = dict(stages()["server"])["HEALTHCHECK"]
    assert json.loads(check.partition("CMD ")[2]) == ["orris", "ping"]
    texts = [rest for _, rest in instructions()]
    assert not [text for text in texts if re.search(r"\b(curl|wget|apt-get|gcc)\b", text)]


def test_the_environment_of_the_image_is_known_to_the_settings() -> None:
    """Every ``ORRIS_*`` variable of the image is a known setting."""
    set_there = [rest for stage in stages().values() for word, rest in stage if word == "ENV"]
    names = re.findall(r"\bORRIS_(\w+)=", " ".join(set_there))
    assert {"HOST", "STORE", "MODEL"} <= set(names)
    assert {name.lower() for name in names} <= set(Settings.__struct_fields__)


def test_the_labels_are_those_of_the_open_container_initiative() -> None:
    """The image has the OCI labels, with version, revision and time from the build."""
    labels = dict(stages()["server"])["LABEL"]
    wanted = {"title", "description", "licenses", "source", "version", "revision", "created", "base.name"}
    assert set(re.findall(r"org\.opencontainers\.image\.([\w.]+)=", labels)) == wanted


def test_only_copied_files_get_into_the_build() -> None:
    """The build context ignores all files except those that the Dockerfile copies, so no ``.git`` and no credential."""
    lines = [
        line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and not line.startswith("#")
    ]
    assert lines[0] == "*"
    let_in = {line[1:].removesuffix("/*.txt") for line in lines if line.startswith("!")}
    copied = [
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    named = {argument("with-model", "MODEL") if source == "${MODEL}" else source.rstrip("/") for source in copied}
    assert let_in - {"build/image-model"} == named


ENGINES = {"docker": "buildx build", "podman": "build", "buildah": "build"}


def recorded(tmp_path: Path, engine: str, command: str, **environ: str) -> list[list[str]]:
    """The calls that the script makes, recorded by a program in place of the engine."""
    log = tmp_path / "calls"
    stub = tmp_path / "bin" / engine
    stub.parent.mkdir()
    stub.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    stub.chmod(0o755)
    path = f"{stub.parent}:{os.environ['PATH']}"
    environ = {**os.environ, "ENGINE": engine, "SOURCE_DATE_EPOCH": "1700000000", **environ, "PATH": path}
    subprocess.run(
        [ROOT / "scripts" / "image.sh", command], env=environ, check=True, capture_output=True, timeout=PATIENCE_SECONDS
    )
    return [shlex.split(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_builds_with_arguments_that_the_dockerfile_declares(engine: str, tmp_path: Path) -> None:
    """Every engine builds both architectures with declared arguments and one time."""
    [call] = recorded(
        tmp_path,
        engine,
        "build",
        PLATFORMS="linux/amd64,linux/arm64",
        IMAGE="registry.test/orris",
        TAG="1.2.3",
        LOCK="cloud",
    )
    assert " ".join(call).startswith(f"{ENGINES[engine]} --build-arg")
    declared = {rest.partition("=")[0] for word, rest in instructions() if word == "ARG"}
    given = dict(call[at + 1].split("=", 1) for at, word in enumerate(call) if word == "--build-arg")
    assert given.keys() <= declared
    assert (
        given
        | {"LOCK": "cloud", "VERSION": "1.2.3", "CREATED": "2023-11-14T22:13:20Z", "SOURCE_DATE_EPOCH": "1700000000"}
        == given
    )
    assert call[call.index("--target") + 1] == "server"
    assert call[call.index("--platform") + 1] == "linux/amd64,linux/arm64"
    assert "registry.test/orris:1.2.3" in call


def test_a_model_is_put_where_the_build_can_see_it(tmp_path: Path) -> None:
    """A bundle's folder is copied into the context, and its digest is passed on."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    [call] = recorded(
        tmp_path, "docker", "build", MODEL=str(bundle), MODEL_DIGEST="3f2a", IMAGE_MODEL=str(tmp_path / "copy")
    )
    assert call[call.index("--target") + 1] == "with-model"
    assert {f"MODEL={tmp_path / 'copy'}", "MODEL_DIGEST=3f2a"} <= set(call)
    assert (tmp_path / "copy" / "manifest.json").read_text() == "{}"


def test_a_container_is_run_with_few_rights(tmp_path: Path) -> None:
    """The container has a read-only root, no capabilities, and the store mounted read-only."""
    [call] = recorded(tmp_path, "podman", "run", STORE=str(tmp_path), PORT="9001", MODEL="")
    line = " ".join(call)
    for words in (
        "--read-only",
        "--tmpfs /tmp",
        "--cap-drop ALL",
        "--publish 9001:8000",
        f"--volume {tmp_path}:/models:ro",
    ):
        assert words in line
    assert call[-1] == "serve"

"""Tests of the environment that the image's build stage installs: small, without training, and able to serve."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from orris.api import Bundle
from tests.image.dockerfile import ROOT, argument, stages
from tests.servers import _announced
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.timeout(900)  # the first test installs the environment

BUDGET_BYTES = 250_000_000
"""Of the installed serving environment with its byte code, without Python itself."""


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the build stage's COPY and RUN lines below a temporary folder with this Python; return ``/opt/orris``."""
    # Workers of pytest-xdist share it: the first builds, the others wait.
    shared = tmp_path_factory.getbasetemp()
    home = (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "image-environment"
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "done").exists():
            shutil.rmtree(home, ignore_errors=True)  # what a worker that failed left behind
            home.mkdir()
            assemble(home)
            (home / "done").touch()
    return home / "opt"


def assemble(home: Path) -> None:
    """Carry out the lines of the build stage below ``home``."""
    python = home / "base"
    subprocess.run([sys.executable, "-m", "venv", python], check=True)
    source = home / "src"
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environ |= {"PATH": f"{python / 'bin'}:{os.environ['PATH']}"}
    for word, rest in stages()["build"]:
        if word == "ARG":
            environ.setdefault(*rest.split("=", 1))
        elif word == "ENV":
            environ |= dict(pair.split("=", 1) for pair in rest.split())
        elif word == "COPY":
            source.mkdir(exist_ok=True)
            *names, target = rest.split()
            folder = (source / target).parent if target.rstrip("/") == names[0].rstrip("/") else source / target
            subprocess.run(["cp", "-R", *(str(ROOT / name.rstrip("/")) for name in names), str(folder)], check=True)
        elif word == "RUN":
            words = [part for part in rest.split(" ") if not part.startswith("--mount=")]
            command = " ".join(words).replace("/opt/orris", str(home / "opt"))
            done = subprocess.run(
                ["sh", "-ec", command], cwd=source, env=environ, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def has(environment: Path, *modules: str) -> list[str]:
    """Return which of the modules the environment can import."""
    program = "import sys, importlib.util as u; print(*[name for name in sys.argv[1:] if u.find_spec(name)])"
    command = [str(environment / "bin" / "python"), "-I", "-c", program, *modules]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_nothing_of_training_and_no_installer_is_in_it(environment: Path) -> None:
    """The environment has the libraries for serving, and neither those for training nor an installer."""
    absent = ("sklearn", "pandas", "scipy", "matplotlib", "skops", "joblib", "pip", "setuptools", "wheel", "pytest")
    assert has(environment, *absent) == []
    assert has(environment, "orris", "onnxruntime", "numpy", "hpack", "uvloop") == [
        "orris",
        "onnxruntime",
        "numpy",
        "hpack",
        "uvloop",
    ]


def test_its_size_is_within_the_budget(environment: Path) -> None:
    """The installed environment, byte code included, is within its budget of size."""
    size = sum(path.lstat().st_size for path in environment.rglob("*") if not path.is_dir())
    print(f"the serving environment is {size / 1e6:.1f} MB")  # noqa: T201 (shown with -rP)
    assert 100_000_000 < size <= BUDGET_BYTES


def test_its_files_have_one_time_and_byte_code_without_any(environment: Path) -> None:
    """All files have one time, and byte code is not checked by time, so that equal sources give equal layers."""
    times = {path.lstat().st_mtime for path in environment.rglob("*") if not path.is_dir()}
    assert times == {float(argument("build", "SOURCE_DATE_EPOCH"))}
    [compiled] = (environment / "lib").glob("python3*/site-packages/orris/__pycache__/bundle.*.pyc")
    assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01  # PEP 552: a hash, unchecked


@pytest.fixture(scope="module")
def address(environment: Path, iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that the environment's own ``orris`` runs, as a container would: by variables, with no other store."""
    environ = {
        "PATH": f"{environment / 'bin'}:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "ORRIS_MODEL": str(iris.folder),
        "ORRIS_PORT": "0",
    }
    command = [str(environment / "bin" / "orris"), "serve", "--grpc-port", "0"]
    folder = tmp_path_factory.mktemp("cwd")
    process = subprocess.Popen(
        command, env=environ, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        port, _ = _announced(process.stderr)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_it_serves(address: str) -> None:
    """The environment's server answers predictions, and OpenAPI, which needs FastAPI."""
    row = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
    with httpx.Client(base_url=address, trust_env=False, timeout=PATIENCE_SECONDS) as client:
        assert client.post("/api/v1/predict", json=row).json()["prediction_label"] == "setosa"
        assert client.get("/openapi.json").json()["openapi"].startswith("3.")
        assert client.get("/metrics").status_code == 200


def test_its_health_check_passes(environment: Path, address: str) -> None:
    """The command of HEALTHCHECK passes against the server."""
    check = json.loads(dict(stages()["server"])["HEALTHCHECK"].partition("CMD ")[2])
    environ = {"PATH": str(environment / "bin"), "ORRIS_PORT": address.rpartition(":")[2], "ORRIS_HOST": "0.0.0.0"}  # noqa: S104
    subprocess.run([environment / "bin" / check[0], *check[1:]], env=environ, check=True, capture_output=True)


def test_the_check_of_a_baked_in_model_passes_and_fails(environment: Path, iris: Bundle) -> None:
    """The check in the stage ``with-model`` passes with the right digest, and fails with another or none."""
    [command] = [rest for word, rest in stages()["with-model"] if word == "RUN"]
    command = command.replace("/opt/model", str(iris.folder))
    environ = {"PATH": f"{environment / 'bin'}:/usr/bin:/bin"}
    codes = [
        subprocess.run(
            ["sh", "-ec", command], env={**environ, "MODEL_DIGEST": digest}, check=False, capture_output=True
        ).returncode
        for digest in (iris.manifest.digest, "0" * 64, "")
    ]
    assert codes == [0, 1, 0]


@pytest.mark.parametrize("lock", ["serve", "cloud"])
@pytest.mark.parametrize("platform", ["x86_64-manylinux_2_28", "aarch64-manylinux_2_28"])
def test_there_are_wheels_for_both_architectures(lock: str, platform: str, tmp_path: Path) -> None:
    """Every locked package has a wheel for both architectures and the image's Python."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--only-binary", ":all:", "--require-hashes"]
    command += ["--python-platform", platform, "--python-version", "3.11", "--target", str(tmp_path)]
    command += [
        "--system-certs",
        "-r",
        str(ROOT / "requirements" / f"{lock}.txt"),
    ]  # those that pip and the machine trust
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert " + onnxruntime==" in done.stderr

"""Tests of ``orris check``, against real stores, sockets, repositories and programs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orris.api import Bundle
from orris.delivery.check import CHECKS, EXTRAS
from orris.store import Store


def check(*arguments: str, cwd: Path, expect: int = 0, **environ: str) -> dict[str, dict[str, str]]:
    """Run the command and return its findings by name."""
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith(("ORRIS_", "OTEL_", "DOCKER_", "KUBE"))
    }
    clean |= {"HOME": str(cwd), "KUBECONFIG": str(cwd / "no-kubeconfig")}
    command = [sys.executable, "-m", "orris", "check", *arguments, "--json"]
    done = subprocess.run(command, cwd=cwd, env=clean | environ, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["ready"] is (expect == 0)
    return {finding["name"]: finding for finding in document["findings"]}


def program(folder: Path, name: str, script: str) -> str:
    """Write a program of this name and return the PATH that finds it first."""
    file = folder / "bin" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return f"{file.parent}{os.pathsep}{os.environ['PATH']}"


class Answering(BaseHTTPRequestHandler):
    """A server that is ready as Prometheus is, and demands a login as a registry does."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response({"/-/ready": 200, "/v2/": 401}.get(self.path, 404))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def service() -> Iterator[str]:
    """Run an HTTP server on a free port and return its host and port."""
    with HTTPServer(("127.0.0.1", 0), Answering) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_fresh_folder_is_ready(tmp_path: Path) -> None:
    """In a folder without configuration no unused service is reported as missing."""
    found = check(cwd=tmp_path)
    assert list(found) == list(CHECKS)
    good = {name for name, finding in found.items() if finding["state"] == "ok"}
    assert good >= {"python", "extras", "store-read", "store-write", "models"}
    assert found["otlp"]["state"] == found["registry"]["state"] == found["dvc"]["state"] == "unused"


def test_a_named_check_must_be_configured(tmp_path: Path) -> None:
    """A check that is named is the only one to run, and fails if its service is not configured."""
    assert check("otlp", cwd=tmp_path, expect=1)["otlp"]["remedy"]


def test_an_unknown_check_is_wrong_usage(tmp_path: Path) -> None:
    """An unknown check ends with exit code 2 and the known names."""
    done = subprocess.run(
        [sys.executable, "-m", "orris", "check", "nonsense"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "store-read" in done.stderr.replace("\n", "")


def test_models_are_resolved(iris: Bundle, tmp_path: Path) -> None:
    """A reference to an unknown alias fails, and the finding names the known ones."""
    Store(tmp_path / "artifacts").publish(iris.folder)
    assert check("models", "--model", "iris:latest", cwd=tmp_path)["models"]["detail"].startswith("iris@")
    assert "prod" in check("models", "--model", "iris:prod", cwd=tmp_path, expect=1)["models"]["detail"]


def test_nothing_is_left_of_the_write(tmp_path: Path) -> None:
    """The check of a store's permissions leaves the store as empty as before."""
    check("store-write", cwd=tmp_path)
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []


def test_a_store_that_cannot_be_written_fails(tmp_path: Path) -> None:
    """The check of a store fails if a file stands in the place of its folder."""
    (tmp_path / "artifacts").write_text("")
    finding = check("store-write", cwd=tmp_path, expect=1)["store-write"]
    assert "artifacts" in finding["detail"]
    assert finding["remedy"]


def test_a_collector_must_listen(tmp_path: Path) -> None:
    """The check of the collector passes while its port is open and fails afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert check("otlp", cwd=tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)["otlp"]["state"] == "ok"
    assert check("otlp", cwd=tmp_path, expect=1, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)["otlp"]["state"] == "failed"


def test_prometheus_must_be_ready(tmp_path: Path, service: str) -> None:
    """The check of Prometheus requests its readiness path."""
    check("prometheus", "--prometheus", f"http://{service}", cwd=tmp_path)
    assert (
        "404"
        in check("prometheus", "--prometheus", f"http://{service}/wrong", cwd=tmp_path, expect=1)["prometheus"][
            "detail"
        ]
    )


def test_a_registry_needs_a_login(tmp_path: Path, service: str) -> None:
    """The login in Docker's configuration is found, and without it the finding has the command."""
    finding = check("registry", "--image", f"{service}/orris", cwd=tmp_path, expect=1)["registry"]
    assert f"docker login {service}" in finding["remedy"]
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {service: {"auth": "dTpw"}}}))
    check("registry", "--image", f"{service}/orris", cwd=tmp_path)


def test_a_dvc_remote_must_exist(tmp_path: Path) -> None:
    """The check of DVC passes with a configured remote that exists, and fails outside a repository."""
    remote = tmp_path / "remote"
    remote.mkdir()
    for command in (
        ["git", "init", "--quiet"],
        ["init", "--quiet"],
        ["remote", "add", "--default", "storage", str(remote)],
    ):
        run = command if command[0] == "git" else [sys.executable, "-m", "dvc", *command]
        subprocess.run(
            run,
            cwd=tmp_path,
            check=True,
            capture_output=True,
            env={**os.environ, "HOME": str(tmp_path), "DVC_NO_ANALYTICS": "1"},
        )
    assert "storage" in check("dvc", cwd=tmp_path)["dvc"]["detail"]
    (tmp_path / ".dvc" / "config").write_text("not a configuration")
    assert check("dvc", cwd=tmp_path, expect=1)["dvc"]["state"] == "failed"


def test_the_cluster_of_the_context_has_to_answer(tmp_path: Path) -> None:
    """The failed check of a cluster shows the message of kubectl."""
    path = program(
        tmp_path, "kubectl", '[ "$1" = config ] && echo kind-orris || { echo "connection refused" >&2; exit 1; }'
    )
    finding = check("cluster", cwd=tmp_path, expect=1, PATH=path)["cluster"]
    assert "connection refused" in finding["detail"]
    assert "kind-orris" in finding["remedy"]


def test_secrets_have_to_be_in_the_namespace(tmp_path: Path) -> None:
    """Each missing secret is reported by its name."""
    path = program(tmp_path, "kubectl", '[ "$3 $4 $5" = "keys --namespace ml" ] || { echo "not found" >&2; exit 1; }')
    check("secrets", "--secret", "keys", "--namespace", "ml", cwd=tmp_path, PATH=path)
    assert (
        "other"
        in check("secrets", "--secret", "other", "--namespace", "ml", cwd=tmp_path, expect=1, PATH=path)["secrets"][
            "remedy"
        ]
    )


@pytest.mark.parametrize(("version", "code"), [("v4.2.3", 0), ("v3.9.0", 1)])
def test_helm_has_to_be_new_enough(tmp_path: Path, version: str, code: int) -> None:
    """A Helm that is too old for charts in an OCI registry fails."""
    check("helm", cwd=tmp_path, expect=code, PATH=program(tmp_path, "helm", f"echo {version}"))


def test_the_extras_are_those_of_the_package() -> None:
    """Every extra of a command is checked, under the name that ``pyproject.toml`` has for it."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    of_models = {"sklearn", "xgboost", "lightgbm", "catboost", "gcp-trace"}
    assert EXTRAS.keys() == project["optional-dependencies"].keys() - of_models

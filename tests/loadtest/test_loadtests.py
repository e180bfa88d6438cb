"""Tests of the load tests, which run against a live server, judge it, and fail when they should."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.servers import Server
from tests.waiting import PATIENCE_SECONDS

FOLDER = Path(__file__).parents[2] / "loadtests"
CONFIG_MAP = FOLDER / "k8s" / "configmap.yaml"
BAD_PORT = "http://127.0.0.1:9"


def locust(host: str, cwd: Path, **limits: str) -> subprocess.CompletedProcess[str]:
    """Run a hundred users for a few seconds."""
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(FOLDER / "locustfile.py"),
        "--headless",
        "--host",
        host,
        "--json",
    ]
    command += ["--users", "100", "--spawn-rate", "100", "--run-time", "4s", "--stop-timeout", "120"]
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **limits},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


def wrk(url: str, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run wrk for two seconds."""
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed: apt-get install wrk")
    command = [
        "wrk",
        "-t2",
        "-c16",
        "-d2s",
        "--timeout",
        "60s",
        "--latency",
        "-s",
        str(FOLDER / "wrk" / "predict.lua"),
        url,
        *arguments,
    ]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)


def test_a_hundred_users_are_answered_without_a_failure(server: Server, tmp_path: Path) -> None:
    """A hundred users send rows from the server's own documentation and get no failure."""
    done = locust(server.url, tmp_path)
    assert done.returncode == 0, done.stderr
    counted = {row["name"]: row for row in json.loads(done.stdout)}
    assert counted["/api/v1/predict"]["num_requests"] > 0
    assert counted["/api/v1/predict"]["num_failures"] == 0


def test_rows_of_any_table_are_sent(mixed_server: Server, tmp_path: Path) -> None:
    """Rows with categories and missing values are sent and answered."""
    done = locust(mixed_server.url, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_limit_that_is_passed_fails_the_load_test(server: Server, tmp_path: Path) -> None:
    """A load test fails with the measured number if a limit is exceeded."""
    done = locust(server.url, tmp_path, LOADTEST_MIN_RPS="1000000")
    assert done.returncode == 1
    assert "load test failed: only" in done.stderr


def test_a_server_that_is_not_there_fails_the_load_test(tmp_path: Path) -> None:
    """A load test without a server fails."""
    assert locust(BAD_PORT, tmp_path).returncode == 1


@pytest.mark.parametrize("route", ["/predict", "/api/v1/predict", "/v1/models/iris:predict"])
def test_wrk_sends_three_rows_at_a_time(server: Server, tmp_path: Path, route: str) -> None:
    """Wrk sends three rows at a time in the form of ``features``, and no request fails."""
    done = wrk(server.url + route, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    numbers = json.loads(done.stdout.splitlines()[-1])
    assert numbers["requests"] > 0
    assert numbers["failed"] == 0


def test_wrk_fails_when_requests_do(server: Server, tmp_path: Path) -> None:
    """Wrk's run fails if requests are answered with 422."""
    (tmp_path / "body.json").write_text('{"instances": [[1]]}')
    done = wrk(f"{server.url}/predict", tmp_path, "--", "body.json")
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["failed"] > 0


def test_the_config_map_carries_the_script(tmp_path: Path) -> None:
    """The ConfigMap equals what ``python -m tools.loadtest_files`` generates."""
    fresh = tmp_path / "configmap.yaml"
    subprocess.run([sys.executable, FOLDER.parent / "tools" / "loadtest_files.py", fresh], check=True)
    assert CONFIG_MAP.read_text("utf-8") == fresh.read_text("utf-8")
    script = yaml.safe_load(CONFIG_MAP.read_text("utf-8"))["data"]["predict.lua"]
    assert script == (FOLDER / "wrk" / "predict.lua").read_text("utf-8")
    own = FOLDER.parent / "src" / "orris" / "loadtest" / "engines" / "predict.lua"
    assert script == own.read_text("utf-8")


@pytest.mark.parametrize("connections", [1000, 2000])
def test_the_jobs_mount_the_script(connections: int) -> None:
    """The jobs mount the script, set the connections, and keep the restricted Pod Security profile."""
    spec = yaml.safe_load((FOLDER / "k8s" / f"job-{connections}.yaml").read_text("utf-8"))["spec"]["template"]["spec"]
    container = spec["containers"][0]
    assert f"-c{connections}" in container["args"]
    assert spec["volumes"][0]["configMap"]["name"] == yaml.safe_load(CONFIG_MAP.read_text("utf-8"))["metadata"]["name"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}

"""Tests of versions that kill or hold up the process that loads them: they never reach a server that answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orris.api import Bundle
from orris.errors import ConflictError
from orris.server import trial
from orris.server.trial import try_bundle, try_start
from orris.settings import Settings
from orris.store import Store
from tests.server.test_changes import ADMIN, ENVIRON, ROW, publish, version_of
from tests.servers import client, serving
from tests.serving.http.test_lifecycle import messages_of
from tests.waiting import PATIENCE_SECONDS, eventually

KILLER = """
import os, signal, sys

def loads():
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_name != "open_session":
        frame = frame.f_back
    return frame is not None

def look(event, arguments):
    if event == "open" and str(arguments[0]).endswith({end!r}) and loads():
        with open({tries!r}, "a") as file:
            file.write(f"{{os.getpid()}}\\n")
        os.kill(os.getpid(), signal.{signal})

sys.addaudithook(look)
"""
"""Kills, or stops, the process that loads a certain model: what a model does whose compiled code is led astray."""


def killing(folder: Path, end: str, signal: str = "SIGSEGV") -> tuple[dict[str, str], Path]:
    """Return variables under which loading a model file that ends so kills the process, and the file that counts it."""
    site = folder / "site"
    site.mkdir()
    tries = folder / "tries"
    (site / "sitecustomize.py").write_text(KILLER.format(end=end, tries=str(tries), signal=signal))
    return {"PYTHONPATH": str(site)}, tries


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with iris 1.0.0 as prod, and 2.0.0."""
    folder = tmp_path_factory.mktemp("trial") / "store"
    publish(folder, "1.0.0", alias="prod")
    publish(folder, "2.0.0", model="decision-tree", alias="next")
    return folder


def test_a_version_that_kills_its_process_never_reaches_a_server(store: Path, tmp_path: Path) -> None:
    """The old version answers on, the log names the signal, and ``--watch`` tries the version once, a reload again."""
    environ, tries = killing(tmp_path, "2.0.0/model.onnx")
    arguments = ("iris:prod", "--store", str(store), "--watch", "0.1", "--no-access-log")
    with serving(*arguments, folder=tmp_path, environ=ENVIRON | environ) as server, client(server) as ask:
        Store(store).promote("iris", "2.0.0", "prod")
        assert "killed by SIGSEGV" in server.logged_until("killed by")
        refused = 'orris_swaps_total{model="iris",outcome="refused"} '

        def n_refused() -> float:
            found = ask.get("/metrics").text.partition(refused)[2]
            return float(found.split("\n")[0] or 0)

        assert eventually(lambda: n_refused() >= 3)
        assert len(tries.read_text().split()) == 1
        answer = ask.post("/api/v1/model/reload", headers=ADMIN)
        assert (answer.status_code, "killed by SIGSEGV" in answer.json()["detail"]) == (409, True)
        assert len(tries.read_text().split()) == 2
        assert version_of(ask) == "1.0.0"
        assert str(server.process.pid) not in tries.read_text().split()
        Store(store).promote("iris", "1.0.0", "prod")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("iris:next",), "iris:next"),
        (("iris:next", "--workers", "2"), "iris:next"),
        (("iris:prod", "--shadow", "iris@2.0.0"), "iris@2.0.0"),
        (("iris:prod", "--split", "iris@2.0.0=0.1"), "iris@2.0.0"),
    ],
    ids=["one process", "two workers", "shadow", "split"],
)
def test_a_version_that_kills_its_process_is_named_at_the_start(
    store: Path, tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    """The server ends with the version and the signal in words, and loads nothing itself."""
    environ, tries = killing(tmp_path, "2.0.0/model.onnx")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "orris",
            "serve",
            *arguments,
            "--store",
            str(store),
            "--port",
            "0",
            "--grpc-port",
            "off",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert f"{named}: the process that tried it was killed by SIGSEGV" in said
    assert str(process.pid) not in tries.read_text().split()


def test_a_trial_at_the_start_that_does_not_end_is_ended(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose load never returns is named after a time."""
    monkeypatch.setattr(trial, "_answer_rows", lambda _engine: time.sleep(60))
    with pytest.raises(ConflictError, match=r"iris:next: a process that tried it was not through within 1 s"):
        try_start(["iris:next"], Settings(store=str(store)), seconds=1)


def test_a_start_without_a_trial_loads_at_once(store: Path, tmp_path: Path) -> None:
    """With ``ORRIS_START_TRIAL=false`` the model is loaded by the server alone."""
    environ, tries = killing(tmp_path, "2.0.0/model.onnx", signal="SIGCONT")
    environ["ORRIS_START_TRIAL"] = "false"
    with serving("iris:next", "--store", str(store), folder=tmp_path, environ=environ) as server:
        assert tries.read_text().split() == [str(server.process.pid)]


def test_a_version_that_kills_its_process_is_not_loaded_by_v2(store: Path, tmp_path: Path) -> None:
    """V2's load answers 409 with the signal, and the models that were loaded answer on."""
    publish(store, "1.0.0", name="other", model="decision-tree", alias="latest")
    environ, _ = killing(tmp_path, "other/versions/1.0.0/model.onnx")
    arguments = ("iris:prod", "--store", str(store), "--no-access-log")
    with serving(*arguments, folder=tmp_path, environ=ENVIRON | environ) as server, client(server) as ask:
        refused = ask.post("/v2/repository/models/other/load", headers=ADMIN)
        assert (refused.status_code, "killed by SIGSEGV" in refused.json()["error"]) == (409, True)
        assert version_of(ask) == "1.0.0"


def test_a_trial_that_does_not_end_is_ended(iris: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle whose load never returns is refused after a time."""
    environ, tries = killing(tmp_path, "model.onnx", signal="SIGSTOP")
    monkeypatch.setenv("PYTHONPATH", environ["PYTHONPATH"])
    with pytest.raises(ConflictError, match="was not through within 2 s"):
        try_bundle(iris.folder, threads=1, seconds=2)
    assert not tries.exists() or len(tries.read_text().split()) == 1


def test_a_sound_bundle_passes(iris: Bundle) -> None:
    """A bundle that loads and answers is tried without an error."""
    try_bundle(iris.folder, threads=1)


SLOW = """
import time

from orris.runtime.onnx import OnnxRuntime

run = OnnxRuntime.run

def slow(self, rows):
    if rows[0, 0] == 66:
        time.sleep(3600)
    return run(self, rows)

OnnxRuntime.run = slow
from orris.cli import main

main()
"""
LONG = [{**ROW, "sepal_length": 66.0}]


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """Return a program: ``orris`` with a model that sleeps over rows whose first value is 66."""
    program = tmp_path / "slow.py"
    program.write_text(SLOW)
    return program


@pytest.mark.parametrize("n_rows", [1, 2_000], ids=["on the loop", "on a thread"])
def test_a_call_that_takes_too_long_ends_the_process(iris: Bundle, tmp_path: Path, slow: Path, n_rows: int) -> None:
    """A server of one process says why, and ends with an exit code of its own."""
    environ = {"ORRIS_CALL_SECONDS": "0.5"}
    arguments = ("serve", str(iris.folder), "--port", "0", "--grpc-port", "off")
    with serving(*arguments, folder=tmp_path, environ=environ, program=slow) as server:
        with client(server) as ask, pytest.raises(Exception, match=r"disconnected|reset|closed"):
            ask.post("/predict", json=LONG * n_rows)
        assert server.process.wait(PATIENCE_SECONDS) == 5
        assert "has taken more than 0.5 s (ORRIS_CALL_SECONDS)" in messages_of(server)


def test_a_worker_whose_call_takes_too_long_is_replaced(iris: Bundle, tmp_path: Path, slow: Path) -> None:
    """A worker that cannot end a call ends itself, and requests are answered again."""
    environ = {"ORRIS_CALL_SECONDS": "0.5", "ORRIS_HANG_SECONDS": "60"}
    arguments = ("serve", str(iris.folder), "--port", "0", "--grpc-port", "off", "--workers", "2")
    with serving(*arguments, folder=tmp_path, environ=environ, program=slow) as server:
        with client(server) as ask, pytest.raises(Exception, match=r"disconnected|reset|closed"):
            ask.post("/predict", json=LONG)
        assert "ended with exit code 5; replacing it" in server.logged_until("replacing it")
        with client(server) as ask:
            assert ask.post("/predict", json=ROW).json()["prediction_label"] == "setosa"


@pytest.mark.parametrize("stays", [True, False], ids=["whose client waits", "whose client is gone"])
def test_a_server_ends_in_time_whatever_its_threads_do(iris: Bundle, tmp_path: Path, slow: Path, stays: bool) -> None:
    """A request that a thread still computes is given up after the limit, and nothing else is said of it."""
    environ = {"ORRIS_SHUTDOWN_SECONDS": "0.5"}
    arguments = ("serve", str(iris.folder), "--port", "0", "--grpc-port", "off")
    with serving(*arguments, folder=tmp_path, environ=environ, program=slow) as server:
        body = json.dumps(LONG * 2_000).encode()
        head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port)) as connection, client(server) as ask:
            connection.sendall(head % len(body) + body)
            assert eventually(lambda: "orris_requests_in_flight 2.0" in ask.get("/metrics").text)
            if not stays:
                connection.close()
            assert server.stop() == 1  # the thread sleeps for an hour
        messages = messages_of(server)
    assert "requests given up" in messages
    assert "everything in flight was answered" not in messages

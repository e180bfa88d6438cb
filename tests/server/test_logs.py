"""Tests of a real server's log: its forms, its content, and its behaviour without a reader or when killed."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import httpx
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

import orris
from orris.api import Bundle
from orris.telemetry.server_log import ServerLog, open_server_log, tell
from tests.servers import Server, client, serving
from tests.serving.clients import load
from tests.waiting import PATIENCE_SECONDS, eventually

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def logged(log: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, each of which must be whole."""
    content = log.read_bytes()
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


def messages_of(server: Server) -> list[str]:
    """Return the standard error of a stopped server after the announcement."""
    assert server.process.stderr is not None
    lines = server.process.stderr.read().splitlines()
    command = next((number for number, line in enumerate(lines) if line.lstrip().startswith("curl ")), -1)
    return [line for line in lines[command + 1 :] if line]


def dropped(server: Server, kind: str = "requests") -> float:
    """Return the number of lines that the server reports as dropped."""
    families = text_string_to_metric_families(
        httpx.get(f"{server.url}/metrics", trust_env=False, timeout=PATIENCE_SECONDS).text
    )
    samples = [
        sample for family in families for sample in family.samples if sample.name == "orris_log_lines_dropped_total"
    ]
    return sum(sample.value for sample in samples if sample.labels["kind"] == kind)


@contextmanager
def piped(
    *arguments: str, close: str = "", environ: dict[str, str] | None = None
) -> Iterator[tuple[Server, IO[bytes]]]:
    """Run ``orris serve`` with standard output as a pipe that is never read, or closed with ``close``."""
    command = [sys.executable, "-m", "orris", "serve", *arguments, "--grpc-port", "off", "--port", "0"]
    start = ["sh", "-c", f'exec "$@" {close}', "sh", *command]
    process = subprocess.Popen(
        start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **(environ or {})}, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        found = None
        for line in process.stderr:
            found = found or re.search(r"on http://localhost:(\d+)", line)
            if "curl" in line:
                break
        assert found is not None
        yield Server(f"http://127.0.0.1:{int(found[1])}", process, Path()), cast("Any", process.stdout).buffer
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


# what is in it


def test_a_machine_reads_both_streams_in_the_same_form(iris: Bundle, tmp_path: Path) -> None:
    """Request lines go to standard output and server messages to standard error, as JSON with time and level."""
    with serving(str(iris.folder), folder=tmp_path) as server:
        with client(server) as asking:
            asking.post(
                "/predict", json=ROW, headers={"x-request-id": "r-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-00"}
            )
            asking.post("/predict", json=ROW | {"petal_width": 30}, headers={"x-request-id": "r-2"})
            asking.post("/predict", json={"sepal_length": "long"}, headers={"x-request-id": "r-3"})
            asking.get("/nowhere", headers={"x-request-id": "r-4"})
        assert server.stop() == 0
        messages = [json.loads(line) for line in messages_of(server)]
    first, unusual, refused, unmatched = logged(server.log)
    assert (first["level"], first["label"], first["trace_id"], first["model_version"]) == (
        "info",
        "setosa",
        TRACE,
        "1.0.0",
    )
    assert (unusual["level"], unusual["warnings"]) == ("info", ["petal_width:out_of_range"])
    assert (refused["level"], refused["status"]) == ("warning", 422)
    assert (unmatched["route"], unmatched["request_id"]) == ("(unmatched)", "r-4")
    assert not any("values" in line or "weight" in line for line in (first, unusual, refused, unmatched))
    assert all(message["level"] == "info" and message["time"].endswith("Z") for message in messages)
    assert messages[-1]["message"] == "stopped; everything in flight was answered"


def test_google_cloud_reads_both_streams(iris: Bundle, tmp_path: Path) -> None:
    """In the format ``gcp`` lines have a severity, the request and the trace by its full name."""
    environ = {"ORRIS_LOG_FORMAT": "gcp", "GOOGLE_CLOUD_PROJECT": "farm"}
    with serving(str(iris.folder), folder=tmp_path, environ=environ) as server:
        with client(server) as asking:
            asking.post("/predict", json=ROW, headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-00"})
        assert server.stop() == 0
        messages = [json.loads(line) for line in messages_of(server)]
    (line,) = logged(server.log)
    assert line["logging.googleapis.com/trace"] == f"projects/farm/traces/{TRACE}"
    assert line["trace_id"] == TRACE
    assert line["httpRequest"]["status"] == 200
    assert (line["severity"], line["message"]) == ("INFO", "POST /predict 200")
    assert {message["severity"] for message in messages} == {"INFO"}


def test_the_console_form_has_no_colours_in_a_file(iris: Bundle, tmp_path: Path) -> None:
    """The console form has no colours when the output is not a terminal."""
    with serving(str(iris.folder), "--log-format", "console", folder=tmp_path) as server:
        with client(server) as asking:
            asking.post("/predict", json=ROW, headers={"x-request-id": "r-1"})
        assert server.stop() == 0
        messages = messages_of(server)
    (line,) = server.log_lines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} INFO    POST /predict 200  \d+\.\d{3} ms  1\.0\.0  1 row  setosa  request r-1.*", line
    )
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} INFO    stopped; everything in flight was answered", messages[-1])


def test_values_are_logged_on_request_and_redacted_by_column(mixed: Bundle, tmp_path: Path) -> None:
    """Input values of a request's first rows are logged if configured, without the columns to redact."""
    columns = [column.name for column in mixed.manifest.schema.columns]
    row = {column.name: column.example for column in mixed.manifest.schema.columns}
    environ = {"ORRIS_LOG_VALUES": "on", "ORRIS_LOG_REDACT": f"{columns[0]}, {columns[-1]}"}
    with serving(str(mixed.folder), folder=tmp_path, environ=environ) as server:
        with client(server) as asking:
            assert asking.post("/predict", json=row).status_code == 200
            assert asking.post("/predict", json=[row] * 20).status_code == 200
            assert asking.post("/predict", json=row | {columns[1]: "SECRET"}).status_code == 422
        server.stop()
    one, many, refused = logged(server.log)
    assert one["values"] == [row | {columns[0]: "[redacted]", columns[-1]: "[redacted]"}]
    assert (len(many["values"]), many["rows"]) == (8, 20)
    assert "values" not in refused
    assert "SECRET" not in server.log.read_text()


def test_a_column_with_a_comma_in_its_name_is_redacted(tmp_path: Path) -> None:
    """A column whose name holds a comma is redacted if its name stands in double quotes, as in CSV."""
    table = pd.DataFrame({"income, net": [1.0, 2.0, 3.0, 4.0] * 5, "age": [30.0, 40.0] * 10, "y": ["a", "b"] * 10})
    bundle = orris.train(table, target="y", name="pay", model="decision-tree", folds=0, store=tmp_path / "store")
    environ = {"ORRIS_LOG_VALUES": "on", "ORRIS_LOG_REDACT": 'age, "income, net"'}
    with serving(str(bundle.folder), folder=tmp_path, environ=environ) as server:
        with client(server) as asking:
            assert asking.post("/predict", json={"income, net": 2.0, "age": 40.0}).status_code == 200
        server.stop()
    assert logged(server.log)[0]["values"] == [{"income, net": "[redacted]", "age": "[redacted]"}]


def test_a_column_to_redact_that_no_model_has_stops_the_process(iris: Bundle) -> None:
    """A column to redact that no model has stops the process, because a typo would log its values."""
    command = [sys.executable, "-m", "orris", "serve", str(iris.folder), "--port", "0", "--grpc-port", "off"]
    done = subprocess.run(
        command,
        env={**os.environ, "ORRIS_LOG_REDACT": "petal_widht"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert "ORRIS_LOG_REDACT=petal_widht" in done.stderr
    assert "petal_width" in done.stderr


def test_sampling_and_level_of_a_server(iris: Bundle, tmp_path: Path) -> None:
    """The log samples successes and gives their rate, and keeps every refusal and every answer with warnings."""
    with serving(str(iris.folder), folder=tmp_path, environ={"ORRIS_LOG_SAMPLE": "0.25"}) as server:
        with client(server) as asking:
            for number in range(200):
                trace = f"{1:016x}" + f"{number * 2**64 // 200:016x}"
                asking.post(
                    "/predict",
                    json=ROW,
                    headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-00", "x-request-id": f"usual-{number}"},
                )
            for number in range(20):
                asking.post("/predict", json=ROW | {"petal_width": 30}, headers={"x-request-id": f"unusual-{number}"})
                asking.post("/predict", content=b"{", headers={"x-request-id": f"refused-{number}"})
        server.stop()
    lines = logged(server.log)
    assert sum(line["weight"] for line in lines) == 240
    kinds = [line["request_id"].partition("-")[0] for line in lines]
    assert [kinds.count(kind) for kind in ("usual", "unusual", "refused")] == [50, 20, 20]
    with serving(str(iris.folder), "--log-level", "warning", folder=tmp_path) as server:
        with client(server) as asking:
            asking.post("/predict", json=ROW)
            asking.post("/predict", content=b"{")
        server.stop()
        assert not [line for line in messages_of(server) if "stop" in line]
    assert [line["status"] for line in logged(server.log)] == [400]


# the server's own messages


@contextmanager
def server_log_on_pipe(dropped: Counter[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ServerLog, int]]:
    """Start this process's server log with a pipe as its standard error, and undo it afterwards."""
    reading, writing = os.pipe()
    before, root, ours = os.dup(2), logging.getLogger(), logging.getLogger("orris")
    levels, handlers = (root.level, ours.level), list(root.handlers)
    monkeypatch.setattr("orris.telemetry.server_log._open", [])
    os.dup2(writing, 2)
    server_log = open_server_log("json", dropped=dropped)
    try:
        yield server_log, reading
    finally:
        server_log.close()
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
        os.dup2(before, 2)
        for end in (before, reading, writing):
            os.close(end)


def test_records_of_logging_have_the_same_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of ``logging`` are lines of the log, tracebacks included; other libraries' only from warnings on."""
    with server_log_on_pipe(Counter(), monkeypatch) as (_, reading):
        try:
            raise ValueError("boom")
        except ValueError:
            logging.getLogger("orris.serving.predict_route").exception("request %s failed", "r-1")
        logging.getLogger("orris.x").info("ours")
        logging.getLogger("somebody").info("theirs")
        logging.getLogger("somebody").warning("their warning")
        failed, ours, warning = [json.loads(line) for line in os.read(reading, 1 << 16).splitlines()]
    assert (failed["level"], failed["logger"], failed["message"]) == (
        "error",
        "orris.serving.predict_route",
        "request r-1 failed",
    )
    assert failed["exception"].startswith("Traceback")
    assert failed["exception"].endswith("ValueError: boom\n")
    assert (ours["level"], ours["message"]) == ("info", "ours")
    assert (warning["level"], warning["message"]) == ("warning", "their warning")


def test_messages_without_a_reader_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full standard error delays nothing, and its earlier messages come out whole and in order."""
    monkeypatch.setattr("orris.telemetry.nonblocking.MAX_WAITING_BYTES", 10_000)
    dropped: Counter[str] = Counter()
    with server_log_on_pipe(dropped, monkeypatch) as (log, reading):
        for number in range(2_000):
            tell(f"step {number}")
        content = os.read(reading, 1 << 20)
        log.push()
        content += os.read(reading, 1 << 20)
    messages = [json.loads(line)["message"] for line in content.splitlines()]
    assert dropped["messages"] > 0
    assert messages == [f"step {number}" for number in range(2_000 - dropped["messages"])]


# without a reader, and sudden ends


def test_a_killed_server_leaves_whole_lines_and_loses_the_last_ones_only(iris: Bundle, tmp_path: Path) -> None:
    """The log of a killed server is a gapless beginning of its requests, in whole lines."""
    with serving(str(iris.folder), folder=tmp_path) as server:
        with client(server) as asking:
            for number in range(300):
                asking.post("/predict", json=ROW, headers={"x-request-id": f"{number}"})
            eventually(
                lambda: server.log.read_bytes().count(b"\n") == 300
            )  # nothing more came: it is the clock that flushed
            for number in range(300, 600):
                asking.post("/predict", json=ROW, headers={"x-request-id": f"{number}"})
        server.process.kill()
        server.process.wait()
    ids = [int(line["request_id"]) for line in logged(server.log)]
    assert ids == list(range(len(ids)))
    assert len(ids) >= 300


def test_killed_workers_leave_whole_lines_in_a_shared_pipe(iris: Bundle) -> None:
    """Killed workers leave only whole lines in the pipe that they share with others, even with a slow reader."""
    with piped(str(iris.folder), "--workers", "2") as (server, output):
        read = bytearray()
        with load(server.port, n_clients=8) as tally:
            for _ in range(3):
                n_before = tally.answered
                eventually(lambda before=n_before: tally.answered > before + 800)  # type: ignore[misc]
                pid = server.process.pid
                victim = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
                read += os.read(output.fileno(), 1 << 15)
                os.kill(int(victim), signal.SIGKILL)
        server.process.send_signal(signal.SIGTERM)
        read += output.read()
    lines = [json.loads(line) for line in bytes(read).splitlines()]
    assert len(lines) > 300
    assert {line["status"] for line in lines} == {200}


def test_a_pipe_without_a_reader_delays_no_answer(iris: Bundle) -> None:
    """A full pipe delays neither answers nor shutdown; whole lines are dropped and counted."""
    asked = 0
    with piped(str(iris.folder), environ={"ORRIS_LOG_VALUES": "on"}) as (server, output):

        def ask(asking: httpx.Client, request_id: str) -> None:
            nonlocal asked
            asked += 1
            assert asking.post("/predict", json=[ROW] * 8, headers={"x-request-id": request_id}).status_code == 200

        def lost() -> int:
            return int(dropped(server))

        content = bytearray()
        with client(server) as asking:
            while not lost():
                for _ in range(500):
                    ask(asking, "r" * 128)
                assert asked < 20_000
            os.set_blocking(output.fileno(), False)

            def last_is_read() -> bool:
                content.extend(output.read() or b"")
                return b'"request_id":"last"' in content

            eventually(lambda: len(content) > 4_000_000 or last_is_read())
            ask(asking, "last")
            eventually(last_is_read)
        n_dropped = lost()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_SECONDS) == 0
        content.extend(output.read() or b"")
    lines = [json.loads(line) for line in bytes(content).splitlines()]
    assert n_dropped > 0
    assert len(lines) + n_dropped == asked


def test_a_full_pipe_does_not_prevent_shutdown(iris: Bundle) -> None:
    """At shutdown the process waits for its reader for a limited time, and ends."""
    with piped(str(iris.folder), environ={"ORRIS_LOG_VALUES": "on"}) as (server, output):
        with client(server) as asking:
            for _ in range(400):
                asking.post("/predict", json=[ROW] * 8)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_SECONDS) == 0
        assert output.read().endswith(b"\n")


@pytest.mark.parametrize("how", ["closed", "read by nobody any more"])
def test_a_closed_output_stops_nothing(iris: Bundle, how: str) -> None:
    """Lines to a closed output are counted and reported once, and no other file receives them."""
    with piped(str(iris.folder), close=">&-" if how == "closed" else "") as (server, output):
        output.close()
        with client(server) as asking:
            for _ in range(3):
                asking.post("/predict", json=ROW)
            eventually(lambda: dropped(server) >= 3)
            assert asking.post("/predict", json=ROW).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_SECONDS) == 0
        said = [json.loads(line) for line in messages_of(server)]
    assert [line["level"] for line in said].count("warning") == 1

"""Tests of the request log: its content, its forms, and its behaviour without a reader."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pty
import socket
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from orris.api import Bundle
from orris.bundle import read_manifest
from orris.telemetry import nonblocking as outlet
from orris.telemetry.log_formats import LONGEST_LINE, Format, Line, Message, writer
from orris.telemetry.nonblocking import NonBlockingWriter, pieces
from orris.telemetry.request_log import LogStyle, RequestLog, input_values
from tests.waiting import PATIENCE_SECONDS

NOON = datetime(2026, 11, 21, 12, 0, 0, 345_678, UTC)
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def line(**changed: Any) -> Line:
    """Return a usual request."""
    usual = {
        "trace_id": TRACE,
        "span_id": SPAN,
        "sampled": True,
        "model_version": "1.0.0",
        "rows": 1,
        "label": "setosa",
    }
    return msgspec.structs.replace(Line(NOON, "info", "r-1", "POST", "/predict", 200, 1.25), **(usual | changed))


def written(form: Format, *lines: Line | Message, project: str = "", colour: bool = False) -> str:
    """Return the lines in a form."""
    return writer(form, project=project, colour=colour)(lines).decode()


# forms


def test_json_has_the_names_of_opentelemetry() -> None:
    """Trace ids and flags stand at the top in lower-case hexadecimal, and empty fields are left out."""
    found = json.loads(written("json", line()))
    assert found == {
        "time": "2026-11-21T12:00:00.345678Z",
        "level": "info",
        "request_id": "r-1",
        "method": "POST",
        "route": "/predict",
        "status": 200,
        "milliseconds": 1.25,
        "trace_id": TRACE,
        "span_id": SPAN,
        "trace_flags": "01",
        "model_version": "1.0.0",
        "rows": 1,
        "label": "setosa",
    }
    assert json.loads(written("json", line(sampled=False)))["trace_flags"] == "00"
    assert "trace" not in written("json", line(trace_id="", span_id="", sampled=False))


def test_gcp_has_the_fields_that_cloud_logging_reads() -> None:
    """The format ``gcp`` has the fields of Cloud Logging beside the plain trace fields."""
    found = json.loads(written("gcp", line(status=404, level="warning", error="no such model"), project="farm"))
    assert found["severity"] == "WARNING"
    assert found["time"] == "2026-11-21T12:00:00.345678Z"
    assert found["message"] == "POST /predict 404: no such model"
    assert found["httpRequest"] == {
        "requestMethod": "POST",
        "requestUrl": "/predict",
        "status": 404,
        "latency": "0.001250s",
    }
    assert found["logging.googleapis.com/trace"] == f"projects/farm/traces/{TRACE}"
    assert found["logging.googleapis.com/spanId"] == SPAN
    assert found["logging.googleapis.com/trace_sampled"] is True
    assert found["logging.googleapis.com/labels"] == {"route": "/predict", "model_version": "1.0.0"}
    assert (found["trace_id"], found["span_id"], found["trace_flags"]) == (TRACE, SPAN, "01")
    assert (found["request_id"], found["rows"], found["label"]) == ("r-1", 1, "setosa")


def test_gcp_names_a_trace_only_with_a_project() -> None:
    """Without a project the format ``gcp`` names no trace, and an unsampled trace is marked as such."""
    found = json.loads(written("gcp", line(sampled=False)))
    assert "logging.googleapis.com/trace" not in found
    assert found["logging.googleapis.com/trace_sampled"] is False


def test_console_has_one_line_and_optional_colours() -> None:
    """A request is one line on the console, with colours only if they are wanted."""
    plain = "12:00:00.345 INFO    POST /predict 200  1.250 ms  1.0.0  1 row  setosa  request r-1  trace " + TRACE + "\n"
    assert written("console", line()) == plain
    assert written("console", line(), colour=True) == plain.replace("INFO   ", "\x1b[32mINFO   \x1b[0m")


def test_console_shows_control_characters() -> None:
    """A label or an error cannot begin a line of its own, nor steer the terminal."""
    found = written("console", line(label="a\nb\x1b[2J\x85c"))
    assert "a\\x0ab\\x1b[2J\\x85c" in found
    assert found.count("\n") == 1


def test_messages_have_the_same_forms() -> None:
    """Server messages have the same forms, with the traceback in one line except on the console."""
    message = Message(
        NOON, "error", "it failed", "orris.serving", "Traceback:\n  boom", ("/app/predict_route.py", 12, "enter")
    )
    assert json.loads(written("json", message)) == {
        "time": "2026-11-21T12:00:00.345678Z",
        "level": "error",
        "message": "it failed",
        "logger": "orris.serving",
        "exception": "Traceback:\n  boom",
    }
    message.source = ("/app/predict_route.py", 12, "enter")
    google = json.loads(written("gcp", message))
    assert (google["severity"], google["stack_trace"]) == ("ERROR", "Traceback:\n  boom")
    assert google["logging.googleapis.com/sourceLocation"] == {
        "file": "/app/predict_route.py",
        "line": "12",
        "function": "enter",
    }
    assert written("console", message) == "12:00:00.345 ERROR   it failed\n    Traceback:\n      boom\n"


@pytest.mark.parametrize("form", ["json", "gcp", "console"])
def test_no_line_is_longer_than_a_pipe_takes_in_one_piece(form: Format) -> None:
    """A line too long for an atomic write loses values and the middle of texts, stays whole and is marked."""
    row = {f"column_{number}": "é" * 20 for number in range(30)}
    lines: list[Line | Message] = [
        line(values=(row,) * 8),
        line(values=(dict.fromkeys(row, "x" * 999),)),
        line(error="e" * 50_000, label="\x01" * 9_000, warnings=tuple(f"column_{n}:missing" for n in range(20))),
        Message(NOON, "error", "m" * 9_000, "orris", "T" * 5_000 + "the end"),
    ]
    for each in lines:
        content = written(form, line(), each, line())
        assert content.count("\n") == 3 + (form == "console" and isinstance(each, Message))
        found = content.split("\n", 1)[1].rsplit("\n", 2)[0]
        assert len(found.encode()) < LONGEST_LINE
        assert isinstance(each, Message) or "shortened" in found
        if form != "console":
            json.loads(found)
    assert "the end" in written(form, lines[3])
    assert "column_0" in written(form, lines[0])


def test_values_are_logged_as_a_caller_writes_them(mixed: Bundle) -> None:
    """Levels are logged by name, missing and unseen values as null, and redacted columns not at all."""
    schema = read_manifest(mixed.folder).schema
    category = next(column for column in schema.columns if column.kind == "category")
    rows = np.zeros((2, schema.n_columns))
    rows[1] = np.nan
    rows[1, schema.names.index(category.name)] = -1
    first, second = input_values(schema, rows, frozenset())
    assert list(first) == list(schema.names)
    assert first[category.name] == category.levels[0]
    assert set(second.values()) == {None}
    kinds = {column.kind.value: type(first[column.name]) for column in schema.columns}
    assert (kinds["number"], kinds["integer"], kinds["boolean"]) == (float, int, bool)
    assert input_values(schema, rows, frozenset([category.name]))[0][category.name] == "[redacted]"


# what is logged


def test_errors_and_warnings_are_never_sampled_out() -> None:
    """Refusals, errors and answers with warnings are always logged."""
    log = RequestLog(style=LogStyle(sample=0))
    ids = [f"r-{number}" for number in range(200)]
    assert not any(log.wants(200, each) for each in ids)
    assert all(log.wants(status, each) for each in ids for status in (400, 422, 500, 503))
    assert all(log.wants(200, each, usual=False) for each in ids)


def test_sampling_is_decided_by_the_trace_or_else_by_the_request() -> None:
    """The same ids give the same choice anywhere, and a larger share contains a smaller one."""
    rng = np.random.default_rng(7)
    ids = [rng.bytes(16).hex() for _ in range(4_000)]
    tenth, half = (RequestLog(style=LogStyle(sample=share)) for share in (0.1, 0.5))
    for chosen in (
        {each for each in ids if tenth.wants(200, "same", each)},
        {each for each in ids if tenth.wants(200, each)},
    ):
        assert 300 < len(chosen) < 500
    by_trace = {each for each in ids if tenth.wants(200, "same", each)}
    assert by_trace == {each for each in ids if int(each[16:], 16) < 0.1 * 2**64}  # TraceIdRatioBased's rule
    assert by_trace < {each for each in ids if half.wants(200, "other", each)}
    assert isinstance(tenth.wants(200, "r-1", "z" * 32), bool)  # not hexadecimal: the request decides


@pytest.mark.parametrize(
    ("level", "statuses"),
    [("debug", [200, 404, 500]), ("info", [200, 404, 500]), ("warning", [404, 500]), ("error", [500])],
)
def test_lines_below_the_level_are_left_out(level: Any, statuses: list[int]) -> None:
    """A status below 400 is logged as info and one below 500 as a warning, and lines below the level are left out."""
    log = RequestLog(style=LogStyle(level=level))
    assert [status for status in (200, 404, 500) if log.wants(status, "r")] == statuses
    assert not RequestLog(enabled=False).wants(500, "r")


def test_pages_and_scrapes_are_logged_at_debug_or_when_they_fail() -> None:
    """Pages and scrapes, which the playground requests often, are logged at debug level unless they fail."""
    assert not RequestLog(style=LogStyle()).wants(200, "r", routine=True)
    assert RequestLog(style=LogStyle()).wants(404, "r", routine=True)
    assert RequestLog(style=LogStyle(level="debug")).wants(200, "r", routine=True)


def logged(path: Path, style: LogStyle, *lines: Line) -> list[dict[str, Any]]:
    """Return the lines as a log in this style writes them to a file."""

    async def write() -> None:
        with path.open("wb") as file:
            log = RequestLog(file.fileno(), style=style)
            for each in lines:
                log.add(each)
            log.close()

    asyncio.run(write())
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_sampled_lines_have_a_weight(tmp_path: Path) -> None:
    """A sampled line has the number of requests it stands for, so that sums of weights are counts."""
    found = logged(
        tmp_path / "log", LogStyle(sample=0.1), line(), line(status=500, level="error"), line(warnings=("a:missing",))
    )
    assert [each["weight"] for each in found] == [10, 1, 1]
    assert "weight" not in logged(tmp_path / "log", LogStyle(), line())[0]


# the way out


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return both ends of a pipe."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            assert end == ends[0]  # closed by a test


def content(n_lines: int, length: int = 100) -> bytes:
    """Return numbered lines."""
    return b"".join(b"%08d%s\n" % (number, b"x" * (length - 9)) for number in range(n_lines))


def test_pieces_are_whole_lines_that_fit() -> None:
    """Pieces are whole lines that together are the input, and a line that is too long goes alone."""
    given = content(500) + b"y" * 9_000 + b"\n" + content(3)
    found = list(pieces(given))
    assert b"".join(found) == given
    assert all(piece.endswith(b"\n") for piece in found)
    assert [len(piece) for piece in found if len(piece) > LONGEST_LINE] == [9_001]
    assert len(found) < 20


def test_a_full_pipe_blocks_no_writer(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines for a full pipe wait up to a limit; beyond it the newest are dropped and counted."""
    monkeypatch.setattr(outlet, "MAX_WAITING_BYTES", 100_000)
    dropped: list[int] = []
    way = NonBlockingWriter(pipe[1], dropped.append)
    way.put(content(4_000))
    assert way.waiting
    assert not way.push()
    read = b""
    while len(read) < 100 * (4_000 - sum(dropped)):
        read += os.read(pipe[0], 1 << 20)
        way.push()
    assert read == content(4_000)[: len(read)]
    assert sum(dropped) > 0
    assert len(read) // 100 + sum(dropped) == 4_000
    way.close()
    assert os.get_blocking(pipe[1])  # others share the open pipe: nothing was changed about it


def test_unread_lines_at_the_end_are_dropped_and_counted(pipe: tuple[int, int]) -> None:
    """The end of a process waits for its reader for a bounded time, and then counts the lost lines."""
    dropped: list[int] = []
    way = NonBlockingWriter(pipe[1], dropped.append)
    way.put(content(2_000))
    way.drain(seconds=0.02)
    way.close()
    os.set_blocking(pipe[0], False)
    assert len(os.read(pipe[0], 1 << 20)) // 100 + sum(dropped) == 2_000
    assert sum(dropped) > 0


def test_a_reader_that_is_gone_costs_lines_only(pipe: tuple[int, int]) -> None:
    """Lines to a closed pipe are counted as dropped, before and after the error is known."""
    dropped: list[int] = []
    way = NonBlockingWriter(pipe[1], dropped.append)
    os.close(pipe[0])
    way.put(content(3))
    way.put(content(2))
    assert sum(dropped) == 5
    assert not way.waiting
    way.close()


def test_a_socket_and_a_terminal_are_written_to_without_waiting() -> None:
    """A full socket, as of a journal, and a stopped terminal do not block the writer."""
    ours, theirs = socket.socketpair()
    ends = pty.openpty()
    try:
        for end in (ours.fileno(), ends[1]):
            way = NonBlockingWriter(end)
            way.put(content(40_000))
            assert way.waiting
            assert os.get_blocking(end)
            way.close()
        assert theirs.recv(100) == content(1)
        assert os.read(ends[0], 99) == content(1)[:99]
    finally:
        for each in (ours, theirs):
            each.close()
        for end in ends:
            os.close(end)


def test_a_file_gets_everything(tmp_path: Path) -> None:
    """A file gets all lines in order."""
    with (tmp_path / "log").open("wb") as file:
        NonBlockingWriter(file.fileno()).put(content(5_000))
    assert (tmp_path / "log").read_bytes() == content(5_000)


def test_the_log_goes_on_when_it_is_read_again(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every line is read or counted, in order; the server logs when it begins to drop lines and when it stops."""
    monkeypatch.setattr(outlet, "MAX_WAITING_BYTES", 20_000)
    dropped: Counter[str] = Counter()

    async def run() -> list[int]:
        loop = asyncio.get_running_loop()
        log = RequestLog(pipe[1], dropped=dropped)
        os.set_blocking(pipe[0], False)
        read: list[bytes] = []
        for number in range(3_000):
            log.add(line(rows=number + 1))
        assert dropped["requests"] > 0

        async def drain() -> None:
            try:
                while True:
                    read.append(os.read(pipe[0], 1 << 16))
            except BlockingIOError:
                await asyncio.sleep(0.002)

        give_up = loop.time() + PATIENCE_SECONDS
        log.add(line(rows=9_999))
        while b'"rows":9999' not in b"".join(read[-2:]):
            assert loop.time() < give_up
            await drain()
        log.add(line(rows=10_000))
        log.close()
        await drain()
        return [json.loads(text)["rows"] for text in b"".join(read).splitlines()]

    with caplog.at_level(logging.WARNING, "orris.telemetry.request_log"):
        rows = asyncio.run(run())
    assert len(rows) + dropped["requests"] == 3_002
    assert rows == sorted(rows)
    first, last = [record.getMessage() for record in caplog.records]
    assert "takes no more lines" in first
    assert last == f"{dropped['requests']} lines of requests were dropped; standard output is read again"

"""Tests of a server in a process of its own, under a CPU quota."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from orris.api import Bundle
from orris.replicas.quota import SignalQuota
from orris.replicas.server import ServerProcess


def test_a_server_is_ready_with_its_announcement_and_ends_when_closed(iris: Bundle) -> None:
    """The announced port answers as soon as ``wait`` returns, and after ``close`` the process has ended."""
    server = ServerProcess([str(iris.folder)], 2, SignalQuota)
    try:
        assert server.wait()
        assert server.ready_at is not None
        assert server.ready_at > server.started_at
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/ready", timeout=90) as answer:
            assert answer.status == 200
        assert server.cpu_seconds() > 0
    finally:
        server.close()
    assert server.has_ended


def test_a_server_that_does_not_start_leaves_its_last_lines(tmp_path: Path) -> None:
    """Without the model ``wait`` returns False, and the last lines of the log name the model."""
    server = ServerProcess(["no-such-model", "--store", str(tmp_path)], 2, SignalQuota)
    try:
        assert not server.wait()
        assert "no-such-model" in "\n".join(server.last_lines())
    finally:
        server.close()

"""A real ``orris serve`` in a subprocess, for tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from tests.waiting import PATIENCE_SECONDS

UNHURRIED = {
    "ORRIS_HANG_SECONDS": "240",
    "ORRIS_MAX_QUEUE_SECONDS": "0",
    "ORRIS_REQUEST_SECONDS": "240",
    "ORRIS_SHUTDOWN_SECONDS": "240",
}
"""Limits that a server reaches only where something hangs: a busy machine holds processes up for seconds.

Tests of a limit set their own.
"""

_URL = re.compile(r"on https?://localhost:(\d+)\b")
_GRPC = re.compile(r"gRPC on port (\d+)")


@dataclass
class Server:
    """A running server.

    Attributes:
        url: Where it listens.
        process: The process.
        log: File that its standard output goes to.
        grpc_port: Where it listens for gRPC; 0: it does not.
    """

    url: str
    process: subprocess.Popen[str]
    log: Path
    grpc_port: int = 0

    @property
    def resident_bytes(self) -> int:
        """Resident memory of the process."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def port(self) -> int:
        """The port of ``url``."""
        return int(self.url.rpartition(":")[2])

    def log_lines(self) -> list[str]:
        """The lines of ``log`` that are whole; a text in one may hold any character but a line feed."""
        return self.log.read_text("utf-8").split("\n")[:-1]

    def logged_until(self, text: str) -> str:
        """Read standard error until a line holds the text; returns all that was read."""
        assert self.process.stderr is not None
        lines: list[str] = []
        for line in self.process.stderr:
            lines.append(line)
            if text in line:
                return "".join(lines)
        raise AssertionError(f"the server ended without a line that holds '{text}': {''.join(lines)}")

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)


FOR_TESTS = ("ORRIS_TEST_", "ORRIS_CLUSTER_HOME")
"""How the names of settings of tests begin."""


def _environment() -> dict[str, str]:
    """The environment without the settings of tests, which the server would refuse as unknown."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOR_TESTS)}


@contextmanager
def serving(
    *arguments: str, folder: Path, environ: dict[str, str] | None = None, program: Path | None = None
) -> Iterator[Server]:
    """Run ``orris serve`` with these arguments on a free port, from its announcement on.

    / Without gRPC, unless the arguments set it. A ``program`` is run with the arguments instead, as it stands.
    """
    grpc = () if "--grpc-port" in arguments else ("--grpc-port", "off")
    log = folder / "requests.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, program, *arguments]
            if program is not None
            else [sys.executable, "-m", "orris", "serve", *arguments, *grpc, "--port", "0"],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            env={**UNHURRIED, **_environment(), **(environ or {})},
        )
    assert process.stderr is not None
    try:
        port, grpc_port = _announced(process.stderr)
        yield Server(f"http://127.0.0.1:{port}", process, log, grpc_port)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


PATIENT = """
import sys
from importlib.machinery import PathFinder, SourceFileLoader

CONSTANTS = {"orris.serving.http.server": "IDLE_SECONDS", "orris.serving.http.connection": "LINGER_SECONDS"}


class Loader(SourceFileLoader):
    def exec_module(self, module):
        super().exec_module(module)
        assert vars(module)[CONSTANTS[module.__name__]] < 600
        vars(module)[CONSTANTS[module.__name__]] = 600.0


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        found = PathFinder.find_spec(name, path, target) if name in CONSTANTS else None
        if found is not None:
            found.loader = Loader(name, found.origin)
        return found


sys.meta_path.insert(0, Finder)
from orris.cli import main

main()
"""
"""Changes the modules as they are imported: the supervisor of several workers imports none of them."""


def patient(folder: Path) -> Path:
    """Return a program: ``orris`` that waits as long for slow clients as a busy machine may make them.

    A server that stops closes connections that bring no request within a second, and reads the rest of a refused
    request for a second. Where clients and the server share busy processors, a second may pass between any two steps.
    """
    program = folder / "patient.py"
    program.write_text(PATIENT)
    return program


@contextmanager
def serving_patiently(*arguments: str, folder: Path, environ: dict[str, str] | None = None) -> Iterator[Server]:
    """Run ``patient``'s ``orris serve`` without gRPC on a free port."""
    options = ("--grpc-port", "off", "--port", "0")
    with serving("serve", *arguments, *options, folder=folder, environ=environ, program=patient(folder)) as server:
        yield server


def _announced(stream: IO[str]) -> tuple[int, int]:
    said = []
    for line in stream:
        said.append(line)
        found = _URL.search(line)
        if found:
            grpc = _GRPC.search(line)
            return int(found.group(1)), int(grpc.group(1)) if grpc else 0
    raise AssertionError(f"orris serve did not start: {''.join(said)}")


def client(server: Server) -> httpx.Client:
    """Return a client that does not follow redirects and does not read proxies."""
    return httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_SECONDS)

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
        return self.process.wait(30)


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
            env={**os.environ, **(environ or {})},
        )
    assert process.stderr is not None
    try:
        port, grpc_port = _announced(process.stderr)
        yield Server(f"http://127.0.0.1:{port}", process, log, grpc_port)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


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
    return httpx.Client(base_url=server.url, trust_env=False, timeout=30)

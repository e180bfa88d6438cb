"""A real HAProxy in front of the replicas: one port, requests in turn to the replicas that are ready.

Its runtime API (a socket, https://docs.haproxy.org/2.6/management.html#9.3) puts replicas in and out without a restart.
"""

from __future__ import annotations

import socket
import subprocess
import time
from csv import DictReader
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from orris.autoscaling.machine import find_program
from orris.errors import ExperimentError
from orris.replicas import processes

_CONFIG = """\
global
  maxconn {connections}
  nbthread 1
  stats socket {socket} mode 600 level admin
  log stderr local0 err
defaults
  mode http
  timeout connect 10s
  timeout client 60s
  timeout server 60s
  timeout queue 60s
frontend clients
  maxconn {connections}
  bind fd@{descriptor}
  default_backend replicas
backend replicas
  balance leastconn
{servers}
"""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The proxy's counts.

    Attributes:
        requests: Requests since it started.
        latency_ms: Mean time to answer of the last 1,024 requests, with the wait for a connection to a replica.
        errors: Answers of 5xx since it started, those of the proxy itself included.
    """

    requests: int
    latency_ms: float
    errors: int


class Proxy:
    """A running HAProxy.

    Args:
        folder: Receives its configuration, its log and its socket.
        n_servers: Places for replicas, all empty at first.
        connections: Connections of clients that it must hold at a time.

    Raises:
        ExperimentError: HAProxy is not installed, or refuses to start.
    """

    def __init__(self, folder: Path, n_servers: int, connections: int) -> None:
        program = find_program("haproxy")
        self._socket = folder / "haproxy.sock"
        servers = "\n".join(f"  server replica-{index} 127.0.0.1:9 disabled" for index in range(n_servers))
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(4096)
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            config = folder / "haproxy.cfg"
            config.write_text(
                _CONFIG.format(
                    socket=self._socket, descriptor=listener.fileno(), servers=servers, connections=connections + 100
                ),
                "utf-8",
            )
            with (folder / "haproxy.log").open("w") as log:
                self.process = processes.start(
                    [program, "-db", "-f", str(config)], stderr=log, pass_fds=[listener.fileno()]
                )
        self._log = folder / "haproxy.log"
        self._wait()

    def use(self, index: int, port: int) -> None:
        """Send requests to a replica that has become ready."""
        self._command(f"set server replicas/replica-{index} addr 127.0.0.1 port {port}")
        self._command(f"set server replicas/replica-{index} state ready")

    def leave(self, index: int) -> None:
        """Send no new requests to a replica; what it has is finished."""
        self._command(f"set server replicas/replica-{index} state drain")

    def empty(self, index: int) -> None:
        """The replica has ended."""
        self._command(f"set server replicas/replica-{index} state maint")

    def traffic(self) -> Traffic:
        """The counters now."""
        rows = DictReader(StringIO(self._command("show stat -1 3 -1").lstrip("# ")))
        total = {row["pxname"]: row for row in rows if row["svname"] in ("FRONTEND", "BACKEND")}
        front, back = total["clients"], total["replicas"]
        latency = sum(float(back[key] or 0) for key in ("qtime", "ctime", "rtime"))
        return Traffic(int(front["req_tot"] or 0), latency, int(front["hrsp_5xx"] or 0))

    def close(self) -> None:
        """Stop at once: the experiment is over."""
        processes.stop(self.process, 2)

    def _command(self, text: str) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(self._socket))
            client.sendall(f"{text}\n".encode())
            parts = []
            while part := client.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()

    def _wait(self) -> None:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                self._command("show info")
            except OSError:
                time.sleep(0.02)
            else:
                return
        self.close()
        said = self._log.read_text("utf-8").strip().splitlines()
        raise ExperimentError(f"HAProxy did not start: {said[-1] if said else 'it said nothing'}")


def version() -> str:
    """The version of the HAProxy that is used, for the results."""
    command = [find_program("haproxy"), "-v"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own command)
    return said.stdout.partition("\n")[0].partition(" - ")[0].strip()

"""``orris serve`` in a process of its own, under a CPU quota from its start."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from orris.replicas import processes
from orris.replicas.quota import Quota, hold

N_LINES = 40
"""Lines of the server's log that are kept for a message about its end."""

_ANNOUNCED = re.compile(r" on https?://localhost:(\d+)\b")


class ServerProcess:
    """One server. It is ready when it announces its port, which it does after the golden rows.

    Args:
        arguments: Arguments of ``orris serve``: models, a store.
        cores: CPUs that it may use, for instance 0.25.
        otherwise: The quota where no control group can be made.
        environ: Environment variables in addition to those of this process.

    Attributes:
        quota: The quota that holds it.
        started_at: Reading of ``time.monotonic`` at its start, in seconds.
        ready_at: The same at its announcement; ``None`` before.
        port: The port on which it listens; 0 before it is ready.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        cores: float,
        otherwise: Callable[[float], Quota],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        command = [sys.executable, "-m", "orris", "serve", *arguments, "--port", "0", "--grpc-port", "off"]
        self.started_at = time.monotonic()
        self.ready_at: float | None = None
        self.port = 0
        self._lines: deque[str] = deque(maxlen=N_LINES)
        self._announced = threading.Event()
        self.process = processes.start(command, stderr=subprocess.PIPE, environ=environ)
        try:
            self.quota = hold(self.process.pid, cores, otherwise)
            self._reader = threading.Thread(target=self._read, name=f"log of {self.process.pid}", daemon=True)
            self._reader.start()
        except BaseException:  # an interrupt comes at any time, and a control group outlives this process
            self.close(1)
            raise

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def cpu_seconds(self) -> float:
        """CPU time that it has used."""
        return processes.cpu_seconds(self.process.pid)

    def wait(self) -> bool:
        """Wait until it is ready or has ended; whether it is ready."""
        self._announced.wait()
        return self.ready_at is not None

    def last_lines(self) -> list[str]:
        """The last lines of its log that are not empty, for a process that has ended."""
        self._reader.join(1)
        return list(self._lines)

    def terminate(self) -> None:
        """Send SIGTERM: the server finishes the requests that it has."""
        if not self.has_ended:
            self.process.terminate()

    def close(self, seconds: float = 10) -> None:
        """End the process, by SIGKILL if it has not ended after so many seconds, and remove its quota."""
        processes.stop(self.process, seconds)
        if hasattr(self, "quota"):
            self.quota.close()

    def _read(self) -> None:
        assert self.process.stderr is not None  # noqa: S101 (it is a pipe)
        try:
            for line in self.process.stderr:
                if line.strip():
                    self._lines.append(line.strip())
                found = _ANNOUNCED.search(line)
                if found and self.ready_at is None:
                    self.port = int(found.group(1))
                    self.ready_at = time.monotonic()
                    self._announced.set()
        except ValueError:  # closed while it was read
            pass
        finally:
            self._announced.set()

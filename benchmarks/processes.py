"""Servers in subprocesses, for ``peers.py``.

Pinned, marked, timed until their first right answer, weighed, and ended without remainder.

A server may fork workers, put them in sessions of their own and leave them behind. All of them inherit ``BENCH_MARK``
in their environment, so they are found by that, by descent, and by session; only those are ever ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "BENCH_MARK"
_ERROR = re.compile(r"[\w.]*(Error|Exception|Stop)\b: ")
_STOP_SECONDS = 10
_POLL_SECONDS = 0.02


class PeerError(Exception):
    """A peer could not be installed, started, checked or measured; says why in a line or two."""


@dataclass(frozen=True)
class Memory:
    """Resident memory of a server with all its processes, MiB.

    Attributes:
        pss: Pages that processes share are counted once.
        rss: The plain sum: shared pages count for each process.
        n_processes: How many processes there are.
    """

    pss: float
    rss: float
    n_processes: int


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str, log: Path | None, started: float) -> None:
        self._process = process
        self._mark = mark
        self._log = log
        self._started = started

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._started

    def require_alive(self) -> None:
        """Raises PeerError, with the end of what the server said, if it is gone."""
        code = self._process.poll()
        if code is not None:
            raise PeerError(f"ended with exit code {code}: {self.last_words()}")

    def last_words(self, n_lines: int = 3) -> str:
        """The last error that the server told, or else the end of what it said."""
        if self._log is None:
            return "(its output is not kept)"
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if _ERROR.match(line)]
        return " / ".join(errors[-1:] or lines[-n_lines:]) or "(it said nothing)"

    def memory(self) -> Memory:
        """What the server holds now."""
        sizes = [_sizes(pid) for pid in self._members()]
        return Memory(
            pss=sum(pss for pss, _ in sizes) / 1024, rss=sum(rss for _, rss in sizes) / 1024, n_processes=len(sizes)
        )

    def stop(self) -> None:
        """SIGTERM, ten seconds, SIGKILL; to this server's processes and no others."""
        members = self._members()
        if self._process.poll() is None:
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            left = self._members() | {pid for pid in members if _marked(pid, self._mark)}
            if not left:
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(1)
            time.sleep(_POLL_SECONDS)

    def _members(self) -> set[int]:
        """Every living process that this server consists of."""
        parents: dict[int, int] = {}
        members = set()
        for folder in Path("/proc").glob("[0-9]*"):
            pid = int(folder.name)
            try:
                state, parent, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            except (OSError, ValueError):
                continue
            if state == "Z":
                continue
            parents[pid] = int(parent)
            if int(session) == self._process.pid or _marked(pid, self._mark):
                members.add(pid)
        grown = True
        while grown:
            found = {pid for pid, parent in parents.items() if parent in members} - members
            members |= found
            grown = bool(found)
        return members


@contextlib.contextmanager
def running(command: Sequence[str], cores: str, environment: Mapping[str, str], log: Path | None) -> Iterator[Server]:
    """Start ``command`` on ``cores``, in a scratch folder; its output goes to ``log``, or nowhere.

    Ended on the way out.
    """
    mark = secrets.token_hex(8)
    scratch = Path(tempfile.mkdtemp(prefix="peer"))
    try:
        with contextlib.ExitStack() as files:
            output = files.enter_context(log.open("wb")) if log else subprocess.DEVNULL
            started = time.perf_counter()
            process = subprocess.Popen(
                ["taskset", "-c", cores, *command],
                cwd=scratch,
                env={**environment, MARK: mark, "PEER_SCRATCH": str(scratch)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(process, mark, log, started)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    with contextlib.ExitStack() as sockets:
        opened = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in opened]


def poll(seconds: float, server: Server) -> Iterator[None]:
    """Turns of a wait for ``server``, 20 ms apart, for at most ``seconds``.

    Raises:
        PeerError: The server ended, or the time is over.
    """
    while server.seconds < seconds:
        server.require_alive()
        yield
        time.sleep(_POLL_SECONDS)
    raise PeerError(f"gave no right answer within {seconds:g} s: {server.last_words()}")


def _marked(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _sizes(pid: int) -> tuple[int, int]:
    """Proportional and plain resident size of a process, KiB; zeros once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    return sizes.get("Pss", 0), sizes.get("Rss", 0)

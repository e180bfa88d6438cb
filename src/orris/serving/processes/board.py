"""The state that the processes of one server share: a board in shared memory, made by the supervisor before it forks.

Each worker has a *seat*: its heartbeat, its state, its status, and its latest snapshot of metrics. Beside the seats
stand what is *wanted* of all workers and the *retired* counts of workers that are gone. Everything longer than a number
lies in a ``SharedRecord``, of which a reader never sees half. Nothing here waits but ``want`` and ``amend``, for
microseconds.

How a controller uses it, in every worker alike (``LocalBoard`` has the same methods for a server of one process)::

    sequence = board.want({"models": {"iris": "iris@1.2.0"}})   # any worker: replace the wanted document
    sequence = board.amend(lambda document: {**document, …})    # any worker: change it, without losing another worker's
    change sequence, document = board.wanted()                         # every worker, at each heartbeat; (0, {}) until
    somebody wants something board.report({"sequence": sequence, "loaded": {…}, "error": ""})   # what this worker has
    reached board.statuses()                                            # one Status per expected worker, whether it
    lives or not

Documents are whatever msgpack holds. A worker that is started later finds what is wanted on the board before it loads
anything. ``serve`` (``serving/server.py``) calls its ``on_beat`` functions at each heartbeat: poll ``wanted`` there.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from orris.errors import ServingError
from orris.serving.processes.shared_record import SharedRecord

Document = dict[str, Any]

EMPTY, STARTING, READY, DRAINING = range(4)
"""States of a seat."""

SNAPSHOT_BYTES = 4 * 1024 * 1024
"""Longest snapshot of metrics: about 6,000 columns whose drift is reported.

Memory is taken as it is written, not as it is reserved.
"""

DOCUMENT_BYTES = 64 * 1024
"""Longest wanted document, and longest status."""

LOCK_SECONDS = 2.0
"""Longest wait for another worker that is changing what is wanted."""

LATE_SECONDS = 3.0
"""Seconds without a heartbeat after which a worker is not ready.

After half of it the other workers accept connections in its place.
"""

# Native structs of aligned fields: each field is stored at once.
_SEAT = struct.Struct("QQQd")  # process id, generation, state, heartbeat
_PID, _STATE, _HEARTBEAT = 0, 16, 24
_GENERATION = struct.Struct("Q")
_N_COUNTS = 3
_SUPERVISOR, _RESTARTS, _ANNOUNCED = range(_N_COUNTS)


class Status(NamedTuple):
    """The state of a worker.

    Attributes:
        seat: Its number, from 0.
        pid: Its process; 0 if there is none.
        ready: Whether it answers.
        document: What it reported last; empty until it has reported.
    """

    seat: int
    pid: int
    ready: bool
    document: Document


class Gathered(NamedTuple):
    """Snapshots of metrics: of the other workers, and the sum of those that are gone (empty: none are)."""

    others: list[bytes]
    retired: bytes


class LocalBoard:
    """The board of a server that is one process: the same methods, in its own memory.

    Attributes:
        n_workers: Expected workers.
        seat: This process's seat.
    """

    def __init__(self) -> None:
        self.n_workers = 1
        self.seat = 0
        self._wanted: tuple[int, Document] = (0, {})
        self._status: Document = {}
        self._state = STARTING

    def want(self, document: Document) -> int:
        """Replace the wanted document; returns its sequence number."""
        return self.amend(lambda _: document)

    def amend(self, change: Callable[[Document], Document]) -> int:
        """Change the wanted document; returns the new sequence number."""
        sequence, document = self._wanted
        self._wanted = sequence + 1, change(document)
        return sequence + 1

    def wanted(self) -> tuple[int, Document]:
        """The sequence number and the document; ``(0, {})`` until something is wanted."""
        return self._wanted

    def report(self, status: Document) -> None:
        """Tell how far this worker is."""
        self._status = status

    def statuses(self) -> list[Status]:
        """The state of each expected worker."""
        return [Status(0, os.getpid(), self._state == READY, self._status)]

    def enter(self, state: int) -> None:
        """Tell this worker's state."""
        self._state = state

    def beat(self) -> None:
        """Tell that this worker's loop runs."""

    @property
    def n_ready(self) -> int:
        """Workers that answer."""
        return int(self._state == READY)

    @property
    def all_ready(self) -> bool:
        """Whether every expected worker answers."""
        return True

    @property
    def orphaned(self) -> bool:
        """Whether the supervisor is gone; a server of one process has none."""
        return False

    def lost(self) -> set[int]:
        """Seats of other workers that do not accept connections."""
        return set()

    def announces(self) -> bool:
        """Whether this worker is the one that announces that the server is ready."""
        return True


class Board:
    """The board of a server of several processes. Make it before forking; then each worker calls ``sit``.

    Args:
        n_workers: Expected workers.
    """

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers
        self.seat = -1
        sizes = [_N_COUNTS * 8, *[_SEAT.size] * n_workers, *[SharedRecord.size(DOCUMENT_BYTES)] * (n_workers + 1)]
        sizes += [SharedRecord.size(_GENERATION.size + SNAPSHOT_BYTES)] * n_workers
        sizes += [SharedRecord.size(_GENERATION.size * n_workers + SNAPSHOT_BYTES)]
        parts = _parts(memoryview(mmap.mmap(-1, sum(map(_aligned, sizes)))), sizes)
        self._counts = next(parts).cast("Q")
        self._seats = [next(parts) for _ in range(n_workers)]
        self._wanted = SharedRecord(next(parts))
        self._statuses = [SharedRecord(next(parts)) for _ in range(n_workers)]
        self._snapshots = [SharedRecord(next(parts)) for _ in range(n_workers)]
        self._retired = SharedRecord(next(parts))
        self._lock_file = _unlinked_file()
        self._thread_lock = threading.Lock()
        self._counts[_SUPERVISOR] = os.getpid()

    # what is wanted, and how far each worker is

    def want(self, document: Document) -> int:
        """Replace the wanted document.

        Returns:
            Its sequence number.

        Raises:
            ServingError: The document is longer than ``DOCUMENT_BYTES``, or another worker has held the board for
                ``LOCK_SECONDS``.
        """
        return self.amend(lambda _: document)

    def amend(self, change: Callable[[Document], Document]) -> int:
        """Change the wanted document in one step; returns the new sequence number, and raises as ``want`` does."""
        with self._locked():
            sequence = self._wanted.write(msgspec.msgpack.encode(change(self.wanted()[1])))
        if not sequence:
            raise ServingError(
                f"what is wanted of the workers is longer than {DOCUMENT_BYTES} bytes; nothing was changed"
            )
        return sequence

    def wanted(self) -> tuple[int, Document]:
        """The sequence number and the document; ``(0, {})`` until something is wanted."""
        sequence, content = self._wanted.read()
        return sequence, msgspec.msgpack.decode(content, type=Document) if content else {}

    def report(self, status: Document) -> None:
        """Tell how far this worker is; raises ``ServingError`` if that is longer than ``DOCUMENT_BYTES``."""
        if not self._statuses[self.seat].write(msgspec.msgpack.encode(status)):
            raise ServingError(f"a worker's status is longer than {DOCUMENT_BYTES} bytes")

    def statuses(self) -> list[Status]:
        """The state of each expected worker, whether it lives or not."""
        found = []
        for seat, cell in enumerate(self._statuses):
            content = cell.read()[1]
            document = msgspec.msgpack.decode(content, type=Document) if content else {}
            found.append(Status(seat, self.occupant(seat)[0], self._answers(seat), document))
        return found

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The lock of the wanted document: a record lock, which the kernel releases when its process dies.

        It does not exclude threads of one process.
        """
        with self._thread_lock, self._locked_file():
            yield

    @contextmanager
    def _locked_file(self) -> Iterator[None]:
        give_up = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.lockf(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > give_up:
                    raise ServingError(
                        "another worker is changing what is wanted, and does not finish; try again"
                    ) from None
                time.sleep(0.001)
        try:
            yield
        finally:
            fcntl.lockf(self._lock_file, fcntl.LOCK_UN)

    # seats

    def sit(self, seat: int) -> None:
        """This process is the worker of a seat."""
        self.seat = seat
        self._set(seat, pid=os.getpid())
        self.beat()

    def enter(self, state: int) -> None:
        """Tell this worker's state."""
        self.beat()
        self._set(self.seat, state=state)

    def beat(self) -> None:
        """Tell that this worker's loop runs."""
        struct.pack_into("d", self._seats[self.seat], _HEARTBEAT, time.monotonic())

    @property
    def n_ready(self) -> int:
        """Workers that answer."""
        return sum(self._answers(seat) for seat in range(self.n_workers))

    @property
    def all_ready(self) -> bool:
        """Whether every expected worker answers: one that is missing or late does not."""
        return self.n_ready == self.n_workers

    @property
    def orphaned(self) -> bool:
        """Whether the supervisor is gone."""
        return os.getppid() != self.supervisor

    def lost(self) -> set[int]:
        """Seats of other workers that do not accept connections."""
        return {
            seat for seat in range(self.n_workers) if seat != self.seat and not self._answers(seat, LATE_SECONDS / 2)
        }

    def _answers(self, seat: int, late_seconds: float = LATE_SECONDS) -> bool:
        _, _, state, heartbeat = self.occupant(seat)
        return state == READY and time.monotonic() - heartbeat < late_seconds

    def announces(self) -> bool:
        """Whether this worker is the one that announces that the server is ready.

        ``True`` once, when all workers are ready.
        """
        if not self.all_ready:
            return False
        with self._locked():
            announced, self._counts[_ANNOUNCED] = self._counts[_ANNOUNCED], 1
        return not announced

    def occupant(self, seat: int) -> tuple[int, int, int, float]:
        """Process id (0: none), generation, state, and the monotonic time of the last heartbeat, in seconds."""
        pid, generation, state, heartbeat = _SEAT.unpack_from(self._seats[seat])
        return pid, generation, state, heartbeat

    def seat_next(self, seat: int) -> None:
        """Supervisor: a new worker is about to be forked for a seat."""
        _, generation, _, _ = self.occupant(seat)
        self._statuses[seat].write(b"")
        _SEAT.pack_into(self._seats[seat], 0, 0, generation + 1, STARTING, time.monotonic())

    def sit_down(self, seat: int, pid: int) -> None:
        """Supervisor: the worker of a seat has been forked."""
        self._set(seat, pid=pid)

    def _set(self, seat: int, *, pid: int | None = None, state: int | None = None) -> None:
        """Change single fields, each at once: the supervisor and the worker may both be about to."""
        for offset, value in ((_PID, pid), (_STATE, state)):
            if value is not None:
                struct.pack_into("Q", self._seats[seat], offset, value)

    # counts

    @property
    def supervisor(self) -> int:
        """The supervisor's process id."""
        return self._counts[_SUPERVISOR]

    @property
    def restarts(self) -> int:
        """Workers that were replaced so far."""
        return self._counts[_RESTARTS]

    def count_restart(self) -> None:
        """Supervisor: a worker is being replaced."""
        self._counts[_RESTARTS] += 1

    def publish(self, snapshot: bytes) -> bool:
        """Publish this worker's snapshot of metrics.

        Returns ``False`` if it is longer than ``SNAPSHOT_BYTES``; then the last one stays.
        """
        generation = self.occupant(self.seat)[1]
        return bool(self._snapshots[self.seat].write(_GENERATION.pack(generation) + snapshot))

    def gathered(self) -> Gathered:
        """The other workers' latest snapshots, and the retired counts; each worker that ever was is in it once."""
        while True:
            sequence, content = self._retired.read()
            folded, retired = self._folded(content)
            others = [
                snapshot
                for seat in range(self.n_workers)
                if seat != self.seat
                for generation, snapshot in [self._snapshot(seat)]
                if generation > folded[seat]
            ]
            if self._retired.read()[0] == sequence:
                return Gathered(others, retired)

    def pids(self) -> list[int]:
        """The server's processes: the supervisor, then the workers."""
        return [self.supervisor, *(pid for seat in range(self.n_workers) if (pid := self.occupant(seat)[0]))]

    def retire(self, seat: int, fold: Callable[[bytes, bytes], bytes]) -> bool:
        """Supervisor: a worker is gone; its last snapshot becomes part of the retired counts, and its seat is empty.

        Args:
            seat: Its seat.
            fold: ``(retired counts, last snapshot, either may be empty)`` -> the new retired counts.

        Returns:
            Whether the retired counts had room.
        """
        folded, retired = self._folded(self._retired.read()[1])
        _, generation, _, _ = self.occupant(seat)
        published, snapshot = self._snapshot(seat)
        if published > folded[seat]:
            retired = fold(retired, snapshot)
        folded[seat] = generation
        kept = self._retired.write(struct.pack(f"{self.n_workers}Q", *folded) + retired)
        _SEAT.pack_into(self._seats[seat], 0, 0, generation, EMPTY, time.monotonic())
        return bool(kept)

    def _snapshot(self, seat: int) -> tuple[int, bytes]:
        """Generation (0: there is none) and content of a seat's snapshot."""
        content = self._snapshots[seat].read()[1]
        return (_GENERATION.unpack_from(content)[0], content[_GENERATION.size :]) if content else (0, b"")

    def _folded(self, content: bytes) -> tuple[list[int], bytes]:
        """The last retired generation of each seat, and the retired counts."""
        if not content:
            return [0] * self.n_workers, b""
        head = _GENERATION.size * self.n_workers
        return list(struct.unpack(f"{self.n_workers}Q", content[:head])), content[head:]


def _unlinked_file() -> int:
    """A descriptor to lock, of a file that no other process can open."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("orris-board")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _aligned(size: int) -> int:
    """A multiple of a cache line, so that numbers are written at once and seats do not share lines."""
    return -(-size // 64) * 64


def _parts(memory: memoryview, sizes: list[int]) -> Iterator[memoryview]:
    at = 0
    for size in sizes:
        yield memory[at : at + size]
        at += _aligned(size)

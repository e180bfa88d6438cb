"""Tests of the board in shared memory, whose documents are read whole or not at all if processes die at any point."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from orris.errors import ServingError
from orris.serving.processes.board import DOCUMENT_BYTES, LATE_SECONDS, READY, SNAPSHOT_BYTES, Board, LocalBoard
from orris.serving.processes.shared_record import SharedRecord
from orris.telemetry.snapshot import fold


def forked(work: Callable[[], None]) -> int:
    """Run a function in a child and return its process id."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    """Return the exit code of a child."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_slot_holds_the_last_document() -> None:
    """A slot is empty before the first write, and then holds the last document and the number of writes."""
    cell = SharedRecord(memoryview(bytearray(SharedRecord.size(100))))
    assert cell.read() == (0, b"")
    assert [cell.write(content) for content in (b"one", b"", b"three")] == [1, 2, 3]
    assert cell.read() == (3, b"three")


def test_a_document_too_long_for_a_slot_leaves_it_unchanged() -> None:
    """A document that is too long is an error for its writer, and the slot stays as it was."""
    cell = SharedRecord(memoryview(bytearray(SharedRecord.size(4))))
    cell.write(b"1234")
    assert cell.write(b"12345") == 0
    assert cell.read() == (1, b"1234")


@pytest.mark.parametrize("at", range(16 + 4))
def test_a_write_that_was_not_finished_is_never_seen(at: int) -> None:
    """Whichever byte a writer is killed at, readers see the previous content, and the next write succeeds."""
    memory = bytearray(SharedRecord.size(4))
    cell = SharedRecord(memoryview(memory))
    cell.write(b"aaaa")
    cell.write(b"bbbb")
    memory[at] ^= 0xFF  # the half that is written next
    assert cell.read() == (2, b"bbbb")
    assert cell.write(b"cccc") == 3
    assert cell.read() == (3, b"cccc")


def test_a_reader_never_sees_half_a_document() -> None:
    """While a process writes contents of changing length as fast as it can, every read is whole."""
    board = Board(2)
    board.seat_next(1)
    board.sit(0)

    def write() -> None:
        board.sit(1)
        for n in range(3_000):
            board.publish(bytes([n % 251]) * (1 + n % 5_000))

    pid = forked(write)
    seen = 0
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        for content in board.gathered().others:
            assert content == content[:1] * len(content)
            seen += 1
    assert done[1] == 0
    assert seen > 0


def test_the_wanted_state_reaches_the_other_workers() -> None:
    """The wanted state reaches other workers with a number that grows by one at each change."""
    board = Board(2)
    assert board.wanted() == (0, {})
    assert ended(forked(lambda: exec_want(board, {"iris": "1.2.0"}))) == 0
    assert board.wanted() == (1, {"iris": "1.2.0"})


def exec_want(board: Board, document: dict[str, str]) -> None:
    """Set the wanted state in a worker."""
    board.sit(1)
    assert board.want(document) == 1


def test_changes_of_several_processes_do_not_get_lost() -> None:
    """Of several processes that each add one to a number two hundred times, no addition is lost."""
    board = Board(2)

    def add() -> None:
        for _ in range(200):
            board.amend(lambda document: {"n": document.get("n", 0) + 1})

    assert [ended(pid) for pid in [forked(add) for _ in range(3)]] == [0, 0, 0]
    assert board.wanted() == (600, {"n": 600})


def test_a_worker_that_dies_while_it_changes_something_does_not_block_the_others() -> None:
    """The lock of a worker that dies is released, and nothing of its change is seen."""
    board = Board(2)

    def die() -> None:
        board.amend(lambda _: os.kill(os.getpid(), signal.SIGKILL))  # type: ignore[arg-type,return-value]

    assert ended(forked(die)) == -signal.SIGKILL
    assert board.want({"iris": "2"}) == 1


def test_a_document_that_is_too_long_is_refused() -> None:
    """A wanted state that is too long is refused and leaves the one before it."""
    board = Board(1)
    board.want({"iris": "1"})
    with pytest.raises(ServingError, match="longer than"):
        board.want({"iris": "x" * DOCUMENT_BYTES})
    assert board.wanted() == (1, {"iris": "1"})


def test_statuses_include_every_expected_worker() -> None:
    """Every expected worker has a status, alive or not; one that has not reported has an empty document."""
    board = Board(2)
    board.seat_next(0)
    board.sit(0)
    board.enter(READY)
    board.report({"sequence": 3})
    first, second = board.statuses()
    assert (first.pid, first.ready, first.document) == (os.getpid(), True, {"sequence": 3})
    assert (second.pid, second.ready, second.document) == (0, False, {})
    assert not board.all_ready


def test_a_new_worker_does_not_inherit_a_status() -> None:
    """The status of a dead worker is not taken over by its successor."""
    board = Board(1)
    board.seat_next(0)
    board.sit(0)
    board.report({"sequence": 3})
    board.retire(0, fold)
    board.seat_next(0)
    assert board.statuses()[0].document == {}


def test_a_worker_that_is_late_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has not reported counts as not ready, and the others accept connections in its place."""
    board = Board(2)
    for seat in (1, 0):
        board.seat_next(seat)
        board.sit(seat)
        board.enter(READY)
    assert board.all_ready
    assert board.lost() == set()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + LATE_SECONDS + 1)
    board.beat()
    assert board.n_ready == 1
    assert board.lost() == {1}


def test_each_worker_that_ever_was_is_counted_once() -> None:
    """The counts of a worker are included once: before its death, after it, and beside its successor's."""
    board = Board(2)
    board.sit(0)

    def others() -> tuple[list[bytes], bytes]:
        board.sit(0)
        found = board.gathered()
        return found.others, found.retired

    board.seat_next(1)
    board.sit(1)
    board.publish(b"first")
    assert others() == ([b"first"], b"")
    board.retire(1, lambda retired, last: retired + last)
    assert others() == ([], b"first")
    board.seat_next(1)
    board.sit(1)
    assert others() == ([], b"first")
    board.sit(1)
    board.publish(b"second")
    assert others() == ([b"second"], b"first")
    board.retire(1, lambda retired, last: retired + last)
    assert others() == ([], b"firstsecond")


def test_a_worker_that_dies_before_it_counted_anything_adds_nothing() -> None:
    """A worker that dies before its first count adds nothing, and its predecessor is not added again."""
    board = Board(1)
    board.seat_next(0)
    board.sit(0)
    board.publish(b"first")
    board.retire(0, lambda retired, last: retired + last)
    board.seat_next(0)
    board.retire(0, lambda retired, last: retired + last)
    assert board.gathered().retired == b"first"


def test_a_snapshot_that_is_too_long_is_not_published() -> None:
    """A snapshot that is too long is refused with an error, and the last shorter one stays."""
    board = Board(2)
    board.seat_next(1)
    board.sit(1)
    assert board.publish(b"short")
    assert not board.publish(b"x" * (SNAPSHOT_BYTES + 1))
    board.sit(0)
    assert board.gathered().others == [b"short"]


def test_the_server_is_announced_once() -> None:
    """The server is announced once, by the worker that is ready last."""
    board = Board(2)
    told = []
    for seat in (0, 1):
        board.seat_next(seat)
        board.sit(seat)
        board.enter(READY)
        told.append(board.announces())
    assert told == [False, True]
    assert not board.announces()


def test_one_process_has_the_same_board() -> None:
    """A server of one process has the same board in its own memory."""
    board = LocalBoard()
    assert board.wanted() == (0, {})
    assert board.want({"a": 1}) == 1
    assert board.amend(lambda document: {**document, "b": 2}) == 2
    assert board.wanted() == (2, {"a": 1, "b": 2})
    board.report({"sequence": 2})
    board.enter(READY)
    assert board.statuses()[0][1:] == (os.getpid(), True, {"sequence": 2})
    assert board.all_ready

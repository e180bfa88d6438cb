"""The supervisor: forks workers, replaces those that die or hang, and stops them all.

It never answers a request, and imports nothing that answers one: forking is safe only from a process without threads.
The order of events of a worker's death is kept so that no count is ever lost or doubled: the dead process is found but
not yet reaped, its last snapshot and processor time are added to the retired counts, and only then is it reaped and
replaced.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import FrameType

from orris.errors import OrrisError, SettingsError
from orris.serving.processes.board import READY, Board
from orris.telemetry.server_log import tell
from orris.telemetry.snapshot import fold

LOOK_SECONDS = 0.25
"""How often heartbeats are looked at."""

START_DEATHS, START_SECONDS = 5, 30.0
"""So many deaths of workers that were never ready, within so long and with no worker ready, end the server."""

HEALTHY_SECONDS = 5.0
"""A worker that was ready and lived for so long is replaced at once; others after a pause, which doubles."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 10.0

BEYOND_SECONDS = 5.0
"""Workers end themselves in time; one that is still there so long after is killed."""

REFUSED, MISUSED = 3, 4
"""Exit codes of a worker that cannot serve its models, and of one with invalid settings.

A restart would not help.
"""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


@dataclass
class _Seat:
    """The supervisor's record of a worker.

    Attributes:
        pid: Its process; 0: none.
        started: Monotonic time of its start.
        due: Monotonic time at which to replace it.
        pause: Seconds to the replacement after the next early death.
        killed: Why the supervisor killed it; empty: it did not.
    """

    pid: int = 0
    started: float = 0.0
    due: float = 0.0
    pause: float = 0.0
    killed: str = ""


class Supervisor:
    """Keeps workers running.

    Args:
        board: What it and the workers tell each other.
        work: Serves, in a worker, after ``board.sit``; returns the exit code.
        listeners: Sockets that the workers accept from.
        hang_seconds: A worker whose heart has not beaten for so long is killed and replaced.
        stop_seconds: How long workers may take to stop.
    """

    def __init__(
        self,
        board: Board,
        work: Callable[[], int],
        listeners: Sequence[socket.socket],
        *,
        hang_seconds: float,
        stop_seconds: float,
    ) -> None:
        self._board = board
        self._work = work
        self._listeners = listeners
        self._hang_seconds = hang_seconds
        self._stop_seconds = stop_seconds
        self._seats = [_Seat() for _ in range(board.n_workers)]
        self._start_deaths: deque[float] = deque()
        self._signals: deque[int] = deque()
        self._looked = time.monotonic()
        self._patient_from = 0.0
        self._code = 0
        self._was_ready = False

    def run(self) -> int:
        """Run until a signal, or until workers keep dying at their start; returns the exit code."""
        waker, wakened = socket.socketpair()
        for end in (waker, wakened):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        try:
            reason = self._keep_running(wakened)
            self._stop(reason, wakened)
        finally:
            for seat in self._seats:
                if seat.pid:
                    os.kill(seat.pid, signal.SIGKILL)
        return self._code

    def _keep_running(self, wakened: socket.socket) -> str:
        """Replace workers until it is time to stop; returns why."""
        while True:
            self._bury()
            self._kill_hung()
            reason = self._told_to_stop() or self._hopeless()
            if reason:
                return reason
            for number, seat in enumerate(self._seats):
                if not seat.pid and time.monotonic() >= seat.due:
                    self._fork(number)
            _sleep(wakened, LOOK_SECONDS)

    # signals

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (signal's names)
        if number != signal.SIGCHLD:
            self._signals.append(number)

    def _told_to_stop(self) -> str:
        return f"{signal.Signals(self._signals.popleft()).name} received" if self._signals else ""

    # births

    def _fork(self, number: int) -> None:
        seat = self._seats[number]
        self._board.seat_next(number)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid = os.fork()
        if not pid:
            self._be_worker(number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        seat.pid, seat.started, seat.killed = pid, time.monotonic(), ""
        self._board.sit_down(number, pid)

    def _be_worker(self, number: int) -> None:
        """The child: serve, and never return."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the supervisor passes SIGTERM on
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self._board.sit(number)
            code = self._work()
        except OrrisError as error:
            tell(f"worker {number}: error: {error}")
            code = MISUSED if isinstance(error, SettingsError) else REFUSED
        except BaseException:  # noqa: BLE001 (told, and the process ends)
            tell(f"worker {number}: {traceback.format_exc()}")
        finally:
            logging.shutdown()
            sys.stdout.flush()
            # Not sys.exit: what stands above on the stack belongs to the supervisor.
            os._exit(code)

    # deaths

    def _bury(self) -> None:
        """Find workers that are gone, keep their counts, and say when they are to be replaced."""
        while True:
            found = _found_dead()
            if found is None:
                return
            pid, how = found
            for number, seat in enumerate(self._seats):
                if seat.pid == pid:
                    was_ready = self._board.occupant(number)[2] >= READY
                    cpu_seconds = _cpu_seconds(pid)
                    if not self._board.retire(number, partial(fold, cpu_seconds=cpu_seconds)):
                        tell(
                            "what workers that are gone have counted is too much for the board: this one's counts are"
                            " lost"
                        )
                    seat.pid = 0
                    self._mourn(number, seat, how, was_ready=was_ready)
            os.waitpid(pid, 0)

    def _mourn(self, number: int, seat: _Seat, how: int, *, was_ready: bool) -> None:
        now = time.monotonic()
        self._was_ready = self._was_ready or was_ready
        if was_ready and now - seat.started > HEALTHY_SECONDS:
            pause = 0.0
            seat.pause = FIRST_PAUSE_SECONDS
        else:
            pause = seat.pause = min(max(2 * seat.pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        if not was_ready:
            self._start_deaths.append(now)
        if how in {REFUSED, MISUSED} and not self._was_ready:
            self._code = {REFUSED: 1, MISUSED: 2}[how]
        seat.due = now + pause
        ended = seat.killed or (f"was killed by {_signal_name(-how)}" if how < 0 else f"ended with exit code {how}")
        if not self._signals and not self._code:
            self._board.count_restart()
            tell(f"worker {number} {ended}; replacing it{f' in {pause:g} s' if pause else ' now'}")

    def _hopeless(self) -> str:
        """Why it is no use to go on, if it is none."""
        if self._code:
            return "no worker can serve the requested models"
        while self._start_deaths and time.monotonic() - self._start_deaths[0] > START_SECONDS:
            self._start_deaths.popleft()
        if len(self._start_deaths) >= START_DEATHS and not self._board.n_ready:
            self._code = 1
            return f"{len(self._start_deaths)} workers died at their start within {START_SECONDS:g} s"
        return ""

    def _kill_hung(self) -> None:
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS + 1:
            # The machine, or the container, has stood still, and the workers with it.
            self._patient_from = now
        self._looked = now
        for number, seat in enumerate(self._seats):
            _, _, state, heartbeat = self._board.occupant(number)
            silent = now - max(heartbeat, self._patient_from)
            if seat.pid and not seat.killed and state >= READY and silent > self._hang_seconds:
                seat.killed = f"hung: its heart has not beaten for {silent:.1f} s, and it was killed"
                os.kill(seat.pid, signal.SIGKILL)

    # the end

    def _stop(self, reason: str, wakened: socket.socket) -> None:
        """Pass SIGTERM on, and wait; a second signal, or the end of the time, kills."""
        tell(f"stopping {sum(seat.pid > 0 for seat in self._seats)} workers: {reason}")
        for listener in self._listeners:
            listener.close()
        for seat in self._seats:
            if seat.pid:
                os.kill(seat.pid, signal.SIGTERM)
        end = time.monotonic() + self._stop_seconds + BEYOND_SECONDS
        why = ""
        while any(seat.pid for seat in self._seats):
            for pid, how in iter(_found_dead, None):
                os.waitpid(pid, 0)
                for seat in self._seats:
                    if seat.pid == pid:
                        seat.pid = 0
                        self._code = self._code or int(how not in {0, -signal.SIGTERM})
            again = self._told_to_stop()
            if not why and (again or time.monotonic() > end):
                why = again.replace("received", "again") or "they took too long"
                tell(f"killing {sum(seat.pid > 0 for seat in self._seats)} workers: {why}")
                self._code = self._code or 1
                for seat in self._seats:
                    if seat.pid:
                        os.kill(seat.pid, signal.SIGKILL)
            if any(seat.pid for seat in self._seats):
                _sleep(wakened, LOOK_SECONDS)
        tell("stopped")


def _sleep(wakened: socket.socket, seconds: float) -> None:
    """Sleep until a signal, or for so long."""
    if select.select([wakened], [], [], seconds)[0]:
        while len(wakened.recv(4096)) == 4096:
            pass


def _found_dead() -> tuple[int, int] | None:
    """A child that is gone and not reaped yet: its process id, and its exit code or minus the signal that killed it."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if found is None:
        return None
    return found.si_pid, found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _cpu_seconds(pid: int) -> float:
    """Processor time of a process that is gone and not reaped yet.

    From where ``prometheus_client`` takes that of living ones.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 (pathlib would be one more import)
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

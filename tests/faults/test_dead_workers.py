"""A worker that dies or hangs under load: only what it had in hand is lost, it is replaced, and nothing reads better than it is."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.load import KEEP_ALIVE, NEW_CONNECTIONS, PIPELINING, Habits, Right, await_answers, eventually, load
from tests.faults.processes import client_ports, counts, decreased, gone, metric, status, workers_of
from tests.faults.sizes import N_KILLS
from tests.servers import Server, serving


@pytest.fixture(scope="module")
def pair(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers; one that is silent for two seconds counts as hung."""
    arguments = ("iris@1.0.0", "--store", str(published), "--workers", "2", "--no-access-log")
    with serving(*arguments, folder=tmp_path_factory.mktemp("pair"), environ={"ORRIS_HANG_SECONDS": "2"}) as running:
        eventually(lambda: status(running, "/ready") == 200)
        yield running


def stopped_and_seen(server: Server) -> tuple[int, set[int]]:
    """Stand a worker still, so that what it has in hand stays what it is: its process id, and the clients' ports of its connections."""
    victim = workers_of(server)[0]
    os.kill(victim, signal.SIGSTOP)
    return victim, client_ports(victim, server)


def replaced(server: Server, victim: int) -> None:
    """Watch a worker being replaced: unready until it is, and no counter ever goes back."""
    seen, unready = counts(server), False
    while status(server, "/ready") != 200 or not unready:
        unready = unready or status(server, "/ready") == 503
        scraped = counts(server)
        assert decreased(seen, scraped) == {}
        seen = scraped
    assert victim not in workers_of(server)
    assert len(workers_of(server)) == 2


@pytest.mark.parametrize("habits", [KEEP_ALIVE, PIPELINING, NEW_CONNECTIONS], ids=["keep-alive", "pipelining", "new connections"])
def test_a_killed_worker_takes_only_what_it_had_in_hand(pair: Server, right: Right, habits: Habits) -> None:
    """Every lost request was on a connection that the killed worker had accepted; all others are answered, and rightly."""
    restarts = metric(pair, "orris_worker_restarts_total")
    for _ in range(N_KILLS):
        with load(pair.port, right, habits=habits) as books:
            await_answers(books, 200)
            victim, held = stopped_and_seen(pair)
            os.kill(victim, signal.SIGKILL)
            replaced(pair, victim)
            await_answers(books, 200)
        assert set(books.lost_ports) <= held
        assert books.lost <= len(held) * habits.pipelined
        assert (books.wrong, books.refused, books.unconnected) == (0, 0, 0)
    assert metric(pair, "orris_worker_restarts_total") == restarts + N_KILLS


def test_a_hung_worker_is_replaced_and_takes_only_what_it_had_in_hand(pair: Server, right: Right) -> None:
    """While it hangs the other one answers for it, on new connections; readiness goes down before a worker is put in its place."""
    with load(pair.port, right, habits=NEW_CONNECTIONS) as books:
        await_answers(books, 200)
        victim, held = stopped_and_seen(pair)
        before = counts(pair)
        eventually(lambda: gone(victim))
        replaced(pair, victim)
        assert decreased(before, counts(pair)) == {}
        await_answers(books, 200)
    assert set(books.lost_ports) <= held
    assert (books.wrong, books.refused, books.unconnected) == (0, 0, 0)


def test_a_server_whose_only_other_worker_hangs_is_not_ready(published: Path, tmp_path: Path) -> None:
    """A worker that is silent is not counted as ready, although its process is there; when it goes on, the server is ready again."""
    arguments = ("iris@1.0.0", "--store", str(published), "--workers", "2", "--no-access-log")
    with serving(*arguments, folder=tmp_path, environ={"ORRIS_HANG_SECONDS": "60"}) as server:
        eventually(lambda: status(server, "/ready") == 200)
        hung = workers_of(server)[0]
        os.kill(hung, signal.SIGSTOP)
        eventually(lambda: status(server, "/ready") == 503)
        assert not gone(hung)
        assert status(server, "/health") == 200
        os.kill(hung, signal.SIGCONT)
        eventually(lambda: status(server, "/ready") == 200)
        assert hung in workers_of(server)

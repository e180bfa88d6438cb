"""Sharing connections between processes: an even share, and no descriptor that is lost on its way."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from orris.serving.http.balance import Balance
from orris.serving.processes.sharing import Sharing


@pytest.fixture
def sharing() -> Iterator[Sharing]:
    """Two workers that share connections."""
    made = Sharing(2)
    yield made
    made.close()


def connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    return client, accepted


@pytest.mark.parametrize(("n_open", "other", "kept"), [(0, 0, True), (1, 0, False), (20, 20, True), (23, 20, False)])
def test_a_connection_is_handed_to_a_worker_with_fewer(sharing: Sharing, n_open: int, other: int, kept: bool) -> None:
    """A worker keeps a connection if it has about as many as the other one."""
    sharing.sit(1)
    sharing.tell(other)
    sharing.sit(0)
    assert sharing.lightest(n_open, {1}) == (None if kept else 1)


def test_no_worker_answers_beside_this_one(sharing: Sharing) -> None:
    """A connection is kept if there is nobody to hand it to."""
    assert sharing.lightest(1_000, set()) is None


def test_connections_on_their_way_count(sharing: Sharing) -> None:
    """A burst of connections is not all handed to the worker that had fewest before it."""
    sharing.sit(0)
    ends = [connected() for _ in range(10)]
    given = 0
    for n_kept, (_, accepted) in enumerate(ends):
        if sharing.lightest(n_kept - given, {1}) is not None:
            assert sharing.give(1, accepted)
            given += 1
    assert given == 5
    for _ in range(given):
        taken = sharing.take(1)
        assert taken is not None
        taken.close()
    assert sharing.take(1) is None
    for client, accepted in ends:
        client.close()
        accepted.close()


def test_connections_on_their_way_count_for_their_worker_as_well(sharing: Sharing) -> None:
    """A worker that has not taken what it was handed hands over what it accepts itself."""
    sharing.sit(0)
    sharing.tell(5)
    ends = [connected() for _ in range(10)]
    for _, accepted in ends:
        assert sharing.give(1, accepted)
    sharing.sit(1)
    assert sharing.lightest(0, {0}) == 0
    for client, _ in ends:
        taken = sharing.take(1)
        assert taken is not None
        taken.close()
        client.close()
    assert sharing.lightest(0, {0}) is None


async def _taken_for(sharing: Sharing, answering: set[int]) -> int:
    """How many of two connections in the inbox of seat 1 the worker of seat 0 takes, which seats answer beside it."""
    sharing.sit(0)
    taken: list[socket.socket] = []
    balance = Balance(sharing, others=lambda: answering, n_open=lambda: len(taken), adopt=taken.append)
    ends = [connected() for _ in range(2)]
    for _, accepted in ends:
        assert sharing.give(1, accepted)
    balance.open(1)
    for _ in range(20):
        await asyncio.sleep(0)
    balance.close(1)
    for end in [*taken, *(client for client, _ in ends)]:
        end.close()
    return len(taken)


@pytest.mark.parametrize(("answering", "n_taken"), [(set(), 2), ({1}, 0)])
def test_a_worker_that_answers_again_takes_its_own_connections(
    sharing: Sharing, answering: set[int], n_taken: int
) -> None:
    """A worker takes connections for one that does not answer, and leaves them to it as soon as it does."""
    assert asyncio.run(_taken_for(sharing, answering)) == n_taken


def test_a_connection_outlives_both_workers_on_its_way(sharing: Sharing) -> None:
    """A descriptor that a dead worker has handed to a dead worker is taken by a third process, and works."""
    client, accepted = connected()
    child = os.fork()
    if not child:
        sharing.sit(0)
        os._exit(not sharing.give(1, accepted))
    assert os.waitpid(child, 0)[1] == 0
    accepted.close()
    taken = sharing.take(1)
    assert taken is not None
    taken.sendall(b"hello")
    assert client.recv(100) == b"hello"
    taken.close()
    client.close()


def test_a_full_inbox_is_no_error(sharing: Sharing) -> None:
    """A worker that takes nothing gets no more connections: its inbox is bounded."""
    sharing.sit(0)
    client, accepted = connected()
    n_given = 0
    given = True
    while n_given < 10_000 and given:
        copy = accepted.dup()
        given = sharing.give(1, copy)
        n_given += given
    copy.close()
    assert 0 < n_given < 10_000
    while (taken := sharing.take(1)) is not None:
        taken.close()
    client.close()
    accepted.close()

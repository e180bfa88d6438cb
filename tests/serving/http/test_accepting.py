"""Tests of accepting: clients that connect at once are all answered, and none is lost when the server stops."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from orris.api import Bundle
from orris.serving.http.accepting import MAX_ACCEPTED, Acceptor
from tests.servers import serving
from tests.serving.http.streams import Client, get


class Greeting(asyncio.Protocol):
    """A protocol that sends one word and closes the connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the word and close."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


def test_as_many_as_wait_are_accepted_in_few_turns() -> None:
    """A turn of the loop accepts waiting connections up to a bound, and the next turns accept the rest."""

    async def run() -> list[bytes]:
        listener = socket.create_server(("127.0.0.1", 0), backlog=2 * MAX_ACCEPTED)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(MAX_ACCEPTED + 10)]
        acceptor = Acceptor(listener, Greeting, tls=None, relieve=lambda: None)
        for _ in range(4):
            await asyncio.sleep(0)
        await acceptor.finish(10.0)
        words = [client.recv(100) for client in clients]
        for client in clients:
            client.close()
        return words

    assert asyncio.run(run()) == [b"hello"] * (MAX_ACCEPTED + 10)


def test_a_thousand_clients_that_connect_at_once_are_answered(iris: Bundle, tmp_path: Path) -> None:
    """A thousand clients with open connections of their own at the same time are all answered."""
    with serving(str(iris.folder), "--no-access-log", folder=tmp_path) as server:
        clients = [Client(server.port) for _ in range(1_000)]
        for number, one in enumerate(clients):
            one.send([get(f"r{number}").replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n")])
        assert [[answer.status for answer in one.answers()] for one in clients] == [[200]] * 1_000

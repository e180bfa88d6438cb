"""Clients that count requests sent, answered and lost, and how connections ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.waiting import PATIENCE_SECONDS

REQUEST = (
    b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 76\r\n\r\n"
    b'{"sepal_length":5.1,"sepal_width":3.5,"petal_length":1.4,"petal_width":0.20}'
)


@dataclass
class Tally:
    """Counts over the requests of all clients.

     / Attributes: /     answered: Answers with status 200. /     failed: Other answers. /     lost: Requests on a
    connection that ended without an answer, and without an earlier one that announced it. /     announced:
    Connections whose last answer said that it was the last. /     refused: Connections that were not accepted.
    """

    answered: int = 0
    failed: int = 0
    lost: int = 0
    announced: int = 0
    refused: int = 0


async def one_client(
    port: int, tally: Tally, ending: threading.Event, *, pipelined: int = 1, reconnect: bool = True
) -> None:
    """Send requests, ``pipelined`` at a time, on open connections until stopped or refused."""
    while not ending.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            tally.refused += 1
            await asyncio.sleep(0.01)
            if not reconnect:
                return
            continue
        while not ending.is_set():
            if not await _exchange(reader, writer, tally, pipelined):
                break
        writer.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tally: Tally, pipelined: int) -> bool:
    """Send some requests and read their answers; return whether the connection goes on."""
    try:
        writer.write(REQUEST * pipelined)
    except OSError:
        tally.lost += pipelined
        return False
    for n in range(pipelined):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        except (OSError, asyncio.IncompleteReadError):
            tally.lost += pipelined - n
            return False
        if head.startswith(b"HTTP/1.1 200"):
            tally.answered += 1
        else:
            tally.failed += 1
        if b"connection: close" in head.lower():
            tally.announced += 1
            return False
    return True


@contextmanager
def load(port: int, *, n_clients: int = 8, pipelined: int = 1, reconnect: bool = True) -> Iterator[Tally]:
    """Run closed-loop clients on a thread while the block runs, and until they have their last answers."""
    tally, ending = Tally(), threading.Event()

    async def run() -> None:
        clients = [one_client(port, tally, ending, pipelined=pipelined, reconnect=reconnect) for _ in range(n_clients)]
        await asyncio.gather(*clients)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        yield tally
    finally:
        ending.set()
        thread.join(PATIENCE_SECONDS)

"""Small HTTP servers that misbehave on purpose, each in a process of its own, for tests of load tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PROGRAM = """
import asyncio, sys, time

stall_at, stall_seconds, status, closes = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4] == "closes"
first = None


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.received = b""

    def data_received(self, data):
        global first, stall_at
        self.received += data
        while b"\\r\\n\\r\\n" in self.received:
            head, _, rest = self.received.partition(b"\\r\\n\\r\\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\\r")[0] or 0)
            if len(rest) < length:
                return
            self.received = rest[length:]
            first = first or time.monotonic()
            if stall_at and time.monotonic() - first > stall_at:
                stall_at = 0
                time.sleep(stall_seconds)
            if status == "hang":
                return
            if status == "garbage":
                self.transport.write(b"no HTTP\\r\\n\\r\\n")
                return
            if status == "drop":
                self.transport.abort()
                return
            self.transport.write(b"HTTP/1.1 %s Any\\r\\ncontent-length: 2\\r\\n\\r\\n{}" % status.encode())
            if closes:
                self.transport.close()


async def main():
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
"""


@contextmanager
def misbehaving(
    *, stall_after: float = 0.0, stall_seconds: float = 0.0, status: str = "200", closes: bool = False
) -> Iterator[str]:
    """Serve on a free port of the loopback interface; yields the URL.

    Args:
        stall_after: Seconds after the first request until the process sleeps, once; 0: never.
        stall_seconds: How long it sleeps.
        status: The answer's status; ``hang`` never answers, ``garbage`` answers no HTTP, ``drop`` ends the connection.
        closes: Whether each connection is closed after one answer, without saying so.
    """
    arguments = [str(stall_after), str(stall_seconds), status, "closes" if closes else "keeps"]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()

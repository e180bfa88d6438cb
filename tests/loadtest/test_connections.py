"""Tests of the driver's connections."""

from __future__ import annotations

import asyncio
import time

import uvloop

from orris.loadtest import target_of
from orris.loadtest.connections import HttpPool
from tests.loadtest.test_driver import ROW
from tests.servers import Server


class _Outcomes:
    """Keeps the first outcome."""

    def __init__(self) -> None:
        self.first: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def answered(self, route: int, due: float, at: float, n_bytes: int) -> None:
        """The request was answered."""
        del route, due, at, n_bytes
        self.first.set_result("answered")

    def failed(self, route: int, due: float, at: float, kind: str, answer: bytes | str = "") -> None:
        """The request failed."""
        del route, due, at, answer
        self.first.set_result(kind)


def test_a_request_waits_for_a_new_connection_where_the_idle_one_is_closing(server: Server) -> None:
    """A connection that closes while it is idle gets no request; the connection in its place does."""
    target = target_of(server.url, [ROW])

    async def outcome() -> str:
        outcomes = _Outcomes()
        pool = HttpPool(target, outcomes, 1, 30.0)
        await pool.open()
        pool._idle[0].transport.close()
        now = time.monotonic()
        pool.start(0, now, now, target.routes[0].contents[0])
        try:
            return await asyncio.wait_for(outcomes.first, 30)
        finally:
            await pool.close()

    assert uvloop.run(outcome()) == "answered"

"""Tests of faults that take time: memory growth, swaps under load, a store that fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orris.api import Bundle
from tests.faults.sizes import N_REQUESTS, N_SWAPS
from tests.server.test_changes import ADMIN, ENVIRON, publish
from tests.servers import client, serving
from tests.serving.clients import load
from tests.waiting import eventually

ODD = b'{"sepal_length":5.1,"sepal_width":3.5,"petal_length":1.4,"petal_width":99}'
BAD = b'{"sepal_length":-5.1,"sepal_width":3.5,"petal_length":1.4,"colour":"red"}'
GOOD = b'{"sepal_length":5.1,"sepal_width":3.5,"petal_length":1.4,"petal_width":0.2}'


def requests(number: int) -> list[bytes]:
    """Return a good, an unusual and a refused request, and a good one whose head comes four times, then no more."""
    bodies = ((GOOD, b""), (ODD, b""), (BAD, b""), (GOOD, b"x-number: %d\r\n" % (number // 4)))
    return [
        b"POST /predict HTTP/1.1\r\nhost: x\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (line, len(body), body)
        for body, line in bodies
    ]


async def ask(port: int, n_requests: int) -> int:
    """Send ``requests`` on a few connections, in one segment or one by one; return how many were answered."""

    async def one(rounds: int, first: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answered = 0
        for number in range(first, first + rounds):
            sent = requests(number)
            for segment in [b"".join(sent)] if number % 2 else sent:
                writer.write(segment)
                for _ in sent if number % 2 else [segment]:
                    head = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
                    answered += 1
        writer.close()
        return answered

    rounds = n_requests // 32
    return sum(await asyncio.gather(*(one(rounds, client * rounds) for client in range(8))))


def test_memory_stays_flat(iris: Bundle, tmp_path: Path) -> None:
    """After a warm-up, many requests of all kinds, whose heads change, add no more than a few megabytes."""
    with serving(str(iris.folder), "--no-access-log", folder=tmp_path) as server:
        asyncio.run(ask(server.port, 8_000))
        before = server.resident_bytes
        answered = asyncio.run(ask(server.port, N_REQUESTS))
        grown = server.resident_bytes - before
    assert answered == N_REQUESTS // 32 * 32
    assert grown < 8 * 1024**2


def test_swaps_in_a_loop_under_load_lose_nothing(tmp_path: Path) -> None:
    """Zero requests are lost or refused, and memory does not grow with the number of swaps."""
    store = tmp_path / "store"
    publish(store, "1.0.0")
    publish(store, "2.0.0", model="decision-tree")
    with serving("iris@1.0.0", "--store", str(store), "--no-access-log", folder=tmp_path, environ=ENVIRON) as server:
        with load(server.port, n_clients=4) as tally, client(server) as admin:
            for number in range(N_SWAPS):
                version = ("2.0.0", "1.0.0")[number % 2]
                assert (
                    admin.post("/api/v1/model/reload", headers=ADMIN, json={"version": version}).json()["model_version"]
                    == version
                )
        assert tally.answered > 100
        assert (tally.lost, tally.failed, tally.refused) == (0, 0, 0)


def test_unsigned_and_damaged_versions_do_not_arrive_by_watching(tmp_path: Path) -> None:
    """With a key, a watching server refuses unsigned and damaged versions while the signed one answers under load."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from orris.signing import sign
    from orris.store import Store

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    store = tmp_path / "store"
    publish(store, "1.0.0", alias="prod")
    signed = Store(store)
    signed.attach_signature("iris@1.0.0", sign(signed.fetch("iris@1.0.0"), private, signature=tmp_path / "model.sig"))
    environ = {"ORRIS_VERIFY_KEY": str(public)}
    with serving("iris:prod", "--store", str(store), "--watch", "0.2", folder=tmp_path, environ=environ) as server:
        with load(server.port, n_clients=2) as tally, client(server) as asking:
            publish(store, "2.0.0", alias="prod")
            refused = 'orris_swaps_total{model="iris",outcome="refused"}'
            eventually(lambda: refused in asking.get("/metrics").text)
            assert asking.get("/ready").json()["model_version"] == "1.0.0"
        assert (tally.lost, tally.failed, tally.refused) == (0, 0, 0)

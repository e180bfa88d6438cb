"""Clients that keep books: what they sent, and what became of each request. All fault tests use them.

What the words mean, of one request whose first byte was sent:

- *answered*: the answer arrived whole, with status 200, and is the right one: for the row that was sent, by the version that it names.
- *refused*: the answer is 503 with ``Retry-After``; a client sends such a request again.
- *wrong*: any other answer: another status, another row's answer, another request's id.
- *returned*: an earlier answer of the connection said ``connection: close``, so the server has said that it will not look at this request
  (RFC 9112, 9.6). Happens to pipelined requests only; a client sends them again.
- *lost*: the connection ended without a whole answer, for whatever reason.

``sent`` is the sum of the five. No request was made where no connection was: those that were not accepted are counted as ``unconnected``.
A connection that the server closes between two requests, and that the client sees to be closed before it sends, costs no request.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import orris

Row = dict[str, float]
Answer = tuple[str, list[float]]
"""Label and probabilities."""

ROWS: tuple[Row, ...] = tuple(
    {"sepal_length": 4.6 + n / 5, "sepal_width": 3.4 - n / 20, "petal_length": 1.3 + n / 3, "petal_width": 0.2 + n / 6} for n in range(13)
)
"""Rows of iris whose answers differ from each other, and from version to version."""

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Right:
    """The right answers: per version, one for each of ``ROWS``."""

    answers: Mapping[str, Sequence[Answer]]

    @classmethod
    def of(cls, *folders: Path) -> Right:
        """Answered by the Python interface, from the bundles themselves."""
        found = {}
        for folder in folders:
            model = orris.load(folder)
            labels, probabilities = model.predict(list(ROWS)), model.predict_proba(list(ROWS))
            found[model.manifest.version] = [(str(label), row.tolist()) for label, row in zip(labels, probabilities, strict=True)]
        return cls(found)

    def holds(self, number: int, version: str, answer: Mapping[str, Any]) -> bool:
        """Whether an answer is the version's answer to a row."""
        label, probabilities = self.answers[version][number]
        found = answer["probabilities"]
        near = all(abs(mine - its) < TOLERANCE for mine, its in zip(probabilities, found, strict=True))
        return bool(answer["prediction_label"] == label and near)


@dataclass
class Books:
    """What became of the requests; see the module.

    Attributes:
        lost_ports: The client's port of each lost request: which connection it was on.
        closed_idle: Connections that the server closed between two requests.
        versions: Answers of each version.
        remarks: What was wrong, in words; the first few.
    """

    sent: int = 0
    answered: int = 0
    refused: int = 0
    wrong: int = 0
    returned: int = 0
    unconnected: int = 0
    closed_idle: int = 0
    announced: int = 0
    lost_ports: list[int] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Requests without an answer."""
        return len(self.lost_ports)

    @property
    def balanced(self) -> bool:
        """Whether every request that was sent is in exactly one of the books."""
        return self.sent == self.answered + self.refused + self.wrong + self.returned + self.lost

    def remark(self, text: str) -> None:
        """Keep it for the reader of a failure."""
        if len(self.remarks) < 20:
            self.remarks.append(text)

    def __str__(self) -> str:
        """One line, as in docs/faults.md."""
        names = ("sent", "answered", "refused", "wrong", "returned", "lost", "unconnected")
        return ", ".join(f"{getattr(self, name):,} {name}" for name in names) + "".join(f"\n  {text}" for text in self.remarks)


@dataclass(frozen=True)
class Habits:
    """How a client behaves.

    Attributes:
        pipelined: Requests in one write, before any answer is read.
        per_connection: Requests after which it opens a new connection; 0: it keeps the one.
        repeat: How often the row stands in one body; 0: the body is the row itself.
        patience: Seconds to wait for an answer.
        comes_back: Whether it connects anew when it cannot connect.
    """

    pipelined: int = 1
    per_connection: int = 0
    repeat: int = 0
    patience: float = 60.0
    comes_back: bool = True


KEEP_ALIVE = Habits()
PIPELINING = Habits(pipelined=6)
NEW_CONNECTIONS = Habits(per_connection=1)
LARGE_BODIES = Habits(repeat=2_000)


class Client:
    """One client: one connection at a time, on an event loop."""

    def __init__(self, port: int, books: Books, right: Right, habits: Habits, name: str) -> None:
        self._port = port
        self._books = books
        self._right = right
        self._habits = habits
        self._name = name
        self._numbers = count()
        self._local_port = 0

    async def run(self, ending: threading.Event) -> None:
        """Send until told to end; the last requests are waited for."""
        while not ending.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                self._books.unconnected += 1
                if not self._habits.comes_back:
                    return
                await asyncio.sleep(0.02)
                continue
            try:
                await self._use(reader, writer, ending)
            finally:
                writer.close()

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ending: threading.Event) -> None:
        """Send on one connection until it ends."""
        self._local_port = writer.get_extra_info("sockname")[1]
        done = 0
        while not ending.is_set():
            if reader.at_eof():
                self._books.closed_idle += 1
                return
            numbers = [next(self._numbers) for _ in range(self._habits.pipelined)]
            self._books.sent += len(numbers)
            writer.write(b"".join(map(self._request, numbers)))
            if not await self._read_answers(reader, numbers):
                return
            done += len(numbers)
            if self._habits.per_connection and done >= self._habits.per_connection:
                return

    def _request(self, number: int) -> bytes:
        row = json.dumps(ROWS[number % len(ROWS)])
        body = (f"[{', '.join([row] * self._habits.repeat)}]" if self._habits.repeat else row).encode()
        head = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-request-id: %s-%d\r\ncontent-length: %d\r\n\r\n"
        return (head % (self._name, number, len(body))).encode() + body

    async def _read_answers(self, reader: asyncio.StreamReader, numbers: Sequence[int]) -> bool:
        """Read as many answers as requests were sent; whether the connection goes on."""
        books = self._books
        for position, number in enumerate(numbers):
            left = len(numbers) - position
            try:
                async with asyncio.timeout(self._habits.patience):
                    status, headers, body = await read_answer(reader)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                books.lost_ports += [self._local_port] * left
                books.remark(f"{self._name}-{number} and {left - 1} behind it: {error!r}")
                return False
            self._enter(number, status, headers, body)
            if headers.get("connection") == "close":
                books.announced += 1
                books.returned += left - 1
                return False
        return True

    def _enter(self, number: int, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Find the book that an answer belongs to."""
        books = self._books
        same_id = headers.get("x-request-id") == f"{self._name}-{number}"
        if status == 503 and "retry-after" in headers and same_id:
            books.refused += 1
        elif status == 200 and same_id and self._is_right(number, body):
            books.answered += 1
        else:
            books.wrong += 1
            books.remark(f"{self._name}-{number}: {status} {headers} {body[:300]!r}")

    def _is_right(self, number: int, body: bytes) -> bool:
        document = json.loads(body)
        version = document["model_version"]
        self._books.versions[version] += 1
        answers = document["predictions"] if self._habits.repeat else [document]
        expected = self._habits.repeat or 1
        return len(answers) == expected and all(self._right.holds(number % len(ROWS), version, answer) for answer in answers)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body of the next answer; raises ``IncompleteReadError`` if it is not whole."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split(" ")[1]), headers, await reader.readexactly(int(headers["content-length"]))


@contextmanager
def load(port: int, right: Right, *, n_clients: int = 8, habits: Habits = KEEP_ALIVE) -> Iterator[Books]:
    """Clients on a thread that send as fast as they are answered, while the block runs and until they have their last answers."""
    books, ending = Books(), threading.Event()

    async def run() -> None:
        clients = [Client(port, books, right, habits, f"c{number}") for number in range(n_clients)]
        await asyncio.gather(*(client.run(ending) for client in clients))

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        yield books
    finally:
        ending.set()
        thread.join(60)
        print(f"\n{books}")  # noqa: T201 (pytest -s shows it: the numbers of docs/faults.md)
    assert not thread.is_alive(), "a client still waits"
    assert books.balanced, str(books)


def eventually(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something holds."""
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.02)


def await_answers(books: Books, more: int) -> None:
    """Wait until so many more requests have been answered."""
    enough = books.answered + more
    eventually(lambda: books.answered >= enough)

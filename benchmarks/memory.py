"""Memory of a server over millions of requests whose headers change: resident memory by hundred thousand requests.

Sixteen connections send requests of all kinds, most of them with headers that no request before had: another
``traceparent``, ``User-Agent``, ``X-Request-Id`` or path. Four connections send nothing but ``traceparent`` requests,
one in a segment, so that their heads are recognised; the others send all kinds in turn, one in a segment or in
pipelines that are cut anywhere. About one request in seven is handed over to uvicorn. Exit code 1 if an answer has
another status than its request should get, or memory grows by more than ``--most`` after the first fifth.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import harness
import uvloop

N_CONNECTIONS, N_TRACED, N_PIPELINED = 16, 4, 32
EVERY = 100_000
ROW = b'{"sepal_length":5.1,"sepal_width":3.5,"petal_length":1.4,"petal_width":0.2}'
INSTANCES = b'{"instances":[[5.1,3.5,1.4,0.2]]}'
TENSOR = b'{"inputs":[{"name":"rows","datatype":"FP64","shape":[1,4],"data":[5.1,3.5,1.4,0.2]}]}'

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


def post(path: bytes, body: bytes, lines: bytes = b"") -> bytes:
    """A POST with further header lines."""
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
    return head % (path, lines, len(body)) + body


def trace(number: int) -> bytes:
    """The header ``traceparent``, another one for each number."""
    return b"traceparent: 00-%032x-%016x-00\r\n" % (number + 1, number + 1)


def chunked(number: int) -> bytes:
    """A body in chunks for a path that nothing answers."""
    head = b"POST /nothing/%d HTTP/1.1\r\nHost: x\r\nX-Number: %d\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head % (number, number) + b"2\r\n{}\r\n0\r\n\r\n"


KINDS: tuple[tuple[Callable[[int], bytes], bytes], ...] = (
    (lambda n: post(b"/predict", ROW, trace(n)), b"200"),
    (lambda n: post(b"/predict", ROW, b"User-Agent: client/%d\r\n" % n), b"200"),
    (lambda n: post(b"/predict", ROW, b"X-Request-Id: request-%d\r\n" % n), b"200"),
    (lambda n: post(b"/predict", ROW.replace(b"0.2", b"%d" % (90 + n % 9)), b"X-Number: %d\r\n" % n), b"200"),
    (lambda n: post(b"/predict", ROW.replace(b"5.1", b"-5.1"), trace(n)), b"422"),
    (lambda n: post(b"/predict?x=%d" % n, ROW), b"200"),
    (lambda n: post(b"/v1/models/logistic:predict", INSTANCES, b"X-Number: %d\r\n" % n), b"200"),
    (lambda n: post(b"/v2/models/logistic/infer", TENSOR, trace(n) + b"tracestate: a=%d\r\n" % n), b"200"),
    (lambda n: post(b"/api/v1/predict", b"[" + b",".join([ROW] * (1 + n % 50)) + b"]", trace(n)), b"200"),
    (lambda n: post(b"/predict", ROW, b"Connection: Upgrade\r\nUpgrade: protocol-%d\r\n" % n), b"200"),
    (lambda n: post(b"/predict", b"{%d" % n, trace(n)), b"400"),
    (lambda n: b"GET /health HTTP/1.1\r\nHost: x\r\nUser-Agent: client/%d\r\n\r\n" % n, b"200"),
    (lambda n: b"GET /nothing/%d HTTP/1.1\r\nHost: x\r\n%b\r\n" % (n, trace(n)), b"404"),
    (chunked, b"404"),
)
"""What makes a request of each kind from its number, and the status that it gets."""


class Asking:
    """What the connections share: numbers of requests, and the answers that have come.

    Args:
        n_requests: How many requests are sent.
        looked: Called after each ``EVERY`` answers with their number.
    """

    def __init__(self, n_requests: int, looked: Callable[[int], None]) -> None:
        self.n_requests = n_requests
        self.n_sent = 0
        self.n_answered = 0
        self.wrong: Counter[str] = Counter()
        self.done = asyncio.get_running_loop().create_future()
        self._looked = looked

    def next(self) -> int | None:
        """The number of the next request; ``None``: there is none."""
        if self.n_sent >= self.n_requests:
            return None
        self.n_sent += 1
        return self.n_sent - 1

    def answered(self, status: bytes, expected: bytes) -> None:
        """Count an answer."""
        self.n_answered += 1
        if status != expected:
            self.wrong[f"{status.decode()} for {expected.decode()}"] += 1
        if self.n_answered % EVERY == 0:
            self._looked(self.n_answered)
        if self.n_answered == self.n_requests and not self.done.done():
            self.done.set_result(None)


class Client(asyncio.Protocol):
    """A connection that sends the next requests when those before are answered."""

    def __init__(self, asking: Asking, index: int) -> None:
        self._asking = asking
        self._kinds = KINDS[:1] if index < N_TRACED else KINDS
        self._n_together = N_PIPELINED if index % 2 and index >= N_TRACED else 1
        self._expected: deque[bytes] = deque()
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # sockets have no other
        """Send the first."""
        self._transport = transport
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed the connection, which it never should."""
        if not self._asking.done.done():
            self._asking.done.set_exception(RuntimeError(f"a connection was closed: {exc}"))

    def data_received(self, data: bytes) -> None:
        """Take whole answers."""
        received, start = self._received + data, 0
        while True:
            end = received.find(b"\r\n\r\n", start)
            if end < 0:
                break
            length = _LENGTH.search(received, start, end + 2)
            stop = end + 4 + (int(length.group(1)) if length else 0)
            if stop > len(received):
                break
            self._asking.answered(received[start + 9 : start + 12], self._expected.popleft())
            start = stop
        self._received = received[start:]
        if not self._expected:
            self._send()

    def _send(self) -> None:
        requests = []
        for _ in range(self._n_together):
            number = self._asking.next()
            if number is None:
                break
            make, status = self._kinds[number % len(self._kinds)]
            requests.append(make(number))
            self._expected.append(status)
        if requests and self._transport is not None:
            stream = b"".join(requests)
            cut = len(stream) if self._n_together == 1 else self._asking.n_sent * 7_919 % len(stream)
            self._transport.write(stream[:cut])
            if cut < len(stream):
                asyncio.get_running_loop().call_soon(self._transport.write, stream[cut:])


def resident(pid: int) -> int:
    """A process' resident memory, in bytes (``proc(5)``)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def run(port: int, pid: int, n_requests: int) -> tuple[list[tuple[int, int, float]], Counter[str]]:
    """Ask; returns answers so far, resident bytes and seconds at each look, and answers with another status."""
    start, looks = time.perf_counter(), [(0, resident(pid), 0.0)]

    def look(n_answered: int) -> None:
        looks.append((n_answered, resident(pid), time.perf_counter() - start))
        print(f"{n_answered:,} requests: {looks[-1][1] / 2**20:.1f} MB", file=sys.stderr, flush=True)

    asking = Asking(n_requests, look)
    loop = asyncio.get_running_loop()
    for index in range(N_CONNECTIONS):
        await loop.create_connection(lambda index=index: Client(asking, index), "127.0.0.1", port)  # type: ignore[misc]
    await asking.done
    return looks, asking.wrong


def main() -> None:
    """Serve, ask, print."""
    parser = harness.arguments(__doc__ or "")
    parser.add_argument("--requests", type=int, default=2_000_000, help="how many are sent [default: 2000000]")
    parser.add_argument("--most", type=float, default=4.0, help="megabytes of growth that are allowed [default: 4]")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        harness.orris("train", "--model", "logistic", "--name", "logistic", "--store", "served", folder=folder)
        command: list[str | Path] = [harness.ORRIS, "serve", "logistic", "--store", "served", "--port", "0"]
        with harness.serving(command, folder, harness.SERVER_CORE) as served:
            port = int(served.url.rpartition(":")[2])
            looks, wrong = uvloop.run(run(port, served.process.pid, asked.requests))
    rows = [(f"{n:,}", f"{n_bytes / 2**20:.1f} MB", f"{seconds:.0f} s") for n, n_bytes, seconds in looks]
    harness.print_table(("requests answered", "resident memory", "after"), rows)
    settled = looks[len(looks) // 5 :]
    grown = (settled[-1][1] - settled[0][1]) / 2**20
    print(f"\nFrom {settled[0][0]:,} to {settled[-1][0]:,} requests: {grown:+.1f} MB")
    harness.write_json(asked.json, {"looks": looks, "grown_megabytes": grown})
    if wrong or grown > asked.most:
        sys.exit(f"answers with another status: {dict(wrong)}; memory grew by {grown:.1f} MB")


if __name__ == "__main__":
    main()

"""The health probe's longest wait, and memory, beside bodies of the largest size, in each dialect.

One client sends a body of ``ORRIS_MAX_BODY_BYTES`` (32 MiB by default), made to be as much work as its dialect allows;
another asks for ``/health`` all the while, on a connection of its own. Memory is the highest resident memory while the
body is received, read and answered, above what it was before, per byte of the body; a compressed body counts as what it
is inflated to. Each body has a server of its own, with one process.

The aims: the probe waits less than a second, and memory is less than four times the body. The program ends with exit
code 1 if a body misses one of them.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import harness
import numpy as np

MAX_BYTES = 32 * 1024**2
"""The default of ``ORRIS_MAX_BODY_BYTES``."""
MAX_WAIT_SECONDS = 1.0
MAX_BYTES_PER_BYTE = 4.0
JSON, CSV, BINARY = "application/json", "text/csv", "application/octet-stream"
ROW = json.dumps(harness.ROW).encode()
VALUES = json.dumps(list(harness.ROW.values())).encode()
NAMES = ",".join(harness.ROW).encode()
INPUT = b'{"name":"x","shape":[1],"datatype":"FP64","data":[1]}'


@dataclass(frozen=True)
class Body:
    """A body.

    Attributes:
        title: What it is.
        path: Where it is sent.
        make: Makes it.
        headers: Its headers.
    """

    title: str
    path: str
    make: Callable[[], bytes]
    headers: tuple[tuple[str, str], ...] = (("content-type", JSON),)


@dataclass(frozen=True)
class Found:
    """What one body cost.

    Attributes:
        title: The body's.
        status: Of its answer.
        n_bytes: Its length.
        seconds: From its first byte to the end of its answer.
        wait_seconds: The longest wait of ``/health`` meanwhile.
        bytes_per_byte: Memory, per byte of the body.
    """

    title: str
    status: int
    n_bytes: int
    seconds: float
    wait_seconds: float
    bytes_per_byte: float

    @property
    def is_good(self) -> bool:
        """Whether both aims are reached."""
        return self.wait_seconds < MAX_WAIT_SECONDS and self.bytes_per_byte < MAX_BYTES_PER_BYTE


def filled(begin: bytes, part: bytes, end: bytes, between: bytes = b",") -> bytes:
    """``begin``, as many ``part`` as there is room for, ``end``."""
    n_parts = (MAX_BYTES - len(begin) - len(end)) // len(part + between)
    return begin + between.join([part] * n_parts) + end


def tensor(datatype: str, part: bytes) -> bytes:
    """A V2 request whose tensor holds as many JSON elements as there is room for."""
    n_rows = MAX_BYTES // (len(part) + 1) // 4
    begin = b'{"inputs":[{"name":"x","shape":[%d,4],"datatype":"%b","data":[' % (n_rows - 20, datatype.encode())
    return begin + b",".join([part] * 4 * (n_rows - 20)) + b"]}]}"


def binary(datatype: str, element: bytes) -> tuple[bytes, int]:
    """A V2 request with a binary tensor, and the length of its JSON."""
    n_rows = (MAX_BYTES - 1_000) // len(element) // 4
    size = n_rows * 4 * len(element)
    head = {
        "inputs": [{"name": "x", "shape": [n_rows, 4], "datatype": datatype, "parameters": {"binary_data_size": size}}]
    }
    written = json.dumps(head).encode()
    return written + element * (4 * n_rows), len(written)


def npy() -> bytes:
    """A NumPy file of float64."""
    file = io.BytesIO()
    np.save(file, np.full(((MAX_BYTES - 200) // 32, 4), 5.1))
    return file.getvalue()


def cloud_event() -> bytes:
    """A structured CloudEvent that holds rows."""
    begin = b'{"specversion":"1.0","id":"1","source":"x","type":"y","data":{"instances":['
    return filled(begin, VALUES, b"]}}")


def compressed() -> bytes:
    """Spaces that inflate far beyond the limit."""
    return zlib.compress(b"[" + b" " * (64 * MAX_BYTES), 1)


def typed(content_type: str) -> tuple[tuple[str, str], ...]:
    """Headers that say of which type a body is."""
    return (("content-type", content_type),)


def bodies() -> list[Body]:
    """All bodies, by dialect."""
    native, v2, mlflow = "/api/v1/predict", "/v2/models/iris/infer", "/invocations"
    csv = typed(CSV)
    row = b",".join(str(value).encode() for value in harness.ROW.values())
    found = [
        Body("named: rows", native, lambda: filled(b"[", ROW, b"]")),
        Body("named: empty objects", native, lambda: filled(b"[", b"{}", b"]")),
        Body("named: empty lists", native, lambda: filled(b"[", b"[]", b"]")),
        Body("named: a row with a long text", native, lambda: filled(ROW[:-1] + b',"x":"', b"y", b'"}', b"")),
        Body("named: a row with many keys", native, lambda: filled(ROW[:-1] + b",", b'"x":1', b"}")),
        Body("named: brackets", native, lambda: b"[" * MAX_BYTES),
        Body("named: spaces", native, lambda: filled(ROW, b" ", b"", b"")),
        Body("named: escapes", native, lambda: filled(ROW[:-1] + b',"x":"', b"\\u00e9", b'"}', b"")),
        Body("named: long number", native, lambda: filled(b'{"sepal_length":1', b"0", b"}", b"")),
        Body("features: numbers", native, lambda: filled(b'{"features":[', b"1", b"]}")),
        Body("instances: rows", native, lambda: filled(b'{"instances":[', VALUES, b"]}")),
        Body("instances: empty lists", native, lambda: filled(b'{"instances":[', b"[]", b"]}")),
        Body("CSV: rows", native, lambda: filled(NAMES + b"\n", row, b"\n", b"\n"), csv),
        Body("CSV: line breaks", native, lambda: filled(NAMES + b"\n", b"\n", b"", b""), csv),
        Body("CSV: commas", native, lambda: filled(NAMES + b"\n", b",", b"", b""), csv),
        Body("CSV: quoted commas", native, lambda: filled(NAMES + b"\n", b'","', b"", b""), csv),
        Body("CSV: quotes", native, lambda: filled(NAMES + b"\n", b'""', b"", b""), csv),
        Body("V1: rows", "/v1/models/iris:predict", lambda: filled(b'{"instances":[', VALUES, b"]}")),
        Body("V1: empty objects", "/v1/models/iris:predict", lambda: filled(b'{"instances":[', b"{}", b"]}")),
        Body("V2: numbers", v2, lambda: tensor("FP64", b"5.1")),
        Body("V2: texts", v2, lambda: tensor("BYTES", b'""')),
        Body("V2: empty tensors", v2, lambda: filled(b'{"inputs":[', b"{}", b"]}")),
        Body("V2: a long shape", v2, lambda: filled(b'{"inputs":[{"name":"x","shape":[', b"1", b"]}]}")),
        Body("V2: many inputs", v2, lambda: filled(b'{"inputs":[', INPUT, b"]}")),
        Body("V2: many outputs", v2, lambda: filled(b'{"inputs":[],"outputs":[', b'{"name":"x"}', b"]}")),
        Body(
            "V2: a long parameter",
            v2,
            lambda: filled(b'{"inputs":[],"outputs":[{"name":"x","parameters":{"classification":[', b"[]", b"]}}]}"),
        ),
        Body("V2: NaN", v2, lambda: tensor("FP64", b"NaN")),
        Body("V2: escapes behind NaN", v2, lambda: filled(b'{"inputs":[NaN,"', b'\\"', b"", b"")),
        Body("V1: CloudEvent", "/v1/models/iris:predict", cloud_event, typed("application/cloudevents+json")),
        Body("MLflow: NaN", mlflow, lambda: filled(b'{"instances":[[', b"NaN", b"]]}")),
        Body("MLflow: escapes behind NaN", mlflow, lambda: filled(b'{"instances":[[NaN,"', b'\\"', b"", b"")),
        Body("MLflow: dataframe_split", mlflow, lambda: filled(b'{"dataframe_split":{"data":[', VALUES, b"]}}")),
        Body("MLflow: dataframe_records", mlflow, lambda: filled(b'{"dataframe_records":[', ROW, b"]}")),
        Body("MLflow: empty records", mlflow, lambda: filled(b'{"dataframe_records":[', b"{}", b"]}")),
        Body(
            "MLflow: many columns", mlflow, lambda: filled(b'{"dataframe_split":{"columns":[', b'""', b'],"data":[]}}')
        ),
        Body(
            "SageMaker: JSON lines",
            mlflow,
            lambda: filled(b"", VALUES, b"", b"\n"),
            (("content-type", "application/jsonlines"),),
        ),
        Body("SageMaker: NumPy", mlflow, npy, (("content-type", "application/x-npy"),)),
        Body("deflate beyond the limit", native, compressed, (("content-type", JSON), ("content-encoding", "deflate"))),
    ]
    for title, datatype, element in (
        ("V2: binary numbers", "FP64", struct.pack("<d", 5.1)),
        ("V2: binary bytes", "UINT8", b"\1"),
        ("V2: binary texts", "BYTES", bytes(4)),
    ):
        body, n_head = binary(datatype, element)
        headers = (("content-type", BINARY), ("inference-header-content-length", str(n_head)))
        found.append(Body(title, v2, lambda body=body: body, headers))
    return found


def main() -> None:
    """Measure every body, print the table, and say what misses an aim."""
    parser = harness.arguments("The probe's wait and memory beside the largest bodies.")
    parser.add_argument("--only", default="", help="titles that hold this")
    parser.add_argument(
        "--resume", action="store_true", help="leave out the bodies that the file of --json has already"
    )
    asked = parser.parse_args()
    found = [Found(**each) for each in json.loads(asked.json.read_text())["bodies"]] if asked.resume else []
    measured = {each.title for each in found}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        harness.orris("train", "--name", "iris", "--version", "1.0.0", "--store", "served", folder=folder)
        for body in bodies():
            if asked.only in body.title and body.title not in measured:
                found.append(measure(body, folder))
                print(f"{body.title}: {found[-1].wait_seconds:.3f} s, {found[-1].bytes_per_byte:.2f}", file=sys.stderr)
                harness.write_json(asked.json, {"bodies": [asdict(each) for each in found]})
    rows = [
        (
            each.title,
            f"{each.n_bytes / 1024**2:.1f}",
            str(each.status),
            f"{each.seconds:.2f} s",
            f"{each.wait_seconds * 1e3:.0f} ms",
            f"{each.bytes_per_byte:.2f}",
        )
        for each in found
    ]
    harness.print_table(("body", "MiB", "status", "answered after", "longest wait of /health", "memory per byte"), rows)
    missed = [each.title for each in found if not each.is_good]
    if missed:
        sys.exit(f"beyond an aim: {', '.join(missed)}")


def measure(body: Body, folder: Path) -> Found:
    """Send one body to a server of its own."""
    content = body.make()
    n_bytes = MAX_BYTES if "content-encoding" in dict(body.headers) else len(content)
    command: list[str | Path] = [harness.ORRIS, "serve", "iris", "--store", "served", "--port", "0"]
    command += ["--grpc-port", "off", "--no-access-log"]
    with harness.serving(command, folder) as server:
        port = int(server.url.rpartition(":")[2])
        probe(port)
        process = Path("/proc") / str(server.process.pid)
        before = resident(process, "VmRSS")
        (process / "clear_refs").write_text("5")  # the highest resident memory starts anew
        waits: list[float] = []
        done = threading.Event()
        prober = threading.Thread(target=probe_until, args=(port, done, waits))
        prober.start()
        begin = time.perf_counter()
        status = send(port, body, content)
        seconds = time.perf_counter() - begin
        done.set()
        prober.join()
        peak = resident(process, "VmHWM")
    return Found(body.title, status, len(content), seconds, max(waits), (peak - before) / n_bytes)


def send(port: int, body: Body, content: bytes) -> int:
    """The status of a body's answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    with contextlib.suppress(OSError):  # refused before all of it was sent
        connection.request("POST", body.path, content, dict(body.headers))
    answer = connection.getresponse()
    answer.read()
    return answer.status


def probe(port: int) -> float:
    """The seconds that ``/health`` takes on a new connection."""
    begin = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("GET", "/health")
    connection.getresponse().read()
    connection.close()
    return time.perf_counter() - begin


def probe_until(port: int, done: threading.Event, waits: list[float]) -> None:
    """Ask for ``/health`` again and again."""
    while not done.is_set() or not waits:
        waits.append(probe(port))
        time.sleep(0.002)


def resident(process: Path, name: str) -> int:
    """``VmRSS`` or ``VmHWM`` of a process, in bytes."""
    line = next(each for each in (process / "status").read_text().splitlines() if each.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()

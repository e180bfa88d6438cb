"""What Linux knows of a server's processes, and what the server says of itself."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.servers import Server

Counts = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values by name and labels."""


def workers_of(server: Server) -> list[int]:
    """The process ids of a server's workers."""
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def client_ports(pid: int, server: Server) -> set[int]:
    """The clients' ports of the connections that a process has accepted."""
    links = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            links.append(str(descriptor.readlink()))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    here = f":{server.port:04X}"
    return {int(row[2].rpartition(":")[2], 16) for row in rows if row[1].endswith(here) and f"socket:[{row[9]}]" in links} - {0}


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def open_files(pid: int) -> int:
    """File descriptors of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def status(server: Server, path: str) -> int:
    """The status of a GET on a connection of its own; 0 if there was no answer."""
    with suppress(httpx.TransportError):
        return httpx.get(server.url + path, trust_env=False, timeout=10).status_code
    return 0


def counts(server: Server) -> Counts:
    """All counters, and the counters in histograms, of one scrape on a connection of its own."""
    text = httpx.get(f"{server.url}/metrics", trust_env=False, timeout=10).text
    kinds = {"counter", "histogram", "summary"}
    samples = [sample for family in text_string_to_metric_families(text) if family.type in kinds for sample in family.samples]
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for each in samples if not each.name.endswith("_created")}


def metric(server: Server, name: str, **labels: str) -> float:
    """The sum of the counters of a name with these labels."""
    return sum(value for (found, its), value in counts(server).items() if found == name and labels.items() <= dict(its).items())


def decreased(before: Counts, after: Counts) -> dict[str, tuple[float, float | None]]:
    """Counters that went back or vanished: none ever should."""
    return {str(key): (value, after.get(key)) for key, value in before.items() if after.get(key, -1.0) < value}

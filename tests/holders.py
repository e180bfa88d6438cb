"""Which process holds a connection, as Linux tells it."""

from __future__ import annotations

import socket
from collections.abc import Collection
from pathlib import Path

from tests.waiting import eventually


def children_of(pid: int) -> list[int]:
    """The processes that a process has started: the workers of a supervisor."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def held_by_each(pids: Collection[int], clients: Collection[socket.socket]) -> list[int]:
    """How many of these clients' connections each process holds, once each connection has one holder.

    One that is handed over has two holders, or none, for a moment.
    """

    def counts() -> list[int]:
        found = [_n_held(pid, clients) for pid in pids]
        return found if sum(found) == len(clients) else []

    return eventually(counts)


def _n_held(pid: int, clients: Collection[socket.socket]) -> int:
    """How many of these clients' connections, over IPv4 on this machine, have their other end in a process."""
    ends = {(client.getpeername()[1], client.getsockname()[1]) for client in clients}
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, remote = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
        if (local, remote) in ends:
            inodes.add(f"socket:[{fields[9]}]")
    return sum(link in inodes for link in _links(pid))


def _links(pid: int) -> list[str]:
    """What the descriptors of a process stand for; those that are closed meanwhile are left out."""
    links = []
    for descriptor in list(Path(f"/proc/{pid}/fd").iterdir()):
        try:
            links.append(str(descriptor.readlink()))
        except FileNotFoundError:
            continue
    return links

"""The sockets that a server listens on.

Standard library only: the supervisor of several workers opens them, and stays small.

Several workers have a TCP socket each, under the same address (``SO_REUSEPORT``): the kernel spreads many connections
evenly over them, which with one shared socket it does not (measured: of 64 connections one worker got all). Few of them
are then shared by the workers (``processes/sharing.py``). All processes hold all sockets, so that connections that wait
for a worker when it dies are not lost: another one accepts them (``server.py``).
"""

from __future__ import annotations

import socket
import stat
import sys
from pathlib import Path

from orris.errors import SettingsError

BACKLOG = 2_048
"""Connections that may wait to be accepted, per socket; the kernel may allow fewer."""


def listen(host: str, port: int, *, n_workers: int = 1, flag: str = "--port") -> list[socket.socket]:
    """Listen on an address, with a socket for each worker.

    Args:
        host: Address.
        port: Port; 0 takes a free one.
        n_workers: Sockets; outside of Linux it is one, which is shared.
        flag: What the port is called on the command line.

    Raises:
        SettingsError: The address cannot be listened on.
    """
    if n_workers == 1 or sys.platform != "linux":
        only = _bound(host, port, shared=False, flag=flag)
        only.listen(BACKLOG)
        return [only]
    sockets = [reserve(host, port, flag)]
    port = sockets[0].getsockname()[1]
    sockets += [_bound(host, port, shared=True, flag=flag) for _ in range(n_workers - 1)]
    for each in sockets:
        each.listen(BACKLOG)
    return sockets


def reserve(host: str, port: int, flag: str = "--port") -> socket.socket:
    """Take a port that several processes are to share; none of them listens on it yet.

    Args:
        host: Address.
        port: Port; 0 takes a free one.
        flag: What it is called on the command line.

    Raises:
        SettingsError: The address is not free.
    """
    # Bound alone at first: SO_REUSEPORT would share the port with another server of the same user without a word.
    alone = _bound(host, port, shared=False, flag=flag)
    port = alone.getsockname()[1]
    alone.close()
    return _bound(host, port, shared=True, flag=flag)


def _bound(host: str, port: int, *, shared: bool, flag: str = "--port") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"--host {host} {flag} {port}: {error.strerror or error}; choose another with {flag}"
        ) from None
    return listener


def listen_unix(path: Path) -> socket.socket:
    """Listen on a Unix socket, which anybody who may enter its folder may connect to; workers share it.

    A socket that nobody listens on any more is replaced.

    Raises:
        SettingsError: Somebody listens there, or something else is there.
    """
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise SettingsError(f"--uds {path}: there is something that is no socket; choose another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise SettingsError(f"--uds {path}: another server listens there; choose another path")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(f"--uds {path}: {error.strerror or error}; choose another path") from None
    return listener

"""The upper bound of ``throughput.py``: nginx, one process, a fixed answer from its configuration.

It parses HTTP and writes the answer, in C; it reads no body, calls no model, counts nothing and logs nothing.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from floor import ANSWER
from harness import SERVER_CORE, Served

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type application/json; return 200 '{answer}'; }}
  }}
}}
"""

_WAIT_SECONDS = 10.0


def installed() -> bool:
    """Whether there is an nginx."""
    return shutil.which("nginx") is not None


@contextlib.contextmanager
def fixed_answer(folder: Path, core: int = SERVER_CORE) -> Iterator[Served]:
    """An nginx on one core that answers every request with the floor's answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, port=port, answer=ANSWER.decode()))
    start = time.perf_counter()
    process = subprocess.Popen(
        ["taskset", "-c", str(core), "nginx", "-p", str(folder), "-c", str(configuration)], text=True
    )
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if process.poll() is not None or time.perf_counter() - start > _WAIT_SECONDS:
                raise RuntimeError(f"nginx did not start; see {folder}/nginx.log")
            time.sleep(0.02)
        yield Served(f"http://127.0.0.1:{port}", process, time.perf_counter() - start)
    finally:
        process.terminate()
        process.wait(_WAIT_SECONDS)

"""Emulated buckets, each in a process of its own."""

from __future__ import annotations

import base64
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def emulator(kind: str) -> Iterator[str]:
    """Run ``tests/store/emulator.py``; yields the endpoint of the bucket service.

    Args:
        kind: ``gs``, ``gs-unconditional`` (ignores conditions on writes) or ``s3``.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "tests.store.emulator", kind],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), f"the {kind} emulator did not start"
        yield url
        process.terminate()


AZURITE = Path(__file__).parent / "store" / "azurite" / "node_modules" / ".bin" / "azurite-blob"
"""Microsoft's emulator, which ``npm ci --prefix tests/store/azurite --ignore-scripts`` installs."""


@contextmanager
def azurite() -> Iterator[str]:
    """Run Azurite with an account of its own; yields the connection string of its blob service."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    command = [
        str(AZURITE),
        "--inMemoryPersistence",
        "--disableTelemetry",
        "--blobHost",
        "127.0.0.1",
        "--blobPort",
        "0",
    ]
    with subprocess.Popen(
        [*command, "--skipApiVersionCheck"],
        env={**os.environ, "AZURITE_ACCOUNTS": f"orris:{key}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            listening = re.search(r"listens on (http://\S+)", line)
            if listening:
                break
        else:
            raise AssertionError(f"Azurite did not start: {said}")
        yield f"AccountName=orris;AccountKey={key};BlobEndpoint={listening[1]}/orris;"
        process.terminate()

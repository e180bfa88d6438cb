"""Resolve one lock file: hashes, no index URLs, valid for every Python and platform that Orris supports.

``python requirements/lock.py serve|cloud|build|runtime|dev|checkov|clients|boosters [--upgrade]``: ``serve`` is the
server alone, ``cloud`` adds buckets, tokens, signatures and tracing (both are what an image holds, see the
Dockerfile), ``build`` makes the wheel, ``runtime`` adds training, ``dev`` adds what the tests and checks need;
``checkov`` and ``clients`` stand alone, and so does ``boosters``, which is what ``benchmarks/boosters.py`` compares.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
BUILD = "requirements/build.in"


def extras(*names: str) -> list[str]:
    """Arguments that include extras."""
    return [argument for name in names for argument in ("--extra", name)]


PROJECT = "pyproject.toml"
CLOUD = ("gcs", "s3", "azure", "sign", "jwt", "otel", "gcp-trace")
INPUTS = {
    "build": [BUILD],
    "checkov": ["requirements/checkov.in"],
    "clients": ["requirements/clients.in"],
    "boosters": [PROJECT, *extras("serve", "train"), "requirements/boosters.in", BUILD],
    "serve": [PROJECT, *extras("serve")],
    "cloud": [PROJECT, *extras("serve", *CLOUD)],
    "runtime": [PROJECT, *extras("serve", "train", "load"), BUILD],
    "dev": [
        PROJECT,
        *extras("serve", "train", *CLOUD, "dvc", "load", "experiment", "loadtest"),
        "--group",
        "dev",
        BUILD,
    ],
}


def main(lock: str, *flags: str) -> None:
    """Write ``requirements/<lock>.txt``."""
    command = ["uv", "pip", "compile", *INPUTS[lock], *flags, "--universal", "--python-version", "3.11"]
    command += [
        "--generate-hashes",
        "--no-emit-index-url",
        "--no-header",
        "--quiet",
        "--output-file",
        f"requirements/{lock}.txt",
    ]
    if lock not in {"dev", "checkov", "clients"}:
        command += ["--constraints", "requirements/dev.txt"]
    subprocess.run(command, check=True, cwd=FOLDER.parent)  # noqa: S603


if __name__ == "__main__":
    main(*sys.argv[1:])

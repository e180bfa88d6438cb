"""Resolve one lock file: hashes, no index URLs, valid for every Python and platform that Orris supports.

``python requirements/lock.py serve|runtime|dev [--upgrade]``: ``serve`` is the server alone, ``runtime`` adds training, ``dev`` adds what
the tests and checks need.
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


INPUTS = {
    "serve": extras("serve"),
    "runtime": [*extras("serve", "train"), BUILD],
    "dev": [*extras("serve", "train", "gcs", "s3", "sign", "jwt"), "--group", "dev", BUILD],
}


def main(lock: str, *flags: str) -> None:
    """Write ``requirements/<lock>.txt``."""
    command = ["uv", "pip", "compile", "pyproject.toml", *INPUTS[lock], *flags, "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-header", "--quiet", "--output-file", f"requirements/{lock}.txt"]
    if lock != "dev":
        command += ["--constraints", "requirements/dev.txt"]
    subprocess.run(command, check=True, cwd=FOLDER.parent)  # noqa: S603


if __name__ == "__main__":
    main(*sys.argv[1:])

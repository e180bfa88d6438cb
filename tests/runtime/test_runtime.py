"""Tests of the runtime's privacy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from orris.api import Bundle


def test_no_telemetry_is_kept_or_sent(iris: Bundle, tmp_path: Path) -> None:
    """ONNX Runtime makes no machine id and queues no events below the home directory."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_"))} | {
        "HOME": str(tmp_path)
    }
    command = [sys.executable, "-B", "-m", "orris", "models", "verify", str(iris.folder)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert "golden rows reproduced" in done.stdout
    assert list(tmp_path.rglob("*")) == []

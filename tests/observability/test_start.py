"""Tests of ``make observability``: what it starts, its messages, and its end."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.observability.rulefiles import ROOT
from tests.waiting import PATIENCE_SECONDS

COMMAND = [sys.executable, str(ROOT / "tools" / "observability.py"), "--port", "0"]


@pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed (apt-get install prometheus)"
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_it_runs_until_a_signal(number: signal.Signals) -> None:
    """It prints the address, pages are served there, and after the signal nothing answers any more."""
    with subprocess.Popen([*COMMAND, "--targets", "127.0.0.1:9"], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        said = "".join(_until(started.stdout, "Ctrl-C"))
        assert "Nothing answers at 127.0.0.1:9 yet" in said
        console = re.findall(r"http://\S+/console\.html", said)[0]
        with urllib.request.urlopen(console, timeout=PATIENCE_SECONDS) as page:
            assert b"<title>Orris console</title>" in page.read()
        started.send_signal(number)
        assert started.wait(PATIENCE_SECONDS) == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(console, timeout=PATIENCE_SECONDS)


def _until(lines: Iterable[str], word: str) -> list[str]:
    said: list[str] = []
    for line in lines:
        said.append(line)
        if word in line:
            break
    return said


def test_a_missing_program_is_one_line(tmp_path: Path) -> None:
    """Without Prometheus one line explains how to install it, without a traceback."""
    ended = subprocess.run(
        COMMAND, capture_output=True, text=True, env={"PATH": str(tmp_path)}, timeout=PATIENCE_SECONDS, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "apt-get install" in ended.stdout

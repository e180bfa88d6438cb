"""Tests of publishers killed with SIGKILL: a reader finds the old state or the new one."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE_SECONDS


def _crash(mode: str, tmp_path: Path) -> list[dict[str, Any]]:
    answer = tmp_path / "found.json"
    command = [
        sys.executable,
        "-m",
        "tests.store.crashing",
        mode,
        str(tmp_path / "artifacts"),
        str(answer),
        str(tmp_path / "work"),
    ]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, timeout=PATIENCE_SECONDS)
    found: list[dict[str, Any]] = json.loads(answer.read_text())
    return found


def test_death_before_any_step_leaves_the_old_state_or_the_new(tmp_path: Path) -> None:
    """Whichever file system call does not happen, the version and then its alias are whole or absent."""
    found = _crash("steps", tmp_path)
    states = [(tuple(seen["versions"]), seen["latest"]) for seen in found]
    old, published, moved = (("1.0.0",), "1.0.0"), (("1.0.0", "1.1.0"), "1.0.0"), (("1.0.0", "1.1.0"), "1.1.0")
    assert list(dict.fromkeys(states)) == [old, published, moved]
    assert states == sorted(states, key=[old, published, moved].index)
    assert [seen["survived"] for seen in found] == [False] * (len(found) - 1) + [True]
    assert len(found) > 10
    assert all(seen["problems"] == [] for seen in found)
    expected = ["published" if state == old else "VersionExistsError" for state in states]
    assert [seen["repeated"] for seen in found] == expected


def test_death_at_random_instants_loses_no_published_version(tmp_path: Path) -> None:
    """Versions and records only grow, each version audits, and the log has no gap and points to existing versions."""
    found = _crash("random", tmp_path)
    for before, after in itertools.pairwise(found):
        assert set(before["versions"]) <= set(after["versions"])
        assert after["log"][: len(before["log"])] == before["log"]
    for seen in found:
        assert seen["problems"] == []
        assert [number for number, _ in seen["log"]] == list(range(1, len(seen["log"]) + 1))
        assert {version for _, version in seen["log"]} <= set(seen["versions"])
    assert len(found[-1]["versions"]) >= 10

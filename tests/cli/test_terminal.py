"""Tests of the lines that several commands print."""

from __future__ import annotations

import re
import sys

import pytest

from orris.cli.terminal import print_table, serve_hint, working
from orris.installation import command


def test_the_hint_names_the_store_of_the_flag() -> None:
    """The hint after a publication is a command that works here, with ``--store`` if the store came from the flag."""
    assert serve_hint("iris", None) == f"Serve it:  {command()} serve iris"
    assert serve_hint("iris", "s3://models") == f"Serve it:  {command()} serve iris --store s3://models"


@pytest.mark.parametrize(("width", "shown"), [(200, "abc"), (60, "ab"), (40, "a")])
def test_columns_are_left_out_where_the_terminal_is_too_narrow(
    width: int, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Optional columns are left out in their order, as many as it takes for the table to fit."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(("a", "b", "c"), [["x" * 20] * 3], optional=("c", "b"))
    head = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out.splitlines()[1])
    assert "".join(re.findall(r"[a-z]", head)) == shown


def test_steps_are_printed_without_counters_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    """Each step is one line, however often its counter moves."""
    with working("training") as progress:
        for step in ("reading", "folds (1/3)", "folds (2/3)", "tuning 1/9", "tuning 2/9", "writing"):
            progress(step)
    assert capsys.readouterr().err == "… reading\n… folds\n… tuning\n… writing\n"

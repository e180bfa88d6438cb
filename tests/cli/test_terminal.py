"""Tests of the lines that several commands print."""

from __future__ import annotations

from orris.cli.terminal import serve_hint
from orris.installation import command


def test_the_hint_names_the_store_of_the_flag() -> None:
    """The hint after a publication is a command that works here, with ``--store`` if the store came from the flag."""
    assert serve_hint("iris", None) == f"Serve it:  {command()} serve iris"
    assert serve_hint("iris", "s3://models") == f"Serve it:  {command()} serve iris --store s3://models"

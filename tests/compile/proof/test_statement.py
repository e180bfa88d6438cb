"""Tests that the documentation lists the families that have a statement."""

from __future__ import annotations

from pathlib import Path

from orris.compile.proof.statement import stated

PAGE = Path(__file__).parents[3] / "docs" / "proof.md"


def test_the_table_of_statements_is_that_of_the_registry() -> None:
    """One row per module. If this fails, paste what was expected into docs/proof.md."""
    expected = [f"| `{module}` | {', '.join(f'`{name}`' for name in names)} |" for module, names in stated().items()]
    found = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `") and "equality" not in line]
    assert found[2:] == expected, "docs/proof.md should have:\n" + "\n".join(expected)

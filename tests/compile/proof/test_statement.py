"""Tests that the documentation lists the families that have a statement."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from orris.compile.proof.statement import stated
from orris.compile.registry import registered

PAGE = Path(__file__).parents[3] / "docs" / "proof.md"


def test_the_table_of_statements_is_that_of_the_registry() -> None:
    """One row per module. If this fails, paste what was expected into docs/proof.md."""
    expected = [f"| `{module}` | {', '.join(f'`{name}`' for name in names)} |" for module, names in stated().items()]
    assert _table("orris.compile.proof.statements") == expected, "docs/proof.md should have:\n" + "\n".join(expected)


def test_the_table_of_compared_estimators_is_that_of_the_registries() -> None:
    """Classes with a converter and no statement. If this fails, paste what was expected into docs/proof.md."""
    proved = {name for names in stated().values() for name in names}
    compared: dict[str, set[str]] = {}
    for name, module in registered().items():
        short = f"{name.partition('.')[0]}.{name.rpartition('.')[2]}"
        if short not in proved:
            compared.setdefault(module, set()).add(short)
    expected = [
        f"| `{module}` | {', '.join(f'`{name}`' for name in sorted(compared[module]))} |" for module in sorted(compared)
    ]
    assert _table("orris.compile.converters") == expected, "docs/proof.md should have:\n" + "\n".join(expected)


def _table(package: str) -> list[str]:
    """The rows of the page's table whose head names this package."""
    _, _, rest = PAGE.read_text("utf-8").partition(f"| module of `{package}` |")
    return list(takewhile(lambda line: line.startswith("|"), rest.splitlines()[2:]))

"""The documentation builds as a site, strictly, and its navigation and reference pages are complete."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from tools import docs_site

import orris
from orris.cli.app import app
from orris.metrics import METRICS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the site was built; its sources are in ``docs``, its pages in ``site``."""
    folder = tmp_path_factory.mktemp("documentation") / "build"
    docs_site.build(folder)
    return folder


def test_the_site_builds_strictly(site: Path) -> None:
    """Every page of docs and every generated page becomes a page of the site."""
    sources = {path.relative_to(site / "docs").with_suffix("") for path in (site / "docs").rglob("*.md")}
    pages = {path.relative_to(site / "site").with_suffix("") for path in (site / "site").rglob("*.html")}
    assert sources <= pages
    assert {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")} < sources


@pytest.mark.parametrize("link", ["nowhere.md", "glossary.md#nowhere", "images/nowhere.png", "adr/nowhere.pdf"])
def test_a_broken_link_fails_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str) -> None:
    """The build fails for a link to a page, a heading, a picture or a file that does not exist."""
    monkeypatch.setattr(docs_site, "prepare", lambda _: None)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "glossary.md").write_text("# A page\n", "utf-8")
    (tmp_path / "docs" / "index.md").write_text(f"# A page\n\n[link]({link})\n", "utf-8")
    (tmp_path / "zensical.toml").write_text('[project]\nsite_name = "test"\nuse_directory_urls = false\n', "utf-8")
    with pytest.raises((subprocess.CalledProcessError, FileNotFoundError)):
        docs_site.build(tmp_path)


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    """No page loads a script, a style, a font or a picture from another host, so the site works offline."""
    loads = re.compile(
        r'<(?:script|img|iframe)[^>]* src="(?:https?:)?//|<link rel="?(?:stylesheet|preconnect)"?[^>]*//'
    )
    for page in (site / "site").rglob("*.html"):
        assert loads.search(page.read_text("utf-8")) is None, page.name


def pages_of(entries: list[Any]) -> Iterator[str]:
    """The pages of a navigation, depth first."""
    for entry in entries:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from pages_of(value)


def test_every_page_is_in_the_navigation() -> None:
    """The navigation names each page once; the decisions have a page that lists them."""
    named = list(pages_of(tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"]))
    written = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").glob("*.md")}
    assert sorted(named) == sorted(written | docs_site.generated().keys())


def test_the_reference_of_commands_has_every_option() -> None:
    """Each command is a heading, with each of its options below it."""
    page = docs_site.commands_page()
    for path, command in docs_site.leaves("orris", typer.main.get_command(app)):
        section = page.partition(f"\n## {path}\n")[2].partition("\n## ")[0]
        assert [option for parameter in command.params for option in parameter.opts if option not in section] == [], (
            path
        )


def test_the_reference_of_python_has_every_public_name() -> None:
    """Each public name of the package is a heading with its signature and documentation."""
    page = docs_site.python_page()
    for name in orris.__all__:
        assert name.startswith("_") or f"\n## orris.{name}\n" in page


def test_the_reference_of_evaluation_metrics_has_every_metric() -> None:
    """Each metric is a row."""
    page = docs_site.metrics_page()
    assert [name for name in METRICS if f"\n| `{name}` | " not in page] == []


def test_the_reference_lists_sections_of_docstrings() -> None:
    """A section of a docstring becomes a list, with continued lines joined."""
    text = "Do it.\n\nArgs:\n    one: The first\n        of them.\n    two: The second.\n\nReturns:\n    A number."
    expected = (
        "Do it.\n\n\n**Args**\n\n- `one`: The first of them.\n- `two`: The second.\n\n\n**Returns**\n\nA number.\n"
    )
    assert docs_site.markdown(text) == expected

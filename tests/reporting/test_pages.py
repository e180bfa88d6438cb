"""Tests of the pages that all reports extend."""

from __future__ import annotations

from pathlib import Path

from orris.reporting.pages import heads, render

OWN = """\
{%- extends "page.html.j2" -%}
{%- from "tables.html.j2" import table -%}
{%- block title %}{{ name }}{% endblock -%}
{%- block header %}<h1>{{ name }}</h1>{% endblock -%}
{%- block main %}{{ table("a caption", heads, rows) }}{% endblock -%}
"""


def test_a_report_of_its_own_templates_is_one_escaped_page(tmp_path: Path) -> None:
    """A report extends the shared page and its tables, and data in it are text, never markup."""
    (tmp_path / "own.html.j2").write_text(OWN)
    context = {"name": "<b>", "heads": heads("name", "#number"), "rows": [("<i>", "1")]}
    page = render(tmp_path, "own.html.j2", context)
    assert "<h1>&lt;b&gt;</h1>" in page
    assert '<th scope="row">&lt;i&gt;</th><td class="n">1</td>' in page
    assert "default-src 'none'" in page


def test_markdown_tables_show_data_as_they_are(tmp_path: Path) -> None:
    """A cell of a Markdown table with bars, stars and tags is shown as it is, on one line."""
    (tmp_path / "own.md.j2").write_text('{%- from "tables.md.j2" import table -%}\n{{ table(heads, rows) }}\n')
    page = render(tmp_path, "own.md.j2", {"heads": heads("name", "#number"), "rows": [("a|b*\n<i>", "1")]})
    assert page.splitlines()[-1] == "| a\\|b\\* &lt;i&gt; | 1 |"

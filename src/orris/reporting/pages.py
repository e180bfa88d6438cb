"""Reports as pages: HTML in one file that loads nothing and runs no script, and Markdown that shows data as it is.

The Content-Security-Policy of ``page.html.j2`` admits the style by digest, and pictures as data. Everything that comes
from the data is escaped: in HTML by Jinja's autoescape, in Markdown by the filter ``md``. The same arguments give the
same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"
"""The page that all reports extend, their style, and their tables."""


def render(templates: Path, template: str, context: Mapping[str, Any]) -> str:
    """A report from its template.

    Args:
        templates: The folder of the report's own templates, which may use those of ``TEMPLATES``.
        template: Its name: ``….html.j2`` is HTML, any other Markdown.
        context: The variables.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 (only reports need it)
    from markupsafe import Markup  # noqa: PLC0415

    environment = Environment(
        loader=FileSystemLoader([templates, TEMPLATES]),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = markdown
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return environment.get_template(template).render(context, css=Markup(css), css_digest=Markup(digest))  # noqa: S704 (our own file)


def heads(*titles: str) -> list[dict[str, Any]]:
    """Column heads for the templates' tables; a title that begins with ``#`` is a column of numbers."""
    return [{"text": title.removeprefix("#"), "number": title.startswith("#")} for title in titles]


def markdown(text: object) -> str:
    """Text that GitHub's Markdown shows as it is, on one line, also within a table."""
    line = " ".join(str(text).split())
    escaped = re.sub(r"([\\`*\[\]#~|$])", r"\\\1", line)
    escaped = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)  # Between letters an underscore is literal.
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def embedded(picture: Path) -> str:
    """A picture as the templates' ``data:`` URLs hold it."""
    return base64.b64encode(picture.read_bytes()).decode()

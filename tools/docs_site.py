"""Builds the documentation as a site with Zensical: ``python -m tools.docs_site [FOLDER]`` (``make docs``).

The pages of ``docs/`` are copied below the folder (``build/site`` unless another is named), the reference pages are
generated from the code beside them, and Zensical builds both in strict mode, in which a broken link, anchor or picture
is an error. Links to files of the repository outside ``docs/`` become links to GitHub. The build needs no network.
"""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import orris
from orris.cli.app import app
from orris.metrics import METRICS

ROOT = Path(__file__).parents[1]
ZENSICAL = Path(sys.executable).with_name("zensical")
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):$")
ENTRY = re.compile(r"^    (\*{0,2}\w[\w, *]*): (.*)$")


def generated() -> dict[str, str]:
    """The generated reference pages, by their path below ``docs/``."""
    return {
        "reference/commands.md": commands_page(),
        "reference/python.md": python_page(),
        "reference/evaluation-metrics.md": metrics_page(),
        "decisions.md": decisions_page(),
    }


def commands_page() -> str:
    """Every command with its arguments, options and examples, from the same source as ``--help``."""
    parts = [
        "# Commands, in full\n\nGenerated from `--help`. [The command line](../commands.md) is the overview. A command "
        "exits with 0, with 1 if it failed, and with 2 if its usage was wrong.\n"
    ]
    for path, command in leaves("orris", typer.main.get_command(app)):
        context = command.make_context(path, [], resilient_parsing=True)
        usage = " ".join([path, *command.collect_usage_pieces(context)])
        parts.append(f"## {path}\n\n{paragraphs(command.help)}\n\n```text\n{usage}\n```\n")
        records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
        if records:
            rows = [f"| `{names}` | {cell(text)} |" for names, text in records]
            parts.append("\n".join(["| argument or option | meaning |", "|---|---|", *rows, ""]))
        if command.epilog:
            parts.append(f"```text\n{inspect.cleandoc(command.epilog)}\n```\n")
    return "\n".join(parts)


def leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from leaves(f"{path} {name}", inner)


def python_page() -> str:
    """Every public name of ``orris`` with its signature and its documentation."""
    parts = ["# Python\n\nGenerated from the docstrings of the public names: `import orris` has these and no others.\n"]
    for name in orris.__all__:
        if name.startswith("_"):
            continue
        thing = getattr(orris, name)
        parts.append(described(f"orris.{name}", thing, level=2))
        if inspect.isclass(thing):
            members = [(key, value) for key, value in vars(thing).items() if not key.startswith("_")]
            for key, value in members:
                if inspect.isfunction(value) or isinstance(value, property | classmethod):
                    parts.append(described(f"{name}.{key}", value, level=3))
    return "\n".join(parts)


def described(name: str, thing: Any, level: int) -> str:
    """One name: heading, signature, docstring as Markdown."""
    function: Any = thing.fget if isinstance(thing, property) else getattr(thing, "__func__", thing)
    lines = [f"{'#' * level} {name}\n"]
    if not isinstance(thing, property):
        signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(function)))
        signature = signature.replace("(self, ", "(").replace("(self)", "()")
        lines.append(f"```python\n{name}{signature}\n```\n")
    lines.append(markdown(inspect.getdoc(function) or ""))
    return "\n".join(lines)


def markdown(docstring: str) -> str:
    """A docstring in Google's style as Markdown: sections become lists."""
    lines: list[str] = []
    inside = False
    for line in docstring.replace("``", "`").splitlines():
        if section := SECTION.match(line):
            inside = True
            lines += ["", f"**{section[1]}**", ""]
        elif inside and (entry := ENTRY.match(line)):
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif inside and line.startswith("     "):
            lines[-1] += f" {line.strip()}"
        else:
            inside = inside and (not line or line.startswith(" "))
            lines.append(line.strip() if inside else line)
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """The evaluation metrics that training computes, gates accept and promotions compare."""
    rows = [
        f"| `{metric.name}` | {cell(metric.title)} | {cell(metric.meaning)} | "
        f"{'higher' if metric.direction > 0 else 'lower'} | {metric.task} | {metric.needs} |"
        for metric in METRICS.values()
    ]
    return (
        "# Evaluation metrics\n\nGenerated from `orris/metrics.py`. Gates take these names (`--gate 'accuracy>=0.9'`); "
        "over folds they are reported as `cv_NAME_mean` and `cv_NAME_std`. A metric is left out where its condition "
        "does not hold.\n\n"
        "| name | title | meaning | better | task | needs |\n|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def decisions_page() -> str:
    """The list of the decisions, one page each."""
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    titles = [(page.name, page.read_text("utf-8").partition("\n")[0].removeprefix("# ")) for page in pages]
    return (
        "# Decisions\n\nOne page per decision that was hard to take: context, decision, consequences.\n\n"
        + "\n".join(f"- [{title}](adr/{name})" for name, title in titles)
    )


def paragraphs(text: str | None) -> str:
    """A help text with its paragraphs apart."""
    return inspect.cleandoc(text or "").replace("``", "`")


def cell(text: str) -> str:
    """Text inside a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def prepare(folder: Path) -> None:
    """Copy ``docs/`` and ``zensical.toml`` to the folder and write the generated pages beside them."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    repository = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["repo_url"]
    for page in (folder / "docs").rglob("*.md"):
        up = "../" * len(page.relative_to(folder / "docs").parts)
        text = page.read_text("utf-8")
        text = re.sub(rf"\]\({re.escape(up)}(?!\.)([^)\s]*)\)", rf"]({repository}/blob/main/\1)", text)
        page.write_text(text, "utf-8")
    for path, text in generated().items():
        (folder / "docs" / path).parent.mkdir(exist_ok=True)
        (folder / "docs" / path).write_text(text, "utf-8")


def build(folder: Path) -> Path:
    """Build the site below the folder; returns the folder of its pages.

    Raises:
        subprocess.CalledProcessError: A link or an anchor is broken, or a page of the navigation is missing.
        FileNotFoundError: A page refers to a file that the site does not have.
    """
    prepare(folder)
    subprocess.run([ZENSICAL, "build", "--strict", "--clean"], cwd=folder, check=True)  # noqa: S603
    if missing := missing_files(folder / "site"):
        raise FileNotFoundError("the site lacks files that its pages refer to:\n" + "\n".join(missing))
    return folder / "site"


def missing_files(site: Path) -> list[str]:
    """References of the built pages to files that do not exist: Zensical checks links between pages only."""
    missing = []
    for page in sorted(site.rglob("*.html")):
        for target in re.findall(r' (?:src|href)="?([^"\s>#?]+)', page.read_text("utf-8")):
            outside = re.match(r"[a-z]+:|//|/", target)
            if not outside and not (page.parent / target).exists():
                missing.append(f"{page.relative_to(site)}: {target}")
    return missing


if __name__ == "__main__":
    pages = build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site")
    sys.stdout.write(f"Built {pages}/index.html\n")

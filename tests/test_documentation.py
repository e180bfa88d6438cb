"""Tests of the documentation.

/ Its Python runs, its links resolve, its commands parse, its routes are served, its tables are complete.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from prometheus_client.parser import text_string_to_metric_families

from orris.cli.app import app
from orris.compile import registry
from orris.training.pipelines import PRESETS

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
RUN = [ROOT / "README.md", ROOT / "docs" / "bring-your-own-model.md", ROOT / "docs" / "training.md"]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`(orris [^`\n]+)`")
_OPERATORS = {"|", "||", "&", "&&", ";", "(", ")", ">", "<"}


def name_of(page: Path) -> str:
    """A page's path in the repository, for test ids."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[str]:
    """The page's fenced blocks in these languages."""
    return [content for language, content in _FENCE.findall(page.read_text("utf-8")) if language in languages]


def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings, as GitHub makes them."""
    prose = _FENCE.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of a page runs from top to bottom in one namespace, in a folder with the iris table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "iris.csv").write_bytes((ROOT / "data" / "iris.csv").read_bytes())
    examples = blocks(page, "python")
    assert examples
    namespace: dict[str, Any] = {"__name__": "example"}
    for example in examples:
        exec(compile(example, name_of(page), "exec"), namespace)  # noqa: S102 (our own documentation)


def test_the_comments_of_examples_equal_their_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The comment behind a ``print(…)`` equals what is printed."""
    page = ROOT / "docs" / "bring-your-own-model.md"
    test_the_python_of_a_page_runs(page, tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    promised = re.findall(
        r"^print\([\w.\[\]]+\)  # (.+)$|^    print\(error\)  # (.+)$", "\n".join(blocks(page, "python")), re.MULTILINE
    )
    assert len(promised) >= 3
    for texts in promised:
        assert "".join(texts) in printed


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    """Every relative link and picture is there, and so is the heading that it points to."""
    broken = []
    for target in _LINK.findall(_FENCE.sub("", page.read_text("utf-8"))):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of every ``orris …`` that the page shows, in shell blocks and in running text."""
    for block in blocks(page, "bash", "console", "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            text = line.removeprefix("$ ")
            if re.match(r"(\w+=\S+ )*orris\b", text):
                yield from split(text)
    for text in _INLINE.findall(_FENCE.sub("", page.read_text("utf-8"))):
        if "…" not in text:
            yield from split(text.replace("[", "").replace("]", ""))


def split(line: str) -> Iterator[list[str]]:
    """The ``orris`` commands of a shell line, without variables before them."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.commenters = "#"
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in _OPERATORS:
            words.append(word)
            continue
        while words and "=" in words[0]:
            words.pop(0)
        if words and words[0] == "orris":
            yield words[1:]
        words = []


SHOWN = sorted({" ".join(map(shlex.quote, words)) for page in PAGES for words in commands(page)})


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_that_is_shown_parses(line: str) -> None:
    """Every command that a page shows exists, knows each option, and takes as many arguments."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"there is no command '{words[0]}'"
        command = command.commands[words.pop(0)]
    if hasattr(command, "commands") or words in (["--help"], []):
        known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
        assert set(words) <= known
        return
    command.make_context(line, words)


def test_the_table_of_commands_is_complete() -> None:
    """docs/commands.md names every command and subcommand."""
    command: Any = typer.main.get_command(app)
    names = {f"orris {name}" for name, found in command.commands.items() if not hasattr(found, "commands")}
    names |= {
        f"orris {name} {inner}"
        for name, found in command.commands.items()
        if hasattr(found, "commands")
        for inner in found.commands
    }
    text = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert [name for name in sorted(names) if name not in text] == []


def routes(page: Path) -> set[tuple[str, str]]:
    """Method and path of every route that the page's tables name."""
    rows = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| `")]
    return {found for row in rows for found in re.findall(r"`(GET|POST) (/\S*)`", row) if "…" not in found[1]}


def served(ask: httpx.Client) -> set[tuple[str, str]]:
    """Method and path template of every route that a real server lists."""
    endpoints = ask.get("/api/v1/").json()["endpoints"]
    named = {
        (method, path.replace("/models/iris", "/models/{name}"))
        for method, paths in endpoints.items()
        for path in paths
    }
    named = {(method, path.replace("{model}", "{name}")) for method, path in named}
    return {(method, path.replace("/versions/1.0.0", "/versions/{version}")) for method, path in named}


@pytest.mark.parametrize("page", [ROOT / "docs" / "http.md", ROOT / "docs" / "protocols.md"], ids=name_of)
def test_every_route_that_is_named_is_served(page: Path, ask: httpx.Client) -> None:
    """A real server lists every route of the tables."""
    assert sorted(routes(page) - served(ask)) == []


def test_every_route_that_is_served_is_named(ask: httpx.Client) -> None:
    """Every served route is in docs/http.md or docs/protocols.md, except the parts of a page."""
    named = routes(ROOT / "docs" / "http.md") | routes(ROOT / "docs" / "protocols.md")
    assert sorted(served(ask) - {("GET", "/docs/start.js")} - named) == []


def sections(page: Path) -> dict[str, str]:
    """The text below each heading of the second level."""
    found = re.split(r"^## (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def existing_tests() -> dict[str, set[str]]:
    """The names of all tests, by the file's path in the repository."""
    files = (ROOT / "tests").rglob("test_*.py")
    return {
        name_of(file): set(re.findall(r"^(?:async )?def (test_\w+)", file.read_text("utf-8"), re.MULTILINE))
        for file in files
    }


def test_every_protocol_has_a_table_of_tests() -> None:
    """Each section on a protocol has a table whose rows each name a test or several."""
    others = {"Clients that were tried", "Add a protocol"}
    for protocol, text in sections(ROOT / "docs" / "protocols.md").items():
        if protocol in others:
            continue
        table = text.partition(" | held by |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()
        assert table, protocol
        assert [row for row in table if "`test_" not in row] == [], protocol


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_test_that_is_named_exists(page: Path) -> None:
    """Every test that a page names exists in one of the files that the page names."""
    text = page.read_text("utf-8")
    known = existing_tests()
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", text))
    assert sorted(files - known.keys()) == []
    existing = {test for file in files for test in known[file]}
    assert sorted(set(re.findall(r"`(test_\w+)`", text)) - existing) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_of_the_repository_that_is_named_exists(page: Path) -> None:
    """Every file in backticks (tests, workflows, tools, scripts, deployed files) exists."""
    folders = "src|tests|tools|scripts|deploy|charts|k8s|loadtests|observability|requirements|examples|\\.github"
    named = re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text("utf-8"))
    made_later = {"deploy/clusters/dev/flux-system/"}  # by `flux bootstrap`, in the reader's repository
    assert [path for path in named if path not in made_later and not (ROOT / path).exists()] == []


def test_every_fault_test_is_documented() -> None:
    """The page on faults names each test of faults."""
    text = (ROOT / "docs" / "faults.md").read_text("utf-8")
    tests = {test for file, found in existing_tests().items() if file.startswith("tests/faults/") for test in found}
    assert sorted(test for test in tests if f"`{test}`" not in text) == []


def test_every_flag_of_the_settings_is_one_of_serve() -> None:
    """docs/settings.md names flags that exist, and all that stand for a setting."""
    command: Any = typer.main.get_command(app)
    known = {
        option for parameter in command.commands["serve"].params for option in parameter.opts if option.startswith("--")
    }
    named = re.findall(
        r"^\| `ORRIS_\w+` \| `(--[\w-]+)` \|", (ROOT / "docs" / "settings.md").read_text("utf-8"), re.MULTILINE
    )
    assert set(named) == known


def metric_rows() -> dict[str, list[str]]:
    """The rows of the tables of docs/metrics.md: type, unit, labels, meaning and PromQL, by name."""
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8").partition("\n## Coming from another server\n")[0]
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in page.splitlines()
        if line.startswith("| `")
    ]
    return {name.strip("`"): rest for name, *rest in cells}


def test_every_metric_that_is_named_is_exposed_and_the_other_way_round(ask: httpx.Client) -> None:
    """The tables of metrics equal a real scrape after a request of each kind, by name and type."""
    ask.post("/predict", content=b"{")
    exposed = dict(re.findall(r"^# TYPE (\w+) (\w+)$", ask.get("/metrics").text, re.MULTILINE))
    assert {name: cells[0] for name, cells in metric_rows().items()} == exposed


def test_every_metric_is_described(ask: httpx.Client) -> None:
    """Every metric has a unit, the labels of its samples, a meaning, and an example of PromQL for it."""
    ask.post("/predict", json={"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 30})
    sampled = {
        family.samples[0].name.removesuffix("_bucket"): family.samples[0].labels.keys() - {"le"}
        for family in text_string_to_metric_families(ask.get("/metrics").text)
        if family.samples
    }
    for name, (_, unit, labels, meaning, query) in metric_rows().items():
        assert unit, name
        assert meaning, name
        assert name in query, name
        assert set(re.findall(r"`(\w+)`", labels)) == sampled.get(name, set(re.findall(r"`(\w+)`", labels))), name


def test_the_names_of_other_servers_have_a_counterpart() -> None:
    """Each metric that the reference projects publish has a counterpart of ours."""
    table = (ROOT / "docs" / "metrics.md").read_text("utf-8").partition("\n## Coming from another server\n")[2]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines() if line.startswith("| `")]
    theirs = {match[1] for there, _, _ in rows for match in [re.match(r" `(\w+)\{", there)] if match}
    published = {
        "iris_predictions_total",
        "http_requests_total",
        "http_request_duration_seconds",
        "inference_requests_total",
    }
    assert published | {"inference_duration_seconds", "prediction_distribution_total"} <= theirs
    for _, here, query in rows:
        ours = {
            re.sub(r"_(bucket|count|sum)$", "", name)
            for name in re.findall(r"\b((?:orris|http)_\w+)", f"{here} {query}")
        }
        assert ours
        assert ours <= metric_rows().keys()


def test_the_table_of_converters_is_that_of_the_registry() -> None:
    """The table has a row per module with every registered class (on failure, paste the expected one)."""
    by_module: dict[str, set[str]] = {}
    for estimator, module in registry.registered().items():
        by_module.setdefault(module, set()).add(estimator.rpartition(".")[2])
    expected = [
        f"| `{module}` | {', '.join(f'`{name}`' for name in sorted(by_module[module]))} |"
        for module in sorted(by_module)
    ]
    section = (ROOT / "docs" / "parity.md").read_text("utf-8").partition("\n## Converters\n")[2]
    found = [line for line in section.splitlines() if line.startswith("| `")]
    assert found == expected, "docs/parity.md should have:\n" + "\n".join(expected)


def test_the_table_of_presets_is_complete() -> None:
    """docs/training.md names each preset for its tasks."""
    rows = re.findall(
        r"^\| `([\w-]+)` \| ([^|]*)\| ([^|]*)\|$", (ROOT / "docs" / "training.md").read_text("utf-8"), re.MULTILINE
    )
    found = {
        task: {name for name, *cells in rows if cells[i].strip()}
        for i, task in enumerate(("classification", "regression"))
    }
    assert found == {task: set(names) for task, names in PRESETS.items()}


def test_the_decisions_are_numbered_without_gaps() -> None:
    """Decisions are numbered from 0001 without gaps, each with context, decision and consequences."""
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{number:04d}" for number in range(1, len(pages) + 1)]
    for page in pages:
        text = page.read_text("utf-8")
        assert [part for part in ("**Context.**", "**Decision.**", "**Consequences.**") if part not in text] == [], (
            page.name
        )

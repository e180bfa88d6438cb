"""Tests of the playground's files over HTTP, without a browser: access, policy and packaging."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from orris.api import Bundle
from orris.serving.pages import playground
from tests.servers import client, serving

ROOT = Path(__file__).parents[3]
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FILES = sorted(path.name for path in playground.FOLDER.iterdir() if path.name != playground.PAGE)


def test_a_browser_gets_the_page_and_a_program_gets_ok(ask: httpx.Client) -> None:
    """The root answers by the ``Accept`` header, and ``Vary`` names it for caches."""
    page = ask.get("/", headers=BROWSER)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["vary"] == "accept"
    assert ask.get("/").text == "OK"
    assert ask.head("/", headers=BROWSER).text == ""


def test_the_page_runs_under_a_strict_policy(ask: httpx.Client) -> None:
    """The page's policy forbids inline scripts, other hosts and frames."""
    page = ask.get("/", headers=BROWSER)
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy.pop("img-src") == "'self' data:"
    assert {name: policy.pop(name) for name in ("script-src", "style-src", "connect-src")} == dict.fromkeys(
        ("script-src", "style-src", "connect-src"), "'self'"
    )
    assert policy == dict.fromkeys(("default-src", "form-action", "base-uri", "frame-ancestors"), "'none'")
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<script(?! type=\"module\" src=\"ui/)|<style|\sstyle=|\son\w+=|https?://", page.text)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_served_and_revalidated(ask: httpx.Client, name: str) -> None:
    """A file has its type and is revalidated after an upgrade, and none names another host or writes markup."""
    answer = ask.get(f"/ui/{name}")
    assert answer.content == (playground.FOLDER / name).read_bytes()
    assert answer.headers["content-type"].partition(";")[0] in {"text/css", "text/javascript", "image/svg+xml"}
    assert answer.headers["cache-control"] == "no-cache"
    again = ask.get(f"/ui/{name}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert not re.search(
        r"https?://(?!www\.w3\.org/2000/svg)|innerHTML|outerHTML|insertAdjacentHTML|\beval\b|localStorage", answer.text
    )


@pytest.mark.parametrize("path", ["/ui/", "/ui/index.html", "/ui/../pages.py", "/ui/%2e%2e/errors.py", "/ui/nope.js"])
def test_nothing_else_is_served_below_ui(ask: httpx.Client, path: str) -> None:
    """Only the files of the table made at the start are served, since no part of a request becomes a path."""
    assert ask.get(path).status_code == 404


def test_the_page_is_open_and_its_data_are_guarded(iris: Bundle, tmp_path: Path) -> None:
    """With keys, the page and its files are open, while the card, plots and report need a credential."""
    keys = tmp_path / "keys.toml"
    keys.write_text(f'page = {{ sha256 = "{"0" * 64}" }}\n')
    with serving(str(iris.folder), "--api-keys", str(keys), folder=tmp_path) as running, client(running) as ask:
        assert ask.get("/", headers=BROWSER).status_code == 200
        assert ask.get("/ui/app.js").status_code == 200
        under = "/api/v1/models/iris/versions/1.0.0"
        for path in ("/api/v1/model/card", f"{under}/card", f"{under}/report", f"{under}/plots/roc.png"):
            assert ask.get(path).status_code == 401, path


def test_without_documentation_pages_there_is_no_playground(iris: Bundle, tmp_path: Path) -> None:
    """With ORRIS_DOCS=off a browser gets the programs' answer, and the card has no links to pages."""
    with serving(str(iris.folder), folder=tmp_path, environ={"ORRIS_DOCS": "off"}) as running, client(running) as ask:
        assert ask.get("/", headers=BROWSER).text == "OK"
        assert ask.get("/ui/app.js").status_code == 404
        card = ask.get("/api/v1/model/card").json()
        assert (card["plots"], card["report"]) == ([], None)


def test_links_lead_through_a_proxy(iris: Bundle, tmp_path: Path) -> None:
    """Links to the page's files and the documentation include the path that a proxy removes."""
    with serving(str(iris.folder), "--root-path", "/ml", folder=tmp_path) as running, client(running) as ask:
        page = ask.get("/", headers=BROWSER).text
        assert {link for link in re.findall(r'(?:href|src)="([^"#]*)"', page) if not link.startswith("/ml/")} == set()
        docs = ask.get("/docs").text
        for link in re.findall(r'(?:href|src)="/ml(/[^"]*)"', docs):
            assert ask.get(link).status_code == 200, link


def test_the_playground_is_loaded_on_first_use() -> None:
    """No file of the page is read at the start, and answering it does not import FastAPI."""
    code = (
        "import sys, builtins, pathlib; from orris.serving.pages.playground import Playground; "
        "read = pathlib.Path.read_bytes; pathlib.Path.read_bytes = lambda path: sys.exit('read'); "
        "made = Playground(); sys.exit('fastapi' in sys.modules or len(made.protocol.routes[0].values) < 10)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_wheel_holds_every_file() -> None:
    """The wheel, as hatchling builds it, holds every file of the page."""
    builders = pytest.importorskip("hatchling.builders.wheel")
    shipped = {file.distribution_path for file in builders.WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"orris/ui/{name}" for name in (*FILES, playground.PAGE)} <= shipped

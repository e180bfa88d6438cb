"""A browser, and the models that it is shown beside those of every test."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, sync_playwright

import orris
from tests.servers import Server, client, serving
from tests.ui.browser import CHROMIUM, Visit, launched, visiting
from tests.ui.hostile import COLUMNS, LEVELS


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium. For this package alone.

    Playwright holds the thread's event loop, which other tests start themselves.
    """
    if not CHROMIUM:
        pytest.skip("chromium is absent: apt-get install chromium")
    with sync_playwright() as playwright:
        found = launched(playwright)
        yield found
        found.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A visitor at a context; the test fails if the console complains."""
    with visiting(browser) as visitor:
        yield visitor


@pytest.fixture
def ask_mixed(mixed_server: Server) -> Iterator[httpx.Client]:
    """A client of ``mixed_server``."""
    with client(mixed_server) as asking:
        yield asking


@pytest.fixture(scope="session")
def hostile_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A model whose columns, levels and labels are markup, formulas and quotes."""
    rng = np.random.default_rng(0)
    rows = 210
    first, second = rng.normal(size=rows), rng.choice(LEVELS, rows)
    table = pd.DataFrame({COLUMNS[0]: first, COLUMNS[1]: second, COLUMNS[2]: rng.normal(size=rows)})
    table["<u>target</u>"] = np.where(first + (second == LEVELS[0]) > 0, "<i>yes</i>", "=no")
    store = tmp_path_factory.mktemp("store")
    bundle = orris.train(table, target="<u>target</u>", name="hostile", model="logistic", version="1.0.0", store=store)
    with serving(str(bundle.folder), folder=tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def regression_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A served regression model."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"width": rng.uniform(1, 9, 120).round(2), "depth": rng.uniform(10, 20, 120).round(1)})
    table["price"] = 3 * table["width"] + table["depth"] + rng.normal(scale=0.1, size=120)
    store = tmp_path_factory.mktemp("store")
    bundle = orris.train(table, target="price", name="price", model="ridge", version="1.0.0", store=store)
    with serving(str(bundle.folder), folder=tmp_path_factory.mktemp("server")) as running:
        yield running

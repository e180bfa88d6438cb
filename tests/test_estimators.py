"""The tables of all estimators of scikit-learn: complete, as they were measured, and as good as the page says."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import sklearn

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "estimators.md").read_text("utf-8")


@pytest.fixture(scope="module")
def walk() -> Iterator[ModuleType]:
    """The program that writes the tables."""
    spec = importlib.util.spec_from_file_location("estimators", ROOT / "benchmarks" / "estimators.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["estimators"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["estimators"]


def test_the_page_shows_the_measured_walk(walk: ModuleType) -> None:
    """The tables of the page are those of the kept results."""
    version = PAGE.split("Measured with scikit-learn ")[1].split(".\n")[0]
    found = [walk.known()[name] for name in sorted(walk.known())]
    assert walk.written(found).replace(sklearn.__version__, version, 1) in PAGE


def test_every_estimator_was_measured(walk: ModuleType) -> None:
    """No estimator of the measured version is missing."""
    if f"scikit-learn {sklearn.__version__}." in PAGE:
        assert set(walk.kinds()) == set(walk.known())


def test_no_estimator_ends_in_an_exception(walk: ModuleType) -> None:
    """Whatever cannot be served is refused in words of Orris."""
    ways = {outcome.way for outcome in walk.known().values()}
    assert ways <= {"exact", "skl2onnx-float64", "skl2onnx-float32", "partly-compiled", "scikit-learn", "refused"}


def test_nearly_all_are_served_and_most_exactly(walk: ModuleType) -> None:
    """Of classifiers, regressors and transformers, 95 % are served and 85 % exactly."""
    kind, n_estimators, served, exact = walk.totals(list(walk.known().values()))[-1]
    assert kind == "first three together"
    assert served >= 0.95 * n_estimators
    assert exact >= 0.85 * n_estimators


@pytest.mark.parametrize("name", ["NearestCentroid", "KMeans", "PowerTransformer"])
def test_an_estimator_is_served_in_the_way_of_the_page(walk: ModuleType, name: str) -> None:
    """Measured again, these are served as in the table."""
    kind, each = walk.kinds()[name]
    assert walk.examine(name, kind, each).way == walk.known()[name].way

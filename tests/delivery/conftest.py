"""A store with several versions of iris, and a GitOps tree that promotes them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import orris
from tests.delivery.gitops import Tree, plant
from tests.example_tables import MEASUREMENTS, TABLE

POSITIVE = {column: bounds for column, bounds in MEASUREMENTS.items() if column != "sepal_width"}


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with five versions for the gates.

     / 1.0.0; 1.1.0, which is as good; 1.2.0 with worse probabilities; 2.0.0 with a tighter bound; 3.0.0 without one
    of the columns.
    """
    store = tmp_path_factory.mktemp("store")
    table = pd.read_csv(TABLE)
    orris.train(table, store=store, target="species", name="iris", version="1.0.0")
    orris.train(table, store=store, target="species", name="iris", version="1.1.0")
    orris.train(table, store=store, target="species", name="iris", version="1.2.0", model="forest")
    orris.train(
        table,
        store=store,
        target="species",
        name="iris",
        version="2.0.0",
        bounds=MEASUREMENTS | {"sepal_length": {"minimum": 4}},
    )
    orris.train(
        table.drop(columns="sepal_width"), store=store, target="species", name="iris", version="3.0.0", bounds=POSITIVE
    )
    return store


@pytest.fixture
def tree(tmp_path: Path, versions: Path) -> Tree:
    """Return a tree in which dev and stage run 1.0.0, and prod nothing yet."""
    planted = plant(tmp_path, versions)
    planted.run("dev", "1.0.0")
    planted.run("stage", "1.0.0")
    return planted

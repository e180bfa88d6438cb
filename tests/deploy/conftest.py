"""The GitOps tree, built once for all tests."""

from __future__ import annotations

import pytest

from tests.deploy.overlays import Object
from tests.deploy.tree import ENVIRONMENTS, built, cluster


@pytest.fixture(scope="session")
def clusters() -> dict[str, list[Object]]:
    """Every object of every cluster: the Kustomizations, and what they apply."""
    found = {}
    for environment in ENVIRONMENTS:
        kustomizations = cluster(environment)
        found[environment] = [
            *kustomizations.values(),
            *(each for one in kustomizations.values() for each in built(one)),
        ]
    return found

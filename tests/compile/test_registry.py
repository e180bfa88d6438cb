"""Tests of the registry, which finds converters by the public name of an estimator's class."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
from sklearn.experimental import (
    enable_halving_search_cv,  # noqa: F401 (makes the two halving searches importable)
    enable_iterative_imputer,  # noqa: F401 (likewise)
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from orris.compile import registry


def test_no_library_is_imported_to_support_it() -> None:
    """Importing every converter imports neither scikit-learn nor a booster nor skl2onnx."""
    script = (
        "import sys; from orris.compile import registry; registry.registered();"
        "print(sorted({'sklearn', 'skl2onnx', 'xgboost', 'lightgbm', 'catboost', 'pandas'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name", sorted(name for name in registry.registered() if name.startswith(("sklearn.", "imblearn.")))
)
def test_every_registered_name_is_a_class_of_its_library(name: str) -> None:
    """Every registered name is a class of its library, except those that a later version removes."""
    module, _, kind = name.rpartition(".")
    if kind.startswith("PassiveAggressive") and not hasattr(import_module(module), kind):
        return
    assert isinstance(getattr(import_module(module), kind), type)


def test_a_class_is_found_by_its_public_name() -> None:
    """A class is found by its public name, whichever private module defines it."""
    assert registry.is_exactly(Ridge(), "sklearn.linear_model.Ridge")
    assert registry.is_exactly(Ridge(), "sklearn.linear_model._ridge.Ridge")
    assert registry.predictor_of(LogisticRegression()) is not None


def test_a_subclass_is_not_taken_for_its_base() -> None:
    """A subclass has no converter of its base, even under the base's name, because it may differ."""
    mine = type("DecisionTreeClassifier", (DecisionTreeClassifier,), {"__module__": "sklearn.tree._classes"})
    assert not registry.is_exactly(mine(), "sklearn.tree.DecisionTreeClassifier")
    assert registry.predictor_of(mine()) is None


def test_a_registration_states_the_accepted_frames() -> None:
    """Registrations state the accepted frames: a pipeline takes codes and float32, Bernoulli naive Bayes neither."""
    delegating, alone = registry.predictor_of(make_pipeline(Ridge())), registry.predictor_of(BernoulliNB())
    assert delegating is not None
    assert alone is not None
    assert (delegating.takes_codes, delegating.takes_single) == (True, True)
    assert (alone.takes_codes, alone.takes_single) == (False, False)

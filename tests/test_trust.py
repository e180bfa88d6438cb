"""What a skops file may hold: the server's list, and nothing that a file could forge."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from skops.io import dumps

from orris import trust
from orris.errors import ServingError

X, Y = load_iris(return_X_y=True)
READ = {
    "a k-d tree": KNeighborsClassifier(algorithm="kd_tree", leaf_size=7),
    "a ball tree": RadiusNeighborsClassifier(algorithm="ball_tree", radius=9.0, metric="manhattan"),
    "calibration": CalibratedClassifierCV(SVC(), cv=StratifiedKFold(3), ensemble=False),
    "an imputer": make_pipeline(SimpleImputer(), SVC()),
    "a Gaussian process": GaussianProcessClassifier(),
}


@pytest.mark.parametrize("model", READ.values(), ids=READ.keys())
def test_what_common_estimators_hold_is_read_back(model: Any) -> None:
    """The answers are those of the estimator that was written."""
    expected = model.fit(X, Y).predict(X)
    content = bytes(dumps(model))
    assert trust.untrusted(content) == []
    assert np.array_equal(trust.read(content).predict(X), expected)


def test_a_decision_tree_is_refused_by_name() -> None:
    """Compiled code would follow its positions without looking."""
    content = bytes(dumps(DecisionTreeClassifier().fit(X, Y)))
    assert trust.untrusted(content) == ["sklearn.tree._tree.Tree"]
    with pytest.raises(ServingError, match=r"sklearn\.tree\._tree\.Tree"):
        trust.read(content)


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree"])
@pytest.mark.parametrize("position", range(7))
def test_a_forged_tree_is_refused(algorithm: str, position: int) -> None:
    """Whichever part of its state differs from what its points give, positions beyond its arrays among them."""
    model = KNeighborsClassifier(algorithm=algorithm, leaf_size=5).fit(X, Y)
    state = list(model._tree.__getstate__())
    if isinstance(state[position], int):
        state[position] += 1000
    else:
        forged = np.array(state[position])
        forged.reshape(-1).view(np.uint8)[-8:] = 0x11
        state[position] = forged
    model._tree.__setstate__(tuple(state))
    with pytest.raises(ServingError, match="is not the one that its points give"):
        trust.read(bytes(dumps(make_pipeline(model))))


def test_every_trusted_name_exists() -> None:
    """A name that scikit-learn moved would trust whatever takes its place."""
    for name in trust.TRUSTED:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute), name
        assert module == "numpy" or module.startswith("sklearn.")

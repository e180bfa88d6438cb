"""Tests of the types that a skops file may name, and of forged files."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
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
    "a decision tree": DecisionTreeClassifier(),
    "a forest": RandomForestClassifier(3, random_state=0),
    "bagged trees over some of the columns": BaggingClassifier(n_estimators=3, max_features=2, random_state=0),
    "boosted trees": GradientBoostingClassifier(n_estimators=3),
    "adaptively boosted trees": AdaBoostRegressor(n_estimators=3, random_state=0),
    "an isolation forest": IsolationForest(n_estimators=3, max_features=2, random_state=0),
}


@pytest.mark.parametrize("model", READ.values(), ids=READ.keys())
def test_common_estimators_are_read_back(model: Any) -> None:
    """An estimator that is read back answers as the one that was written."""
    expected = model.fit(X, Y).predict(X)
    content = bytes(dumps(model))
    assert trust.untrusted(content) == []
    assert np.array_equal(trust.read(content).predict(X), expected)


def test_histogram_based_boosting_is_refused_by_name() -> None:
    """Histogram-based boosting is refused, because compiled code follows its tree's positions unchecked."""
    content = bytes(dumps(HistGradientBoostingClassifier(max_iter=1).fit(X, Y)))
    assert trust.untrusted(content) == ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]
    with pytest.raises(ServingError, match="TreePredictor"):
        trust.read(content)


def rewritten(content: bytes, change: Callable[[Any, dict[str, bytes]], None]) -> bytes:
    """A skops file whose schema and arrays ``change`` has edited in place."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(files["schema.json"])
    change(schema, files)
    files["schema.json"] = json.dumps(schema).encode()
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return written.getvalue()


def tree_node(part: Any) -> Any:
    """The part of a schema that describes a decision tree."""
    children = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    if isinstance(part, dict) and part.get("__loader__") == "TreeNode":
        return part
    return next((found for found in map(tree_node, children) if found), None)


def with_array(name: str, edit: Callable[[Any], Any]) -> Callable[[Any, dict[str, bytes]], None]:
    """A change that edits one array of the tree's state."""

    def change(schema: Any, files: dict[str, bytes]) -> None:
        file = tree_node(schema)["content"]["content"][name]["file"]
        array = np.load(io.BytesIO(files[file]), allow_pickle=False)
        stored = io.BytesIO()
        np.save(stored, edit(array))
        files[file] = stored.getvalue()

    return change


def with_field(field: str, node: int, value: int) -> Callable[[Any, dict[str, bytes]], None]:
    """A change that sets one field of one of the tree's nodes."""

    def edit(nodes: Any) -> Any:
        nodes[field][node] = value
        return nodes

    return with_array("nodes", edit)


def with_number(*path: Any, value: str) -> Callable[[Any, dict[str, bytes]], None]:
    """A change that sets a whole number of the tree, with an identity of its own."""

    def change(schema: Any, _: dict[str, bytes]) -> None:
        node = tree_node(schema)
        for key in path:
            node = node[key]
        node.update(content=value, __id__=1)

    return change


def with_another_identity(schema: Any, files: dict[str, bytes]) -> None:
    """Nodes under the identity of another array: skops would construct that array in their place."""
    state = tree_node(schema)["content"]["content"]
    state["nodes"]["__id__"] = state["values"]["__id__"]
    assert files


FORGED = {
    "a child beyond the nodes": with_field("left_child", 0, 1_000),
    "a negative child": with_field("right_child", 0, -7),
    "a child that is its own parent": with_field("left_child", 0, 0),
    "a node with one child": with_field("right_child", 1, 3),
    "a feature that rows do not have": with_field("feature", 0, 4),
    "a negative feature": with_field("feature", 0, -1),
    "more nodes than it has": with_number("content", "content", "node_count", value="1000000"),
    "more outputs than it has": with_number("__reduce__", "args", "content", 2, value="1000"),
    "fewer features than its splits": with_number("__reduce__", "args", "content", 0, value="1"),
    "values of too few classes": with_array("values", lambda values: values[:, :, :1]),
    "an array under another's identity": with_another_identity,
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED.keys())
def test_a_forged_decision_tree_is_refused(change: Callable[[Any, dict[str, bytes]], None]) -> None:
    """A forged tree is refused before construction, because its constructor copies the file's values."""
    content = bytes(dumps(DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, Y)))
    assert trust.read(rewritten(content, lambda _schema, _files: None)).predict(X).tolist()
    with pytest.raises(ServingError, match="skops does not load the model"):
        trust.read(rewritten(content, change))


def test_trees_that_are_given_narrower_rows_than_they_take_are_refused() -> None:
    """A forest whose trees take more columns than its rows have is refused, since trees do not check rows again."""
    forest = RandomForestClassifier(2, random_state=0).fit(X, Y)
    forest.n_features_in_ = 2
    with pytest.raises(ServingError, match="rows of another width"):
        trust.read(bytes(dumps(forest)))


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree"])
@pytest.mark.parametrize("position", range(7))
def test_a_forged_tree_is_refused(algorithm: str, position: int) -> None:
    """A tree is refused if any part of its state differs from what its points imply."""
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
    """Every trusted name exists, because a moved name would trust its replacement."""
    for name in trust.TRUSTED:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute), name
        assert module in {"numpy", "scipy.sparse._csr"} or module.startswith("sklearn.")


def inflating(schema: dict[str, object], members: dict[str, bytes]) -> bytes:
    """A compressed skops file with a schema and arrays."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", json.dumps(schema))
        for name, data in members.items():
            archive.writestr(name, data)
    return written.getvalue()


BIG = bytes(40 * 2**20)


@pytest.mark.parametrize(
    "content",
    [
        inflating({}, {"0.npy": BIG, "1.npy": BIG}),
        inflating({"a": {"__id__": 1, "file": "0.npy"}, "b": {"__id__": 2, "file": "0.npy"}}, {"0.npy": BIG}),
        inflating({}, {"0.npz": inflating({}, {"data.npy": BIG + BIG})}),
    ],
    ids=["members", "a member that is read twice", "an archive in it"],
)
def test_a_file_that_inflates_to_too_much_is_refused(content: bytes) -> None:
    """80 MiB from a file of less than a megabyte; nothing of it is constructed."""
    assert len(content) < 2**20
    with pytest.raises(ServingError, match="would become 83,"):
        trust.read(content)


def test_a_compressed_file_is_read() -> None:
    """Compression itself is no reason to refuse a file."""
    from zipfile import ZIP_DEFLATED

    model = SVC().fit(X, Y)
    assert np.array_equal(trust.read(bytes(dumps(model, compression=ZIP_DEFLATED))).predict(X), model.predict(X))

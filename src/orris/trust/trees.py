"""scikit-learn's decision trees in a skops file: read only if no position in them leads outside their arrays.

Compiled code follows a tree's positions without looking, and its constructor copies as many of them as the file says,
so a forged tree could read or write anywhere. ``check_file`` looks at the arrays in the file before anything is
constructed; ``check_owner`` looks afterwards whether an estimator gives its trees rows that are wide enough.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

TREE = "sklearn.tree._tree.Tree"
_LEAF = -1


def check_file(content: bytes) -> None:
    """Raise ``ValueError`` if a skops file holds a decision tree that scikit-learn could not have fitted.

    Args:
        content: The file, a zip archive of ``schema.json`` and arrays. What it holds of a tree is what
            ``Tree.__reduce__`` gives: its numbers of features, classes and outputs, and its state.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        schema = json.loads(archive.read("schema.json"))
        found = [node for node in _dicts(schema) if node.get("__loader__") == "TreeNode"]
        try:
            _require_one_meaning(schema, found)
            for node in found:
                _check_tree(archive, node)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"a decision tree in it is not written as skops writes one ({error!r})") from error


def _require_one_meaning(schema: Any, trees: list[dict[str, Any]]) -> None:
    """Raise unless whatever has the identity of a part of a tree equals that part.

    skops constructs the first part of an identity in the place of all others.
    """
    parts: dict[Any, Any] = {}
    for tree in trees:
        for part in _dicts([tree["__reduce__"], tree["content"]]):
            if "__id__" in part:
                parts.setdefault(part["__id__"], part)
    for node in _dicts(schema):
        if parts.get(node.get("__id__"), node) != node:
            raise ValueError("a part of a decision tree in it has the identity of another part")


def _dicts(root: Any) -> Iterator[dict[str, Any]]:
    left = [root]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            yield part
            left += part.values()
        elif isinstance(part, list):
            left += part


def _check_tree(archive: zipfile.ZipFile, node: dict[str, Any]) -> None:
    features, classes, outputs = node["__reduce__"]["args"]["content"]
    n_features, n_outputs = _integer(features), _integer(outputs)
    n_classes = _array(archive, classes)
    state = node["content"]["content"]
    nodes, values = _array(archive, state["nodes"]), _array(archive, state["values"])
    n_nodes = _integer(state["node_count"])
    _require(n_features > 0 and n_outputs > 0, "no feature or no output")
    _require(n_classes.dtype == np.intp and n_classes.shape == (n_outputs,), "numbers of classes that are not one each")
    _require(bool((n_classes > 0).all()), "an output without a class")
    _require(nodes.ndim == 1 and len(nodes) == n_nodes > 0, "another number of nodes than it says")
    shape = (n_nodes, n_outputs, int(n_classes.max()))
    _require(values.dtype == np.float64 and values.shape == shape, "values of another shape than its nodes'")
    left, right = nodes["left_child"].astype(np.int64), nodes["right_child"].astype(np.int64)
    leaf = left == _LEAF
    _require(bool((right[leaf] == _LEAF).all()), "a node with one child")
    own = np.arange(n_nodes)[~leaf]
    for child in (left[~leaf], right[~leaf]):
        # Children stand behind their parent, so that every path ends.
        _require(bool(((child > own) & (child < n_nodes)).all()), "a child outside its nodes")
    children = np.concatenate([left[~leaf], right[~leaf]])
    _require(len(np.unique(children)) == len(children), "a node below two others")
    depth, level = 0, np.zeros(1, np.int64)
    while len(level := level[~leaf[level]]):
        depth, level = depth + 1, np.concatenate([left[level], right[level]])
    # A path is written into an array of this length.
    _require(depth <= _integer(state["max_depth"]), "a path that is longer than it says")
    split = nodes["feature"][~leaf]
    _require(bool(((split >= 0) & (split < n_features)).all()), "a split on a feature that it does not have")


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise ValueError(f"a decision tree in it has {problem}")


def _integer(node: dict[str, Any]) -> int:
    if node["__loader__"] != "JsonNode":
        raise TypeError(node["__loader__"])
    number = json.loads(node["content"])
    if type(number) is not int:
        raise TypeError(number)
    return number


def _array(archive: zipfile.ZipFile, node: dict[str, Any]) -> Any:
    if node["__loader__"] != "NdArrayNode" or node["type"] != "numpy":
        raise TypeError(node["__loader__"])
    return np.load(io.BytesIO(archive.read(node["file"])), allow_pickle=False)


def check_owner(part: Any) -> bool:
    """Whether an estimator's trees take rows of the width that it gives them.

    Args:
        part: Anything that a file holds.

    Returns:
        False if ``part`` has a tree, or members that have one, fitted on another number of features than it says.
    """
    tree = getattr(part, "tree_", None)
    if tree is not None:
        outputs = np.ravel(part.n_outputs_)
        return bool(tree.n_features == part.n_features_in_ and (outputs == tree.n_outputs).all())
    members = getattr(part, "estimators_", None)
    if not isinstance(members, list | np.ndarray):
        return True
    trees = [member for member in _flat(members) if hasattr(member, "tree_")]
    if not trees:
        return True
    chosen = getattr(part, "estimators_features_", None)
    widths = [part.n_features_in_] * len(trees) if chosen is None else [len(features) for features in chosen]
    return len(widths) == len(trees) and all(
        member.tree_.n_features == width for member, width in zip(trees, widths, strict=True)
    )


def _flat(members: Any) -> list[Any]:
    """The members of an ensemble, which may be a list or an array of one or two dimensions."""
    return np.ravel(members).tolist() if isinstance(members, np.ndarray) else list(members)

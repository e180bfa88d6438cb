"""What XGBoost computes, from its JSON model file: numeric splits, and objectives whose value is the margin itself.

A row is rounded to float32, a split goes left where ``value < condition``, and leaves are added to the base score in
float32, tree by tree. The links of other objectives are float32 functions of the C library, which have no statement.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from orris.compile.proof.forest import Forest, canonical, cuts
from orris.compile.proof.statement import Answer, Columns, numbers, states_model
from orris.compile.proof.terms import Algebra, Term
from orris.errors import NotProvedError

_IDENTITY = {"reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror"}


@states_model("xgboost.XGBRegressor")
def regressor(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The base score and the leaves, added in float32."""
    learner = json.loads(bytes(model.get_booster().save_raw("json")))["learner"]
    objective, booster = learner["objective"]["name"], learner["gradient_booster"]
    if objective not in _IDENTITY or booster["name"] != "gbtree":
        raise NotProvedError(f"XGBoost's {booster['name']} with the objective {objective} has no statement")
    parameters = learner["learner_model_param"]
    bases = [np.float32(word) for word in str(parameters["base_score"]).strip("[]").split(",")]
    if len(bases) != 1 or int(parameters.get("num_target", 1)) != 1 or not np.isnan(model.missing) or columns.sparse:
        raise NotProvedError("XGBoost with several targets, sparse rows or another missing value has no statement")
    trees = _trees(model, booster["model"])
    terms = [algebra.constant(bases[0], "f4")]
    if trees:
        forest, roots, leaves = _forest(trees, numbers(algebra, columns, model))
        terms += [algebra.leaves(tree.digest, leaves[tree.leaves], "f4") for tree in canonical(algebra, forest, roots)]
    return Answer(value=algebra.apply("Cast", algebra.fold(terms, "f4"), to="f8"))


def _trees(model: Any, stored: Any) -> Sequence[Any]:
    """The trees that count: all, or those up to the best iteration."""
    best = getattr(model, "best_iteration", None)
    ends = stored["iteration_indptr"]
    count = len(stored["trees"]) if best is None or best + 1 >= len(ends) else ends[best + 1]
    return list(stored["trees"][:count])


def _forest(trees: Sequence[Any], terms: Sequence[Term]) -> tuple[Forest, Any, Any]:
    """All trees side by side, the positions of their roots, and the values of their leaves, float32."""
    if any(tree["categories_nodes"] or int(tree["tree_param"].get("size_leaf_vector", 1)) > 1 for tree in trees):
        raise NotProvedError("XGBoost's splits on categories and vector leaves have no statement")
    sizes = [len(tree["left_children"]) for tree in trees]
    starts = np.cumsum([0, *sizes])[:-1]
    shift = np.repeat(starts, sizes)
    left, right, feature, default = (
        np.concatenate([np.array(tree[name], dtype=np.int64) for tree in trees])
        for name in ("left_children", "right_children", "split_indices", "default_left")
    )
    conditions = np.concatenate([np.array(tree["split_conditions"], dtype=np.float32) for tree in trees])
    leaf = left < 0
    forest = Forest(
        columns=terms,
        feature=np.where(leaf, 0, feature),
        cut=np.where(leaf, 0.0, cuts(np.where(leaf, np.float32(0), conditions), strict=True, single=True)),
        left=np.where(leaf, 0, left + shift),
        right=np.where(leaf, 0, right + shift),
        missing_left=(default > 0) & ~leaf,
        leaf=np.where(leaf, np.cumsum(leaf) - 1, -1),
    )
    return forest, starts, conditions[leaf]

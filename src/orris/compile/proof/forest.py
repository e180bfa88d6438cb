"""Trees in a canonical form, in which two trees are equal exactly if they send every row to the same leaf.

A split asks either whether ``x <= cut`` in float64, or whether ``x`` is a member of a finite set. What rounds or
compares otherwise (float32, ``<``) is brought to the first form by ``cuts``, which checks its work on the two doubles
at the cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from orris.compile.proof.terms import Algebra, Term
from orris.errors import NotProvedError
from orris.schema.arrays import FloatArray

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_BEYOND_SINGLE = 2.0**128


@dataclass(frozen=True)
class Forest:
    """Trees side by side in shared arrays of ``n_nodes``; a tree is named by its root.

    Attributes:
        columns: The terms that splits test, by position.
        feature: int64, the position that a split tests; ignored at leaves.
        cut: float64, the largest number that goes left; NaN where none does. Ignored at leaves and member splits.
        left: int64, the left child; ignored at leaves.
        right: Likewise.
        missing_left: bool, whether NaN goes left.
        leaf: int64, number of the leaf, or -1 at splits.
        members: For splits on membership: the numbers that go left; every other number goes right, and NaN goes by
            ``missing_left``.
    """

    columns: Sequence[Term]
    feature: IntArray
    cut: FloatArray
    left: IntArray
    right: IntArray
    missing_left: BoolArray
    leaf: IntArray
    members: Mapping[int, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class Canonical:
    """One tree: a digest of its shape and splits, and the numbers of its leaves in canonical order."""

    digest: bytes
    leaves: IntArray


def cuts(threshold: npt.ArrayLike, *, strict: bool = False, single: bool = False, zero: float = 0.0) -> FloatArray:
    """The largest double that goes left where ``x <= threshold`` does, float64 ``(n,)``; NaN where none does.

    Args:
        threshold: float64 or float32 ``(n,)``.
        strict: ``x < threshold`` instead.
        single: ``x`` is rounded to float32 before it is compared.
        zero: ``x`` of no larger magnitude counts as 0; not with ``strict`` or ``single``.

    Raises:
        NotProvedError: The doubles at a cut do not fall to its two sides.
    """
    limit = np.asarray(threshold, dtype=np.float64)
    if np.isnan(limit).any():
        raise NotProvedError("a threshold is NaN")
    with np.errstate(all="ignore"):
        cut = _rounding_to(_largest_single(limit, strict=strict)) if single else limit
        if strict and not single:
            cut = np.where(limit == -np.inf, np.nan, np.nextafter(limit, -np.inf))
        if zero:
            cut = np.where(
                limit >= 0, np.maximum(limit, zero), np.where(limit < -zero, limit, np.nextafter(-zero, -np.inf))
            )

        def goes_left(x: FloatArray) -> BoolArray:
            """The comparison itself, as it is written in the estimator."""
            seen = x.astype(np.float32).astype(np.float64) if single else np.where(np.abs(x) <= zero, 0.0, x)
            return np.asarray(seen < limit if strict else seen <= limit, dtype=np.bool_)

        stays = goes_left(cut) | np.isnan(cut)
        leaves = ~goes_left(np.nextafter(cut, np.inf)) | (cut == np.inf)
        nothing = ~np.isnan(cut) | ~goes_left(np.full_like(cut, -np.inf))
    if not (stays & leaves & nothing).all():
        raise NotProvedError("the doubles beside a threshold do not fall to its two sides")
    return np.asarray(cut + 0.0)


def _largest_single(threshold: FloatArray, *, strict: bool) -> npt.NDArray[np.float32]:
    """The largest float32 that is at most (below) the threshold; NaN if none is."""
    near = threshold.astype(np.float32)
    value = near.astype(np.float64)
    beyond = value >= threshold if strict else value > threshold
    below = np.nextafter(near, np.float32(-np.inf))
    return np.where(beyond, np.where(near == -np.inf, np.float32(np.nan), below), near).astype(np.float32)


def _rounding_to(largest: npt.NDArray[np.float32]) -> FloatArray:
    """The largest double that rounds to ``largest`` or below."""
    low, high = (
        np.where(np.isinf(part), np.sign(part) * _BEYOND_SINGLE, part)
        for part in (largest.astype(np.float64), np.nextafter(largest, np.float32(np.inf)).astype(np.float64))
    )
    middle = low + (high - low) / 2
    fits = middle.astype(np.float32) <= largest
    cut = np.where(fits, middle, np.nextafter(middle, -np.inf))
    return np.where(largest == np.inf, np.inf, np.where(np.isnan(largest), np.nan, cut))


def canonical(algebra: Algebra, forest: Forest, roots: IntArray) -> list[Canonical]:
    """Every tree's canonical form: its nodes level by level, from left to right.

    Raises:
        NotProvedError: A node is reached twice, or the arrays do not describe trees.
    """
    forest = _on_sets(algebra, _on_doubles(forest))
    records = _records(algebra, forest)
    left, right = _turned(forest)
    n_nodes = len(forest.leaf)
    seen = np.zeros(n_nodes, np.bool_)
    nodes, trees = np.asarray(roots, dtype=np.int64), np.arange(len(roots))
    levels: list[tuple[IntArray, IntArray]] = []
    while len(nodes):
        if (nodes < 0).any() or (nodes >= n_nodes).any():
            raise NotProvedError("a child of a split is no node")
        if seen[nodes].any() or len(np.unique(nodes)) != len(nodes):
            raise NotProvedError("a node is the child of two splits")
        seen[nodes] = True
        levels.append((nodes, trees))
        splits = forest.leaf[nodes] < 0
        nodes, trees = (
            np.stack([left[nodes[splits]], right[nodes[splits]]], axis=1).reshape(-1),
            np.repeat(trees[splits], 2),
        )
    if not seen.all():
        raise NotProvedError(f"{int((~seen).sum())} nodes belong to no tree")
    order = np.concatenate([part for part, _ in levels])
    owner = np.concatenate([part for _, part in levels])
    by_tree = order[np.argsort(owner, kind="stable")]
    ends = np.cumsum(np.bincount(owner, minlength=len(roots)))
    return [_one(records[part], forest.leaf[part]) for part in np.split(by_tree, ends[:-1])]


def unrounded(term: Term) -> Term:
    """The number behind roundings to float32 and back."""
    while term.op == "Cast" and term.args[0].dtype in {"f4", "f8"}:
        term = term.args[0]
    return term


def _on_doubles(forest: Forest) -> Forest:
    """Splits of what was rounded to float32 as splits of the number before; of other float32 numbers, at such a one."""
    columns = [unrounded(term) for term in forest.columns]
    rounded = np.array([inner is not term for inner, term in zip(columns, forest.columns, strict=True)], np.bool_)
    single = np.array([inner.dtype == "f4" for inner in columns], np.bool_)
    cut = forest.cut.copy()
    tested = np.where((forest.leaf < 0) & (forest.feature >= 0) & (forest.feature < len(columns)), forest.feature, -1)
    with np.errstate(all="ignore"):
        for flags, moved in ((rounded & ~single, _rounding_to), (single, np.float64)):
            chosen = (tested >= 0) & np.append(flags, False)[tested]
            cut[chosen] = moved(_largest_single(cut[chosen], strict=False))
    return replace(forest, columns=columns, cut=cut)


def _on_sets(algebra: Algebra, forest: Forest) -> Forest:
    """Splits of category codes as splits on membership, however they are written; so a split that no number passes."""
    members = dict(forest.members)
    split = forest.leaf < 0
    for position, term in enumerate(forest.columns):
        domain = algebra.domain(term)
        if domain is None and term.op != "Whole":
            continue
        for node in np.flatnonzero(split & (forest.feature == position)).tolist():
            if node in members:
                continue
            if domain is not None:
                members[node] = domain[domain <= forest.cut[node]]
            elif forest.cut[node] == -np.inf and not forest.missing_left[node] and algebra.finite(term.args[0]):
                members[node] = np.empty(0)
    return replace(forest, members=members)


def _one(records: IntArray, leaves: IntArray) -> Canonical:
    return Canonical(hashlib.sha256(np.ascontiguousarray(records).tobytes()).digest(), leaves[leaves >= 0])


def _records(algebra: Algebra, forest: Forest) -> IntArray:
    """The content of each node, independent of its number: int64 ``(n_nodes, 4)``; zeros at leaves."""
    split = forest.leaf < 0
    if split.any() and not ((forest.feature[split] >= 0) & (forest.feature[split] < len(forest.columns))).all():
        raise NotProvedError("a split tests a column that there is not")
    numbers = np.array([term.number for term in forest.columns] or [0], dtype=np.int64)
    made = np.zeros((len(forest.leaf), 4), dtype=np.int64)
    cut = np.where(np.isnan(forest.cut), np.nan, forest.cut + 0.0)
    made[split, 0] = 1 + numbers[forest.feature[split]]
    made[split, 1] = np.ascontiguousarray(cut).view(np.int64)[split]
    made[split, 2] = 1 + forest.missing_left[split]
    for node, members in forest.members.items():
        term = forest.columns[int(forest.feature[node])]
        kept = _members(algebra, term, np.unique(members), missing_left=bool(forest.missing_left[node]))
        made[node, 1] = 0
        made[node, 2] = 3
        made[node, 3] = algebra.sets.setdefault(kept.tobytes(), len(algebra.sets))
    return made


def _members(algebra: Algebra, term: Term, members: FloatArray, *, missing_left: bool) -> FloatArray:
    """The numbers that part from the missing value, in order; ``_turned`` puts their child on the left."""
    domain = algebra.domain(term)
    if domain is None:
        if missing_left:
            raise NotProvedError("a split sends the missing value and a set of numbers to the same side")
        return members + 0.0
    inside = domain[np.isin(domain, members)]
    return np.setdiff1d(domain, inside) if missing_left else inside


def _turned(forest: Forest) -> tuple[IntArray, IntArray]:
    """The children, those of member splits so that the missing value goes right."""
    nodes = np.array([node for node in forest.members if forest.missing_left[node]], dtype=np.int64)
    left, right = forest.left.copy(), forest.right.copy()
    left[nodes], right[nodes] = forest.right[nodes], forest.left[nodes]
    return left, right


def totals(
    algebra: Algebra, forest: Forest, roots: IntArray, leaf_values: npt.NDArray[Any], targets: IntArray, n_targets: int
) -> list[Term]:
    """Per target: the sum of its trees' answers, in their order, from zero; ``leaf_values`` is ``(n_leaves,)``."""
    parts: list[list[Term]] = [[] for _ in range(n_targets)]
    dtype: Any = "f4" if leaf_values.dtype == np.float32 else "f8"
    for tree, target in zip(canonical(algebra, forest, roots), targets.tolist(), strict=True):
        parts[target].append(algebra.leaves(tree.digest, leaf_values[tree.leaves], dtype))
    return [algebra.fold(part, dtype) for part in parts]

"""Converters of encoders: OneHotEncoder, OrdinalEncoder and TargetEncoder, over category codes as well as over numbers.

A column's values are first mapped to positions in the encoder's ``categories_`` and those to what the encoder makes of
them; where a column holds codes, both maps are one table that is worked out here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from orris.compile.converters.levels import assembled, lookup, slots
from orris.compile.graph import ML_DOMAIN, Feature, Frame, Graph, Hot
from orris.compile.registry import transformer
from orris.errors import NotConvertibleError

DENSE_WIDTH = 256
"""One-hot columns beyond this many are remembered as such, so that a linear model may look its weights up."""

Meaning = Callable[[int, int | None], float]
"""``(column, position in its categories_, or None if unknown) -> the encoder's output``."""


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


@dataclass(frozen=True)
class _Categories:
    """One column's ``categories_``, searchable as in scikit-learn: NaN equals NaN, None is its own category."""

    positions: dict[Any, int]
    nan: int | None

    @classmethod
    def of(cls, categories: Any) -> _Categories:
        listed = categories.tolist()
        nan = next((i for i, category in enumerate(listed) if _is_nan(category)), None)
        return cls({category: i for i, category in enumerate(listed) if i != nan}, nan)

    def find(self, value: Any) -> int | None:
        """Position of ``value``, or ``None`` if it is unknown."""
        return self.nan if _is_nan(value) else self.positions.get(value)

    def missing(self, feature: Feature) -> int | None:
        """Position of the column's missing value."""
        return self.positions.get(None) if feature.missing_as == "none" else self.nan

    def numbers(self) -> dict[float, int]:
        """The categories that a column of numbers can hold."""
        return {
            float(category): i
            for category, i in self.positions.items()
            if isinstance(category, int | float | np.number | np.bool_)
        }


def _encoded(graph: Graph, frame: Frame, categories: Sequence[_Categories], meaning: Meaning) -> str:
    """Each value replaced by its meaning: a float64 tensor ``(n_rows, frame.width)``."""
    coded = [i for i, feature in enumerate(frame.features) if feature.levels is not None]
    parts: list[tuple[list[int], Frame]] = []
    if coded:
        part = graph.take(frame, coded)
        tables = [[meaning(i, categories[i].find(value)) for value in slots(frame.features[i])] for i in coded]
        parts.append((coded, replace(part, tensor=lookup(graph, part, tables))))
    for i in range(frame.width):
        if i not in coded:
            column = graph.take(frame, [i])
            parts.append(
                ([i], replace(column, tensor=_mapped_numbers(graph, column, categories[i], partial(meaning, i))))
            )
    return assembled(graph, parts).tensor


def _mapped_numbers(
    graph: Graph, column: Frame, categories: _Categories, meaning: Callable[[int | None], float]
) -> str:
    """One column of numbers through a hash table."""
    feature = column.features[0]
    known = {number: meaning(position) for number, position in categories.numbers().items()}
    graph.on_threshold(feature, np.array(list(known), dtype=np.float64))
    known[np.nan] = meaning(categories.missing(feature))
    tensors = {
        "keys_tensor": np.array(list(known), dtype=np.float64),
        "values_tensor": np.array(list(known.values()), dtype=np.float64),
        "default_tensor": np.array([meaning(None)], dtype=np.float64),
    }
    attributes: dict[str, Any] = {name: numpy_helper.from_array(array, name) for name, array in tensors.items()}
    return str(graph.add("LabelEncoder", column.tensor, domain=ML_DOMAIN, **attributes))


@dataclass(frozen=True)
class _Block:
    """The output columns that a OneHotEncoder makes of one input column.

    Attributes:
        positions: Per category, the position of its column in the block; ``None`` if it was dropped.
        unknown: Position of the column for unknown values, if they have one.
        width: Number of columns.
    """

    positions: tuple[int | None, ...]
    unknown: int | None
    width: int

    @property
    def grouped(self) -> bool:
        """Whether a column stands for anything but exactly one category."""
        kept = [position for position in self.positions if position is not None]
        return self.unknown is not None or len(kept) != len(set(kept))


def _block(encoder: Any, i: int) -> _Block:
    n_categories = len(encoder.categories_[i])
    mapping, unknown = list(range(n_categories)), None
    if encoder._infrequent_enabled and encoder._infrequent_indices[i] is not None:
        mapping = encoder._default_to_infrequent_mappings[i].tolist()
        if encoder.handle_unknown in {"infrequent_if_exist", "warn"}:
            unknown = max(mapping)
    dropped = None if encoder._drop_idx_after_grouping is None else encoder._drop_idx_after_grouping[i]

    def after(position: int | None) -> int | None:
        if position is None or dropped is None or position < dropped:
            return position
        return None if position == dropped else position - 1

    return _Block(
        tuple(after(position) for position in mapping), after(unknown), max(mapping) + 1 - (dropped is not None)
    )


@transformer("sklearn.preprocessing.OneHotEncoder")
def one_hot_encoder(graph: Graph, encoder: Any, frame: Frame) -> Frame:
    """One column for each category that is not dropped.

    Infrequent categories share a column; unknown ones have a column of their own or none.
    """
    blocks = [_block(encoder, i) for i in range(frame.width)]
    categories = [_Categories.of(column) for column in encoder.categories_]
    owners = np.repeat(np.arange(frame.width), [block.width for block in blocks])
    if not len(owners):
        raise NotConvertibleError("OneHotEncoder makes no column")
    if any(block.grouped for block in blocks):
        hot = _hot_by_position(graph, frame, categories, blocks, owners)
    else:
        hot = _hot_by_value(graph, frame, categories, blocks, owners)
    tensor = graph.cast(hot, TensorProto.DOUBLE)
    if len(owners) > DENSE_WIDTH:
        positions = _positions(graph, frame, categories, blocks)
        graph.hot[tensor] = tuple(
            Hot(positions, column, position) for column, block in enumerate(blocks) for position in range(block.width)
        )
    single = np.dtype(encoder.dtype) in {np.dtype(np.float32), np.dtype(np.float16)}
    return Frame(tensor, (Feature(),) * len(owners), encoder.sparse_output, single)


def _positions(graph: Graph, frame: Frame, categories: list[_Categories], blocks: list[_Block]) -> str:
    """Through a table to the position in the block, -1 for none: float64 ``(n_rows, frame.width)``."""

    def meaning(column: int, position: int | None) -> float:
        block = blocks[column]
        target = block.unknown if position is None else block.positions[position]
        return -1.0 if target is None else float(target)

    return _encoded(graph, frame, categories, meaning)


def _hot_by_position(
    graph: Graph, frame: Frame, categories: list[_Categories], blocks: list[_Block], owners: Any
) -> str:
    """By the position in the block: takes any grouping."""
    positions = _positions(graph, frame, categories, blocks)
    spread = graph.add("Gather", positions, graph.constant(owners, np.int64), axis=1)
    return str(
        graph.add(
            "Equal", spread, graph.constant(np.concatenate([np.arange(block.width) for block in blocks]), np.float64)
        )
    )


def _hot_by_value(graph: Graph, frame: Frame, categories: list[_Categories], blocks: list[_Block], owners: Any) -> str:
    """Each column compares with the one code or number that it stands for: the shortest graph."""
    sought: list[float] = []
    for feature, known, block in zip(frame.features, categories, blocks, strict=True):
        values = [np.inf] * block.width  # Infinity: nothing that the column can hold.
        for value, category in _tensor_values(feature, known):
            target = block.positions[category]
            if target is not None:
                values[target] = value
        if feature.levels is None:
            graph.on_threshold(feature, np.array([value for value in values if np.isfinite(value)], dtype=np.float64))
        sought += values
    spread = frame.tensor
    if owners.tolist() != list(range(frame.width)):
        spread = graph.add("Gather", frame.tensor, graph.constant(owners, np.int64), axis=1)
    hot = graph.add("Equal", spread, graph.constant(np.nan_to_num(sought, nan=np.inf, posinf=np.inf)))
    missing = np.isnan(sought)
    if missing.any():
        hot = graph.add("Or", hot, graph.add("And", graph.add("IsNaN", spread), graph.constant(missing)))
    return str(hot)


def _tensor_values(feature: Feature, categories: _Categories) -> list[tuple[float, int]]:
    """The category of each of the tensor's values, as ``(value, position)``."""
    if feature.levels is None:
        found: list[tuple[float, int | None]] = list(categories.numbers().items())
        found.append((np.nan, categories.missing(feature)))
    else:
        codes = [-1.0, *map(float, range(len(feature.levels))), np.nan]
        found = [(code, categories.find(value)) for code, value in zip(codes, slots(feature), strict=True)]
    return [(value, position) for value, position in found if position is not None]


@transformer("sklearn.preprocessing.OrdinalEncoder")
def ordinal_encoder(graph: Graph, encoder: Any, frame: Frame) -> Frame:
    """The category's position, infrequent ones sharing the last; missing and unknown values as the encoder says."""
    unknown = np.nan if encoder.unknown_value is None else float(encoder.unknown_value)

    def meaning(column: int, position: int | None) -> float:
        if position is None:
            return unknown
        if position == encoder._missing_indices.get(column):
            return float(encoder.encoded_missing_value)
        mapping = encoder._default_to_infrequent_mappings[column] if encoder._infrequent_enabled else None
        return float(position if mapping is None else mapping[position])

    categories = [_Categories.of(column) for column in encoder.categories_]
    tensor = _encoded(graph, frame, categories, meaning)
    single = np.dtype(encoder.dtype) in {np.dtype(np.float32), np.dtype(np.float16)}
    return Frame(tensor, tuple(Feature() for _ in frame.features), single=single)


@transformer("sklearn.preprocessing.TargetEncoder")
def target_encoder(graph: Graph, encoder: Any, frame: Frame) -> Frame:
    """The target's smoothed mean for the category, per class if there are more than two.

    An unknown category gets the overall mean.
    """
    categories = [_Categories.of(column) for column in encoder.categories_]
    n_classes = len(encoder.classes_) if encoder.target_type_ == "multiclass" else 1
    means = np.atleast_1d(np.asarray(encoder.target_mean_, dtype=np.float64))
    made = []
    for k in range(n_classes):

        def meaning(column: int, position: int | None, k: int = k) -> float:
            return float(means[k] if position is None else encoder.encodings_[column * n_classes + k][position])

        made.append(replace(frame, tensor=_encoded(graph, frame, categories, meaning)))
    by_class = graph.concat(made)
    order = [k * frame.width + column for column in range(frame.width) for k in range(n_classes)]
    encoded = graph.take(by_class, order)
    return Frame(encoded.tensor, tuple(Feature() for _ in order))

"""Labels of many rows as bytes, looked up several at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from orris.schema.arrays import IntArray

MAX_GROUPS, MAX_GROUP_BYTES = 4_096, 2**20
"""Most groups of labels that are written in advance, and their bytes together."""

MAX_GROUP = 12
"""Most labels in a group."""

MANY_ROWS = 64
"""So many labels are worth the groups, which are written when they are first needed."""


class LabelBytes:
    """Joins the bytes of labels: of three labels, seven at a time, from 2,187 groups.

    Args:
        labels: The bytes of each label, by position.
        separator: What stands between two labels.
    """

    def __init__(self, labels: Sequence[bytes], separator: bytes = b"") -> None:
        self._ended = [label + separator for label in labels]
        self._n_separator = len(separator)
        self._size = _group_size(self._ended)
        self._groups: list[bytes] = []
        self._weights = np.array([len(labels) ** i for i in range(self._size - 1, -1, -1)], dtype=np.int64)

    def join(self, positions: IntArray) -> bytes:
        """The labels at ``positions``, int64 ``(n_rows,)``."""
        ended, size = self._ended, self._size
        if size < 2 or len(positions) < MANY_ROWS:
            text = b"".join([ended[i] for i in positions.tolist()])
        else:
            groups = self._groups or self._write_groups()
            n_grouped = len(positions) // size * size
            chosen = positions[:n_grouped].reshape(-1, size) @ self._weights
            rest = [ended[i] for i in positions[n_grouped:].tolist()]
            text = b"".join([*map(groups.__getitem__, chosen.tolist()), *rest])
        return text[: len(text) - self._n_separator] if self._n_separator else text

    def _write_groups(self) -> list[bytes]:
        self._groups = [b"".join(labels) for labels in product(self._ended, repeat=self._size)]
        return self._groups


def _group_size(labels: Sequence[bytes]) -> int:
    """How many labels a group may hold."""
    longest = max(map(len, labels), default=0)
    size = 1
    while size < MAX_GROUP:
        n_groups = len(labels) ** (size + 1)
        if n_groups > MAX_GROUPS or n_groups * (size + 1) * longest > MAX_GROUP_BYTES:
            break
        size += 1
    return size

"""Which rows a model is fitted on and which it is judged on; the first step of ``evaluation``.

Everything here works on class *codes* (positions in ``Schema.labels``), or on nothing but the number of rows for
regression, so that text, integer and boolean labels are the same thing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from orris.errors import SettingsError, TrainingError
from orris.schema import Label
from orris.schema.arrays import FloatArray, IntArray

MIN_REGRESSION_ROWS = 4
"""Two to fit on and two to judge on: R² of a single row does not exist."""


@dataclass(frozen=True)
class Target:
    """The prediction target.

    Attributes:
        values: ``(n_rows,)``: class codes, int64, or numbers, float64.
        labels: The classes that the codes stand for; empty for regression.
    """

    values: IntArray | FloatArray
    labels: tuple[Label, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def codes(self) -> IntArray | None:
        """The class codes; ``None`` for regression."""
        return np.asarray(self.values, dtype=np.int64) if self.labels else None

    def counts(self) -> IntArray:
        """Rows per class, int64 ``(n_classes,)``."""
        return np.bincount(np.asarray(self.values, dtype=np.int64), minlength=len(self.labels)).astype(np.int64)


@dataclass(frozen=True)
class Split:
    """Positions of the rows to fit on and to judge on, int64 ``(n_train,)`` and ``(n_test,)``, both ascending."""

    train: IntArray
    test: IntArray


def check_settings(test_size: float | None, folds: int) -> None:
    """Refuse a test size outside (0, 1) and a number of folds that is neither 0 (none) nor at least 2.

    Raises:
        SettingsError: Names the setting and its value.
    """
    if test_size is not None and not 0 < test_size < 1:
        raise SettingsError(
            f"test_size is {test_size!r}: it must lie between 0 and 1, for example 0.2 for a fifth of the rows"
        )
    if folds < 0 or folds == 1:
        raise SettingsError(f"folds is {folds!r}: it must be at least 2, or 0 for no cross-validation")


def holdout(target: Target, test_size: float, seed: int, notes: list[str]) -> Split:
    """Set rows aside to judge the model on, with each class in its proportion on both sides.

    Args:
        target: What is to be predicted.
        test_size: Share of the rows to set aside, between 0 and 1.
        seed: Same target and seed, same split.
        notes: A sentence is appended when the share had to be changed.

    Raises:
        TrainingError: A class has one row only, or there are too few rows at all.
    """
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 (a second to import)

    n_rows, smallest_side = len(target), 2
    if not target.labels:
        if n_rows < MIN_REGRESSION_ROWS:
            raise TrainingError(
                f"the table has {n_rows} rows: at least {MIN_REGRESSION_ROWS} are needed to fit a model and to judge it"
            )
    else:
        _require_rows_per_class(target)
        smallest_side = int(np.count_nonzero(target.counts()))
    wanted = math.ceil(n_rows * test_size)  # Rounded as scikit-learn does, so that its users get the numbers they know.
    n_test = min(max(wanted, smallest_side), n_rows - smallest_side)
    if n_test != wanted:
        notes.append(
            f"{n_test} of {n_rows} rows are held out rather than {wanted} (test_size {test_size:g}): "
            f"each side of the split needs at least {smallest_side}."
        )
    train, test = train_test_split(
        np.arange(n_rows), test_size=n_test, random_state=seed, shuffle=True, stratify=target.codes
    )
    return Split(np.sort(train), np.sort(test))


def cross_validation(target: Target, folds: int, seed: int, notes: list[str]) -> list[Split]:
    """The splits of a seeded k-fold cross-validation, stratified for classification; none for 0 folds.

    Fewer folds are made when a class (or the table) has too few rows for ``folds``, and none when not even two are
    possible; ``notes`` then says which class and how many rows it has.
    """
    from sklearn.model_selection import KFold, StratifiedKFold  # noqa: PLC0415

    if folds == 0:
        return []
    n_rows = len(target)
    if not target.labels:
        possible, scarce = n_rows // 2, f"the table has {n_rows} rows"
    else:
        counts = target.counts()
        rarest = int(np.where(counts > 0, counts, n_rows + 1).argmin())
        possible, scarce = (
            int(counts[rarest]),
            f"class {target.labels[rarest]!r} has {counts[rarest]} row{'' if counts[rarest] == 1 else 's'}",
        )
    if possible < 2:
        notes.append(f"No cross-validation: {scarce}, and each fold needs one.")
        return []
    if possible < folds:
        notes.append(f"Cross-validation uses {possible} folds rather than {folds}: {scarce}.")
    splitter = (StratifiedKFold if target.labels else KFold)(
        n_splits=min(folds, possible), shuffle=True, random_state=seed
    )
    splits = splitter.split(np.zeros(n_rows), target.codes)
    return [Split(train.astype(np.int64), test.astype(np.int64)) for train, test in splits]


def _require_rows_per_class(target: Target) -> None:
    counts = target.counts()
    if np.count_nonzero(counts) < 2:
        raise TrainingError("the target has one class only: a classifier needs at least two")
    lonely = [repr(target.labels[int(code)]) for code in np.flatnonzero(counts == 1)]
    if lonely:
        named = ", ".join(lonely[:5]) + (f" and {len(lonely) - 5} more" if len(lonely) > 5 else "")
        which = f"class {named} has" if len(lonely) == 1 else f"classes {named} have"
        raise TrainingError(
            f"the target's {which} 1 row each, and 2 are needed, one to fit on and one to judge on: "
            "add rows, merge rare classes into one, or drop these rows"
        )

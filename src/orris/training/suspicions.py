"""Suspicious columns and rows of a training table, found before anything is fitted, for a person to look at.

Called by ``preparation``. Nothing is changed or refused: each finding is a notice, with what to do about it.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orris.schema.arrays import FloatArray
from orris.tables.rules import Notice
from orris.training.learning import Task

if TYPE_CHECKING:
    import pandas as pd

MIN_ROWS = 20
"""Below so many rows every column may look like an identifier, or predict the target, by chance."""

MIN_DUPLICATE_SHARE = 0.01
LEAKAGE_SCORE = 0.999
"""Accuracy, or R², of one column alone on rows that it was not fitted on, from which it is taken for the target."""

MAX_ROWS_ASKED = 2_000
MAX_COLUMNS_ASKED = 300
"""Leakage is looked for in so many rows and columns, spread evenly over all: about a second."""

MAX_LEVELS_COMPARED = 200
"""Levels of a column that are compared with each other; of more, spelling is not looked at."""

RARE_ROWS = 3
"""A level in at most so many rows may be a misspelling of one that is in a hundred times as many."""

_IDENTIFIER_NAME = re.compile(r"(^|_|\s)(id|key|nr|no|num|number|index|uuid|code)$", re.IGNORECASE)
_DENSE = 10


def suspicions(X: pd.DataFrame, y: pd.Series[Any], task: Task) -> list[Notice]:
    """Constant columns, identifiers, misspelt levels, columns that alone predict the target, and duplicate rows.

    Args:
        X: A plain table ``(n_rows, n_columns)`` without its target.
        y: The target, ``(n_rows,)``.
        task: What the model predicts.
    """
    found = []
    for name in map(str, X.columns):
        reason = _constant(X[name]) or _identifier(name, X[name])
        if reason:
            found.append(Notice(name, f"{reason}; leave it out with  --drop {name}"))
        elif misspelt := _misspelt(X[name]):
            found.append(Notice(name, misspelt))
    named = {notice.column for notice in found}
    found += [notice for notice in _leaks(X, y, task) if notice.column not in named]
    return [*found, *_duplicates(X, y)]


def _constant(series: pd.Series[Any]) -> str:
    if len(series) < 2 or series.isna().any() or series.nunique() != 1:
        return ""
    return f"holds the same value in every row ({series.iloc[0]!s:.40}), so nothing can be learned from it"


def _identifier(name: str, series: pd.Series[Any]) -> str:
    """Whole numbers that are all different, and increasing, or close together, or named like identifiers."""
    if len(series) < MIN_ROWS or series.dtype.kind not in "iu" or series.isna().any():
        return ""
    values = series.to_numpy(dtype=np.int64)
    if len(np.unique(values)) != len(values):
        return ""
    steps = np.diff(values)
    ordered = bool((steps > 0).all() or (steps < 0).all())
    if ordered:
        return "holds whole numbers that only rise or fall from row to row, as identifiers and row numbers do"
    if int(values.max()) - int(values.min()) < _DENSE * len(values) or _IDENTIFIER_NAME.search(name):
        return "holds a different whole number in every row, as identifiers do"
    return ""


def _misspelt(series: pd.Series[Any]) -> str:
    """Rare text levels that differ from a common one in capitals, space or a letter or two."""
    if series.dtype.kind in "iufbmM":
        return ""
    counts = {level: int(n) for level, n in series.value_counts().items() if isinstance(level, str)}
    if not 2 <= len(counts) <= MAX_LEVELS_COMPARED:
        return ""
    pairs = []
    for level in [level for level, n in counts.items() if n <= RARE_ROWS]:
        common = [other for other, n in counts.items() if n >= 100 * counts[level]]
        folded = [other for other in common if other.strip().casefold() == level.strip().casefold()]
        # A short code, or one with other digits, is another level more often than a misspelling.
        is_word = len(level) >= 5 and not any(map(str.isdigit, level))
        near = folded or (difflib.get_close_matches(level, common, n=1, cutoff=0.8) if is_word else [])
        pairs += [f"'{level:.40}' ({counts[level]} of {len(series):,} rows) and '{near[0]:.40}'"] if near else []
    if not pairs:
        return ""
    more = f" and {len(pairs) - 3} more pairs" if len(pairs) > 3 else ""
    return f"has levels that may be one and the same: {', '.join(pairs[:3])}{more}; correct the table if they are"


def _leaks(X: pd.DataFrame, y: pd.Series[Any], task: Task) -> list[Notice]:
    """Columns that alone predict the target of rows that they were not fitted on."""
    if len(y) < 2 * MIN_ROWS or X.shape[1] < 2:
        return []
    rows = np.unique(np.linspace(0, len(y) - 1, min(len(y), MAX_ROWS_ASKED)).astype(int))
    order = np.random.default_rng(0).permutation(rows)
    target = _codes(y.iloc[order]) if task == "classification" else y.iloc[order].to_numpy(dtype=np.float64)
    if task == "classification" and np.bincount(target.astype(int)).max() > 0.98 * len(target):
        return []  # the commonest class alone is right nearly everywhere
    columns = np.unique(np.linspace(0, X.shape[1] - 1, min(X.shape[1], MAX_COLUMNS_ASKED)).astype(int))
    found = []
    for name in map(str, X.columns[columns]):
        score = _score(_codes(X[name].iloc[order]), target, task)
        if score >= LEAKAGE_SCORE:
            measure = "accuracy" if task == "classification" else "R²"
            said = f"alone predicts '{y.name}' ({measure} {score:.4f} on other rows): is it the target itself,"
            found.append(Notice(name, f"{said} or known only afterwards? Then leave it out with  --drop {name}"))
    return found


def _score(values: FloatArray, target: FloatArray, task: Task) -> float:
    """Accuracy or R² of one column on the second half of the rows, by a tree or a line fitted on the first half."""
    from sklearn.linear_model import LinearRegression  # noqa: PLC0415 (a second to import)
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: PLC0415

    half = len(target) // 2
    column = np.where(np.isfinite(values), values, 0.0)[:, None]
    models: list[Any] = [DecisionTreeClassifier(min_samples_leaf=2, random_state=0)]
    if task == "regression":
        models = [DecisionTreeRegressor(min_samples_leaf=2, random_state=0), LinearRegression()]
    return max(float(model.fit(column[:half], target[:half]).score(column[half:], target[half:])) for model in models)


def _codes(series: pd.Series[Any]) -> FloatArray:
    """Values as float64 ``(n_rows,)``: numbers as they are, a missing value below all others, others by their order."""
    if series.dtype.kind in "iufb" and not series.isna().any():
        return series.to_numpy(dtype=np.float64)
    if getattr(series.dtype, "kind", "O") in "iuf":
        numbers: npt.NDArray[np.float64] = series.to_numpy(dtype=np.float64, na_value=np.nan)
        lowest = np.nanmin(numbers) if np.isfinite(numbers).any() else 0.0
        return np.where(np.isnan(numbers), lowest - 1.0, numbers)
    codes, _ = series.astype(object).factorize()
    return codes.astype(np.float64)


def _duplicates(X: pd.DataFrame, y: pd.Series[Any]) -> list[Notice]:
    import pandas as pd  # noqa: PLC0415

    try:
        copies = int(pd.concat([X, y], axis=1).duplicated().sum())
    except TypeError:  # values without a hash, which learning refuses by name
        return []
    if copies < max(1.0, MIN_DUPLICATE_SHARE * len(y)):
        return []
    text = (
        f"{copies:,} of {len(y):,} rows are copies of earlier ones: the same row may be in the training share and in"
        " the held-out share, so that the metrics flatter the model; remove the copies if they are no separate cases"
    )
    return [Notice("", text)]

"""Hypothesis strategies: a raw table that is odd in dtypes, texts, names and gaps, and a pipeline for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

TEXTS = (
    *("x", " x", "x ", "X", "", " ", "NA", "N/A", "null", "NaN", "None", "nan", "true", "0", "1,5", "1.5"),
    *("a,b", "a;b", 'say "no"', '"', "'", "two\nlines", "cr\r\nlf", "tab\tstop", "back\\slash", "{}", "[1]"),
    *("=1+1", "#", "%", "größe", "e\u0301", "é", "東京", "\U0001f600", "\u2028", "\ufeffmark", "0012", "-", "?"),
)
"""Levels that some reader takes for another text, for a missing value, or for the end of a value."""

NAMES = (
    *("age", "Age", " lead", "trail ", "two words", "a,b", "a;b", "a.b", "a:b", 'in "marks"', "new\nline", "tab\t"),
    *("größe", "東京", "instances", "inputs", "features", "parameters", "data", "target", "x0", "0", "back\\slash"),
)

NUMBERS = ("float64", "float32", "int64", "int8", "uint16", "Int64", "Float64", "arrow int", "arrow float")
BOOLEANS = ("bool", "boolean", "object bool")
OF_TEXT = ("object NaN", "object None", "str", "string", "arrow text", "category")
CODES = ("code", "category code", "fractional code")
KINDS = (*NUMBERS, *BOOLEANS, *OF_TEXT, *CODES)
OF_ARRAYS = ("float64", "int64", "object NaN", "object None", "code", "bool")

_DTYPES = {
    "arrow int": "int64[pyarrow]",
    "arrow float": "double[pyarrow]",
    "arrow text": "string[pyarrow]",
    "code": "int64",
    "fractional code": "float64",
}

Values = list[Any]
"""Python values; ``None`` where one is missing."""


@dataclass(frozen=True)
class Drawn:
    """A table and a pipeline that can be fitted on it.

    Attributes:
        kinds: One of ``KINDS`` for each column, by name.
        X: The rows to fit on, a DataFrame or an array.
        y: The targets.
        later: Rows as they may come later, each a table of one row of the same type and dtypes.
        pipeline: Not fitted yet.
    """

    kinds: dict[str, str]
    X: Any
    y: npt.NDArray[Any]
    later: list[Any]
    pipeline: Any


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    """A table of one to four columns, rows that come later, and a pipeline."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    container = draw(st.sampled_from(["frame", "frame", "frame", "array"]))
    kinds = draw(st.lists(st.sampled_from(KINDS if container == "frame" else OF_ARRAYS), min_size=1, max_size=4))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=len(kinds), max_size=len(kinds), unique=True))
    n_rows = int(rng.integers(40, 80))
    columns: dict[str, Values] = {}
    afterwards: dict[str, Values] = {}
    gaps: dict[str, bool] = {}
    for name, kind in zip(names, kinds, strict=True):
        gaps[name] = kind != "code" and draw(st.booleans())
        columns[name], afterwards[name] = _values(kind, n_rows, rng, draw, gaps=gaps[name])
    by_name = dict(zip(names, kinds, strict=True))
    signal = sum(_signal(values) for values in columns.values()) + rng.normal(0, 0.3, n_rows)
    is_classifier = draw(st.booleans())
    y = (signal > np.median(signal)).astype(int) if is_classifier else np.round(signal, 2)
    X = table(columns, by_name, gaps, container)
    later = [
        table({name: [values[i]] for name, values in afterwards.items()}, by_name, gaps, container)
        for i in range(len(afterwards[names[0]]))
    ]
    return Drawn(by_name, X, y, later, _pipeline(draw, by_name, gaps, container, is_classifier=is_classifier))


def table(columns: dict[str, Values], kinds: dict[str, str], gaps: dict[str, bool], container: str) -> Any:
    """The columns as a DataFrame of the dtypes that the kinds name, or as an array.

    A missing value among objects is None only in a kind that had None among the rows to fit on.
    """
    series = {name: _series(values, kinds[name], gaps=gaps[name]) for name, values in columns.items()}
    frame = pd.DataFrame(series)
    return frame if container == "frame" else frame.to_numpy()


def _values(kind: str, n_rows: int, rng: np.random.Generator, draw: st.DrawFn, *, gaps: bool) -> tuple[Values, Values]:
    """Values to fit on, and ten that come later: among them missing ones, unseen levels, and other numbers."""
    pool: Values
    beyond: Values
    if kind in OF_TEXT:
        levels = draw(st.lists(st.sampled_from(TEXTS), min_size=3, max_size=6, unique=True))
        pool, beyond = levels[:-1], [levels[-1]]
    elif kind in BOOLEANS:
        pool, beyond = [True, False], [True]
    elif kind == "fractional code":
        pool, beyond = [0.5, 1.0, 2.5], [7.25]
    elif kind in {"code", "category code"}:
        pool, beyond = [3, 7, 20], [4]
    elif kind in {"float64", "float32", "Float64", "arrow float"}:
        pool = np.round(rng.normal(5, 3, 30), 1).astype(np.float32 if kind == "float32" else np.float64).tolist()
        beyond = [1000.5, -7.0]
    else:
        pool, beyond = rng.integers(1, 100, 30).tolist(), [101, 120]
    values = [pool[i] for i in rng.integers(0, len(pool), n_rows)]
    values[: len(pool)] = pool
    if gaps:
        values = [None if i and rng.random() < 0.15 else value for i, value in enumerate(values)]
    later = [pool[i] for i in rng.integers(0, len(pool), 6)] + [None, beyond[0], beyond[-1], None]
    return values, [later[i] for i in rng.permutation(len(later))]


def _series(values: Values, kind: str, *, gaps: bool) -> Any:
    """A column in the dtype of its kind, or in the one to which pandas turns that where a value is missing."""
    missing = any(value is None for value in values)
    if kind in {"category", "category code"}:
        present = [value for value in dict.fromkeys(values) if value is not None]
        if len(values) == 1:  # a row that comes later: its dtype has levels that training did not have
            present = list(TEXTS) if kind == "category" else [3, 4, 7, 20]
        return pd.Series(pd.Categorical(values, categories=present))
    absent = None if gaps and kind != "object NaN" else np.nan
    objects = pd.Series([absent if value is None else value for value in values], dtype=object)
    if kind in {"object NaN", "object None", "object bool"} or (kind == "bool" and missing):
        return objects
    # pandas.NA counts as NaN in a request; on the object as such scikit-learn may raise an error.
    if missing and not gaps and kind in {"string", "arrow text"}:
        return objects
    if missing and not gaps and kind in {"Int64", "Float64", "boolean", "arrow int", "arrow float"}:
        return objects.astype("float64")
    whole = not missing and all(isinstance(value, int) for value in values)
    dtype = _DTYPES.get(kind, kind)
    return pd.Series(values, dtype="float64" if kind in {"int64", "int8", "uint16", "code"} and not whole else dtype)


def _signal(values: Values) -> npt.NDArray[np.float64]:
    """A share of the target, from 0 to 1."""
    order = {value: i for i, value in enumerate(dict.fromkeys(values))}
    return np.array([order[value] for value in values]) / max(1, len(order) - 1)


def _pipeline(
    draw: st.DrawFn, kinds: dict[str, str], gaps: dict[str, bool], container: str, *, is_classifier: bool
) -> Any:
    """What prepares each column, and a model."""
    kind_of_model = draw(st.sampled_from(["linear", "forest", "boosting"]))
    parts = []
    for position, (name, kind) in enumerate(kinds.items()):
        column = name if container == "frame" else position
        step = _step(draw, kind, gaps=gaps[name], takes_gaps=kind_of_model == "boosting")
        parts.append((f"part{position}", step, [column]))
    if len(parts) > 1 and draw(st.integers(0, 4)) == 0:
        parts[-1] = (parts[-1][0], "drop", parts[-1][2])
    models: dict[str, Callable[[], Any]] = {
        "linear": lambda: LogisticRegression() if is_classifier else Ridge(),
        "forest": lambda: (RandomForestClassifier if is_classifier else RandomForestRegressor)(5, random_state=0),
        "boosting": lambda: (HistGradientBoostingClassifier if is_classifier else HistGradientBoostingRegressor)(
            max_iter=5, min_samples_leaf=3
        ),
    }
    return make_pipeline(ColumnTransformer(parts), models[kind_of_model]())


def _step(draw: st.DrawFn, kind: str, *, gaps: bool, takes_gaps: bool) -> Any:
    if kind in OF_TEXT or kind in CODES:
        return draw(
            st.sampled_from(
                [
                    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                    OneHotEncoder(sparse_output=False),
                    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
                    TargetEncoder(cv=2, random_state=0),
                    make_pipeline(
                        SimpleImputer(strategy="most_frequent"),
                        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                    ),
                ]
            )
        )
    if takes_gaps and draw(st.booleans()) and kind not in BOOLEANS:
        return "passthrough"
    steps: list[Any] = []
    if gaps or draw(st.booleans()):
        strategy = "most_frequent" if kind in BOOLEANS else draw(st.sampled_from(["mean", "median", "most_frequent"]))
        steps.append(SimpleImputer(strategy=strategy, add_indicator=draw(st.booleans())))
    if kind not in BOOLEANS and draw(st.booleans()):
        steps.append(draw(st.sampled_from([StandardScaler(), MinMaxScaler()])))
    return make_pipeline(*steps) if steps else "passthrough"

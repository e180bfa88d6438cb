"""Table -> schema: the contents of every column, learned from all training rows.

The same code learns from tables that ``orris train`` has read and from the frames and arrays that a notebook's pipeline
was fitted on, so it takes any dtype and describes what is there, without changing it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from orris.errors import SchemaError, TrainingError
from orris.metrics import Task as AnyTask
from orris.schema import MAX_INTEGER, Bounds, Column, Kind, Label, Reading, Schema
from orris.schema.frames import decode, encode, encode_column, is_missing
from orris.tables.text_kinds import MAX_LEVELS, are_dates, free_text, is_unicode
from orris.training.fitted import Use, uses

Task = Literal["classification", "regression"]

_NUMERIC = {Kind.NUMBER, Kind.INTEGER}
_MAX_CLASSES_OF_NUMBERS = 20
_MIN_ROWS_PER_CLASS_OF_NUMBERS = 10


def choose_task(y: pd.Series[Any], override: str | None = None) -> Task:
    """Classification or regression, from the target ``(n_rows,)``.

    Text, booleans and categories are classes; numbers with fractions are values; whole numbers are classes if there are
    two of them, or at most 20 and on average ten rows or more of each.

    Raises:
        TrainingError: A missing or infinite target (names the rows), a single class or value, or an override that the
            target cannot follow.
    """
    name = str(y.name) if y.name is not None else "the target"
    missing = np.flatnonzero(y.isna())
    if len(missing):
        raise TrainingError(f"target column '{name}' is missing in {_rows(missing)}; remove or complete these rows")
    n_distinct = y.nunique()
    if n_distinct < 2:
        raise TrainingError(f"target column '{name}' is the same in every row, so there is nothing to learn")
    numbers = _target_numbers(y)
    chosen = override or _natural_task(numbers, n_distinct)
    if chosen not in ("classification", "regression"):
        raise TrainingError(f"task '{chosen}' is unknown; it is 'classification' or 'regression'")
    if chosen == "regression":
        if numbers is None:
            raise TrainingError(
                f"target column '{name}' holds {y.dtype} values, not numbers, so the task cannot be regression"
            )
        infinite = np.flatnonzero(~np.isfinite(numbers))
        if len(infinite):
            raise TrainingError(f"target column '{name}' is infinite in {_rows(infinite)}; remove these rows")
        return "regression"
    if numbers is None and (n_distinct > MAX_LEVELS or (len(y) > 50 and n_distinct > len(y) / 2)):
        raise TrainingError(
            f"target column '{name}' holds {n_distinct:,} different values in {len(y):,} rows: too many for classes; is"
            " it the target?"
        )
    return "classification"


@dataclass(frozen=True)
class Declared:
    """The declarations of the model's owner about columns, each by its name.

    Attributes:
        categorical: Columns that are categories though they hold whole numbers, or many or date-like texts.
        bounds: Hard bounds of columns of numbers; the training rows must respect them.
        required: Columns that must not be missing, whatever the model takes.
        integer: Columns that must hold whole numbers.
        closed: Categories whose known levels are all there are.
    """

    categorical: Sequence[str] = ()
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    required: Sequence[str] = ()
    integer: Sequence[str] = ()
    closed: Sequence[str] = ()

    def names(self) -> list[str]:
        """Every column that something is declared of."""
        return [*self.categorical, *self.bounds, *self.required, *self.integer, *self.closed]


def learn_schema(
    X: pd.DataFrame | npt.NDArray[Any],
    *,
    target: str,
    task: AnyTask,
    labels: Sequence[Any] = (),
    declared: Declared | None = None,
    fitted: Any = None,
    reading: Reading | None = None,
    others: Sequence[str] = (),
) -> Schema:
    """The contract of a model that is fitted on ``X``.

    Args:
        X: ``(n_rows, n_columns)``, a DataFrame of any dtypes, or an array, whose columns are then named ``x0``, ``x1``,
            …
        target: Name of the target column.
        task: What the model predicts.
        labels: Classification: the fitted classifier's ``classes_``.
        declared: What the model's owner declared of columns.
        fitted: The fitted pipeline, if there is one yet: columns that it never reads are left out, whatever they hold,
            and levels that its encoders hold are added.
        reading: The rules by which text became the values of ``X``.
        others: Other columns of the training table, which are not in ``X``.

    Returns:
        The schema; ``unseen`` and ``fractions`` are left False, and ``missing`` says what training saw, because only
        the fitted pipeline can tell what it takes.

    Raises:
        SchemaError: A column that cannot be learned from or served, or a declaration that does not fit; names the
            column and, where there is one, the row.
    """
    declared = declared or Declared()
    container: Literal["frame", "array"] = "frame" if isinstance(X, pd.DataFrame) else "array"
    frame = X if isinstance(X, pd.DataFrame) else _named(np.asarray(X))
    _check_shape(frame)
    _check_declared(frame, declared)
    used = {i: Use(otherwise=True) for i in range(frame.shape[1])} if fitted is None else uses(fitted, frame.shape[1])
    read = [name for i, name in enumerate(map(str, frame.columns)) if i in used]
    if not read:
        raise SchemaError("the fitted pipeline reads no column of the table, so there is nothing to serve")
    complete = np.flatnonzero(~frame[read].isna().any(axis=1).to_numpy())
    example_row = int(complete[0]) if len(complete) else None
    columns = [
        _column(name, frame[name], declared, used[i], example_row)
        for i, name in enumerate(map(str, frame.columns))
        if i in used
    ]
    return Schema(
        tuple(columns),
        target,
        task,
        tuple(_scalar(label) for label in labels),
        container,
        reading=reading or Reading(),
        table=tuple(map(str, frame.columns)) if len(read) < frame.shape[1] else (),
        others=tuple(others),
    )


def _check_declared(frame: pd.DataFrame, declared: Declared) -> None:
    for name in declared.names():
        if name not in frame.columns:
            near = difflib.get_close_matches(name, list(frame.columns), n=1)
            raise SchemaError(
                f"column '{name}' is declared, but is not in the table{f'; is {near[0]!r} meant?' if near else ''}"
            )


def classes_of(fitted: Any) -> npt.NDArray[Any] | None:
    """The labels of a fitted classifier, ``(n_classes,)``; ``None`` for a regressor (CatBoost's has an empty list)."""
    classes = getattr(fitted, "classes_", None)
    return None if classes is None or not len(classes) else np.asarray(classes)


def to_training_frame(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The schema's columns of ``frame`` with the values and dtypes that the served pipeline would get.

    Columns of integers, integer-coded categories and nullable booleans become float64 where training saw missing
    values.
    """
    table = decode(schema, encode(schema, frame))
    return table if isinstance(table, pd.DataFrame) else pd.DataFrame(table, columns=list(schema.names))


def _natural_task(numbers: npt.NDArray[np.float64] | None, n_distinct: int) -> Task:
    if numbers is None or n_distinct == 2:
        return "classification" if numbers is None or _is_whole(numbers) else "regression"
    few = n_distinct <= _MAX_CLASSES_OF_NUMBERS and len(numbers) >= _MIN_ROWS_PER_CLASS_OF_NUMBERS * n_distinct
    return "classification" if few and _is_whole(numbers) else "regression"


def _is_whole(numbers: npt.NDArray[np.float64]) -> bool:
    return bool((np.trunc(numbers) == numbers).all())


def _target_numbers(y: pd.Series[Any]) -> npt.NDArray[np.float64] | None:
    """The target as numbers, or ``None`` if it holds text, booleans, categories or anything else."""
    if isinstance(y.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(y.dtype):
        return None
    if pd.api.types.is_numeric_dtype(y.dtype):
        return np.asarray(y.to_numpy(dtype=np.float64, na_value=np.nan))
    if all(isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) for value in y):
        return np.asarray(y, dtype=np.float64)
    return None


def _named(array: npt.NDArray[Any]) -> pd.DataFrame:
    if array.ndim != 2:
        raise SchemaError(f"an array of shape (n_rows, n_columns) is needed, not {array.shape}")
    values = array if array.dtype.kind in "fiub" else array.astype(object)
    return pd.DataFrame({f"x{i}": pd.Series(values[:, i], dtype=values.dtype) for i in range(array.shape[1])})


def _check_shape(frame: pd.DataFrame) -> None:
    if not len(frame.columns) or not len(frame):
        raise SchemaError("there is no row or no column to learn from")
    for name in frame.columns:
        if not isinstance(name, str) or not name:
            raise SchemaError(f"the column name {name!r} is not text; before fitting, rename it or pass X.to_numpy()")
        if not is_unicode(name):
            raise SchemaError(f"the column name {name!r} is no Unicode text, which no request can hold; rename it")
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise SchemaError(f"the column name '{twice[0]}' is there twice; rename one of them")


def _column(name: str, series: pd.Series[Any], declared: Declared, use: Use, example_row: int | None) -> Column:
    missing = series.isna().to_numpy()
    if missing.all():
        raise SchemaError(f"column '{name}' holds no value in any row; leave it out (--drop {name})")
    # The encoders' levels say that a text is a category, that whole numbers are one, and that all other numbers are
    # where an encoder refuses those that it does not hold.
    encoded = use.encoded and (use.strict or not use.otherwise)
    numbers = encoded and all(isinstance(level, int | float) for level in use.levels)
    whole = numbers and all(float(level).is_integer() for level in use.levels)
    is_category = name in declared.categorical or encoded
    kind, dtype = _kind_and_dtype(name, series, name in declared.categorical or whole or (numbers and use.strict))
    levels = _levels(name, series, is_category, use.levels) if kind is Kind.CATEGORY else ()
    if kind is Kind.INTEGER and name not in declared.integer and _beyond_exact(series):
        kind, dtype = Kind.NUMBER, "object" if dtype == "object" else "float64"
    nones = dtype == "object" and all(value is None for value in series[missing])
    _check_kind(name, kind, declared)
    column = Column(
        name=name,
        kind=kind,
        dtype="float64" if missing.any() and dtype not in {"object", "str", "category"} and dtype[0] != "f" else dtype,
        levels=levels,
        missing_as="none" if missing.any() and nones else "nan",
        missing=bool(missing.any()),
        bounds=declared.bounds.get(name),
        required=name in declared.required,
        integer=name in declared.integer,
        closed=name in declared.closed,
    )
    codes = encode_column(column, series, [])
    low, high = _range(column, codes)
    row = example_row if example_row is not None else int(np.flatnonzero(~missing)[0])
    return msgspec.structs.replace(column, low=low, high=high, example=_example(column, codes[row]))


def _check_kind(name: str, kind: Kind, declared: Declared) -> None:
    if name in declared.integer and kind is not Kind.INTEGER:
        raise SchemaError(f"column '{name}' is declared integer, but holds values of kind {kind.value}")
    if name in declared.closed and kind is not Kind.CATEGORY:
        raise SchemaError(f"column '{name}' is declared closed, but holds values of kind {kind.value}, not a category")


def _range(column: Column, codes: npt.NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Smallest and largest training value; checks that all are finite, exact, and within the declared bounds."""
    if column.bounds is not None:
        _check_bounds(column, codes)
    if column.kind is Kind.CATEGORY:
        return None, None
    infinite = np.flatnonzero(np.isinf(codes))
    if len(infinite):
        raise SchemaError(
            f"column '{column.name}' is infinite in {_rows(infinite)}; remove these rows or make them missing"
        )
    low, high = float(np.nanmin(codes)), float(np.nanmax(codes))
    if column.kind is Kind.INTEGER and max(-low, high) > MAX_INTEGER:
        raise SchemaError(
            f"column '{column.name}' is declared integer, and holds integers beyond {MAX_INTEGER}, which float64 does"
            f" not tell apart; leave it out (--drop {column.name}), or do not declare it"
        )
    return low, high


def _beyond_exact(series: pd.Series[Any]) -> bool:
    """Whether integers are so large that float64, in which models compute, holds only their neighbours."""
    present = series.dropna()
    return int(present.max()) > MAX_INTEGER or int(present.min()) < -MAX_INTEGER


def _check_bounds(column: Column, codes: npt.NDArray[np.float64]) -> None:
    bounds = column.bounds
    if bounds is None:
        return
    if column.kind not in _NUMERIC:
        raise SchemaError(f"column '{column.name}' is a {column.kind.value}, so it cannot have bounds; remove them")
    lows = [low for low in (bounds.minimum, bounds.exclusive_minimum) if low is not None]
    highs = [high for high in (bounds.maximum, bounds.exclusive_maximum) if high is not None]
    if not all(map(math.isfinite, (*lows, *highs))):
        raise SchemaError(f"column '{column.name}': a bound is not a finite number")
    for row in (int(np.nanargmin(codes)), int(np.nanargmax(codes))):
        problem = bounds.problem(float(codes[row]))
        if problem is not None:
            raise SchemaError(
                f"column '{column.name}', {_rows([row])}: the value {codes[row]:g} breaks the declared bounds"
                f" ({problem})"
            )


def _kind_and_dtype(name: str, series: pd.Series[Any], declared: bool) -> tuple[Kind, str]:
    dtype = series.dtype
    if isinstance(dtype, pd.SparseDtype):
        raise _unusable(name, f"it holds sparse values ({dtype})", "; X.sparse.to_dense() makes the table dense")
    if isinstance(dtype, pd.CategoricalDtype):
        kind, _ = _kind_and_dtype(name, pd.Series(np.asarray(dtype.categories, dtype=object)), declared=False)
        return Kind.BOOLEAN if kind is Kind.BOOLEAN else Kind.CATEGORY, "category"
    if pd.api.types.is_bool_dtype(dtype) and not pd.api.types.is_object_dtype(dtype):
        # scikit-learn converts nullable booleans to floats, which some steps take and booleans not.
        return Kind.BOOLEAN, "bool" if isinstance(dtype, np.dtype) else "float64"
    if pd.api.types.is_integer_dtype(dtype):
        return Kind.CATEGORY if declared else Kind.INTEGER, _of_numpy(dtype)
    if pd.api.types.is_float_dtype(dtype) or str(dtype).startswith("decimal"):
        # scikit-learn converts pandas' nullable and Arrow-backed floats, and decimals, of any precision to float64.
        return Kind.CATEGORY if declared else Kind.NUMBER, _of_numpy(dtype if isinstance(dtype, np.dtype) else float)
    if pd.api.types.is_object_dtype(dtype):
        return _kind_of_objects(name, series, declared), "object"
    if pd.api.types.is_string_dtype(dtype):
        return Kind.CATEGORY, "str" if str(dtype) == "str" else "object"
    what = (
        "dates or times"
        if dtype.kind in "mM" or pd.api.types.is_datetime64_any_dtype(dtype)
        else f"values of type {dtype}"
    )
    raise _unusable(name, f"it holds {what}")


def _of_numpy(dtype: Any) -> str:
    """The numpy dtype of numbers, also of pandas' nullable and Arrow-backed integers; longdouble counts as float64."""
    name = np.dtype(getattr(dtype, "numpy_dtype", dtype)).name
    return name if np.dtype(name).itemsize <= 8 else "float64"


def _kind_of_objects(name: str, series: pd.Series[Any], declared: bool) -> Kind:
    row, first = next((row, value) for row, value in enumerate(series) if not is_missing(value))
    trial = Column(name, Kind.CATEGORY, levels=("",)) if isinstance(first, str) else Column(name, Kind.NUMBER)
    if isinstance(first, bool | np.bool_):
        trial = Column(name, Kind.BOOLEAN)
    problems: list[Any] = []
    codes = encode_column(trial, series, problems)
    if problems and problems[0].row == row:
        dates = hasattr(first, "isoformat")
        raise _unusable(name, "it holds dates or times" if dates else f"it holds values of type {type(first).__name__}")
    if problems:
        raise _unusable(
            name,
            f"it mixes types: {_rows([row])} holds {type(first).__name__}, but in {_rows([problems[0].row])}"
            f" {problems[0].problem}",
        )
    if trial.kind is not Kind.NUMBER:
        return trial.kind
    if declared:
        return Kind.CATEGORY
    return (
        Kind.INTEGER
        if all(is_missing(value) or isinstance(value, int | np.integer) for value in series) and len(codes)
        else Kind.NUMBER
    )


def _levels(
    name: str, series: pd.Series[Any], declared: bool, encoded: Mapping[Any, Any]
) -> tuple[str, ...] | tuple[int, ...] | tuple[float, ...]:
    """The levels that training saw or an encoder holds: in the order of a category dtype, otherwise sorted."""
    counts = series.value_counts(sort=False)
    present: list[Any] = [value for value, count in counts.items() if count and not is_missing(value)]
    if isinstance(series.dtype, pd.CategoricalDtype):
        seen, declared = {*present, *encoded}, True
        present = [level for level in series.dtype.categories if level in seen]
    more = [level for level in encoded if level not in set(present)]
    texts = [isinstance(level, str) for level in (*present, *more)]
    if any(texts) and not all(texts):  # an encoder of another type of value than the rows hold
        texts, more = [isinstance(level, str) for level in present], []
    if not isinstance(series.dtype, pd.CategoricalDtype):
        present, more = sorted([*present, *more]), []
    present += sorted(more)
    if all(texts):
        levels = tuple(str(level) for level in present)
        broken = next((level for level in levels if not is_unicode(level)), None)
        if broken is not None:
            raise _unusable(name, f"it holds {broken!r:.60}, which is no Unicode text, so that no request can hold it")
        if not declared:
            _check_text(name, levels, int(counts.sum()))
        return levels
    if not all(abs(level) <= MAX_INTEGER for level in present):
        raise SchemaError(
            f"column '{name}' is a category, but holds numbers beyond {MAX_INTEGER}, which float64 does not tell apart;"
            " write its levels as text"
        )
    if not all(float(level).is_integer() for level in present):
        return tuple(float(level) for level in present)
    return tuple(int(level) for level in present)


def _check_text(name: str, levels: tuple[str, ...], n_values: int) -> None:
    if are_dates(levels):
        raise _unusable(
            name,
            f"it holds dates or times, such as '{levels[0]}'",
            f"; if they are levels of a category, declare it (--categorical {name})",
        )
    reason = free_text(levels, n_values)
    if reason is not None:
        raise _unusable(name, reason, f"; if it is a category all the same, declare it (--categorical {name})")


def _unusable(name: str, reason: str, more: str = "") -> SchemaError:
    return SchemaError(
        f"column '{name}' cannot be learned from: {reason}. Leave it out (--drop {name}), or turn it into numbers or"
        f" categories{more}"
    )


def _example(column: Column, code: float) -> str | float | int | bool:
    if column.kind is Kind.CATEGORY:
        return column.levels[int(code)]
    if column.kind is Kind.BOOLEAN:
        return bool(code)
    return int(code) if column.kind is Kind.INTEGER else float(code)


def _scalar(label: Any) -> Label:
    value: Label = label.item() if isinstance(label, np.generic) else label
    return value


def _rows(rows: Sequence[int] | npt.NDArray[Any]) -> str:
    """Rows for a message; counted from 0, as everywhere in Orris."""
    shown = ", ".join(str(int(row)) for row in rows[:5])
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more} (the first is 0)"
